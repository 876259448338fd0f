#include "engine/backends/subgraph.h"

#include <map>
#include <set>

#include "model/ir/infer.h"

namespace slipway::backends {

Result<Subgraph> CutOut(std::span<const PartitionNode> nodes, const Rewrite& rewrite) {
  Subgraph out;
  out.graph = std::make_unique<ir::Graph>();
  ir::Graph& graph = *out.graph;
  graph.name = "part";
  std::set<const ir::Node*> inside;
  for (const PartitionNode& n : nodes) inside.insert(n.node);
  std::map<const ir::Value*, ir::Value*> made;
  const auto value = [&](const ir::Value* v) -> ir::Value* {
    if (!v) return nullptr;
    auto& mine = made[v];
    if (mine) return mine;
    if (v->is_constant()) {
      mine = graph.AddConstant("c" + std::to_string(made.size()), *v->constant());
    } else {
      mine = graph.AddInput("i" + std::to_string(out.inputs.size()), v->type());
      out.inputs.push_back(v);
    }
    return mine;
  };
  for (const PartitionNode& n : nodes) {
    std::vector<ir::Value*> inputs;
    for (const ir::Value* v : n.node->inputs()) inputs.push_back(value(v));
    ir::Node* node = rewrite ? rewrite(graph, *n.node, inputs) : nullptr;
    if (!node) {
      ir::Graph::NodeSpec spec{n.node->op(), inputs, n.node->attributes, n.node->domain(),
                               n.node->name()};
      spec.outputs.clear();
      for (const ir::Value* v : n.node->outputs())
        spec.outputs.push_back(v ? "t" + std::to_string(made.size()) + "_" +
                                       std::to_string(spec.outputs.size())
                                 : "-");
      node = graph.AddNode(std::move(spec));
    }
    for (size_t i = 0; i < n.node->outputs().size(); ++i) {
      const ir::Value* v = n.node->output(i);
      if (!v) continue;
      node->output(i)->set_type(v->type());
      made[v] = node->output(i);
    }
  }
  for (const PartitionNode& n : nodes) {
    for (const ir::Value* v : n.node->outputs()) {
      if (!v) continue;
      bool outside = v->is_output();
      for (const ir::Use& use : v->uses()) outside |= !inside.contains(use.node);
      if (!outside) continue;
      ir::Value* mine = made.at(v);
      graph.AddOutput(mine);
      graph.Rename(mine, "o" + std::to_string(out.outputs.size()));
      out.outputs.push_back(v);
    }
  }
  graph.RemoveUnused();  // constants that were written otherwise
  SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(graph));
  return out;
}

StepSpec StepOf(std::span<const PartitionNode> nodes, const Subgraph& subgraph, std::string kernel,
                std::vector<uint8_t> blob) {
  StepSpec step;
  step.node = nodes.front().node;
  for (const PartitionNode& n : nodes.subspan(1)) step.others.push_back(n.node);
  step.kernel = std::move(kernel);
  step.blob = std::move(blob);
  step.inputs = subgraph.inputs;
  step.outputs = subgraph.outputs;
  return step;
}

}  // namespace slipway::backends
