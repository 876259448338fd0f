#include "model/passes/epilogue.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

bool FuseOne(Graph& graph, Node* node) {
  bool onnx = node->Is("Conv");
  if (!onnx && !node->IsSlipway("Conv")) return false;
  if (node->input(0)->dtype() != DType::kFloat32) return false;
  // resolve-auto-pad could not say the pads: an extent is symbolic.
  if (onnx && node->attributes.String("auto_pad", "NOTSET") != "NOTSET") return false;
  Activation own = Activation::Read(node->attributes);
  Epilogue e = FindEpilogue(graph, node->output(), node->input(3) != nullptr, !own.none());
  if (!onnx && e.nodes.empty()) return false;
  ir::Attributes attributes = node->attributes;
  attributes.Erase("auto_pad");
  if (!e.activation.none()) e.activation.WriteTo(attributes);
  std::vector<Value*> inputs = node->inputs();
  if (e.residual) {
    inputs.resize(4);
    inputs[3] = e.residual;
  }
  std::vector<Node*> replaced{node};
  replaced.insert(replaced.end(), e.nodes.begin(), e.nodes.end());
  Fuse(graph,
       {.op = "Conv", .inputs = inputs, .attributes = attributes, .domain = ir::kSlipwayDomain},
       node, replaced);
  return true;
}

}  // namespace

Result<int> FuseConv(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return FuseOne(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
