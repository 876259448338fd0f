#include "deploy/quantize_model.h"

#include <algorithm>

#include "deploy/model_io.h"
#include "model/passes/pass.h"
#include "quant/schemes/quantize.h"

namespace slipway::deploy {

Result<QuantizedModel> QuantizeModel(const ir::Graph& graph, const compiler::Scheme& scheme,
                                     const data::Dataset& calibration,
                                     const QuantizeModelOptions& options) {
  SLIPWAY_ASSIGN_OR_RETURN(Feed feed, FeedFor(graph, calibration, options.batch));
  QuantizedModel model;
  model.original = graph.Clone();
  SLIPWAY_ASSIGN_OR_RETURN(auto reports,
                           passes::RunPasses(*model.original, {.level = passes::Level::kFused}));
  quant::SplitActivations(*model.original);
  model.quantized = model.original->Clone();
  quant::QuantizeOptions quantize{.keep_float = options.keep_float};
  for (const std::string& name : options.keep_float) {
    if (!model.original->FindNode(name))
      return InvalidArgument(
          "there is no node '" + name +
          "' to keep in float; `slipway inspect --platform` lists the fused nodes");
  }
  model.quantized_nodes =
      static_cast<int>(quant::QuantizedNodes(*model.original, scheme, quantize).size());
  int64_t total = options.calibration_samples > 0
                      ? std::min(options.calibration_samples, calibration.size())
                      : calibration.size();
  auto make = [&](const ir::Graph& g) { return quant::InterpreterEvaluator(g, options.pool); };
  auto progress = [&](int64_t batches) {
    if (options.progress) options.progress(std::min(total, batches * feed.batch), total);
  };
  SLIPWAY_RETURN_IF_ERROR(quant::Quantize(
      *model.quantized, scheme, make, CalibrationBatches(calibration, feed, total, options.pool),
      quantize, progress));
  return model;
}

Result<std::vector<quant::LayerError>> Sensitivity(const QuantizedModel& model,
                                                   const data::Dataset& data, int64_t samples,
                                                   ThreadPool* pool) {
  SLIPWAY_ASSIGN_OR_RETURN(Feed feed, FeedFor(*model.original, data, samples));
  return quant::LayerErrors(*model.original, *model.quantized,
                            CalibrationBatches(data, feed, samples, pool), pool);
}

}  // namespace slipway::deploy
