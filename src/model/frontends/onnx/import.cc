#include "model/frontends/onnx/import.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "base/mapped_file.h"
#include "model/frontends/onnx/bodies.h"
#include "model/frontends/onnx/external.h"
#include "model/frontends/onnx/finite.h"
#include "model/frontends/onnx/functions.h"
#include "model/frontends/onnx/known_operators.h"
#include "model/frontends/onnx/upgrade.h"
#include "model/frontends/onnx/upgrade_quantize.h"
#include "model/frontends/onnx/value_info.h"
#include "model/ir/control.h"
#include "model/ir/infer.h"
#include "model/ir/verify.h"
#include "model/ops/custom.h"

namespace slipway::onnx {
namespace {

using ir::Graph;
using ir::Type;
using ir::Value;
using Names = std::unordered_map<std::string_view, Value*>;

std::string OpName(const NodeProto& n) {
  return (n.domain.empty() || n.domain == "ai.onnx" ? "" : std::string(n.domain) + ".") +
         std::string(n.op_type);
}

// What the graph of a file and all bodies in it share.
struct File {
  const ModelProto& model;
  std::shared_ptr<const void> owner;
  ExternalFiles external;
  const ImportOptions& options;
  int opset = 0;
};

// Imports one graph: the file's, or a body.
class Importer {
 public:
  Importer(File& file, const GraphProto& proto)
      : file_(file),
        model_(file.model),
        proto_(proto),
        options_(file.options),
        opset_(file.opset),
        graph_(std::make_unique<Graph>()),
        upgrader_(graph_.get(), [this](std::string_view name) {
          return defined_.contains(name) || read_.contains(name);
        }) {}

  Result<std::unique_ptr<Graph>> Run() {
    SLIPWAY_RETURN_IF_ERROR(FindOpset());
    SLIPWAY_RETURN_IF_ERROR(CheckOperators());
    SLIPWAY_RETURN_IF_ERROR(CollectNames());
    SLIPWAY_RETURN_IF_ERROR(OrderNodes());
    Metadata();
    SLIPWAY_RETURN_IF_ERROR(AddInitializers());
    SLIPWAY_RETURN_IF_ERROR(AddInputs());
    SLIPWAY_RETURN_IF_ERROR(ReadDeclaredTypes());
    for (size_t index : order_) SLIPWAY_RETURN_IF_ERROR(AddNode(index));
    SLIPWAY_RETURN_IF_ERROR(AddOutputs());
    FoldCodeClips(graph_.get());
    if (options_.check_finite) SLIPWAY_RETURN_IF_ERROR(CheckFinite(*graph_));
    if (!options_.keep_unknown_operators) SLIPWAY_RETURN_IF_ERROR(Check());
    return std::move(graph_);
  }

  // Imports a body. `captured`: values of the graph around it by name, of which the constants
  // become constants here and the others inputs, in this order, behind the formal ones.
  Result<std::unique_ptr<Graph>> RunBody(
      const std::vector<std::pair<std::string_view, Value*>>& captured,
      const std::vector<DType>& formal_types) {
    body_ = true;
    const std::unordered_set<std::string_view> own(proto_.captured.begin(), proto_.captured.end());
    for (std::string_view name : own) defined_.emplace(name, -1);
    SLIPWAY_RETURN_IF_ERROR(CheckOperators());
    SLIPWAY_RETURN_IF_ERROR(CollectNames());
    SLIPWAY_RETURN_IF_ERROR(OrderNodes());
    if (!proto_.name.empty()) graph_->name = std::string(proto_.name);
    for (size_t i = 0; i < proto_.inputs.size(); ++i)
      SLIPWAY_RETURN_IF_ERROR(AddFormal(proto_.inputs[i], formal_types[i]));
    for (const auto& [name, value] : captured) {
      // Both branches of an If get what either captures.
      Value* made = nullptr;
      if (!value->is_constant())
        made = graph_->AddInput(name, value->type());
      else if (own.contains(name))
        made = graph_->AddConstant(name, *value->constant());
      if (own.contains(name)) Define(name, made);
    }
    SLIPWAY_RETURN_IF_ERROR(AddInitializers());
    SLIPWAY_RETURN_IF_ERROR(ReadDeclaredTypes());
    for (size_t index : order_) SLIPWAY_RETURN_IF_ERROR(AddNode(index));
    SLIPWAY_RETURN_IF_ERROR(AddOutputs());
    FoldCodeClips(graph_.get());
    if (options_.check_finite) SLIPWAY_RETURN_IF_ERROR(CheckFinite(*graph_));
    return std::move(graph_);
  }

