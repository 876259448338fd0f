// Products of two dequantized activations to QMatMul, as attention has them.

#include <cmath>
#include <limits>

#include "model/passes/integer_output.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

bool Lower(Graph& graph, Node* node) {
  if (!node->Is("MatMul") || RankOf(node->input(0)).value_or(0) < 2 ||
      RankOf(node->input(1)).value_or(0) < 2)
    return false;
  Dequantized a = DequantizedValue(node->input(0)), b = DequantizedValue(node->input(1));
  if (!a || !b || b.codes->is_constant()) return false;
  const Dim& depth = node->input(0)->type().shape->back();
  if (!depth.known()) return false;
  const auto largest = [](const QParams& p) {
    return static_cast<double>(std::max(std::abs(p.q_min - p.zero), std::abs(p.q_max - p.zero)));
  };
  if (static_cast<double>(depth.value()) * largest(a.params) * largest(b.params) >
      std::numeric_limits<int32_t>::max())
    return false;
  Output out = FindOutput(node, {});
  ir::Attributes attributes{
      {"a_zero_point", int64_t{a.params.zero}},
      {"b_zero_point", int64_t{b.params.zero}},
      {"multiplier", Ratio(static_cast<double>(a.params.scale) * b.params.scale, out.scale())}};
  Write(out, attributes);
  Fuse(graph,
       {.op = "QMatMul",
        .inputs = {a.codes, b.codes},
        .attributes = attributes,
        .domain = ir::kSlipwayDomain},
       node, Replaced(node, out));
  return true;
}

}  // namespace

Result<int> LowerMatMul(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Lower(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
