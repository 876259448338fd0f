#include "quant/sensitivity/sensitivity.h"

#include <cmath>
#include <limits>
#include <unordered_map>

#include "model/ir/schema.h"

namespace slipway::quant {
namespace {

struct Similarity {
  double signal = 0, noise = 0, dot = 0, other = 0;

  void Add(const float* reference, const float* value, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      double r = reference[i], v = value[i];
      signal += r * r;
      noise += (r - v) * (r - v);
      dot += r * v;
      other += v * v;
    }
  }
  double Db() const {
    if (noise == 0) return std::numeric_limits<double>::infinity();
    return signal == 0 ? -std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
  }
  double Cosine() const {
    return signal == 0 || other == 0 ? (signal == other ? 1 : 0) : dot / std::sqrt(signal * other);
  }
};

Result<ir::Tensor> RunNode(const ir::Node& node, const std::vector<ir::Tensor>& inputs,
                           const ir::Tensor& like, Parallel* pool) {
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out,
                           ir::Tensor::Allocate(node.output()->dtype(), like.dims()));
  std::vector<ops::TensorView> views;
  for (const ir::Tensor& t : inputs) views.push_back(t.present() ? t.view() : ops::TensorView{});
  ops::TensorView result = out.view();
  ops::OpContext context;
  context.inputs = views;
  context.outputs = std::span(&result, 1);
  context.attributes = &node.attributes;
  context.pool = pool;
  Status s = node.schema()->kernel(context);
  if (!s.ok()) return s.With(node.Describe());
  return out;
}

// What the node reads at input `v` when everything before it is float: a constant (dequantized when
// it is), or the float value put through the pair before the node.
Result<ir::Tensor> IsolatedInput(const ir::Value* v,
                                 const std::unordered_map<std::string, ir::Tensor>& values,
                                 Parallel* pool) {
  if (!v) return ir::Tensor();
  if (v->constant()) return v->constant()->Aligned();
  const ir::Node* p = v->producer();
  if (p && p->IsSlipway("Dequantize")) {
    std::vector<ir::Tensor> inputs;
    for (const ir::Value* in : p->inputs()) {
      SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, IsolatedInput(in, values, pool));
      inputs.push_back(std::move(t));
    }
    return RunNode(*p, inputs, inputs[0], pool);
  }
  if (p && p->IsSlipway("Quantize")) {
    std::vector<ir::Tensor> inputs;
    for (const ir::Value* in : p->inputs()) {
      SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, IsolatedInput(in, values, pool));
      inputs.push_back(std::move(t));
    }
    return RunNode(*p, inputs, inputs[0], pool);
  }
  auto it = values.find(v->name());
  if (it == values.end())
    return Internal("value '" + v->name() + "' is missing from the float run");
  return it->second;
}

bool ReadsQuantized(const ir::Node& node) {
  if (node.IsSlipway("Quantize") || node.IsSlipway("Dequantize")) return false;
  for (const ir::Value* v : node.inputs()) {
    if (v && v->producer() && v->producer()->IsSlipway("Dequantize")) return true;
  }
  return false;
}

}  // namespace

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
    if (!ReadsQuantized(*node) || !node->schema() || node->outputs().size() != 1) continue;
    auto reference = values.find(node->output()->name());
    if (reference == values.end() || reference->second.dtype() != DType::kFloat32) continue;
    std::vector<ir::Tensor> inputs;
    for (const ir::Value* v : node->inputs()) {
      SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, IsolatedInput(v, values, pool));
      inputs.push_back(std::move(t));
    }
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out, RunNode(*node, inputs, reference->second, pool));
    Similarity alone;
    alone.Add(reference->second.data<float>(), out.data<float>(), out.count());
    const Similarity& all = accumulated[node->output()->name()];
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
