#include "quant/schemes/placement.h"

#include <algorithm>

#include "model/ir/schema.h"

namespace slipway::quant {
namespace {

using compiler::Scheme;
using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

// The scheme's name of a node's operator: fused and plain forms are one.
std::string SchemeName(const Node& node) {
  if (node.Is("Gemm") || node.Is("MatMul") || node.IsSlipway("Linear")) return "Linear";
  return node.op();
}

bool Names(const std::vector<std::string>& operators, const Node& node) {
  return std::find(operators.begin(), operators.end(), SchemeName(node)) != operators.end();
}

bool IsFloatActivation(const Value* v) {
  return v && !v->is_constant() && v->dtype() == DType::kFloat32;
}

bool IsUnaryFunction(const Node& node) {
  static const std::set<std::string> kOps = {"Relu",        "LeakyRelu", "Clip",  "Sigmoid",
                                             "HardSigmoid", "HardSwish", "Swish", "Gelu",
                                             "Tanh",        "Elu"};
  return (node.domain().empty() && kOps.count(node.op())) ||
         ir::IsCustom(node, SLIPWAY_QUANTIZE_ELEMENTWISE);
}

bool SchemeQuantizes(const Node& node, const Scheme& scheme,
                     const std::set<std::string>& keep_float) {
  if (keep_float.count(node.name()) || !Names(scheme.operators, node)) return false;
  if (IsRecurrent(node)) return false;
  if (!IsFloatActivation(node.input(0))) return false;
  if (HasWeights(node)) {
    const Tensor* w = node.constant_input(1);
    if (!w || w->dtype() != DType::kFloat32) return false;
    if (node.Is("Gemm")) {
      return node.attributes.Float("alpha", 1) == 1 && node.attributes.Float("beta", 1) == 1 &&
             node.attributes.Int("transA", 0) == 0 &&
             (!node.input(2) ||
              (node.constant_input(2) && node.constant_input(2)->dims().rank() == 1));
    }
    if (node.Is("MatMul")) return w->dims().rank() == 2;
    return true;
  }
  if (node.op() == "Add" || node.op() == "Mul") {
    // Two activations; a constant operand stays in float, where it costs nothing to keep exact.
    return IsFloatActivation(node.input(1));
  }
  if (node.op() == "Concat") {
    return std::all_of(node.inputs().begin(), node.inputs().end(), IsFloatActivation);
  }
  return !IsTransparent(node);
}

// A function of a layer's sums alone: it is computed on them before they are rounded, as its input
// may reach much further than its output (LeakyRelu).
bool FollowsProducts(const Node& node) {
  const Value* x = node.input(0);
  const Node* maker = x->producer();
  return IsUnaryFunction(node) && maker && x->OnlyUser() == &node && HasWeights(*maker);
}

// Inputs that are activations, not weights or biases.
bool IsActivationInput(const Node& node, size_t i) {
  return IsFloatActivation(node.input(i)) && !(HasWeights(node) && (i == 1 || i == 2));
}

}  // namespace

bool HasWeights(const Node& node) {
  return node.Is("Conv") || node.IsSlipway("Conv") || node.Is("ConvTranspose") || node.Is("Gemm") ||
         node.Is("MatMul") || node.IsSlipway("Linear");
}

bool IsRecurrent(const Node& node) {
  return node.Is("RNN") || node.Is("GRU") || node.Is("LSTM");
}

int ChannelAxis(const Node& node) {
  if (node.op() == "Conv") return 0;
  if (node.op() == "ConvTranspose") return node.attributes.Int("group", 1) == 1 ? 1 : -1;
  const bool transposed = node.attributes.Int(node.Is("Gemm") ? "transB" : "transW", 0) != 0;
  return transposed ? 0 : node.constant_input(1)->dims().rank() - 1;
}

bool IsTransparent(const Node& node) {
  if (ir::IsCustom(node, SLIPWAY_QUANTIZE_CODES)) return IsFloatActivation(node.input(0));
  if (node.Is("Resize") &&
      (node.attributes.String("mode", "nearest") != "nearest" ||
       node.attributes.String("coordinate_transformation_mode", "") == "tf_crop_and_resize"))
    return false;
  if (node.Is("Pad")) {  // zeros are codes of every scale
    const Tensor* value = node.constant_input(2);
    if (node.attributes.String("mode", "constant") == "constant" && node.input(2) &&
        (!value || value->ToDoubles() != std::vector<double>{0}))
      return false;
    return !node.input(3) && IsFloatActivation(node.input(0));
  }
  static const std::set<std::string> kOps = {
      "Reshape",      "Transpose",    "Flatten",       "Squeeze",  "Unsqueeze",
      "MaxPool",      "Slice",        "Split",         "Identity", "Gather",
      "DepthToSpace", "SpaceToDepth", "GlobalMaxPool", "Expand",   "Resize"};
  return node.domain().empty() && kOps.count(node.op()) && IsFloatActivation(node.input(0));
}

Placement::Placement(const Graph& graph, const Scheme& scheme,
                     const std::set<std::string>& keep_float) {
  for (auto it = graph.nodes().rbegin(); it != graph.nodes().rend(); ++it) {
    const Node& node = **it;
    if (SchemeQuantizes(node, scheme, keep_float)) {
      if (node.op() == "Concat" && !scheme.outputs && !Any(node.outputs()))
        continue;  // moving codes pays only when somebody reads codes
      integer_.insert(&node);
      if (scheme.weight_only) continue;
      for (size_t i = 0; i < node.inputs().size(); ++i) {
        if (IsActivationInput(node, i)) coded_.insert(node.input(i));
      }
      for (const Value* y : node.outputs()) {
        if (scheme.outputs && IsFloatActivation(y)) coded_.insert(y);
      }
    } else if (!keep_float.count(node.name()) && (IsTransparent(node) || IsUnaryFunction(node)) &&
               Any(node.outputs())) {
      if (!FollowsProducts(node)) coded_.insert(node.input(0));
    }
  }
  for (const auto& node : graph.nodes()) {
    const bool transparent = IsTransparent(*node) && Coded(node->input(0));
    for (const Value* y : node->outputs()) {
      if (!transparent || !IsFloatActivation(y)) continue;
      if (scheme.outputs && !keep_float.count(node->name())) coded_.insert(y);
      if (Coded(y)) Join(node->input(0), y);
    }
    if (!Integer(node.get()) || !Names(scheme.shared, *node)) continue;
    for (size_t i = 0; i < node->inputs().size(); ++i) {
      if (IsActivationInput(*node, i) && Coded(node->output()))
        Join(node->input(i), node->output());
    }
  }
  // What a transparent node gives has its input's range; everything else was observed itself.
  for (const auto& v : graph.values()) {
    if (!Coded(v.get())) continue;
    const Node* maker = v->producer();
    if (maker && IsTransparent(*maker) && Coded(maker->input(0))) continue;
    sources_[Root(v.get())].push_back(v.get());
  }
}

const std::vector<const Value*>& Placement::RangeSources(const Value* v) const {
  return sources_.at(Root(v));
}

bool Placement::Any(const std::vector<Value*>& values) const {
  return std::any_of(values.begin(), values.end(), [&](const Value* v) { return v && Coded(v); });
}

const Value* Placement::Root(const Value* v) const {
  for (auto it = parent_.find(v); it != parent_.end(); it = parent_.find(v)) v = it->second;
  return v;
}

void Placement::Join(const Value* a, const Value* b) {
  const Value *ra = Root(a), *rb = Root(b);
  if (ra != rb) parent_[rb] = ra;
}

}  // namespace slipway::quant
