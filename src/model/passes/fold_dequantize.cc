#include "model/passes/evaluate.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {

Result<int> FoldDequantize(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) {
    if (!node->IsSlipway("Dequantize") || node->output()->is_output()) return false;
    std::vector<Tensor> inputs;
    for (const Value* v : node->inputs()) {
      if (v && !v->is_constant()) return false;
      inputs.push_back(v ? *v->constant() : Tensor());
    }
    auto outputs = EvaluateNode(*node, inputs);
    if (!outputs.ok()) return false;
    Value* out = node->output();
    std::string name = out->name();
    graph.Rename(out, name + "_folded");
    graph.ReplaceAllUses(out, graph.AddConstant(name, std::move((*outputs)[0])));
    graph.RemoveNode(node);
    return true;
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
