#include "model/passes/inline_body.h"

#include <unordered_map>

namespace slipway::passes {

std::vector<Value*> InlineBody(Graph& graph, const Graph& body, std::span<Value* const> inputs,
                               Node* before) {
  std::unordered_map<const Value*, Value*> made;
  for (size_t i = 0; i < body.inputs().size(); ++i) made[body.inputs()[i]] = inputs[i];
  const auto value = [&](const Value* v) -> Value* {
    if (!v) return nullptr;
    auto [it, fresh] = made.try_emplace(v, nullptr);
    if (fresh) it->second = graph.AddConstant(v->name(), *v->constant());
    return it->second;
  };
  for (const auto& node : body.nodes()) {
    Graph::NodeSpec spec{.op = node->op(),
                         .attributes = node->attributes,
                         .domain = node->domain(),
                         .name = node->name(),
                         .outputs = {}};
    for (const Value* v : node->inputs()) spec.inputs.push_back(value(v));
    for (const Value* v : node->outputs()) spec.outputs.push_back(v ? v->name() : "-");
    Node* copy = graph.AddNode(std::move(spec), before);
    copy->sources = node->sources;
    for (const auto& [name, inner] : node->subgraphs) copy->subgraphs[name] = inner->Clone();
    for (size_t i = 0; i < node->outputs().size(); ++i) {
      if (!node->output(i)) continue;
      // A body's extents may differ from one iteration to the next: inference finds them again.
      Type type = node->output(i)->type();
      if (node->schema()) type.shape.reset();
      copy->output(i)->set_type(std::move(type));
      made[node->output(i)] = copy->output(i);
    }
  }
  std::vector<Value*> out;
  for (const Value* v : body.outputs()) out.push_back(value(v));
  return out;
}

void ReplaceOutput(Graph& graph, Node* node, size_t i, Value* value) {
  Value* old = node->output(i);
  if (!old || ReplaceValue(graph, old, value)) return;
  Value* copy = AddBefore(graph, {.op = "Identity", .inputs = {value}}, value->type(), node, node);
  ReplaceValue(graph, old, copy);
}

int64_t CountNodes(const Graph& graph) {
  int64_t count = 0;
  for (const auto& node : graph.nodes()) {
    ++count;
    for (const auto& [name, body] : node->subgraphs) count += CountNodes(*body);
  }
  return count;
}

}  // namespace slipway::passes
