#include "model/frontends/onnx/functions.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace slipway::onnx {
namespace {

// Fresh names of all expansions together: a small file must not become gigabytes of text.
constexpr size_t kMaxText = size_t{256} << 20;
constexpr size_t kMaxPrefix = 400;  // of a call's name in front of its values'

std::string FullName(std::string_view domain, std::string_view name, std::string_view overload) {
  std::string full =
      domain.empty() ? std::string(name) : std::string(domain) + "." + std::string(name);
  return overload.empty() ? full : full + ":" + std::string(overload);
}

std::string FullName(const FunctionProto& f) { return FullName(f.domain, f.name, f.overload); }

std::string_view Domain(std::string_view domain) { return domain == "ai.onnx" ? "" : domain; }

// The names of a function's values, or of a body in it, and what they are where it is called.
struct Scope {
  const Scope* outer = nullptr;
  std::unordered_map<std::string_view, std::string_view> names;

  const std::string_view* Find(std::string_view name) const {
    for (const Scope* s = this; s; s = s->outer) {
      if (auto it = s->names.find(name); it != s->names.end()) return &it->second;
    }
    return nullptr;
  }
};

class Expander {
 public:
  Expander(ModelProto* model, const ParseLimits& limits,
           const std::function<bool(const NodeProto&)>& is_operator)
      : model_(*model), limits_(limits), is_operator_(is_operator) {}

  Status Run() {
    for (const FunctionProto& f : model_.functions) {
      if (!functions_.emplace(std::tuple(Domain(f.domain), f.name, f.overload), &f).second)
        return InvalidArgument("function " + Quote(FullName(f)) + " is defined twice");
    }
    CollectNames(model_.graph);
    return ExpandGraph(&model_.graph);
  }

 private:
  using Attributes = std::unordered_map<std::string_view, const AttributeProto*>;

  // A call while its nodes are made.
  struct Call {
    const FunctionProto& function;
    std::string prefix;  // of its values' and nodes' names
    int64_t opset;       // of the function's nodes; 0 = the model's
    Attributes attributes;
    size_t unnamed = 0;
  };

  void CollectNames(const GraphProto& g) {
    for (const TensorProto& t : g.initializers) used_.insert(t.name);
    for (const ValueInfoProto& v : g.inputs) used_.insert(v.name);
    for (const NodeProto& n : g.nodes) {
      used_.insert(n.outputs.begin(), n.outputs.end());
      for (const AttributeProto& a : n.attributes) {
        if (a.g) CollectNames(*a.g);
      }
    }
  }

  const FunctionProto* FunctionOf(const NodeProto& n) const {
    auto it = functions_.find(std::tuple(Domain(n.domain), n.op_type, n.overload));
    return it == functions_.end() || is_operator_(n) ? nullptr : it->second;
  }

  // Keeps a string for the model's views.
  Result<std::string_view> Keep(std::string text) {
    text_bytes_ += text.size();
    if (text_bytes_ > kMaxText) {
      return ResourceExhausted("the calls of functions expand to more than " +
                               std::to_string(kMaxText >> 20) +
                               " MB of names; shorten the names or export without functions");
    }
    return std::string_view(model_.text.emplace_back(std::move(text)));
  }

  Result<std::string_view> Fresh(const std::string& prefix, std::string_view name) {
    std::string wanted = prefix + "/" + std::string(name);
    while (used_.contains(wanted)) {
      wanted = prefix + "/" + std::string(name) + "_" + std::to_string(++suffixes_);
    }
    SLIPWAY_ASSIGN_OR_RETURN(const std::string_view kept, Keep(std::move(wanted)));
    used_.insert(kept);
    return kept;
  }

  Status ExpandGraph(GraphProto* g) {
    std::vector<NodeProto> nodes;
    nodes.reserve(g->nodes.size());
    for (size_t i = 0; i < g->nodes.size(); ++i) {
      NodeProto& n = g->nodes[i];
      // The importer names nodes by their place, which expansion moves.
      if (n.name.empty() && !n.op_type.empty()) {
        SLIPWAY_ASSIGN_OR_RETURN(n.name, Keep(std::string(n.op_type) + "_" + std::to_string(i)));
      }
      SLIPWAY_RETURN_IF_ERROR(ExpandNode(std::move(n), &nodes));
    }
    g->nodes = std::move(nodes);
    return OkStatus();
  }

  Status ExpandNode(NodeProto node, std::vector<NodeProto>* out) {
    for (AttributeProto& a : node.attributes) {
      if (a.g) SLIPWAY_RETURN_IF_ERROR(ExpandGraph(a.g.get()));
    }
    if (const FunctionProto* f = FunctionOf(node)) {
      return ExpandCall(node, *f, out);
    }
    out->push_back(std::move(node));
    return OkStatus();
  }

