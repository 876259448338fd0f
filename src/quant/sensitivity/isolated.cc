#include "quant/sensitivity/isolated.h"

#include <algorithm>

#include "model/ir/schema.h"
#include "quant/schemes/recurrent.h"

namespace slipway::quant {
namespace {

// The Dequantize of constant codes behind which a Reshape stands, as that of recurrent weights of two
// directions.
const ir::Node* ReshapedWeights(const ir::Value* v) {
  const ir::Node* p = v ? v->producer() : nullptr;
  const ir::Node* dq = p && p->Is("Reshape") ? p->input(0)->producer() : nullptr;
  return dq && dq->IsSlipway("Dequantize") && dq->constant_input(0) ? dq : nullptr;
}

}  // namespace

const ir::Value* JudgedOutput(const ir::Node& node) {
  if (!IsRecurrent(node)) return node.outputs().size() == 1 ? node.output() : nullptr;
  const auto first = std::find_if(node.outputs().begin(), node.outputs().end(),
                                  [](const ir::Value* v) { return v != nullptr; });
  return first == node.outputs().end() ? nullptr : *first;
}

Result<ir::Tensor> RunNode(const ir::Node& node, const std::vector<ir::Tensor>& inputs,
                           const ir::Tensor& like, Parallel* pool) {
  const ir::Value* judged = JudgedOutput(node);
  if (!judged) judged = node.output();
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out, ir::Tensor::Allocate(judged->dtype(), like.dims()));
  std::vector<ops::TensorView> views;
  for (const ir::Tensor& t : inputs) views.push_back(t.present() ? t.view() : ops::TensorView{});
  std::vector<ops::TensorView> results;
  for (const ir::Value* v : node.outputs())
    results.push_back(v == judged ? out.view() : ops::TensorView{});
  ops::OpContext context;
  context.inputs = views;
  context.outputs = results;
  context.attributes = &node.attributes;
  context.pool = pool;
  Status s = node.schema()->kernel(context);
  if (!s.ok()) return s.With(node.Describe());
  return out;
}

Result<ir::Tensor> IsolatedInput(const ir::Value* v, const FloatValues& values, Parallel* pool) {
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
  if (const ir::Node* weights = ReshapedWeights(v)) {
    SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor t, IsolatedInput(weights->output(), values, pool));
    if (const auto dims = v->type().StaticDims(); dims && dims->count() == t.count())
      return t.Reshaped(*dims);
  }
  auto it = values.find(v->name());
  if (it == values.end())
    return Internal("value '" + v->name() + "' is missing from the float run");
  return it->second;
}

const ir::Node* WeightsDequantize(const ir::Node& node, size_t i) {
  const ir::Value* v = node.input(i);
  const ir::Node* p = v ? v->producer() : nullptr;
  if (p && p->IsSlipway("Dequantize")) return p->constant_input(0) ? p : nullptr;
  return IsRecurrent(node) ? ReshapedWeights(v) : nullptr;
}

bool ReadsQuantized(const ir::Node& node) {
  if (node.IsSlipway("Quantize") || node.IsSlipway("Dequantize")) return false;
  for (const ir::Value* v : node.inputs()) {
    if (v && v->producer() && v->producer()->IsSlipway("Dequantize")) return true;
    if (IsRecurrent(node) && ReshapedWeights(v)) return true;
  }
  return false;
}

}  // namespace slipway::quant
