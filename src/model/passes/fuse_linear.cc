#include "model/passes/epilogue.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

// A constant, or constant codes behind a Dequantize (weights of a quantized model).
bool IsConstantLike(const Value* value) {
  if (!value) return false;
  if (value->is_constant()) return true;
  Node* node = SlipwayProducerOf(value, "Dequantize");
  if (!node) return false;
  if (node->input(0)->is_constant()) return true;
  Node* quantize = SlipwayProducerOf(node->input(0), "Quantize");
  return quantize && quantize->input(0)->is_constant();
}

struct Linear {
  Value *x = nullptr, *w = nullptr, *bias = nullptr, *residual = nullptr;
  bool transposed = false;
  Activation activation;
};

// `value` as a bias of extent [n]; null when it has another shape. `factor` (Gemm's beta) needs a
// constant.
Value* AsBias(Graph& graph, Value* value, int64_t n, float factor) {
  auto dims = StaticDimsOf(value);
  if (!dims || !IsConstantLike(value)) return nullptr;
  if (*dims == Dims{n} && factor == 1) return value;
  auto v = FloatsOf(value);
  bool row =
      v && (dims->count() == 1 || (dims->count() == n && dims->rank() >= 1 && dims->back() == n));
  if (!row) return nullptr;
  std::vector<float> bias = *v;
  if (bias.size() == 1) bias.assign(static_cast<size_t>(n), bias[0]);
  for (float& b : bias) b *= factor;
  return AddFloats(graph, value->name(), {n}, bias);
}

bool ReadGemm(Graph& graph, const Node* node, int64_t n, Linear& linear) {
  if (node->attributes.Int("transA", 0)) return false;
  linear.transposed = node->attributes.Int("transB", 0) != 0;
  float alpha = node->attributes.Float("alpha", 1), beta = node->attributes.Float("beta", 1);
  Value* c = node->input(2);
  if (c && beta != 0) {
    linear.bias = AsBias(graph, c, n, beta);
    if (!linear.bias) {
      if (beta != 1 || !SameShape(c, node->output())) return false;
      linear.residual = c;
    }
  }
  if (alpha != 1) {
    auto w = FloatsOf(linear.w);
    if (!w) return false;
    for (float& v : *w) v *= alpha;
    linear.w = AddFloats(graph, linear.w->name(), linear.w->constant()->dims(), *w);
  }
  return true;
}

std::vector<Value*> Inputs(const Linear& l) {
  std::vector<Value*> inputs{l.x, l.w};
  if (l.bias || l.residual) inputs.push_back(l.bias);
  if (l.residual) inputs.push_back(l.residual);
  return inputs;
}

Graph::NodeSpec Spec(const Linear& l) {
  ir::Attributes attributes;
  if (l.transposed) attributes.Set("transW", int64_t{1});
  l.activation.WriteTo(attributes);
  return {
      .op = "Linear", .inputs = Inputs(l), .attributes = attributes, .domain = ir::kSlipwayDomain};
}

std::optional<Linear> Read(Graph& graph, const Node* node) {
  Linear l;
  bool known = node->IsSlipway("Linear");
  if (!known && !node->Is("Gemm") && !node->Is("MatMul")) return std::nullopt;
  l.x = node->input(0);
  l.w = node->input(1);
  auto rank = RankOf(l.x);
  if (!rank || *rank < 2 || RankOf(l.w) != 2 || !node->output()->type().shape ||
      l.x->dtype() != DType::kFloat32)
    return std::nullopt;
  if (known) {
    l.bias = node->input(2);
    l.residual = node->input(3);
    l.transposed = node->attributes.Int("transW", 0) != 0;
    l.activation = Activation::Read(node->attributes);
    return l;
  }
  const Dim& n = node->output()->type().shape->back();
  if (!n.known() || !IsConstantLike(l.w)) return std::nullopt;
  if (node->Is("Gemm") && !ReadGemm(graph, node, n.value(), l)) return std::nullopt;
  return l;
}

bool FuseOne(Graph& graph, Node* node) {
  auto linear = Read(graph, node);
  if (!linear) return false;
  std::vector<Node*> replaced{node};
  Value* out = node->output();
  Node* user = out->OnlyUser();
  if (!linear->bias && !linear->residual && linear->activation.none() && user && user->Is("Add") &&
      SameShape(out, user->output())) {
    Value* other = user->input(0) == out ? user->input(1) : user->input(0);
    linear->bias =
        other == out ? nullptr : AsBias(graph, other, out->type().shape->back().value(), 1);
    if (linear->bias) {
      replaced.push_back(user);
      out = user->output();
    }
  }
  Epilogue e = FindEpilogue(graph, out, linear->residual != nullptr, !linear->activation.none());
  if (e.residual) linear->residual = e.residual;
  if (!e.activation.none()) linear->activation = e.activation;
  replaced.insert(replaced.end(), e.nodes.begin(), e.nodes.end());
  if (node->IsSlipway("Linear") && replaced.size() == 1) return false;
  Fuse(graph, Spec(*linear), node, replaced);
  return true;
}

// Reshape(Linear(x)) that keeps the last dimension -> Linear(Reshape(x)), where the Reshape meets
// another one before, or keeps a residual addition or an activation out.
bool MoveReshape(Graph& graph, Node* node) {
  if (!node->IsSlipway("Linear") || node->input(3) || !Activation::Read(node->attributes).none())
    return false;
  Node* reshape = node->output()->OnlyUser();
  if (!reshape || !reshape->Is("Reshape") || reshape->input(0) != node->output()) return false;
  const auto& before = node->output()->type().shape;
  const auto& after = reshape->output()->type().shape;
  const auto& x = node->input(0)->type().shape;
  if (!before || !after || !x || after->size() < 2 || !(before->back() == after->back()) ||
      !x->back().known())
    return false;
  Node* next = reshape->output()->OnlyUser();
  bool useful =
      ProducerOf(node->input(0), "Reshape") ||
      (next &&
       ((next->Is("Add") && !next->input(0)->is_constant() && !next->input(1)->is_constant()) ||
        ActivationOf(next)));
  if (!useful) return false;
  SymShape shape = *after;
  shape.back() = x->back();
  Value* moved = AddReshape(graph, node->input(0), shape, node, reshape->name());
  if (!moved) return false;
  std::vector<Value*> inputs = node->inputs();
  inputs[0] = moved;
  Fuse(graph,
       {.op = "Linear",
        .inputs = inputs,
        .attributes = node->attributes,
        .domain = ir::kSlipwayDomain},
       node, {node, reshape});
  return true;
}

}  // namespace

Result<int> FuseLinear(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return FuseOne(graph, node); });
  changes += VisitNodes(graph, [&](Node* node) { return MoveReshape(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
