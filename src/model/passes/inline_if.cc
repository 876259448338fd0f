// If with a constant condition: PyTorch's exporter leaves many, one for each squeeze() and for each
// `if` on a size, which shapes decide.

#include "model/ir/control.h"
#include "model/passes/inline_body.h"
#include "model/passes/pass.h"

namespace slipway::passes {

Result<int> InlineIf(ir::Graph& graph, const PassOptions&) {
  return VisitNodes(graph, [&](Node* node) {
    if (!node->Is("If") || !ir::FormOf(*node).ok()) return false;
    const auto condition = ScalarOf(node->input(0));
    if (!condition) return false;
    const Graph& branch = *node->subgraphs.at(*condition != 0 ? "then_branch" : "else_branch");
    const std::vector<Value*> results =
        InlineBody(graph, branch, std::span(node->inputs()).subspan(1), node);
    for (size_t i = 0; i < node->outputs().size(); ++i) ReplaceOutput(graph, node, i, results[i]);
    graph.RemoveNode(node);
    return true;
  });
}

}  // namespace slipway::passes
