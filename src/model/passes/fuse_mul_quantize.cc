#include "model/passes/fuse_mul_quantize.h"

#include "model/ir/infer.h"
#include "model/passes/qdq.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

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
  Node* trial = graph.AddNode(spec, quantize);  // asked of a node that stands beside the pieces
  trial->output()->set_type(quantize->output()->type());
  const bool wanted = supported(*trial);
  graph.RemoveNode(trial);
  if (!wanted) return false;
  Fuse(graph, spec, mul, {mul, quantize});
  return true;
}

}  // namespace

Result<int> FuseMulQuantize(Graph& graph, const std::function<bool(const Node&)>& supported) {
  SLIPWAY_RETURN_IF_ERROR(graph.SortTopologically());
  const int changes =
      VisitNodes(graph, [&](Node* node) { return FuseOne(graph, node, supported); });
  if (changes == 0) return 0;
  graph.RemoveUnused();
  SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(graph));
  return changes;
}

}  // namespace slipway::passes
