#include "model/frontends/onnx/export.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "base/checked.h"
#include "base/float16.h"
#include "base/mapped_file.h"
#include "model/frontends/onnx/downgrade.h"
#include "model/frontends/onnx/expand.h"
#include "model/frontends/onnx/tensor_proto.h"
#include "model/frontends/wire.h"
#include "model/ir/control.h"
#include "model/ir/schema.h"
#include "model/ir/text.h"

namespace slipway::onnx {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

constexpr int64_t kLargestFile =
    (int64_t{1} << 31) - (int64_t{1} << 20);  // protobuf's 2 GiB, with room for the graph
constexpr size_t kInlineBelow = 1024;         // small constants stay in the model file

// The IR version that came with an opset (onnx/docs/Versioning.md).
int64_t IrVersion(int opset) {
  if (opset <= 11) return 6;
  if (opset <= 14) return 7;
  if (opset <= 18) return 8;
  if (opset <= 20) return 9;
  if (opset <= 22) return 10;
  return opset - 12;
}

// Attribute ids and types of AttributeProto.
WireWriter WriteAttribute(const std::string& name, const ir::AttributeValue& value) {
  WireWriter w;
  w.Text(1, name);
  struct Visitor {
    WireWriter& w;
    void operator()(int64_t v) {
      w.Int(3, v);
      w.Int(20, 2);
    }
    void operator()(float v) {
      w.Float(2, v);
      w.Int(20, 1);
    }
    void operator()(const std::string& v) {
      w.Text(4, v);
      w.Int(20, 3);
    }
    void operator()(const std::vector<int64_t>& v) {
      w.PackedInts(8, v);
      w.Int(20, 7);
    }
    void operator()(const std::vector<float>& v) {
      w.PackedFloats(7, v);
      w.Int(20, 6);
    }
    void operator()(const std::vector<std::string>& v) {
      for (const std::string& s : v) w.Text(9, s);
      w.Int(20, 8);
    }
  };
  std::visit(Visitor{w}, value);
  return w;
}

// ConstantOfShape's element as the one-element tensor that ONNX wants.
Result<ir::Tensor> ElementTensor(DType dtype, const Node& node) {
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, ir::Tensor::Allocate(dtype, {1}));
  const int64_t integer = node.attributes.Int("value_int", 0);
  const double real = node.attributes.Float("value_float", 0);
  auto put = [&](const auto& value) {
    std::memcpy(t.mutable_data(), &value, std::min(sizeof(value), t.bytes().size()));
  };
  switch (dtype) {
    case DType::kFloat32:
      put(static_cast<float>(real));
      break;
    case DType::kFloat64:
      put(real);
      break;
    case DType::kFloat16:
      put(Float16(real));
      break;
    case DType::kBFloat16:
      put(BFloat16(real));
      break;
    default:
      if (IsFloating(dtype))
        put(EncodeFloat8(dtype, real));
      else
        put(integer);  // little-endian: the low bytes
  }
  return t;
}

class Exporter {
 public:
  Exporter(const ExportOptions& options, std::string data_file)
      : options_(options), data_file_(std::move(data_file)) {}

  Result<WireWriter> Run(const Graph& source);
  // The constants that go into the data file, in order.
  const std::vector<const ir::Tensor*>& external() const { return external_; }

 private:
  // What the bodies of `graph` read from outside and how all their values are called.
  Status NameBodies(Graph* graph, int depth);
  Status NameBody(const Node& node, Graph* body, size_t formal, size_t unseen, int depth);
  std::string UniqueName(const std::string& wanted);
  // The value that a captured one, or a constant that stands in several bodies, is in the file.
  const Value* Root(const Value* value) const {
    const auto it = roots_.find(value);
    return it == roots_.end() ? value : it->second;
  }
  const std::string& NameOf(const Value* value) const {
    const auto it = names_.find(Root(value));
    return it == names_.end() ? Root(value)->name() : it->second;
  }
  Status WriteNode(const Node& node, WireWriter* graph);
  Result<WireWriter> WriteBody(const Node& node, const Graph& body);
  Status WriteValueInfo(uint32_t id, const Value& value, bool symbols, WireWriter* graph);
  void WriteConstant(const Value& value, WireWriter* graph);
  WireWriter Shape(const SymShape& shape, bool symbols);
  WireWriter TypeOf(const ir::Type& type, bool symbols);

