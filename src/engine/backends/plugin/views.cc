#include "engine/backends/plugin/views.h"

#include <unordered_set>

namespace slipway::backends {

Result<int32_t> GraphView::ValueOf(const ir::Value* value, bool all_data) {
  if (!value) return -1;
  const auto [it, is_new] = index_.try_emplace(value, static_cast<int32_t>(values_.size()));
  if (!is_new) return it->second;
  const ir::Type& type = value->type();
  if (!type.known() || !IsKnown(type.dtype))
    return Unsupported("value '" + value->name() + "' is " + type.ToString());
  if (type.shape->size() > SLIPWAY_MAX_RANK)
    return Unsupported("value '" + value->name() + "' has too many dimensions");
  slipway_value v{};
  v.name = value->name().c_str();
  v.dtype = static_cast<uint32_t>(type.dtype);
  for (const Dim& d : *type.shape) v.dims[v.rank++] = d.known() ? d.value() : -1;
  v.producer = -1;
  v.read_outside = value->is_output();
  if (const ir::Tensor* t = value->constant()) {
    v.is_constant = 1;
    v.bytes = t->bytes().size();
    if (all_data || t->bytes().size() <= kSmallConstant) {
      constants_.push_back(t->Aligned());
      v.data = constants_.back().bytes().data();
    }
  }
  values_.push_back(v);
  values_of_.push_back(value);
  consumers_.emplace_back();
  return it->second;
}

Status GraphView::Set(std::span<const ir::Node* const> nodes, bool all_data) {
  std::unordered_set<const ir::Node*> inside(nodes.begin(), nodes.end());
  for (size_t n = 0; n < nodes.size(); ++n) {
    const ir::Node& node = *nodes[n];
    slipway_node view{};
    view.domain = node.domain().c_str();
    view.op = node.op().c_str();
    view.name = node.name().c_str();
    attributes_.push_back(std::make_unique<ops::AttributeViews>());
    SLIPWAY_RETURN_IF_ERROR(attributes_.back()->Set(node.attributes, nullptr));
    view.attributes = attributes_.back()->data();
    view.num_attributes = attributes_.back()->size();
    std::vector<int32_t> in, out;
    for (const ir::Value* v : node.inputs()) {
      SLIPWAY_ASSIGN_OR_RETURN(const int32_t i, ValueOf(v, all_data));
      in.push_back(i);
      if (i >= 0) consumers_[static_cast<size_t>(i)].push_back(static_cast<uint32_t>(n));
    }
    for (const ir::Value* v : node.outputs()) {
      SLIPWAY_ASSIGN_OR_RETURN(const int32_t i, ValueOf(v, all_data));
      out.push_back(i);
      if (i < 0) continue;
      slipway_value& made = values_[static_cast<size_t>(i)];
      made.producer = static_cast<int32_t>(n);
      for (const ir::Use& use : v->uses()) made.read_outside |= !inside.contains(use.node);
    }
    view.num_inputs = static_cast<uint32_t>(in.size());
    view.num_outputs = static_cast<uint32_t>(out.size());
    operands_.push_back(std::move(in));
    view.inputs = operands_.back().data();
    operands_.push_back(std::move(out));
    view.outputs = operands_.back().data();
    nodes_.push_back(view);
  }
  for (size_t i = 0; i < values_.size(); ++i) {
    values_[i].num_consumers = static_cast<uint32_t>(consumers_[i].size());
    values_[i].consumers = consumers_[i].data();
  }
  graph_.struct_size = sizeof graph_;
  graph_.num_nodes = static_cast<uint32_t>(nodes_.size());
  graph_.num_values = static_cast<uint32_t>(values_.size());
  graph_.nodes = nodes_.data();
  graph_.values = values_.data();
  return OkStatus();
}

}  // namespace slipway::backends