 private:
  Status FindOpset();
  Status CheckOperators();
  Status CollectNames();
  Status OrderNodes();
  void Metadata();
  Status AddInitializers();
  Status AddInputs();
  Status ReadDeclaredTypes();
  Status AddNode(size_t index);
  Status AddConstantNode(const NodeProto& proto, OldNode* node);
  Status AddUnknown(const OldNode& node);
  Status ReadAttributes(const NodeProto& proto, OldNode* node);
  Status AddOutputs();
  Status AddFormal(const ValueInfoProto& info, DType given);
  Status AddBodies(const NodeProto& proto, OldNode* node,
                   std::map<std::string, std::unique_ptr<Graph>>* bodies);
  Result<bool> RewriteWithShapes();
  Status Check();

  std::string NodeName(size_t index) const {
    const NodeProto& n = proto_.nodes[index];
    return n.name.empty() ? std::string(n.op_type) + "_" + std::to_string(index)
                          : std::string(n.name);
  }
  std::string Describe(size_t index) const {
    return OpName(proto_.nodes[index]) + " node " + Quote(NodeName(index));
  }
  Result<ir::Tensor> ReadTensor(const TensorProto& proto);
  Result<Type> ReadInputType(const ValueInfoProto& info);
  void Define(std::string_view name, Value* value) { values_[name] = value; }

  File& file_;
  const ModelProto& model_;
  const GraphProto& proto_;
  const ImportOptions& options_;
  int& opset_;  // of the file
  bool body_ = false;
  std::vector<std::unique_ptr<Importer>> bodies_;  // kept for RewriteWithShapes
  std::unique_ptr<Graph> graph_;

