#include "quant/reconstruct/blocks.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "quant/schemes/quantize.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

bool IsActivation(const Value* v) {
  return v && !v->is_constant() && v->dtype() == DType::kFloat32;
}

// Indices and masks that the graph is given come along.
void AddOtherInputs(const Graph& graph, Block& block) {
  std::set<const Value*> seen;
  std::vector<const Value*> open;
  for (const std::string& name : block.inputs) seen.insert(graph.FindValue(name));
  for (const std::string& name : block.outputs) open.push_back(graph.FindValue(name));
  while (!open.empty()) {
    const Value* v = open.back();
    open.pop_back();
    if (!v || v->is_constant() || !seen.insert(v).second) continue;
    if (!v->producer() && v->dtype() != DType::kFloat32) block.inputs.push_back(v->name());
    if (!v->producer()) continue;
    for (const Value* in : v->producer()->inputs()) open.push_back(in);
  }
}

}  // namespace

std::vector<Block> FindBlocks(const Graph& graph, const BlockOptions& options) {
  std::vector<const Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  const size_t count = nodes.size();
  std::unordered_map<const Node*, size_t> place;
  for (size_t i = 0; i < count; ++i) place[nodes[i]] = i;
  // A value is alive at the cut behind node i when i is in [made, used).
  struct Span {
    const Value* value;
    size_t made, used;  // positions of cuts: 0 is before all nodes
  };
  std::vector<Span> spans;
  for (const auto& value : graph.values()) {
    if (!IsActivation(value.get())) continue;
    Span s{value.get(), value->producer() ? place[value->producer()] + 1 : 0, 0};
    for (const ir::Use& use : value->uses()) s.used = std::max(s.used, place[use.node] + 1);
    if (value->is_output()) s.used = count + 1;
    if (s.used > s.made) spans.push_back(s);
  }
  std::vector<int> change(count + 3, 0), forbidden(count + 3, 0);
  for (const Span& s : spans) {
    ++change[s.made], --change[s.used];
    if (options.uncut.contains(s.value->name())) ++forbidden[s.made], --forbidden[s.used];
  }
  std::vector<bool> cut(count + 1, false), free(count + 1, false), layer(count, false);
  int alive = 0, kept = 0;
  for (size_t at = 0; at <= count; ++at) {
    alive += change[at];
    kept += forbidden[at];
    free[at] = kept == 0;
    cut[at] = (alive <= 1 && free[at]) || at == 0 || at == count;
  }
  for (size_t i = 0; i < count; ++i) layer[i] = HasConstantWeights(*nodes[i]);
  const auto layers_in = [&](size_t begin, size_t end) {
    return std::count(layer.begin() + static_cast<ptrdiff_t>(begin),
                      layer.begin() + static_cast<ptrdiff_t>(end), true);
  };
  // Ends of regions; those of layers within where they are wanted.
  std::vector<size_t> ends;
  for (size_t begin = 0, end = 1; end <= count; ++end) {
    if (!cut[end]) continue;
    if (options.by_layer || layers_in(begin, end) > options.most_layers) {
      for (size_t i = begin + 1; i < end; ++i) {
        if (layer[i] && free[i] && layers_in(begin, i) > 0) ends.push_back(i);
      }
    }
    ends.push_back(end);
    begin = end;
  }
  std::vector<std::pair<size_t, size_t>> regions;
  size_t begin = 0;
  for (const size_t end : ends) {
    if (layers_in(begin, end) == 0 && !regions.empty()) {
      regions.back().second = end;
    } else if (layers_in(begin, end) == 0) {
      continue;  // nothing to learn yet: with the first layer
    } else {
      regions.push_back({begin, end});
    }
    begin = end;
  }
  std::vector<Block> blocks;
  for (const auto& [first, last] : regions) {
    Block b;
    for (size_t i = first; i < last; ++i) {
      if (layer[i]) b.layers.push_back(nodes[i]->name());
    }
    b.name = b.layers.back();
    for (const Span& s : spans) {
      if (s.made <= first && s.used > first) {
        const bool read = std::any_of(
            s.value->uses().begin(), s.value->uses().end(),
            [&](const ir::Use& use) { return place[use.node] >= first && place[use.node] < last; });
        if (read) b.inputs.push_back(s.value->name());
      }
      if (s.made > first && s.made <= last && s.used > last) b.outputs.push_back(s.value->name());
    }
    AddOtherInputs(graph, b);
    blocks.push_back(std::move(b));
  }
  return blocks;
}

Result<std::unique_ptr<Graph>> Extract(const Graph& graph, const std::vector<std::string>& inputs,
                                       const std::vector<std::string>& outputs) {
  auto part = std::make_unique<Graph>();
  part->name = graph.name;
  part->symbol_ranges = graph.symbol_ranges;
  std::unordered_map<const Value*, Value*> made;
  const auto find = [&](const std::string& name) -> Result<const Value*> {
    const Value* v = graph.FindValue(name);
    if (!v) return InvalidArgument("there is no value '" + name + "'");
    return v;
  };
  for (const std::string& name : inputs) {
    SLIPWAY_ASSIGN_OR_RETURN(const Value* v, find(name));
    made[v] = part->AddInput(name, v->type());
  }
  // Nodes that are needed, backwards.
  std::unordered_set<const Node*> needed;
  std::vector<const Value*> open;
  for (const std::string& name : outputs) {
    SLIPWAY_ASSIGN_OR_RETURN(const Value* v, find(name));
    open.push_back(v);
  }
  while (!open.empty()) {
    const Value* v = open.back();
    open.pop_back();
    if (!v || made.contains(v) || v->is_constant()) continue;
    if (!v->producer())
      return InvalidArgument("'" + v->name() +
                             "' is needed and neither an input of the part nor a constant");
    if (!needed.insert(v->producer()).second) continue;
    for (const Value* in : v->producer()->inputs()) open.push_back(in);
  }
  for (const auto& node : graph.nodes()) {
    if (!needed.contains(node.get())) continue;
    Graph::NodeSpec spec = {.op = node->op(),
                            .attributes = node->attributes,
                            .domain = node->domain(),
                            .name = node->name(),
                            .outputs = {}};
    for (const Value* in : node->inputs()) {
      if (in && !made.contains(in)) made[in] = part->AddConstant(in->name(), *in->constant());
      spec.inputs.push_back(in ? made[in] : nullptr);
    }
    for (const Value* out : node->outputs()) spec.outputs.push_back(out ? out->name() : "-");
    Node* copy = part->AddNode(std::move(spec));
    copy->sources = node->sources;
    for (const auto& [name, body] : node->subgraphs) copy->subgraphs[name] = body->Clone();
    for (size_t i = 0; i < node->outputs().size(); ++i) {
      if (!node->output(i)) continue;
      copy->output(i)->set_type(node->output(i)->type());
      made[node->output(i)] = copy->output(i);
    }
  }
  for (const std::string& name : outputs) {
    const Value* v = graph.FindValue(name);
    if (!made.contains(v)) made[v] = part->AddConstant(v->name(), *v->constant());
    part->AddOutput(made[v]);
  }
  return part;
}

}  // namespace slipway::quant
