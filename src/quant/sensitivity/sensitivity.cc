#include "quant/sensitivity/sensitivity.h"

#include <unordered_map>

#include "quant/sensitivity/isolated.h"

namespace slipway::quant {
Result<std::vector<LayerError>> LayerErrors(const ir::Graph& original, const ir::Graph& quantized,
                                            const BatchSource& data, Parallel* pool) {
  SLIPWAY_ASSIGN_OR_RETURN(auto batch, data(0));
  if (batch.empty()) return InvalidArgument("there is no data to measure layer errors on");
  std::unordered_map<std::string, ir::Tensor> values;
  for (size_t i = 0; i < batch.size(); ++i) values[original.inputs()[i]->name()] = batch[i];
  SLIPWAY_ASSIGN_OR_RETURN(Evaluator run_float, InterpreterEvaluator(original, pool));
  SLIPWAY_ASSIGN_OR_RETURN(auto float_outputs,
                           run_float(batch, [&](const ir::Value& v, const ir::Tensor& t) {
                             if (!v.is_constant()) values[v.name()] = t;
                           }));
  std::unordered_map<std::string, Similarity> accumulated;
  SLIPWAY_ASSIGN_OR_RETURN(Evaluator run_quantized, InterpreterEvaluator(quantized, pool));
  SLIPWAY_ASSIGN_OR_RETURN(
      auto quantized_outputs, run_quantized(batch, [&](const ir::Value& v, const ir::Tensor& t) {
        auto it = values.find(v.name());
        if (it == values.end() || t.dtype() != DType::kFloat32 || it->second.count() != t.count())
          return;
        accumulated[v.name()].Add(it->second.data<float>(), t.data<float>(), t.count());
      }));
  std::vector<LayerError> rows;
  for (const auto& node : quantized.nodes()) {
    const ir::Value* judged = JudgedOutput(*node);
    if (!ReadsQuantized(*node) || !node->schema() || !judged) continue;
    auto reference = values.find(judged->name());
    if (reference == values.end() || reference->second.dtype() != DType::kFloat32) continue;
    std::vector<ir::Tensor> inputs;
    for (const ir::Value* v : node->inputs()) {
      SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, IsolatedInput(v, values, pool));
      inputs.push_back(std::move(t));
    }
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out, RunNode(*node, inputs, reference->second, pool));
    Similarity alone;
    alone.Add(reference->second.data<float>(), out.data<float>(), out.count());
    const Similarity& all = accumulated[judged->name()];
    rows.push_back({node->name(), node->FullOp(), alone.Db(), all.Db(), all.Cosine()});
  }
  return rows;
}

const LayerError* WorstLayer(const std::vector<LayerError>& errors) {
  const LayerError* worst = nullptr;
  for (const LayerError& e : errors) {
    if (!worst || e.alone_db < worst->alone_db) worst = &e;
  }
  return worst;
}

}  // namespace slipway::quant
