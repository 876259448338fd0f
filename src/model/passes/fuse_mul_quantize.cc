#include "model/passes/pass.h"
#include "model/passes/qdq.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// A Mul of float32 whose only reader is a Quantize to 8 bits with one scale becomes
// slipway.MulQuantize, bit for bit.
bool FuseOne(Graph& graph, Node* quantize, const std::function<bool(const Node&)>& supported) {
  if (!quantize->IsSlipway("Quantize")) return false;
  Node* mul = ProducerOf(quantize->input(0), "Mul");
  if (!mul || !mul->output()->OnlyUser() || mul->output()->dtype() != DType::kFloat32) return false;
  const auto params = PerTensorParams(quantize);
  if (!params || DTypeBits(quantize->output()->dtype()) != 8) return false;
  const Graph::NodeSpec spec = {
      .op = "MulQuantize",
      .inputs = mul->inputs(),
      .attributes = {{"scale", params->scale},
                     {"to", static_cast<int64_t>(quantize->output()->dtype())},
                     {"q_min", int64_t{params->q_min}},
                     {"q_max", int64_t{params->q_max}},
                     {"y_zero_point", int64_t{params->zero}}},
      .domain = ir::kSlipwayDomain};
  return FuseIfSupported(graph, spec, mul, {mul, quantize}, supported) != nullptr;
}

}  // namespace

Result<int> FuseMulQuantize(ir::Graph& graph, const PassOptions& options) {
  const int changes =
      VisitNodes(graph, [&](Node* node) { return FuseOne(graph, node, options.supported); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