  Status ExpandCall(const NodeProto& node, const FunctionProto& f, std::vector<NodeProto>* out) {
    const auto wrong = [&](const std::string& what) {
      return InvalidArgument("function " + Quote(FullName(f)) + " " + what + ", called by node " +
                             Quote(node.name));
    };
    if (std::find(stack_.begin(), stack_.end(), &f) != stack_.end()) {
      std::string path;
      for (const FunctionProto* g : stack_) path += Quote(FullName(*g)) + " calls ";
      return InvalidArgument("functions may not call themselves: " + path + Quote(FullName(f)));
    }
    if (stack_.size() == kMaxCallDepth)
      return wrong("is nested deeper than " + std::to_string(kMaxCallDepth) + " calls");
    if (node.inputs.size() > f.inputs.size() || node.outputs.size() > f.outputs.size()) {
      return wrong("has " + std::to_string(f.inputs.size()) + " inputs and " +
                   std::to_string(f.outputs.size()) + " outputs but is given " +
                   std::to_string(node.inputs.size()) + " and " +
                   std::to_string(node.outputs.size()));
    }
    Call call{f, std::string(node.name.substr(0, kMaxPrefix)), OpsetOf(f, node), {}};
    for (const AttributeProto& a : f.defaults) call.attributes[a.name] = &a;
    for (const AttributeProto& a : node.attributes) call.attributes[a.name] = &a;

    Scope scope;
    for (size_t i = 0; i < f.inputs.size(); ++i) {
      const std::string_view given = i < node.inputs.size() ? node.inputs[i] : std::string_view();
      if (f.inputs[i].empty() || !scope.names.emplace(f.inputs[i], given).second)
        return wrong("has an input without a name, or two of the same name");
    }
    // An output that is an input, or another output again, is a copy.
    std::vector<std::pair<std::string_view, std::string_view>> copies;
    std::unordered_set<std::string_view> missing;
    for (size_t i = 0; i < f.outputs.size(); ++i) {
      std::string_view wanted = i < node.outputs.size() ? node.outputs[i] : std::string_view();
      if (const std::string_view* there = scope.Find(f.outputs[i])) {
        if (!wanted.empty()) copies.emplace_back(*there, wanted);
        continue;
      }
      if (wanted.empty()) {
        SLIPWAY_ASSIGN_OR_RETURN(wanted, Fresh(call.prefix, f.outputs[i]));
      }
      scope.names.emplace(f.outputs[i], wanted);
      missing.insert(f.outputs[i]);
    }
    for (const NodeProto& n : f.nodes) {
      for (std::string_view name : n.outputs) {
        if (name.empty() || missing.erase(name)) continue;
        if (scope.Find(name)) return wrong("defines " + Quote(name) + " twice");
        SLIPWAY_ASSIGN_OR_RETURN(scope.names[name], Fresh(call.prefix, name));
      }
    }
    if (!missing.empty())
      return wrong("has the output " + Quote(*missing.begin()) +
                   ", which none of its nodes computes");

    stack_.push_back(&f);
    for (const NodeProto& n : f.nodes) {
      auto made = Instantiate(n, call, scope);
      if (!made.ok()) return std::move(made).status().With("function " + Quote(FullName(f)));
      SLIPWAY_RETURN_IF_ERROR(ExpandNode(std::move(*made), out));
    }
    stack_.pop_back();
    for (const auto& [from, to] : copies) {
      if (from.empty()) return wrong("returns an input that is not given");
      NodeProto copy;
      SLIPWAY_ASSIGN_OR_RETURN(copy.name, Keep(std::string(to) + "/copy"));
      copy.op_type = "Identity";
      copy.inputs = {from};
      copy.outputs = {to};
      out->push_back(std::move(copy));
    }
    return OkStatus();
  }

  static int64_t OpsetOf(const FunctionProto& f, const NodeProto& caller) {
    for (const auto& [domain, version] : f.opsets) {
      if (domain.empty()) return version;
    }
    return caller.opset;
  }

