#include "model/frontends/onnx/proto.h"

#include <algorithm>
#include <string>
#include <unordered_set>

#include "model/ir/control.h"

namespace slipway::onnx {
namespace {

bool IsBytes(const Field& f) { return f.type == WireType::kBytes; }

Result<StringPair> ParsePair(Bytes message) {
  StringPair out;
  WireReader reader(message);
  Field f;
  while (reader.Next(&f)) {
    if (f.id == 1 && IsBytes(f)) out.first = f.Text();
    if (f.id == 2 && IsBytes(f)) out.second = f.Text();
  }
  SLIPWAY_RETURN_IF_ERROR(reader.status());
  return out;
}

// What is counted over all graphs of a file.
struct Counter {
  const ParseLimits& limits;
  size_t nodes = 0, values = 0;
  int depth = 0;  // of bodies
};

Status ParseGraph(Bytes message, Counter& counter, GraphProto* out);
Status ParseType(Bytes message, ValueInfoProto* out, int depth = 0);

Status ParseBody(Bytes message, Counter& counter, AttributeProto* out) {
  if (counter.depth >= ir::kMaxBodyDepth) {
    return Unsupported("sub-graphs are nested more than " + std::to_string(ir::kMaxBodyDepth) +
                       " deep; flatten the model's control flow");
  }
  if (out->g) return InvalidArgument("has two graphs");
  out->g = std::make_shared<GraphProto>();
  ++counter.depth;
  Status status = ParseGraph(message, counter, out->g.get());
  --counter.depth;
  return status;
}

Status ParseAttribute(Bytes message, Counter& counter, AttributeProto* out) {
  WireReader reader(message);
  Field f;
  // Files of IR version 1 carry no type: the field that is there tells.
  AttributeType seen = AttributeType::kUndefined;
  Status status;
  while (status.ok() && reader.Next(&f)) {
    auto saw = [&](AttributeType t) { seen = t; };
    switch (f.id) {
      case 1:
        if (IsBytes(f)) out->name = f.Text();
        break;
      case 2:
        if (f.type == WireType::kFixed32) out->f = f.Float();
        saw(AttributeType::kFloat);
        break;
      case 3:
        if (f.type == WireType::kVarint) out->i = f.Int();
        saw(AttributeType::kInt);
        break;
      case 4:
        if (IsBytes(f)) out->s = f.Text();
        saw(AttributeType::kString);
        break;
      case 5:
        if (IsBytes(f)) out->t = f.bytes;
        saw(AttributeType::kTensor);
        break;
      case 6:
        if (IsBytes(f)) status = ParseBody(f.bytes, counter, out);
        saw(AttributeType::kGraph);
        break;
      case 7:
        status = ForEachFixed<float>(f, [&](float v) { out->floats.push_back(v); });
        saw(AttributeType::kFloats);
        break;
      case 8:
        status =
            ForEachVarint(f, [&](uint64_t v) { out->ints.push_back(static_cast<int64_t>(v)); });
        saw(AttributeType::kInts);
        break;
      case 9:
        if (IsBytes(f)) out->strings.push_back(f.Text());
        saw(AttributeType::kStrings);
        break;
      case 10:
        saw(AttributeType::kTensors);
        break;
      case 11:
        saw(AttributeType::kGraphs);
        break;
      case 14:
        out->type_info = std::make_shared<ValueInfoProto>();
        if (IsBytes(f)) status = ParseType(f.bytes, out->type_info.get());
        saw(AttributeType::kTypeProto);
        break;
      case 15:
        saw(AttributeType::kTypeProtos);
        break;
      case 20:
        out->type =
            f.number <= 14 ? static_cast<AttributeType>(f.number) : AttributeType::kUndefined;
        if (f.number > 14)
          status = InvalidArgument("attribute type " + std::to_string(f.number) + " is unknown");
        break;
      case 21:
        if (IsBytes(f)) out->reference = f.Text();
        break;
      case 22:
        saw(AttributeType::kSparseTensor);
        break;
      case 23:
        saw(AttributeType::kSparseTensors);
        break;
      default:
        break;
    }
  }
  if (status.ok()) status = reader.status();
  if (out->type == AttributeType::kUndefined) out->type = seen;
  return std::move(status).With("attribute " + Quote(out->name));
}

Status ParseNode(Bytes message, Counter& counter, NodeProto* out) {
  if (counter.nodes++ == counter.limits.nodes) {
    return ResourceExhausted("the graph has more than " + std::to_string(counter.limits.nodes) +
                             " nodes");
  }
  WireReader reader(message);
  Field f;
  Status status;
  while (status.ok() && reader.Next(&f)) {
    if (!IsBytes(f)) continue;
    switch (f.id) {
      case 1:
        out->inputs.push_back(f.Text());
        break;
      case 2:
        out->outputs.push_back(f.Text());
        break;
      case 3:
        out->name = f.Text();
        break;
      case 4:
        out->op_type = f.Text();
        break;
      case 5:
        status = ParseAttribute(f.bytes, counter, &out->attributes.emplace_back());
        break;
      case 7:
        out->domain = f.Text();
        break;
      case 8:
        out->overload = f.Text();
        break;
      default:
        break;
    }
  }
  if (status.ok()) status = reader.status();
  return std::move(status).With("node " + Quote(out->name));
}

Status ParseShape(Bytes message, std::vector<DimProto>* out) {
  WireReader reader(message);
  Field f;
  while (reader.Next(&f)) {
    if (f.id != 1 || !IsBytes(f)) continue;
    if (out->size() > static_cast<size_t>(kMaxRank)) {
      return Unsupported("has more than " + std::to_string(kMaxRank) + " dimensions");
    }
    WireReader dim(f.bytes);
    DimProto& d = out->emplace_back();
    Field g;
    while (dim.Next(&g)) {
      if (g.id == 1 && g.type == WireType::kVarint) d.value = g.Int();
      if (g.id == 2 && IsBytes(g)) d.param = g.Text();
    }
    SLIPWAY_RETURN_IF_ERROR(dim.status());
  }
  SLIPWAY_RETURN_IF_ERROR(reader.status());
  if (out->size() > static_cast<size_t>(kMaxRank)) {
    return Unsupported("has more than " + std::to_string(kMaxRank) + " dimensions");
  }
  return OkStatus();
}

// The TypeProto in a TypeProto.Sequence or TypeProto.Optional; its kind and `of` together give that
// of the whole.
Status ParseContainer(Bytes message, bool sequence, ValueInfoProto* out, int depth) {
  using Kind = ValueInfoProto::Kind;
  out->kind = sequence ? Kind::kSequence : Kind::kOptional;
  WireReader reader(message);
  Field f;
  while (reader.Next(&f)) {
    if (f.id != 1 || !IsBytes(f)) continue;
    ValueInfoProto inner;
    constexpr int kDeepest = 2;
    if (depth < kDeepest) SLIPWAY_RETURN_IF_ERROR(ParseType(f.bytes, &inner, depth + 1));
    out->elem_type = inner.elem_type;
    out->shape = std::move(inner.shape);
    if (inner.kind == Kind::kSequence && !sequence)
      out->kind = Kind::kOptionalSequence;
    else if (inner.kind == Kind::kMap || inner.kind == Kind::kSparse)
      out->kind = inner.kind;
    else if (inner.kind != Kind::kTensor)
      out->kind = Kind::kNested;
  }
  return reader.status();
}

Status ParseType(Bytes message, ValueInfoProto* out, int depth) {
  WireReader reader(message);
  Field f;
  while (reader.Next(&f)) {
    if (!IsBytes(f)) continue;
    using Kind = ValueInfoProto::Kind;
    switch (f.id) {
      case 1: {
        out->kind = Kind::kTensor;
        WireReader tensor(f.bytes);
        Field g;
        while (tensor.Next(&g)) {
          if (g.id == 1 && g.type == WireType::kVarint) out->elem_type = g.Int();
          if (g.id == 2 && IsBytes(g)) {
            out->shape.emplace();
            SLIPWAY_RETURN_IF_ERROR(ParseShape(g.bytes, &*out->shape));
          }
        }
        SLIPWAY_RETURN_IF_ERROR(tensor.status());
        break;
      }
      case 4:
        SLIPWAY_RETURN_IF_ERROR(ParseContainer(f.bytes, true, out, depth));
        break;
      case 5:
        out->kind = Kind::kMap;
        break;
      case 6:
        break;  // denotation
      case 8:
        out->kind = Kind::kSparse;
        break;
      case 9:
        SLIPWAY_RETURN_IF_ERROR(ParseContainer(f.bytes, false, out, depth));
        break;
      default:
        out->kind = Kind::kOther;
        break;
    }
  }
  return reader.status();
}

Status ParseValueInfo(Bytes message, ValueInfoProto* out) {
  WireReader reader(message);
  Field f;
  Status status;
  while (status.ok() && reader.Next(&f)) {
    if (f.id == 1 && IsBytes(f)) out->name = f.Text();
    if (f.id == 2 && IsBytes(f)) status = ParseType(f.bytes, out);
  }
  if (status.ok()) status = reader.status();
  return std::move(status).With("value " + Quote(out->name));
}

// The name of a SparseTensorProto is that of its values tensor.
std::string_view SparseName(Bytes message) {
  WireReader reader(message);
  Field f;
  while (reader.Next(&f)) {
    if (f.id != 1 || !IsBytes(f)) continue;
    auto values = ParseTensorProto(f.bytes);
    if (values.ok()) return values->name;
  }
  return "";
}

Status ParseGraph(Bytes message, Counter& counter, GraphProto* out) {
  WireReader reader(message);
  Field f;
  while (reader.Next(&f)) {
    if (!IsBytes(f)) continue;
    switch (f.id) {
      case 1:
        SLIPWAY_RETURN_IF_ERROR(ParseNode(f.bytes, counter, &out->nodes.emplace_back()));
        break;
      case 2:
        out->name = f.Text();
        break;
      case 5: {
        ++counter.values;
        SLIPWAY_ASSIGN_OR_RETURN(TensorProto tensor, ParseTensorProto(f.bytes));
        out->initializers.push_back(std::move(tensor));
        break;
      }
      case 10:
        out->doc = f.Text();
        break;
      case 11:
      case 12:
      case 13: {
        ++counter.values;
        auto& list = f.id == 11 ? out->inputs : f.id == 12 ? out->outputs : out->value_info;
        SLIPWAY_RETURN_IF_ERROR(ParseValueInfo(f.bytes, &list.emplace_back()));
        break;
      }
      case 15:
        ++counter.values;
        out->sparse_initializers.push_back(SparseName(f.bytes));
        break;
      default:
        break;
    }
    if (counter.values > counter.limits.values) {
      return ResourceExhausted("the graph declares more than " +
                               std::to_string(counter.limits.values) +
                               " values");
    }
  }
  return reader.status();
}

Status ParseOpset(Bytes message, std::vector<std::pair<std::string_view, int64_t>>* out) {
  std::pair<std::string_view, int64_t> opset{"", 0};
  WireReader reader(message);
  Field f;
  while (reader.Next(&f)) {
    if (f.id == 1 && IsBytes(f)) opset.first = f.Text();
    if (f.id == 2 && f.type == WireType::kVarint) opset.second = f.Int();
  }
  if (opset.first == "ai.onnx") opset.first = "";
  if (out->size() < 1000) out->push_back(opset);
  return reader.status();
}

Status ParseFunction(Bytes message, Counter& counter, FunctionProto* out) {
  WireReader reader(message);
  Field f;
  Status status;
  while (status.ok() && reader.Next(&f)) {
    if (!IsBytes(f)) continue;
    switch (f.id) {
      case 1:
        out->name = f.Text();
        break;
      case 4:
        out->inputs.push_back(f.Text());
        break;
      case 5:
        out->outputs.push_back(f.Text());
        break;
      case 7:
        status = ParseNode(f.bytes, counter, &out->nodes.emplace_back());
        break;
      case 9:
        status = ParseOpset(f.bytes, &out->opsets);
        break;
      case 10:
        out->domain = f.Text();
        break;
      case 11:
        status = ParseAttribute(f.bytes, counter, &out->defaults.emplace_back());
        break;
      case 13:
        out->overload = f.Text();
        break;
      default:
        break;
    }
  }
  if (status.ok()) status = reader.status();
  return std::move(status).With("function " + Quote(out->name));
}

// What the first bytes of some common files say, for a helpful refusal.
std::string LooksLike(Bytes file) {
  auto starts = [&](std::string_view magic) {
    return file.size() >= magic.size() &&
           std::equal(magic.begin(), magic.end(), file.begin(),
                      [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; });
  };
  if (starts("\x89PNG")) return "a PNG image";
  if (starts("\xff\xd8\xff")) return "a JPEG image";
  if (starts("GIF8")) return "a GIF image";
  if (starts("PK\x03\x04"))
    return "a ZIP archive (a PyTorch .pt file is one: export it with torch.onnx.export)";
  if (starts("\x1f\x8b")) return "a gzip file";
  if (starts("\x80\x02") || starts("\x80\x04"))
    return "a Python pickle (export it with torch.onnx.export)";
  if (starts("\x89HDF")) return "an HDF5 file (a Keras model is one: convert it with tf2onnx)";
  if (starts("%PDF")) return "a PDF document";
  if (starts("\x7f"
             "ELF"))
    return "a program";
  if (starts("version https://git-lfs")) return "a Git LFS pointer (fetch it with git lfs pull)";
  if (file.size() >= 8 && std::equal(file.begin() + 4, file.begin() + 8, "TFL3"))
    return "a TensorFlow Lite model";
  const size_t sample = std::min<size_t>(file.size(), 512);
  const bool text = std::all_of(
      file.begin(), file.begin() + static_cast<ptrdiff_t>(sample),
      [](uint8_t c) { return (c >= 0x20 && c != 0x7f) || c == '\n' || c == '\r' || c == '\t'; });
  return text ? "a text file" : "a file of another kind";
}

bool IsModelField(const Field& f) {
  switch (f.id) {
    case 1:
    case 5:
      return f.type == WireType::kVarint;
    case 2:
    case 3:
    case 4:
    case 6:
    case 7:
    case 8:
    case 14:
    case 20:
    case 25:
    case 26:
      return f.type == WireType::kBytes;
    default:
      return false;
  }
}

}  // namespace

Result<ModelProto> ParseModel(Bytes file, const ParseLimits& limits) {
  if (file.empty()) return InvalidArgument("is empty, not an ONNX model");
  ModelProto out;
  WireReader reader(file);
  Field f;
  Counter counter{limits};
  bool graph = false, known = false;
  Status status;
  while (status.ok() && reader.Next(&f)) {
    if (!IsModelField(f)) {
      // A model's first field is always one that we know.
      if (!known) break;
      continue;
    }
    known = true;
    switch (f.id) {
      case 1:
        out.ir_version = f.Int();
        break;
      case 2:
        out.producer_name = f.Text();
        break;
      case 3:
        out.producer_version = f.Text();
        break;
      case 4:
        out.domain = f.Text();
        break;
      case 5:
        out.model_version = f.Int();
        break;
      case 6:
        out.doc = f.Text();
        break;
      case 7:
        graph = true;
        status = ParseGraph(f.bytes, counter, &out.graph);
        break;
      case 8:
        status = ParseOpset(f.bytes, &out.opsets);
        break;
      case 14: {
        auto pair = ParsePair(f.bytes);
        if (!pair.ok())
          status = pair.status();
        else if (out.metadata.size() < 10000)
          out.metadata.push_back(*pair);
        break;
      }
      case 25:
        if (out.functions.size() < limits.nodes)
          status = ParseFunction(f.bytes, counter, &out.functions.emplace_back());
        break;
      default:
        break;
    }
  }
  if (!known) return InvalidArgument("is not an ONNX model; it looks like " + LooksLike(file));
  if (status.ok()) status = reader.status();
  // A file whose every known field was broken is more likely no model at all than a damaged one.
  if (!status.ok() && !graph && out.ir_version == 0 && out.opsets.empty()) {
    return InvalidArgument("is not an ONNX model; it looks like " + LooksLike(file));
  }
  if (status.code() == StatusCode::kDataLoss) {
    return std::move(status).With("is truncated or damaged (copy or download it again)");
  }
  SLIPWAY_RETURN_IF_ERROR(status);
  if (!graph)
    return InvalidArgument("is not an ONNX model, or one without a graph; it looks like " +
                           LooksLike(file));
  return out;
}

void FindCaptured(GraphProto* graph) {
  std::unordered_set<std::string_view> known;  // defined here, or already listed
  for (const TensorProto& t : graph->initializers) known.insert(t.name);
  for (const ValueInfoProto& v : graph->inputs) known.insert(v.name);
  for (const NodeProto& n : graph->nodes) known.insert(n.outputs.begin(), n.outputs.end());
  graph->captured.clear();
  const auto read = [&](std::string_view name) {
    if (known.insert(name).second) graph->captured.push_back(name);
  };
  for (NodeProto& n : graph->nodes) {
    for (AttributeProto& a : n.attributes) {
      if (a.g) FindCaptured(a.g.get());
    }
    ForEachRead(n, read);
  }
  for (const ValueInfoProto& v : graph->outputs) read(v.name);
}

}  // namespace slipway::onnx
