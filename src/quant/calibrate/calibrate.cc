#include "quant/calibrate/calibrate.h"

#include "model/interp/interpreter.h"

namespace slipway::quant {

Result<Evaluator> InterpreterEvaluator(const ir::Graph& graph, Parallel* pool) {
  SLIPWAY_ASSIGN_OR_RETURN(auto interpreter, interp::Interpreter::Create(graph));
  auto shared = std::make_shared<interp::Interpreter>(std::move(interpreter));
  return Evaluator(
      [shared, pool](const std::vector<ir::Tensor>& inputs, const ValueObserver& observer) {
        interp::RunOptions options;
        options.pool = pool;
        options.observer = observer;
        return shared->Run(inputs, options);
      });
}

Result<Observers> Calibrate(const ir::Graph& graph, const Evaluator& evaluator,
                            const BatchSource& data, const std::set<std::string>& names,
                            const std::function<void(int64_t)>& progress) {
  Observers observers;
  for (const std::string& name : names) observers[name];
  auto observe = [&](const ir::Value& value, const ir::Tensor& tensor) {
    if (tensor.dtype() != DType::kFloat32) return;
    auto it = observers.find(value.name());
    if (it != observers.end())
      it->second.Observe({tensor.data<float>(), static_cast<size_t>(tensor.count())});
  };
  int64_t batches = 0;
  for (;; ++batches) {
    SLIPWAY_ASSIGN_OR_RETURN(auto inputs, data(batches));
    if (inputs.empty()) break;
    auto outputs = evaluator(inputs, observe);
    if (!outputs.ok()) return outputs.status().With("calibration batch " + std::to_string(batches));
    if (progress) progress(batches + 1);
  }
  if (batches == 0)
    return InvalidArgument(
        "there is no calibration data; give --calib a folder or file with samples");
  for (const auto& value : graph.values()) {
    auto it = observers.find(value->name());
    if (it == observers.end()) continue;
    if (it->second.not_finite() > 0) {
      std::string maker = value->producer() ? " made by " + value->producer()->Describe() : "";
      return InvalidArgument("value '" + value->name() + "'" + maker +
                             " is not finite on the calibration data (" +
                             std::to_string(it->second.not_finite()) +
                             " elements); check the preprocessing and the model in float first");
    }
    if (it->second.count() == 0) {
      return InvalidArgument(
          "value '" + value->name() +
          "' was never computed on the calibration data; it cannot be quantized");
    }
  }
  return observers;
}

}  // namespace slipway::quant