  const ExportOptions& options_;
  std::string data_file_;
  std::unique_ptr<Graph> graph_;
  std::vector<const ir::Tensor*> external_;
  int64_t external_bytes_ = 0;
  int64_t inline_bytes_ = 0;
  bool use_external_ = false;
  std::unordered_set<const Value*>
      written_;  // what the written nodes read: constants that became attributes are not among them
  std::string empty_name_;  // of the one empty tensor, when it is needed
  // --- bodies: one scope for all of them, so that no name means two things ---
  std::unordered_map<const Value*, const Value*> roots_;
  std::unordered_map<const Value*, std::string> names_;  // of values in bodies
  std::unordered_set<std::string> taken_;
  std::unordered_map<std::string, int> suffixes_;
  // Large constants of bodies are written once, in the main graph, where all bodies see them.
  std::map<std::tuple<const uint8_t*, size_t, DType, std::string>, const Value*> large_;
  std::vector<const Value*> hoisted_;
  std::vector<std::unique_ptr<ir::Tensor>> made_;
};

WireWriter Exporter::Shape(const SymShape& shape, bool symbols) {
  WireWriter out;
  for (const Dim& d : shape) {
    WireWriter dim;
    if (d.known())
      dim.Int(1, d.value());
    else if (symbols)
      dim.Text(2, d.ToString());
    out.Message(1, dim);
  }
  return out;
}

// A TypeProto.
WireWriter Exporter::TypeOf(const ir::Type& type, bool symbols) {
  WireWriter out;
  if (type.is_container()) {
    WireWriter container;
    container.Message(1, TypeOf(type.Element(), symbols));
    out.Message(type.is_sequence() ? 4 : 9, container);
    return out;
  }
  WireWriter tensor;
  tensor.Int(1, static_cast<int64_t>(type.dtype));
  if (type.shape) tensor.Message(2, Shape(*type.shape, symbols));
  out.Message(1, tensor);
  return out;
}

// `symbols`: they mean something outside of the value's graph.
Status Exporter::WriteValueInfo(uint32_t id, const Value& value, bool symbols,
                                WireWriter* graph) {
  if (value.dtype() == DType::kUndefined) {
    return InvalidArgument("the element type of value " + Quote(value.name()) +
                           " is not known; run shape inference before exporting");
  }
  WireWriter info;
  info.Text(1, NameOf(&value));
  info.Message(2, TypeOf(value.type(), symbols));
  graph->Message(id, info);
  return OkStatus();
}

void Exporter::WriteConstant(const Value& value, WireWriter* graph) {
  const ir::Tensor& t = *value.constant();
  if (!use_external_ || t.bytes().size() < kInlineBelow) {
    graph->Message(5, WriteTensorProto(NameOf(&value), t));
    inline_bytes_ += static_cast<int64_t>(t.bytes().size());
    return;
  }
  WireWriter out;
  for (int64_t d : t.dims()) out.Int(1, d);
  out.Int(2, static_cast<int64_t>(t.dtype()));
  out.Text(8, NameOf(&value));
  auto entry = [&](const char* key, const std::string& text) {
    WireWriter pair;
    pair.Text(1, key);
    pair.Text(2, text);
    out.Message(13, pair);
  };
  external_bytes_ = RoundUp(external_bytes_, 64);
  entry("location", data_file_);
  entry("offset", std::to_string(external_bytes_));
  entry("length", std::to_string(t.bytes().size()));
  out.Int(14, 1);
  external_bytes_ += static_cast<int64_t>(t.bytes().size());
  external_.push_back(&t);
  graph->Message(5, out);
}

