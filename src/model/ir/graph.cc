#include "model/ir/graph.h"

#include <algorithm>
#include <queue>
#include <unordered_set>

#include "model/ir/schema.h"

namespace slipway::ir {

bool Type::IsStatic() const {
  if (!shape || is_container()) return false;
  return std::all_of(shape->begin(), shape->end(), [](const Dim& d) { return d.known(); });
}

std::optional<Dims> Type::StaticDims() const {
  if (!IsStatic() || shape->size() > kMaxRank) return std::nullopt;
  Dims dims;
  for (const Dim& d : *shape) dims.push_back(d.value());
  return dims;
}

Type Type::Element() const {
  Type t = *this;
  t.container =
      container == Container::kOptionalSequence ? Container::kSequence : Container::kTensor;
  return t;
}

std::string Type::ToString() const {
  if (is_sequence()) return "seq(" + Element().ToString() + ")";
  if (is_optional()) return "optional(" + Element().ToString() + ")";
  return std::string(DTypeName(dtype)) + (shape ? slipway::ToString(*shape) : "[?]");
}

Node* Value::OnlyUser() const {
  return uses_.size() == 1 && output_uses_ == 0 ? uses_[0].node : nullptr;
}

std::string Graph::UniqueValueName(std::string_view wanted) {
  std::string name(wanted.empty() ? "v" : wanted);
  if (!wanted.empty() && !value_names_.count(name)) return name;
  for (int& n = suffixes_[name];;) {
    std::string candidate = name + "_" + std::to_string(n++);
    if (!value_names_.count(candidate)) return candidate;
  }
}

std::string Graph::UniqueNodeName(std::string_view wanted) {
  std::string name(wanted);
  if (!node_names_.count(name)) return name;
  for (int& n = suffixes_["node " + name];;) {
    std::string candidate = name + "_" + std::to_string(n++);
    if (!node_names_.count(candidate)) return candidate;
  }
}

Value* Graph::NewValue(std::string_view wanted) {
  auto value = std::make_unique<Value>();
  value->name_ = UniqueValueName(wanted);
  Value* raw = value.get();
  value_names_[raw->name_] = raw;
  values_.push_back(std::move(value));
  value_places_[raw] = std::prev(values_.end());
  return raw;
}

Value* Graph::AddInput(std::string_view name, Type type) {
  Value* v = NewValue(name);
  v->type_ = std::move(type);
  v->is_input_ = true;
  inputs_.push_back(v);
  return v;
}

namespace {

Type TypeOf(const Tensor& tensor) {
  SymShape shape;
  for (int64_t d : tensor.dims()) shape.push_back(d);
  return {tensor.dtype(), std::move(shape)};
}

}  // namespace

Value* Graph::AddConstant(std::string_view name, Tensor tensor) {
  Value* v = NewValue(name.empty() ? "const" : name);
  v->type_ = TypeOf(tensor);
  v->constant_ = std::move(tensor);
  return v;
}

void Graph::AddOutput(Value* value) {
  outputs_.push_back(value);
  ++value->output_uses_;
}

Node* Graph::AddNode(NodeSpec spec, Node* before) {
  auto node = std::make_unique<Node>();
  Node* raw = node.get();
  raw->op_ = std::move(spec.op);
  raw->domain_ = std::move(spec.domain);
  raw->name_ = UniqueNodeName(spec.name.empty() ? raw->op_ : spec.name);
  raw->schema_ = FindOp(raw->domain_, raw->op_);
  raw->attributes = std::move(spec.attributes);
  raw->graph_ = this;
  node_names_[raw->name_] = raw;
  raw->self_ = nodes_.insert(before ? before->self_ : nodes_.end(), std::move(node));
  for (size_t i = 0; i < spec.inputs.size(); ++i) SetInput(raw, i, spec.inputs[i]);
  for (size_t i = 0; i < spec.outputs.size(); ++i) {
    if (spec.outputs[i] == "-") {
      raw->outputs_.push_back(nullptr);
      continue;
    }
    Value* v = NewValue(spec.outputs[i].empty() ? raw->name_ + "_out" : spec.outputs[i]);
    v->producer_ = raw;
    v->producer_index_ = static_cast<int>(i);
    raw->outputs_.push_back(v);
  }
  return raw;
}

// Constant time, however many uses the value has.
void Graph::DropUse(Node* node, size_t index) {
  Value* value = node->inputs_[index];
  if (!value) return;
  const size_t slot = node->slots_[index];
  const Use last = value->uses_.back();
  value->uses_[slot] = last;
  last.node->slots_[static_cast<size_t>(last.index)] = slot;
  value->uses_.pop_back();
}

void Graph::SetInput(Node* node, size_t index, Value* value) {
  if (index == node->inputs_.size()) {
    node->inputs_.push_back(nullptr);
    node->slots_.push_back(0);
  }
  DropUse(node, index);
  node->inputs_[index] = value;
  if (!value) return;
  node->slots_[index] = value->uses_.size();
  value->uses_.push_back({node, static_cast<int>(index)});
}

void Graph::RemoveInput(Node* node, size_t index) {
  for (size_t i = index; i + 1 < node->inputs_.size(); ++i) SetInput(node, i, node->inputs_[i + 1]);
  SetInput(node, node->inputs_.size() - 1, nullptr);
  node->inputs_.pop_back();
  node->slots_.pop_back();
}

void Graph::ReplaceAllUses(Value* from, Value* to) {
  if (from == to) return;
  for (const Use& use : from->uses_) {
    const size_t index = static_cast<size_t>(use.index);
    use.node->inputs_[index] = to;
    use.node->slots_[index] = to->uses_.size();
    to->uses_.push_back(use);
  }
  from->uses_.clear();
  if (from->output_uses_ == 0) return;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (outputs_[i] == from) SetOutput(i, to);
  }
}