  // The node of a function as it is in this call.
  Result<NodeProto> Instantiate(const NodeProto& n, Call& call, const Scope& scope) {
    if (++nodes_ > limits_.nodes) {
      return ResourceExhausted("the calls of functions expand to more than " +
                               std::to_string(limits_.nodes) + " nodes");
    }
    NodeProto made;
    made.op_type = n.op_type;
    made.domain = n.domain;
    made.overload = n.overload;
    made.opset = call.opset;
    SLIPWAY_ASSIGN_OR_RETURN(made.name, Keep(call.prefix + "/" +
                                             (n.name.empty() ? std::string(n.op_type) + "_" +
                                                                   std::to_string(call.unnamed++)
                                                             : std::string(n.name))));
    for (std::string_view name : n.inputs) {
      SLIPWAY_ASSIGN_OR_RETURN(made.inputs.emplace_back(), Named(name, n, scope));
    }
    for (std::string_view name : n.outputs) {
      SLIPWAY_ASSIGN_OR_RETURN(made.outputs.emplace_back(), Named(name, n, scope));
    }
    for (const AttributeProto& a : n.attributes) {
      AttributeProto attribute = a;
      if (!a.reference.empty()) {
        const auto given = call.attributes.find(a.reference);
        if (given == call.attributes.end()) continue;  // not given and no default: absent
        if (!given->second->reference.empty())
          return InvalidArgument("attribute " + Quote(a.reference) +
                                 " of its call refers to another function's parameter");
        attribute = *given->second;
        attribute.name = a.name;
        // A body that the caller gave speaks of the caller's values.
        if (attribute.g) attribute.g = std::make_shared<GraphProto>(*attribute.g);
      } else if (a.g) {
        SLIPWAY_ASSIGN_OR_RETURN(attribute.g, InstantiateBody(*a.g, call, scope));
      }
      made.attributes.push_back(std::move(attribute));
    }
    return made;
  }

  static Result<std::string_view> Named(std::string_view name, const NodeProto& node,
                                        const Scope& scope) {
    if (name.empty()) return name;
    if (const std::string_view* found = scope.Find(name)) return *found;
    return InvalidArgument("node " + Quote(node.name.empty() ? node.op_type : node.name) +
                           " reads " + Quote(name) + ", which no input or node of it defines");
  }

  Result<std::shared_ptr<GraphProto>> InstantiateBody(const GraphProto& g, Call& call,
                                                      const Scope& outer) {
    auto made = std::make_shared<GraphProto>();
    made->name = g.name;
    made->doc = g.doc;
    made->sparse_initializers = g.sparse_initializers;
    Scope scope{&outer, {}};
    const auto define = [&](std::string_view name) -> Status {
      if (name.empty() || scope.names.contains(name)) return OkStatus();
      SLIPWAY_ASSIGN_OR_RETURN(scope.names[name], Fresh(call.prefix, name));
      return OkStatus();
    };
    for (const TensorProto& t : g.initializers) SLIPWAY_RETURN_IF_ERROR(define(t.name));
    for (const ValueInfoProto& v : g.inputs) SLIPWAY_RETURN_IF_ERROR(define(v.name));
    for (const NodeProto& n : g.nodes) {
      for (std::string_view name : n.outputs) SLIPWAY_RETURN_IF_ERROR(define(name));
    }
    for (const TensorProto& t : g.initializers) {
      made->initializers.push_back(t);
      made->initializers.back().name = t.name.empty() ? t.name : scope.names.at(t.name);
    }
    const auto rename = [&](const std::vector<ValueInfoProto>& from,
                            std::vector<ValueInfoProto>* to) {
      for (const ValueInfoProto& v : from) {
        const std::string_view* name = scope.Find(v.name);
        if (!name && to == &made->value_info) continue;
        to->push_back(v);
        if (name) to->back().name = *name;
      }
    };
    rename(g.inputs, &made->inputs);
    rename(g.outputs, &made->outputs);
    rename(g.value_info, &made->value_info);
    for (const NodeProto& n : g.nodes) {
      SLIPWAY_ASSIGN_OR_RETURN(made->nodes.emplace_back(), Instantiate(n, call, scope));
    }
    return made;
  }

  ModelProto& model_;
  const ParseLimits& limits_;
  const std::function<bool(const NodeProto&)>& is_operator_;
  std::map<std::tuple<std::string_view, std::string_view, std::string_view>, const FunctionProto*>
      functions_;
  std::unordered_set<std::string_view> used_;  // value names of the whole file
  std::vector<const FunctionProto*> stack_;    // the calls being expanded
  size_t nodes_ = 0, text_bytes_ = 0, suffixes_ = 0;
};

}  // namespace

Status ExpandFunctions(ModelProto* model, const ParseLimits& limits,
                       const std::function<bool(const NodeProto&)>& is_operator) {
  if (model->functions.empty()) return OkStatus();
  return Expander(model, limits, is_operator).Run();
}

}  // namespace slipway::onnx
