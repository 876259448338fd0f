#pragma once
// The messages of onnx.proto3 that Slipway reads, as views into the file's bytes. Unknown fields
// are skipped; tensors stay unread until somebody asks.
// https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "model/frontends/onnx/tensor_proto.h"

namespace slipway::onnx {

using Bytes = std::span<const uint8_t>;

// AttributeProto.AttributeType.
enum class AttributeType : uint8_t {
  kUndefined = 0,
  kFloat = 1,
  kInt = 2,
  kString = 3,
  kTensor = 4,
  kGraph = 5,
  kFloats = 6,
  kInts = 7,
  kStrings = 8,
  kTensors = 9,
  kGraphs = 10,
  kSparseTensor = 11,
  kSparseTensors = 12,
  kTypeProto = 13,
  kTypeProtos = 14,
};

struct GraphProto;
struct ValueInfoProto;

struct AttributeProto {
  std::string_view name, reference;  // reference: ref_attr_name, inside functions only
  AttributeType type = AttributeType::kUndefined;
  float f = 0;
  int64_t i = 0;
  std::string_view s;
  Bytes t;  // TensorProto
  std::shared_ptr<ValueInfoProto> type_info;  // TypeProto, without a name
  std::shared_ptr<GraphProto> g;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string_view> strings;
};

struct NodeProto {
  std::string_view name, op_type, domain, overload;
  std::vector<std::string_view> inputs, outputs;
  std::vector<AttributeProto> attributes;
  int64_t opset = 0;  // of the default domain, where it is not the model's (functions have their own)
};

struct DimProto {
  std::optional<int64_t> value;
  std::string_view param;
};

struct ValueInfoProto {
  std::string_view name;
  enum class Kind : uint8_t {
    kNone,
    kTensor,
    kSequence,  // of tensors, as the next two
    kOptional,
    kOptionalSequence,
    kMap,
    kSparse,
    kNested,  // sequences of sequences and the like
    kOther
  } kind = Kind::kNone;
  // Of the tensor, or of the tensors in it.
  int64_t elem_type = 0;
  std::optional<std::vector<DimProto>> shape;
};

using StringPair = std::pair<std::string_view, std::string_view>;

struct GraphProto {
  std::string_view name, doc;
  std::vector<NodeProto> nodes;
  std::vector<TensorProto> initializers;
  std::vector<std::string_view> sparse_initializers;  // names
  std::vector<ValueInfoProto> inputs, outputs, value_info;
  // A body's: names that it reads and does not define, in the order of their first use
  // (FindCaptured).
  std::vector<std::string_view> captured;
};

struct FunctionProto {
  std::string_view name, domain, overload;
  std::vector<std::string_view> inputs, outputs;
  std::vector<AttributeProto> defaults;  // of its attributes that have one
  std::vector<NodeProto> nodes;
  std::vector<std::pair<std::string_view, int64_t>> opsets;
};

struct ModelProto {
  int64_t ir_version = 0, model_version = 0;
  std::string_view producer_name, producer_version, domain, doc;
  std::vector<std::pair<std::string_view, int64_t>> opsets;  // domain, version
  std::vector<StringPair> metadata;
  std::vector<FunctionProto> functions;
  GraphProto graph;
  std::deque<std::string> text;  // names that are not in the file's bytes (functions.h)
};

struct ParseLimits {
  size_t nodes = 1'000'000;   // of the graph, its bodies and the functions together
  size_t values = 4'000'000;  // inputs, outputs, initialisers and value_info together
};

// Errors: InvalidArgument "is not an ONNX model" with what it looks like instead, DataLoss when it
// is cut off, ResourceExhausted for a limit.
Result<ModelProto> ParseModel(Bytes file, const ParseLimits& limits);

// Fills `captured` of every body in the graph.
void FindCaptured(GraphProto* graph);
// Calls f(name) for everything that a node reads: its inputs and what its bodies capture.
template <typename F>
void ForEachRead(const NodeProto& node, F&& f) {
  for (std::string_view name : node.inputs) {
    if (!name.empty()) f(name);
  }
  for (const AttributeProto& a : node.attributes) {
    if (!a.g) continue;
    for (std::string_view name : a.g->captured) f(name);
  }
}

}  // namespace slipway::onnx
