#include "model/passes/epilogue.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

// Squeeze-excite (Hu et al. 2018): x * gate(W2 * activation(W1 * mean(x))), the mean a
// GlobalAveragePool and the products convolutions of 1x1 windows, as the level kFused leaves them.
bool FuseOne(Graph& graph, Node* mul, const std::function<bool(const Node&)>& supported) {
  if (!mul->Is("Mul") || mul->output()->dtype() != DType::kFloat32) return false;
  for (const size_t side : {0, 1}) {
    Value* x = mul->input(1 - side);
    Node* second = PointwiseOf(mul->input(side));
    Node* first = second ? PointwiseOf(second->input(0)) : nullptr;
    Node* pool = first ? ProducerOf(first->input(0), "GlobalAveragePool") : nullptr;
    if (!pool || pool->input(0) != x || !pool->output()->OnlyUser()) continue;
    if (!SameShape(x, mul->output())) continue;
    const std::vector<Node*> pieces = {pool, first, second, mul};
    if (!IsSelfContained(pieces)) continue;
    ir::Attributes attributes;
    const Activation inner = Activation::Read(first->attributes),
                     gate = Activation::Read(second->attributes);
    if (!inner.none()) inner.WriteTo(attributes);
    attributes.Set("gate", gate.name);
    if (!gate.params.empty()) attributes.Set("gate_params", gate.params);
    const Graph::NodeSpec spec = {
        .op = "SqueezeExcite",
        .inputs = {x, first->input(1), second->input(1), first->input(2), second->input(2)},
        .attributes = attributes,
        .domain = ir::kSlipwayDomain};
    if (FuseIfSupported(graph, spec, mul, pieces, supported)) return true;
  }
  return false;
}

}  // namespace

Result<int> FuseSqueezeExcite(ir::Graph& graph, const PassOptions& options) {
  const int changes =
      VisitNodes(graph, [&](Node* node) { return FuseOne(graph, node, options.supported); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
