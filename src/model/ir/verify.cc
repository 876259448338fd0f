#include "model/ir/verify.h"

#include <set>
#include <unordered_map>
#include <unordered_set>

#include "model/ir/control.h"
#include "model/ir/schema.h"

namespace slipway::ir {
namespace {

const char* KindName(AttributeKind kind) {
  switch (kind) {
    case AttributeKind::kInt:
      return "int";
    case AttributeKind::kFloat:
      return "float";
    case AttributeKind::kString:
      return "string";
    case AttributeKind::kInts:
      return "ints";
    case AttributeKind::kFloats:
      return "floats";
    case AttributeKind::kStrings:
      return "strings";
  }
  return "unknown";
}

// The alternatives of AttributeValue are in the order of AttributeKind.
AttributeKind KindOf(const AttributeValue& v) { return static_cast<AttributeKind>(v.index()); }

Status VerifyAttributes(const Node& node, const OpSchema& schema) {
  for (const auto& [name, value] : node.attributes.entries()) {
    const AttributeSchema* a = schema.FindAttribute(name);
    if (!a) {
      return InvalidArgument(node.Describe() + ": the operator has no attribute '" + name +
                             "'; remove it");
    }
    if (KindOf(value) != a->kind) {
      return InvalidArgument(node.Describe() + ": attribute '" + name + "' is of type " +
                             KindName(KindOf(value)) + " but must be " + KindName(a->kind));
    }
  }
  for (const AttributeSchema& a : schema.attributes) {
    if (a.required && !node.attributes.Has(a.name)) {
      return InvalidArgument(node.Describe() + ": the required attribute '" + a.name +
                             "' is missing");
    }
  }
  return OkStatus();
}

Status VerifyArity(const Node& node, const OpSchema& schema) {
  const auto check = [&](const std::vector<Value*>& values, int min, int max,
                         const char* what) -> Status {
    const int n = static_cast<int>(values.size());
    if (n < min || (max >= 0 && n > max)) {
      const std::string want = max < 0      ? "at least " + std::to_string(min)
                               : min == max ? std::to_string(min)
                                            : std::to_string(min) + " to " + std::to_string(max);
      return InvalidArgument(node.Describe() + ": has " + std::to_string(n) + " " + what +
                             " but needs " + want);
    }
    for (int i = 0; i < min; ++i) {
      if (!values[static_cast<size_t>(i)]) {
        return InvalidArgument(node.Describe() + ": the required one of its " + what +
                               " at position " + std::to_string(i) + " is absent");
      }
    }
    return OkStatus();
  };
  SLIPWAY_RETURN_IF_ERROR(check(node.inputs(), schema.min_inputs, schema.max_inputs, "inputs"));
  const bool any_output = [&] {
    for (const Value* v : node.outputs()) {
      if (v) return true;
    }
    return false;
  }();
  if (!any_output) return InvalidArgument(node.Describe() + ": has no output");
  // A required output that nobody reads may be absent.
  const int n = static_cast<int>(node.outputs().size());
  if (n < schema.min_outputs || (schema.max_outputs >= 0 && n > schema.max_outputs))
    return check(node.outputs(), schema.min_outputs, schema.max_outputs, "outputs");
  return OkStatus();
}

Status VerifyNode(const Node& node) {
  const OpSchema* schema = FindOp(node.domain(), node.op());
  if (!schema) {
    return Unsupported(
        node.Describe() + ": operator '" + node.FullOp() +
        "' is not in the operator table; replace it in the model or add the operator");
  }
  if (schema != node.schema())
    return Internal(node.Describe() + ": does not point to its entry of the operator table");
  SLIPWAY_RETURN_IF_ERROR(VerifyArity(node, *schema));
  if (IsControlFlow(node)) {
    const auto form = FormOf(node);
    if (!form.ok()) return form.status();
  } else if (!node.subgraphs.empty()) {
    return InvalidArgument(node.Describe() + ": the operator has no bodies; remove '" +
                           node.subgraphs.begin()->first + "'");
  }
  return VerifyAttributes(node, *schema);
}

Status VerifyValue(const Graph& graph, const Value& v,
                   const std::unordered_set<const Node*>& nodes) {
  const std::string who = "value '" + v.name() + "'";
  if (v.name().empty()) return InvalidArgument("a value has an empty name");
  if (graph.FindValue(v.name()) != &v)
    return InvalidArgument(who + ": another value has the same name");
  const int origins = (v.producer() ? 1 : 0) + (v.is_input() ? 1 : 0) + (v.is_constant() ? 1 : 0);
  if (origins > 1)
    return InvalidArgument(who +
                           ": must be only one of a graph input, a constant and a node's output");
  if (origins == 0 && v.IsUsed()) return InvalidArgument(who + ": is used but nothing produces it");
  if (const Node* p = v.producer()) {
    if (!nodes.count(p)) return InvalidArgument(who + ": its producer is not in the graph");
    const size_t i = static_cast<size_t>(v.producer_index());
    if (v.producer_index() < 0 || p->output(i) != &v)
      return InvalidArgument(who + ": its producer " + p->Describe() + " does not list it");
  }
  for (const Use& use : v.uses()) {
    if (!nodes.count(use.node))
      return InvalidArgument(who + ": is used by a node that is not in the graph");
    if (use.index < 0 || use.node->input(static_cast<size_t>(use.index)) != &v) {
      return InvalidArgument(who + ": its use list names input " + std::to_string(use.index) +
                             " of " + use.node->Describe() + ", which is another value");
    }
  }
  if (const Tensor* t = v.constant()) {
    if (t->is_container())
      return InvalidArgument("constant '" + v.name() + "': is " + t->Describe() +
                             "; constants are tensors, make it with SequenceConstruct or Optional");
    const auto dims = v.type().StaticDims();
    if (v.dtype() != t->dtype() || !dims || !(*dims == t->dims())) {
      return InvalidArgument("constant '" + v.name() + "': its type " + v.type().ToString() +
                             " is not that of its data, " + DTypeName(t->dtype()) +
                             t->dims().ToString());
    }
  }
  return OkStatus();
}

Status VerifyGraph(const Graph& graph, int depth) {
  if (depth > kMaxBodyDepth) {
    return InvalidArgument("bodies are nested more than " + std::to_string(kMaxBodyDepth) +
                           " deep");
  }
  std::unordered_set<const Node*> nodes;
  std::unordered_set<const Value*> values;
  for (const auto& node : graph.nodes()) nodes.insert(node.get());
  for (const auto& v : graph.values()) values.insert(v.get());
  for (const auto& v : graph.values()) SLIPWAY_RETURN_IF_ERROR(VerifyValue(graph, *v, nodes));

  for (const Value* v : graph.inputs()) {
    if (!values.count(v)) return InvalidArgument("a graph input is not among the graph's values");
    if (!v->is_input())
      return InvalidArgument("value '" + v->name() +
                             "': is listed as a graph input but not marked as one");
  }
  std::unordered_set<const Value*> listed;
  for (const Value* v : graph.outputs()) {
    if (!values.count(v)) return InvalidArgument("a graph output is not among the graph's values");
    if (!v->is_output())
      return InvalidArgument("value '" + v->name() +
                             "': is listed as a graph output but not marked as one");
    listed.insert(v);
  }
  for (const auto& v : graph.values()) {
    if (v->is_output() && !listed.count(v.get()))
      return InvalidArgument("value '" + v->name() +
                             "': is marked as a graph output but not listed");
  }

  std::unordered_set<const Node*> done;
  std::unordered_map<const Value*, size_t> uses;
  for (const auto& node : graph.nodes()) {
    if (node->graph() != &graph)
      return InvalidArgument(node->Describe() + ": belongs to another graph");
    if (graph.FindNode(node->name()) != node.get())
      return InvalidArgument(node->Describe() + ": another node has the same name");
    SLIPWAY_RETURN_IF_ERROR(VerifyNode(*node));
    for (size_t i = 0; i < node->inputs().size(); ++i) {
      const Value* v = node->inputs()[i];
      if (!v) continue;
      if (!values.count(v))
        return InvalidArgument(node->Describe() + ": input " + std::to_string(i) +
                               " is not among the graph's values");
      ++uses[v];
      if (v->producer() && !done.count(v->producer())) {
        return InvalidArgument(node->Describe() + ": input '" + v->name() +
                               "' is produced later, by " + v->producer()->Describe() +
                               "; sort the graph");
      }
    }
    for (const Value* v : node->outputs()) {
      if (v && (!values.count(v) || v->producer() != node.get())) {
        return InvalidArgument(node->Describe() + ": one of its outputs is not its own");
      }
    }
    for (const auto& [key, body] : node->subgraphs) {
      if (!body) return InvalidArgument(node->Describe() + ": body '" + key + "' is missing");
      SLIPWAY_RETURN_IF_ERROR(
          VerifyGraph(*body, depth + 1).With(node->Describe() + ", body '" + key + "'"));
    }
    done.insert(node.get());
  }
  // Every entry of a use list is right (VerifyValue) and none repeats; so equal counts mean equal
  // lists.
  for (const auto& v : graph.values()) {
    std::set<std::pair<const Node*, int>> distinct;
    for (const Use& use : v->uses()) distinct.insert({use.node, use.index});
    auto it = uses.find(v.get());
    const size_t read = it == uses.end() ? 0 : it->second;
    if (distinct.size() != v->uses().size() || distinct.size() != read) {
      return InvalidArgument("value '" + v->name() + "': its use list has " +
                             std::to_string(v->uses().size()) + " entries but it is read " +
                             std::to_string(read) + " times");
    }
  }
  return OkStatus();
}

}  // namespace

Status Verify(const Graph& graph) { return VerifyGraph(graph, 0); }

}  // namespace slipway::ir