void Graph::SetOutput(size_t index, Value* value) {
  --outputs_[index]->output_uses_;
  outputs_[index] = value;
  ++value->output_uses_;
}

void Graph::RemoveOutput(size_t index) {
  --outputs_[index]->output_uses_;
  outputs_.erase(outputs_.begin() + static_cast<ptrdiff_t>(index));
}

void Graph::RemoveNode(Node* node) {
  for (size_t i = 0; i < node->inputs_.size(); ++i) SetInput(node, i, nullptr);
  for (Value* output : node->outputs_) {
    if (!output) continue;
    output->producer_ = nullptr;
    if (!output->IsUsed()) RemoveValue(output);
  }
  node_names_.erase(node->name_);
  nodes_.erase(node->self_);
}

void Graph::RemoveValue(Value* value) {
  if (value->is_input_)
    inputs_.erase(std::remove(inputs_.begin(), inputs_.end(), value), inputs_.end());
  value_names_.erase(value->name_);
  auto place = value_places_.find(value);
  values_.erase(place->second);
  value_places_.erase(place);
}

int Graph::RemoveUnused() {
  int removed = 0;
  for (auto it = nodes_.end(); it != nodes_.begin();) {
    Node* node = std::prev(it)->get();
    bool used = std::any_of(node->outputs_.begin(), node->outputs_.end(),
                            [](const Value* v) { return v && v->IsUsed(); });
    if (used) {
      --it;
    } else {
      RemoveNode(node);
      ++removed;
    }
  }
  std::vector<Value*> dead;
  for (const auto& v : values_) {
    if (!v->producer_ && !v->is_input_ && !v->IsUsed()) dead.push_back(v.get());
  }
  for (Value* v : dead) RemoveValue(v);
  return removed;
}

void Graph::SetConstant(Value* value, Tensor tensor) {
  if (value->is_input_) {
    value->is_input_ = false;
    inputs_.erase(std::remove(inputs_.begin(), inputs_.end(), value), inputs_.end());
  }
  value->type_ = TypeOf(tensor);
  value->constant_ = std::move(tensor);
}

void Graph::MoveBefore(Node* node, Node* before) {
  nodes_.splice(before->self_, nodes_, node->self_);
}