Status Exporter::WriteNode(const Node& node, WireWriter* graph) {
  SLIPWAY_ASSIGN_OR_RETURN(OutNode out, Downgrade(node, options_.opset));
  WireWriter w;
  for (size_t i = 0; i < out.inputs.size(); ++i) {
    const bool empty =
        std::find(out.empty_inputs.begin(), out.empty_inputs.end(), i) != out.empty_inputs.end();
    if (empty && empty_name_.empty()) empty_name_ = UniqueName("slipway/empty");
    if (out.inputs[i]) written_.insert(Root(out.inputs[i]));
    w.Text(1, empty ? empty_name_ : out.inputs[i] ? NameOf(out.inputs[i]) : "");
  }
  for (const Value* v : out.outputs) w.Text(2, v ? NameOf(v) : "");
  w.Text(3, node.name());
  w.Text(4, out.op);
  for (const auto& [key, body] : node.subgraphs) {
    SLIPWAY_ASSIGN_OR_RETURN(WireWriter written, WriteBody(node, *body));
    WireWriter attribute;
    attribute.Text(1, key);
    attribute.Message(6, written);
    attribute.Int(20, 5);
    w.Message(5, attribute);
  }
  if (out.op == "Optional" && !node.input(0)) {
    auto type = ir::ParseTypeText(out.attributes.String("type", ""));
    if (!type.ok()) return std::move(type).status().With(node.Describe());
    WireWriter attribute;
    attribute.Text(1, "type");
    attribute.Message(14, TypeOf(*type, false));
    attribute.Int(20, 13);
    w.Message(5, attribute);
    out.attributes.Erase("type");
  }
  if (out.op == "ConstantOfShape") {
    const auto dtype = static_cast<DType>(node.attributes.Int("dtype", 1));
    if (!IsKnown(dtype)) return InvalidArgument(node.Describe() + ": its element type is unknown");
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor element, ElementTensor(dtype, node));
    made_.push_back(std::make_unique<ir::Tensor>(std::move(element)));
    WireWriter attribute;
    attribute.Text(1, "value");
    attribute.Message(5, WriteTensorProto("", *made_.back()));
    attribute.Int(20, 4);
    w.Message(5, attribute);
  } else {
    for (const auto& [name, value] : out.attributes.entries())
      w.Message(5, WriteAttribute(name, value));
  }
  if (!node.domain().empty()) w.Text(7, node.domain());
  graph->Message(1, w);
  return OkStatus();
}

std::string Exporter::UniqueName(const std::string& wanted) {
  if (taken_.insert(wanted).second) return wanted;
  for (int& n = suffixes_[wanted];;) {
    std::string name = wanted + "_" + std::to_string(++n);
    if (taken_.insert(name).second) return name;
  }
}

Status Exporter::NameBodies(Graph* graph, int depth) {
  if (depth > ir::kMaxBodyDepth) return InvalidArgument("bodies are nested too deeply");
  for (const auto& node : graph->nodes()) {
    if (node->subgraphs.empty()) continue;
    SLIPWAY_ASSIGN_OR_RETURN(const ir::ControlForm form, ir::FormOf(*node));
    for (const auto& [key, body] : node->subgraphs) {
      SLIPWAY_RETURN_IF_ERROR(
          NameBody(*node, body.get(), form.formal - form.unseen, form.unseen, depth));
    }
  }
  return OkStatus();
}

Status Exporter::NameBody(const Node& node, Graph* body, size_t formal, size_t unseen, int depth) {
  // Every output of a body must be made inside, and be its own.
  std::unordered_set<const Value*> seen;
  for (size_t i = 0; i < body->outputs().size(); ++i) {
    Value* v = body->outputs()[i];
    if (v->producer() && seen.insert(v).second) continue;
    Node* copy = body->AddNode({.op = "Identity", .inputs = {v}, .name = v->name() + "/output",
                                .outputs = {v->name() + "/output"}});
    copy->output()->set_type(v->type());
    body->SetOutput(i, copy->output());
  }
  for (size_t i = formal; i < body->inputs().size(); ++i)
    roots_[body->inputs()[i]] = Root(node.input(i + unseen));
  for (const auto& v : body->values()) {
    if (roots_.contains(v.get())) continue;
    if (const ir::Tensor* t = v->constant(); t && t->bytes().size() >= kInlineBelow) {
      const auto [it, is_new] = large_.try_emplace(
          {t->bytes().data(), t->bytes().size(), t->dtype(), t->dims().ToString()}, v.get());
      if (!is_new) {
        roots_[v.get()] = it->second;
        continue;
      }
      hoisted_.push_back(v.get());
    }
    names_[v.get()] = UniqueName(v->name());
  }
  return NameBodies(body, depth + 1);
}

