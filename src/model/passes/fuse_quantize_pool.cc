#include "model/passes/pass.h"
#include "model/passes/qdq.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// A Quantize of float32 with one scale that only a global QAveragePool reads goes into it, bit for
// bit: as in squeeze-excite, whose scaling reads the floats.
bool FuseOne(Graph& graph, Node* pool, const std::function<bool(const Node&)>& supported) {
  if (!pool->IsSlipway("QAveragePool") || pool->attributes.Int("global", 0) == 0) return false;
  Node* quantize = pool->input(0)->producer();
  if (!quantize || !quantize->IsSlipway("Quantize") || !quantize->output()->OnlyUser() ||
      quantize->input(0)->dtype() != DType::kFloat32)
    return false;
  const auto params = PerTensorParams(quantize);
  if (!params || DTypeBits(quantize->output()->dtype()) != 8) return false;
  ir::Attributes attributes = pool->attributes;
  attributes.Set("x_scale", params->scale);
  attributes.Set("x_q_min", int64_t{params->q_min});
  attributes.Set("x_q_max", int64_t{params->q_max});
  const Graph::NodeSpec spec = {.op = "QAveragePool",
                                .inputs = {quantize->input(0)},
                                .attributes = attributes,
                                .domain = ir::kSlipwayDomain};
  return FuseIfSupported(graph, spec, pool, {quantize, pool}, supported) != nullptr;
}

}  // namespace

Result<int> FuseQuantizePool(ir::Graph& graph, const PassOptions& options) {
  const int changes =
      VisitNodes(graph, [&](Node* node) { return FuseOne(graph, node, options.supported); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