void Graph::Rename(Value* value, std::string_view name) {
  if (value->name_ == name) return;
  value_names_.erase(value->name_);
  value->name_ = UniqueValueName(name);
  value_names_[value->name_] = value;
}

void Graph::Rename(Node* node, std::string_view name) {
  if (node->name_ == name) return;
  node_names_.erase(node->name_);
  node->name_ = UniqueNodeName(name);
  node_names_[node->name_] = node;
}

Status Graph::SortTopologically() {
  // Kahn's algorithm with the old position as priority, so that an already sorted graph keeps its
  // order.
  std::unordered_map<const Node*, int> position, missing;
  int next = 0;
  for (const auto& node : nodes_) position[node.get()] = next++;
  auto later = [&](Node* a, Node* b) { return position[a] > position[b]; };
  std::priority_queue<Node*, std::vector<Node*>, decltype(later)> ready(later);
  for (const auto& node : nodes_) {
    int count = 0;
    for (Value* in : node->inputs_) count += in && in->producer_ ? 1 : 0;
    missing[node.get()] = count;
    if (count == 0) ready.push(node.get());
  }
  std::list<std::unique_ptr<Node>> sorted;
  while (!ready.empty()) {
    Node* node = ready.top();
    ready.pop();
    sorted.splice(sorted.end(), nodes_, node->self_);
    for (Value* out : node->outputs_) {
      if (!out) continue;
      for (const Use& use : out->uses_) {
        if (--missing[use.node] == 0) ready.push(use.node);
      }
    }
  }
  if (!nodes_.empty()) {
    std::string name = nodes_.front()->Describe();
    nodes_.splice(nodes_.begin(), sorted);
    return InvalidArgument("the graph has a cycle through " + name +
                           "; a model must be acyclic: export it again");
  }
  nodes_ = std::move(sorted);
  return OkStatus();
}

Value* Graph::FindValue(std::string_view name) const {
  auto it = value_names_.find(std::string(name));
  return it == value_names_.end() ? nullptr : it->second;
}

Node* Graph::FindNode(std::string_view name) const {
  auto it = node_names_.find(std::string(name));
  return it == node_names_.end() ? nullptr : it->second;
}

std::vector<Node*> Graph::NodeList() const {
  std::vector<Node*> out;
  out.reserve(nodes_.size());
  for (const auto& node : nodes_) out.push_back(node.get());
  return out;
}

std::unique_ptr<Graph> Graph::Clone() const {
  auto copy = std::make_unique<Graph>();
  copy->name = name;
  copy->metadata = metadata;
  copy->symbol_ranges = symbol_ranges;
  std::unordered_map<const Value*, Value*> map{{nullptr, nullptr}};
  for (const Value* v : inputs_) map[v] = copy->AddInput(v->name_, v->type_);
  for (const auto& v : values_) {
    if (v->is_constant()) map[v.get()] = copy->AddConstant(v->name_, v->constant_);
  }
  for (const auto& node : nodes_) {
    NodeSpec spec{node->op_, {}, node->attributes, node->domain_, node->name_, {}};
    for (const Value* v : node->outputs_) spec.outputs.push_back(v ? v->name_ : "-");
    Node* made = copy->AddNode(std::move(spec));
    made->sources = node->sources;
    for (const auto& [key, body] : node->subgraphs) made->subgraphs[key] = body->Clone();
    for (size_t i = 0; i < node->outputs_.size(); ++i) {
      if (!node->outputs_[i]) continue;
      made->outputs_[i]->type_ = node->outputs_[i]->type_;
      map[node->outputs_[i]] = made->outputs_[i];
    }
  }
  // Inputs last: an unsorted graph may use a value before its producer is listed.
  auto made = copy->nodes_.begin();
  for (const auto& node : nodes_) {
    for (size_t i = 0; i < node->inputs_.size(); ++i)
      copy->SetInput(made->get(), i, map[node->inputs_[i]]);
    ++made;
  }
  for (const Value* v : outputs_) copy->AddOutput(map[v]);
  return copy;
}

}  // namespace slipway::ir