Result<WireWriter> Exporter::WriteBody(const Node& node, const Graph& body) {
  SLIPWAY_ASSIGN_OR_RETURN(const ir::ControlForm form, ir::FormOf(node));
  WireWriter graph;
  for (const auto& n : body.nodes()) SLIPWAY_RETURN_IF_ERROR(WriteNode(*n, &graph));
  graph.Text(2, body.name);
  for (const auto& v : body.values()) {
    if (v->is_constant() && v->constant()->bytes().size() < kInlineBelow && written_.contains(v.get()))
      WriteConstant(*v, &graph);
  }
  for (size_t i = 0; i < form.formal - form.unseen; ++i)
    SLIPWAY_RETURN_IF_ERROR(WriteValueInfo(11, *body.inputs()[i], false, &graph));
  for (const Value* v : body.outputs())
    SLIPWAY_RETURN_IF_ERROR(WriteValueInfo(12, *v, false, &graph));
  return graph;
}

int64_t ConstantBytes(const Graph& graph) {
  int64_t bytes = 0;
  for (const auto& v : graph.values()) {
    if (v->is_constant()) bytes += static_cast<int64_t>(v->constant()->bytes().size());
  }
  for (const auto& node : graph.nodes()) {
    for (const auto& [key, body] : node->subgraphs) bytes += ConstantBytes(*body);
  }
  return bytes;
}

void CollectDomains(const Graph& graph, std::map<std::string, int>* domains) {
  for (const auto& node : graph.nodes()) {
    for (const auto& [key, body] : node->subgraphs) CollectDomains(*body, domains);
    if (node->domain().empty()) continue;
    const bool custom = node->schema() && node->schema()->custom;
    int& version = (*domains)[node->domain()];
    version = std::max(version, custom ? node->schema()->custom->version() : 1);
  }
}

Result<WireWriter> Exporter::Run(const Graph& source) {
  if (options_.opset < ir::kOldestExportOpset || options_.opset > ir::kOpset) {
    return InvalidArgument("opset " + std::to_string(options_.opset) +
                           " cannot be exported; choose " + std::to_string(ir::kOldestExportOpset) +
                           " to " + std::to_string(ir::kOpset));
  }
  graph_ = source.Clone();
  if (options_.qonnx) SLIPWAY_RETURN_IF_ERROR(ExpandToQonnx(graph_.get()));
  SLIPWAY_RETURN_IF_ERROR(ExpandForOpset(graph_.get(), options_.opset, options_.own_quantization));
  for (const auto& v : graph_->values()) {
    taken_.insert(v->name());
    if (const ir::Tensor* t = v->constant(); t && t->bytes().size() >= kInlineBelow)
      large_.try_emplace({t->bytes().data(), t->bytes().size(), t->dtype(), t->dims().ToString()},
                         v.get());
  }
  SLIPWAY_RETURN_IF_ERROR(NameBodies(graph_.get(), 1));
  const int64_t constant_bytes = ConstantBytes(*graph_);
  use_external_ = constant_bytes > std::min(options_.external_data_threshold, kLargestFile);
  if (use_external_ && data_file_.empty()) {
    return ResourceExhausted("the model has " + std::to_string(constant_bytes) +
                             " bytes of weights, too many for one message; export to a file");
  }
  WireWriter graph;
  for (const auto& node : graph_->nodes()) SLIPWAY_RETURN_IF_ERROR(WriteNode(*node, &graph));
  graph.Text(2, graph_->name);
  for (const auto& v : graph_->values()) {
    if (v->is_constant() && (v->is_output() || written_.contains(v.get())))
      WriteConstant(*v, &graph);
  }
  for (const Value* v : hoisted_) {
    if (written_.contains(v)) WriteConstant(*v, &graph);
  }
  if (!empty_name_.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor empty, ir::Tensor::Allocate(DType::kFloat32, {0}));
    made_.push_back(std::make_unique<ir::Tensor>(std::move(empty)));
    graph.Message(5, WriteTensorProto(empty_name_, *made_.back()));
  }
  if (inline_bytes_ > kLargestFile)
    return ResourceExhausted("the model has too many small constants for one file");
  for (const Value* v : graph_->inputs()) SLIPWAY_RETURN_IF_ERROR(WriteValueInfo(11, *v, true, &graph));
  for (const Value* v : graph_->outputs()) SLIPWAY_RETURN_IF_ERROR(WriteValueInfo(12, *v, !v->type().is_container(), &graph));
  if (options_.value_info) {
    for (const auto& v : graph_->values()) {
      if (v->producer() && !v->is_output() && v->IsUsed() &&
          (v->type().known() || (v->type().is_container() && v->dtype() != DType::kUndefined))) {
        SLIPWAY_RETURN_IF_ERROR(
            WriteValueInfo(13, *v, !v->type().is_container(), &graph));
      }
    }
  }
  const auto& meta = graph_->metadata;
  auto get = [&](const char* key) {
    auto it = meta.find(key);
    return it == meta.end() ? std::string() : it->second;
  };
  WireWriter model;
  model.Int(1, IrVersion(options_.opset));
  model.Text(2, "slipway");
  if (!get("domain").empty()) model.Text(4, get("domain"));
  if (!get("model_version").empty())
    model.Int(5, std::strtoll(get("model_version").c_str(), nullptr, 10));
  if (!get("doc").empty()) model.Text(6, get("doc"));
  model.Message(7, graph);
  WireWriter opset;
  opset.Text(1, "");
  opset.Int(2, options_.opset);
  model.Message(8, opset);
  std::map<std::string, int> domains;  // with their versions
  if (options_.qonnx) domains[kQonnxDomain] = 1;
  CollectDomains(*graph_, &domains);
  for (const auto& [name, version] : domains) {
    WireWriter domain;
    domain.Text(1, name);
    domain.Int(2, version);
    model.Message(8, domain);
  }
  constexpr std::string_view kPrefix = "metadata.";
  for (const auto& [key, value] : meta) {
    if (!key.starts_with(kPrefix)) continue;
    WireWriter pair;
    pair.Text(1, key.substr(kPrefix.size()));
    pair.Text(2, value);
    model.Message(14, pair);
  }
  return model;
}