  std::unordered_map<std::string_view, int64_t>
      defined_;  // value name -> defining node, or -1 for inputs and initialisers
  std::unordered_set<std::string_view>
      read_;  // value names that a node or the graph's outputs read
  Upgrader upgrader_;
  std::vector<size_t> order_;
  Names values_;
  std::unordered_map<std::string_view, Type> declared_;
  std::unordered_set<std::string> symbols_;                 // bound by inputs
  std::unordered_map<std::string, int64_t> fixed_symbols_;  // by options_.input_shapes
};

Result<int> CheckOpset(int64_t opset) {
  if (opset < kOldestOpset) {
    return Unsupported("opset " + std::to_string(opset) + " is older than " +
                       std::to_string(kOldestOpset) +
                       "; convert the model with onnx.version_converter or export it again");
  }
  if (opset > ir::kOpset) {
    return Unsupported(
        "opset " + std::to_string(opset) + " is newer than " + std::to_string(ir::kOpset) +
        ", the newest this build knows; export with opset_version=" + std::to_string(ir::kOpset) +
        " or older");
  }
  return static_cast<int>(opset);
}

Status Importer::FindOpset() {
  int64_t opset = -1;
  for (const auto& [domain, version] : model_.opsets) {
    if (domain.empty()) opset = std::max(opset, version);
  }
  if (opset < 0) {
    if (!model_.opsets.empty())
      return OkStatus();  // other domains only: CheckOperators names the nodes
    return Unsupported("the model does not say its opset; export it again with a current exporter");
  }
  SLIPWAY_ASSIGN_OR_RETURN(opset_, CheckOpset(opset));
  return OkStatus();
}

Status Importer::CheckOperators() {
  SLIPWAY_RETURN_IF_ERROR(CheckPluginVersions(model_, proto_));
  if (options_.keep_unknown_operators) return OkStatus();
  return CheckKnownOperators(model_, proto_, opset_, [&](size_t i) { return NodeName(i); });
}

Status Importer::CollectNames() {
  std::unordered_set<std::string_view> inputs;
  auto defined_twice = [&](std::string_view name, const std::string& what) {
    return InvalidArgument("value " + Quote(name) + " is defined twice, the second time as " +
                           what + "; names must be unique");
  };
  for (const TensorProto& t : proto_.initializers) {
    if (!defined_.emplace(t.name, -1).second) return defined_twice(t.name, "an initialiser");
  }
  for (const ValueInfoProto& v : proto_.inputs) {
    if (v.name.empty()) return InvalidArgument("a graph input has no name");
    if (!inputs.insert(v.name).second) return defined_twice(v.name, "a graph input");
    defined_.emplace(v.name, -1);  // an initialiser that is also an input is a constant
  }
  for (size_t i = 0; i < proto_.nodes.size(); ++i) {
    for (std::string_view name : proto_.nodes[i].outputs) {
      if (name.empty()) continue;
      if (!defined_.emplace(name, static_cast<int64_t>(i)).second)
        return defined_twice(name, "output of " + Describe(i));
    }
  }
  for (size_t i = 0; i < proto_.nodes.size(); ++i) {
    std::string_view missing;
    ForEachRead(proto_.nodes[i], [&](std::string_view name) {
      if (!defined_.contains(name)) missing = name;
      read_.insert(name);
    });
    if (!missing.empty()) {
      const auto& inputs = proto_.nodes[i].inputs;
      const bool direct = std::find(inputs.begin(), inputs.end(), missing) != inputs.end();
      return InvalidArgument(Describe(i) + (direct ? " reads " : ": its body reads ") +
                             Quote(missing) + ", which no input, initialiser or node defines");
    }
  }
  if (proto_.outputs.empty()) return InvalidArgument("the graph has no outputs");
  for (const ValueInfoProto& v : proto_.outputs) {
    if (!defined_.contains(v.name)) {
      return InvalidArgument("graph output " + Quote(v.name) + " is computed by no node");
    }
    read_.insert(v.name);
  }
  if (body_) return OkStatus();
  for (const auto& [name, dims] : options_.input_shapes) {
    if (inputs.contains(name)) continue;
    std::string list;
    for (const ValueInfoProto& v : proto_.inputs)
      list += (list.empty() ? "" : ", ") + Quote(v.name);
    return InvalidArgument("a shape is given for input " + Quote(name) +
                           ", which the model does not have; its inputs are " + list);
  }
  return OkStatus();
}

// Producers first, otherwise the file's order (Kahn's algorithm with a heap).
Status Importer::OrderNodes() {
  const size_t count = proto_.nodes.size();
  std::vector<std::vector<size_t>> users(count);
  std::vector<size_t> waiting(count, 0);
  for (size_t i = 0; i < count; ++i) {
    ForEachRead(proto_.nodes[i], [&](std::string_view name) {
      const int64_t producer = defined_.at(name);
      if (producer < 0) return;
      users[static_cast<size_t>(producer)].push_back(i);
      ++waiting[i];
    });
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < count; ++i) {
    if (waiting[i] == 0) ready.push(i);
  }
  while (!ready.empty()) {
    const size_t i = ready.top();
    ready.pop();
    order_.push_back(i);
    for (size_t user : users[i]) {
      if (--waiting[user] == 0) ready.push(user);
    }
  }
  if (order_.size() == count) return OkStatus();
  // Walk back from a waiting node through waiting producers until one comes again: that is a cycle.
  size_t at = static_cast<size_t>(
      std::find_if(waiting.begin(), waiting.end(), [](size_t w) { return w > 0; }) -
      waiting.begin());
  std::vector<size_t> path;
  std::unordered_map<size_t, size_t> seen;
  while (!seen.contains(at)) {
    seen[at] = path.size();
    path.push_back(at);
    int64_t next = -1;
    ForEachRead(proto_.nodes[at], [&](std::string_view name) {
      const int64_t producer = defined_.at(name);
      if (next < 0 && producer >= 0 && waiting[static_cast<size_t>(producer)] > 0) next = producer;
    });
    if (next >= 0) at = static_cast<size_t>(next);
  }
  std::string cycle;
  constexpr size_t kShown = 8;
  for (size_t i = seen[at], shown = 0; i < path.size() && shown < kShown; ++i, ++shown)
    cycle += Describe(path[i]) + " needs ";
  return InvalidArgument("the graph has a cycle: " + cycle + Describe(at));
}

void Importer::Metadata() {
  if (!proto_.name.empty()) graph_->name = std::string(proto_.name);
  auto& m = graph_->metadata;
  auto put = [&](const char* key, std::string_view value) {
    if (!value.empty()) m[key] = std::string(value);
  };
  put("producer", model_.producer_name);
  put("producer_version", model_.producer_version);
  put("domain", model_.domain);
  put("doc", model_.doc.empty() ? proto_.doc : model_.doc);
  m["opset"] = std::to_string(opset_);
  m["ir_version"] = std::to_string(model_.ir_version);
  if (model_.model_version != 0) m["model_version"] = std::to_string(model_.model_version);
  for (const auto& [key, value] : model_.metadata)
    m["metadata." + std::string(key)] = std::string(value);
}

Result<ir::Tensor> Importer::ReadTensor(const TensorProto& proto) {
  return proto.external ? file_.external.Read(proto) : TensorFromProto(proto, file_.owner);
}

Status Importer::AddInitializers() {
  if (!proto_.sparse_initializers.empty()) {
    return Unsupported("initialiser " + Quote(proto_.sparse_initializers[0]) +
                       " is sparse, which is not supported; store it as a dense tensor");
  }
  for (const TensorProto& t : proto_.initializers) {
    if (t.name.empty()) return InvalidArgument("an initialiser has no name");
    if (body_ && values_.contains(t.name)) continue;  // the default of an input that is always given
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor tensor, ReadTensor(t));
    Define(t.name, graph_->AddConstant(t.name, std::move(tensor)));
  }
  return OkStatus();
}

Result<Type> Importer::ReadInputType(const ValueInfoProto& info) {
  const std::string what = "graph input " + Quote(info.name);
  if (info.kind == ValueInfoProto::Kind::kNone) return InvalidArgument(what + " has no type");
  Type type;
  SLIPWAY_ASSIGN_OR_RETURN(type.container, ContainerOf(info, what));
  SLIPWAY_ASSIGN_OR_RETURN(type.dtype, ElementType(info, what));
  std::optional<SymShape> shape;
  if (info.shape) {
    shape.emplace();
    std::vector<int64_t> known;
    for (size_t i = 0; i < info.shape->size(); ++i) {
      const DimProto& d = (*info.shape)[i];
      if (d.value && *d.value >= 0) {
        known.push_back(*d.value);
        shape->push_back(*d.value);
      } else if (!d.value && !d.param.empty()) {
        shape->push_back(Dim::Symbol(d.param.substr(0, 200)));
      } else {
        shape->push_back(
            Dim::Symbol(std::string(info.name.substr(0, 200)) + "_dim" + std::to_string(i)));
      }
    }
    if (!CheckedBytes(type.dtype, known)) {
      return InvalidArgument(what + " has the impossible shape " + ToString(*shape));
    }
  }
  auto given = options_.input_shapes.find(std::string(info.name));
  if (given != options_.input_shapes.end()) {
    if (type.is_container())
      return InvalidArgument("a shape is given for input " + Quote(info.name) +
                             ", which is no tensor");
    const auto& dims = given->second;
    if (dims.size() > static_cast<size_t>(kMaxRank) || !CheckedBytes(type.dtype, dims)) {
      return InvalidArgument("the shape given for input " + Quote(info.name) + " is impossible");
    }
    if (shape && shape->size() != dims.size() && options_.any_rank) shape.reset();
    if (shape && shape->size() != dims.size()) {
      return InvalidArgument("the shape given for input " + Quote(info.name) + " has " +
                             std::to_string(dims.size()) + " dimensions, the model's is " +
                             ToString(*shape));
    }
    if (!shape) shape.emplace(dims.size());
    for (size_t i = 0; i < dims.size(); ++i) {
      Dim& d = (*shape)[i];
      if (!d.known() && !options_.any_rank) {
        auto [it, added] = fixed_symbols_.emplace(d.ToString(), dims[i]);
        if (!added && it->second != dims[i]) {
          return InvalidArgument("the shapes given make dimension " + Quote(it->first) + " both " +
                                 std::to_string(it->second) + " and " + std::to_string(dims[i]));
        }
      }
      d = dims[i];
    }
  }
  type.shape = std::move(shape);
  return type;
}

Status Importer::AddInputs() {
  std::vector<Value*> added;
  for (const ValueInfoProto& info : proto_.inputs) {
    if (values_.contains(info.name)) continue;  // has an initialiser
    SLIPWAY_ASSIGN_OR_RETURN(Type type, ReadInputType(info));
    added.push_back(graph_->AddInput(info.name, std::move(type)));
    Define(info.name, added.back());
  }
  for (Value* v : added) {
    Type type = v->type();
    if (!type.shape) continue;
    for (Dim& d : *type.shape) {
      if (type.is_container()) continue;  // its symbols are bound by nothing
      d = d.Substitute([&](std::string_view symbol) -> std::optional<Dim> {
        auto it = fixed_symbols_.find(std::string(symbol));
        return it == fixed_symbols_.end() ? std::nullopt : std::optional<Dim>(it->second);
      });
      for (const std::string& s : d.Symbols()) symbols_.insert(s);
    }
    v->set_type(std::move(type));
  }
  return OkStatus();
}

// An input of a body. Its extents come with the node: only how many there are is taken from the file.
Status Importer::AddFormal(const ValueInfoProto& info, DType given) {
  const std::string what = "input " + Quote(info.name) + " of a body";
  Type type{given, std::nullopt};
  if (info.kind != ValueInfoProto::Kind::kNone) {
    SLIPWAY_ASSIGN_OR_RETURN(type.container, ContainerOf(info, what));
    if (info.elem_type != 0) {
      SLIPWAY_ASSIGN_OR_RETURN(type.dtype, ElementType(info, what));
    }
    if (info.shape) {
      type.shape.emplace();
      for (size_t i = 0; i < info.shape->size(); ++i) {
        type.shape->push_back(Dim::Symbol(std::string(info.name.substr(0, 200)) + "_dim" +
                                          std::to_string(i)));
      }
    }
  }
  Define(info.name, graph_->AddInput(info.name, std::move(type)));
  return OkStatus();
}

// What the file says about intermediate values and outputs. A shape is kept only where all of it
// means something: integers and symbols which inputs bind.
Status Importer::ReadDeclaredTypes() {
  const bool shapes = options_.input_shapes.empty() && !body_;
  for (const auto* list : {&proto_.value_info, &proto_.outputs}) {
    for (const ValueInfoProto& info : *list) {
      if (info.kind == ValueInfoProto::Kind::kNone) continue;
      Type type;
      const auto container = ContainerOf(
          info, (list == &proto_.outputs ? "graph output " : "value ") + Quote(info.name));
      if (!container.ok() && list == &proto_.value_info) continue;  // its nodes say what is wrong
      SLIPWAY_ASSIGN_OR_RETURN(type.container, container);
      if (info.elem_type == 0) continue;
      SLIPWAY_ASSIGN_OR_RETURN(type.dtype, ElementType(info, "value " + Quote(info.name)));
      if (info.shape && shapes && !type.is_container()) {
        SymShape shape;
        for (const DimProto& d : *info.shape) {
          if (d.value && *d.value >= 0) {
            shape.push_back(*d.value);
          } else if (!d.value && !d.param.empty()) {
            Dim symbol = Dim::Symbol(d.param.substr(0, 200));
            if (symbols_.contains(symbol.ToString())) shape.push_back(symbol);
          }
        }
        if (shape.size() == info.shape->size()) type.shape = std::move(shape);
      }
      declared_[info.name] = std::move(type);
    }
  }
  return OkStatus();
}

Status Importer::ReadAttributes(const NodeProto& proto, OldNode* node) {
  for (const AttributeProto& a : proto.attributes) {
    const std::string what = node->Describe() + ": attribute " + Quote(a.name);
    if (node->attributes.Has(a.name) || node->tensors.contains(a.name))
      return InvalidArgument(what + " is given twice");
    if (!a.reference.empty())
      return InvalidArgument(what + " refers to a function's parameter outside a function");
    switch (a.type) {
      case AttributeType::kFloat:
        node->attributes.Set(a.name, a.f);
        break;
      case AttributeType::kInt:
        node->attributes.Set(a.name, a.i);
        break;
      case AttributeType::kString:
        node->attributes.Set(a.name, std::string(a.s));
        break;
      case AttributeType::kFloats:
        node->attributes.Set(a.name, a.floats);
        break;
      case AttributeType::kInts:
        node->attributes.Set(a.name, a.ints);
        break;
      case AttributeType::kStrings:
        node->attributes.Set(a.name, std::vector<std::string>(a.strings.begin(), a.strings.end()));
        break;
      case AttributeType::kTensor: {
        auto tensor = ParseTensorProto(a.t);
        if (!tensor.ok()) return std::move(tensor).status().With(what);
        auto read = ReadTensor(*tensor);
        if (!read.ok()) return std::move(read).status().With(what);
        node->tensors[std::string(a.name)] = std::move(*read);
        break;
      }
      case AttributeType::kTypeProto:
        if (a.type_info && node->op == "Optional") {
          ir::Type type;
          SLIPWAY_ASSIGN_OR_RETURN(type.container, ContainerOf(*a.type_info, what));
          SLIPWAY_ASSIGN_OR_RETURN(type.dtype, ElementType(*a.type_info, what));
          if (type.is_optional()) return Unsupported(what + " is an optional of an optional");
          type.shape = KnownShape(*a.type_info);
          node->attributes.Set(a.name, type.ToString());
          break;
        }
        if (options_.keep_unknown_operators) break;
        return Unsupported(what + " is a type, which is not supported");
      case AttributeType::kGraph:
        if (a.g && !FileBodyNames(node->op).empty()) break;
        [[fallthrough]];
      default:
        if (options_.keep_unknown_operators) break;
        return Unsupported(
            what +
            " is a graph, a sparse tensor, a list of tensors or a type, which is not supported");
    }
  }
  return OkStatus();
}

Status Importer::AddConstantNode(const NodeProto& proto, OldNode* node) {
  if (proto.outputs.size() != 1 || proto.outputs[0].empty())
    return InvalidArgument(node->Describe() + " must have one output");
  for (const AttributeProto& a : proto.attributes) {
    if (a.type == AttributeType::kString || a.type == AttributeType::kStrings) {
      return Unsupported(node->Describe() +
                         " holds strings, which Slipway does not compute with; do text processing "
                         "outside the model");
    }
    if (a.type == AttributeType::kSparseTensor) {
      return Unsupported(node->Describe() +
                         " is sparse, which is not supported; store it as a dense tensor");
    }
  }
  SLIPWAY_RETURN_IF_ERROR(ReadAttributes(proto, node));
  ir::Tensor tensor;
  if (auto it = node->tensors.find("value"); it != node->tensors.end()) {
    tensor = std::move(it->second);
  } else if (node->attributes.Has("value_float")) {
    tensor = ir::Tensor::Scalar<float>(node->attributes.Float("value_float", 0));
  } else if (node->attributes.Has("value_int")) {
    tensor = ir::Tensor::Scalar<int64_t>(node->attributes.Int("value_int", 0));
  } else if (node->attributes.Has("value_floats")) {
    const auto v = node->attributes.Floats("value_floats");
    tensor = ir::Tensor::Of<float>({static_cast<int64_t>(v.size())}, v);
  } else if (node->attributes.Has("value_ints")) {
    const auto v = node->attributes.Ints("value_ints");
    tensor = ir::Tensor::Of<int64_t>({static_cast<int64_t>(v.size())}, v);
  }
  if (!tensor.present()) return InvalidArgument(node->Describe() + " has no value");
  Define(proto.outputs[0], graph_->AddConstant(proto.outputs[0], std::move(tensor)));
  return OkStatus();
}

// If, Loop and Scan: imports the bodies, appends what they capture to the node's inputs, and says
// how many values it carries (model/ir/control.h).
Status Importer::AddBodies(const NodeProto& proto, OldNode* node,
                           std::map<std::string, std::unique_ptr<Graph>>* bodies) {
  std::vector<std::pair<std::string_view, Value*>> captured;
  std::unordered_set<std::string_view> seen;
  const std::string described = node->Describe();
  const bool is_if = node->op == "If", loop = node->op == "Loop", map = node->op == "SequenceMap";
  const bool batch = node->op == "Scan" && node->opset < 9;
  const size_t ahead = loop ? 2 : batch ? 1 : 0;  // inputs of the node that its body does not get so
  for (std::string_view wanted : FileBodyNames(node->op)) {
    const auto it = std::find_if(proto.attributes.begin(), proto.attributes.end(),
                                 [&](const AttributeProto& a) { return a.name == wanted && a.g; });
    if (it == proto.attributes.end())
      return InvalidArgument(described + ": its body " + Quote(wanted) + " is missing");
    for (std::string_view name : it->g->captured) {
      const auto value = values_.find(name);
      if (value == values_.end())
        return InvalidArgument(described + ": its body reads " + Quote(name) +
                               ", which is not there yet");
      if (seen.insert(name).second) captured.emplace_back(name, value->second);
    }
  }
  // Ranks decide how some old operators are upgraded.
  for (const auto& [name, value] : captured) (void)upgrader_.RankOf(value);

  size_t formal = 0;
  for (const AttributeProto& a : proto.attributes) {
    if (a.type != AttributeType::kGraph) continue;
    const std::string where = described + ", body " + Quote(a.name);
    if (!a.g || bodies->contains(std::string(a.name)))
      return InvalidArgument(where + " is given twice or empty");
    formal = a.g->inputs.size();
    std::vector<DType> types(formal, DType::kUndefined);
    if (loop && formal > 0) types[0] = DType::kInt64;
    if (loop && formal > 1) types[1] = DType::kBool;
    for (size_t i = loop ? 2 : 0; !is_if && i < formal; ++i) {
      const size_t at = batch ? i + 1 : i;
      if (at < node->inputs.size()) types[i] = upgrader_.TypeOf(node->inputs[at]);
    }
    bodies_.push_back(std::make_unique<Importer>(file_, *a.g));
    auto body = bodies_.back()->RunBody(captured, types);
    if (!body.ok()) return std::move(body).status().With(where);
    const size_t results = (*body)->outputs().size() - (loop && !(*body)->outputs().empty() ? 1 : 0);
    // Results that the node leaves out at the end.
    while (node->outputs.size() < results) {
      node->outputs.emplace_back();
      node->used.push_back(false);
    }
    (*bodies)[std::string(a.name)] = std::move(*body);
  }
  if (map || batch) {
    const int64_t scanned = node->attributes.Int("num_scan_inputs", 0);
    if (formal == 0 || node->inputs.size() != formal + ahead ||
        node->outputs.size() != bodies->at("body")->outputs().size() ||
        (batch && (scanned < 1 || static_cast<uint64_t>(scanned) > formal)) ||
        std::count(node->inputs.begin() + static_cast<ptrdiff_t>(ahead), node->inputs.end(),
                   nullptr) > 0) {
      return InvalidArgument(described + ": its body has " + std::to_string(formal) +
                             " inputs and " +
                             std::to_string(bodies->at("body")->outputs().size()) +
                             " outputs, which does not fit the node's " +
                             std::to_string(node->inputs.size()) + " and " +
                             std::to_string(node->outputs.size()));
    }
  } else if (!is_if) {
    const int64_t scanned = loop ? 2 : node->attributes.Int("num_scan_inputs", 0);
    const int64_t carried = static_cast<int64_t>(formal) - scanned;
    if (carried < 0 || node->inputs.size() > formal ||
        (node->inputs.size() < formal && !(loop && carried == 0))) {
      return InvalidArgument(described + ": its body has " + std::to_string(formal) +
                             " inputs, which does not fit the node's " +
                             std::to_string(node->inputs.size()));
    }
    node->inputs.resize(formal, nullptr);
    node->attributes.Set("carried", carried);
  } else if (node->inputs.size() != 1) {
    return InvalidArgument(described + ": it must have one input, the condition");
  }
  for (const auto& [name, value] : captured) {
    if (!value->is_constant()) node->inputs.push_back(value);
  }
  Upgrader* inside = &bodies_.back()->upgrader_;
  if (map) return ExpandSequenceMap(node, bodies, formal, &upgrader_, inside);
  if (batch) return ExpandBatchScan(node, bodies, formal, inside);
  return OkStatus();
}

Status Importer::AddNode(size_t index) {
  const NodeProto& proto = proto_.nodes[index];
  OldNode node;
  node.op = std::string(proto.op_type);
  node.name = NodeName(index);
  node.opset = opset_;
  if (proto.opset != 0) {
    SLIPWAY_ASSIGN_OR_RETURN(node.opset, CheckOpset(proto.opset));
  }
  const bool known = KnowsOperator(proto);
  const bool custom = ops::FindCustomOp(proto.domain, proto.op_type) != nullptr;
  if (proto.domain != "ai.onnx") node.domain = std::string(proto.domain);
  if (known && !custom && node.op == "Constant") return AddConstantNode(proto, &node);
  for (std::string_view name : proto.inputs)
    node.inputs.push_back(name.empty() ? nullptr : values_.at(name));
  for (std::string_view name : proto.outputs) {
    node.outputs.emplace_back(name);
    node.used.push_back(!name.empty() && read_.contains(name));
  }
  if (std::all_of(node.outputs.begin(), node.outputs.end(),
                  [](const std::string& s) { return s.empty(); })) {
    return InvalidArgument(node.Describe() + " has no outputs");
  }
  SLIPWAY_RETURN_IF_ERROR(ReadAttributes(proto, &node));
  std::map<std::string, std::unique_ptr<Graph>> bodies;
  const bool control = known && node.domain.empty() && !FileBodyNames(node.op).empty();
  if (control) {
    SLIPWAY_RETURN_IF_ERROR(AddBodies(proto, &node, &bodies));
    const size_t inputs = node.inputs.size(), outputs = node.outputs.size();
    SLIPWAY_RETURN_IF_ERROR(upgrader_.Upgrade(&node));
    node.inputs.resize(inputs, nullptr);  // absent ones at the end count
    node.outputs.resize(outputs);
  } else if (known) {
    SLIPWAY_RETURN_IF_ERROR(upgrader_.Upgrade(&node));
  }
  for (size_t i = 0; i < node.results.size(); ++i) {
    if (!node.results[i]) continue;
    graph_->Rename(node.results[i], proto.outputs[i]);
    Define(proto.outputs[i], node.results[i]);
  }

  Graph::NodeSpec spec{.op = node.op,
                       .inputs = node.inputs,
                       .attributes = node.attributes,
                       .domain = node.domain,
                       .name = node.name,
                       .outputs = node.outputs};
  for (std::string& name : spec.outputs) {
    name = name.empty() ? "-" : name == "-" ? "dash" : name;  // "-" means absent to AddNode
  }
  ir::Node* made = graph_->AddNode(std::move(spec));
  made->sources = {node.name};
  made->subgraphs = std::move(bodies);
  const bool quantize = made->IsSlipway("Quantize");
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    Value* value = made->output(i);
    if (!value) continue;
    // The file's name is the key, not this node's copy of it.
    Define(proto.outputs[i], value);
    // Codes below eight bits have another type here than in the file.
    if (auto it = declared_.find(proto.outputs[i]); it != declared_.end() && !quantize)
      value->set_type(it->second);
  }
  upgrader_.Finished(node, made);
  return OkStatus();
}

