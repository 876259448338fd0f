#include "quant/sensitivity/isolated.h"

#include "model/ir/schema.h"

namespace slipway::quant {

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

}  // namespace slipway::quant
