#include "model/passes/evaluate.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// Weights of recurrent nodes stay: packages hold their codes (compiler/coded_constants.h), which
// may have so many nodes behind them that move them.
bool FeedsRecurrent(const Value* v, int moves = 8) {
  return !v->uses().empty() && std::all_of(v->uses().begin(), v->uses().end(), [&](const Use& u) {
    if (u.node->Is("Reshape") || u.node->Is("Transpose"))
      return moves > 0 && u.index == 0 && FeedsRecurrent(u.node->output(), moves - 1);
    return (u.index == 1 || u.index == 2) &&
           (u.node->Is("RNN") || u.node->Is("GRU") || u.node->Is("LSTM"));
  });
}

}  // namespace

Result<int> FoldDequantize(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) {
    if (!node->IsSlipway("Dequantize") || node->output()->is_output()) return false;
    if (FeedsRecurrent(node->output())) return false;
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