Status Importer::AddOutputs() {
  for (const ValueInfoProto& info : proto_.outputs) {
    auto it = values_.find(info.name);
    if (it == values_.end()) {
      return Unsupported("graph output " + Quote(info.name) +
                         " is an output that its operator has only in training");
    }
    graph_->AddOutput(it->second);
  }
  return OkStatus();
}

Result<bool> Importer::RewriteWithShapes() {
  SLIPWAY_ASSIGN_OR_RETURN(bool changed, upgrader_.RewriteWithShapes());
  for (const auto& body : bodies_) {
    SLIPWAY_ASSIGN_OR_RETURN(const bool inside, body->RewriteWithShapes());
    changed |= inside;
  }
  return changed;
}

Status Importer::Check() {
  SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(*graph_));
  SLIPWAY_ASSIGN_OR_RETURN(const bool changed, RewriteWithShapes());
  if (changed) SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(*graph_));
  return ir::Verify(*graph_);
}

Result<std::unique_ptr<Graph>> Import(Bytes bytes, std::shared_ptr<const void> owner,
                                      const std::string& path, const ImportOptions& options) {
  SLIPWAY_ASSIGN_OR_RETURN(ModelProto model, ParseModel(bytes, options.limits));
  SLIPWAY_RETURN_IF_ERROR(ExpandFunctions(&model, options.limits, KnowsOperator));
  FindCaptured(&model.graph);
  File file{model, std::move(owner), ExternalFiles(path), options};
  return Importer(file, model.graph).Run();
}

}  // namespace

Result<std::unique_ptr<Graph>> ImportOnnx(const std::string& path, const ImportOptions& options) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    return InvalidArgument("'" + path + "' is not a file; give the path of an ONNX file");
  }
  SLIPWAY_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  auto graph = Import(file->bytes(), file, path, options);
  if (!graph.ok()) return std::move(graph).status().With("'" + path + "'");
  return graph;
}

Result<std::unique_ptr<Graph>> ImportOnnxBytes(std::span<const uint8_t> bytes,
                                               std::shared_ptr<const void> owner,
                                               const ImportOptions& options) {
  return Import(bytes, std::move(owner), "", options);
}

}  // namespace slipway::onnx