// Streams the tensors, each at a multiple of 64 bytes, into a file that takes its name when whole.
Status WriteData(const std::string& path, const std::vector<const ir::Tensor*>& tensors) {
  const std::string temporary = path + ".partial";
  std::error_code ignored;
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    int64_t position = 0;
    for (const ir::Tensor* t : tensors) {
      constexpr char kZeros[64] = {};
      const int64_t start = RoundUp(position, 64);
      out.write(kZeros, start - position);
      out.write(reinterpret_cast<const char*>(t->bytes().data()),
                static_cast<std::streamsize>(t->bytes().size()));
      position = start + static_cast<int64_t>(t->bytes().size());
    }
    out.close();
    if (!out) {
      std::filesystem::remove(temporary, ignored);
      return Unavailable("cannot write '" + path +
                         "'; check the folder, its permissions and the space on the disk");
    }
  }
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) {
    std::filesystem::remove(temporary, ignored);
    return Unavailable("cannot write '" + path + "': " + error.message());
  }
  return OkStatus();
}

}  // namespace

Status ExportOnnx(const Graph& graph, const std::string& path, const ExportOptions& options) {
  const std::string data_name = std::filesystem::path(path).filename().string() + ".data";
  Exporter exporter(options, data_name);
  SLIPWAY_ASSIGN_OR_RETURN(WireWriter model, exporter.Run(graph));
  if (!exporter.external().empty()) {
    SLIPWAY_RETURN_IF_ERROR(WriteData(
        (std::filesystem::path(path).parent_path() / data_name).string(), exporter.external()));
  }
  return WriteFile(path, std::span<const uint8_t>(model.Finish()));
}

Result<std::vector<uint8_t>> ExportOnnxBytes(const Graph& graph, const ExportOptions& options) {
  Exporter exporter(options, "");
  SLIPWAY_ASSIGN_OR_RETURN(WireWriter model, exporter.Run(graph));
  return model.Finish();
}

}  // namespace slipway::onnx
