#pragma once
// Writes TensorFlow Lite files for tests, from the same schema that the reader uses.

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "model/frontends/tflite/import.h"
#include "model/frontends/tflite/tflite_generated.h"
#include "model/interp/interpreter.h"
#include "model/ir/graph.h"

namespace slipway::tflite {

using B = fb::BuiltinOperator;
using T = fb::TensorType;

template <typename V>
struct TypeOf;
#define SLIPWAY_TFLITE_TYPE(c, t)              \
  template <>                                  \
  struct TypeOf<c> {                           \
    static constexpr fb::TensorType value = t; \
  };
SLIPWAY_TFLITE_TYPE(float, T::FLOAT32)
SLIPWAY_TFLITE_TYPE(int32_t, T::INT32)
SLIPWAY_TFLITE_TYPE(int64_t, T::INT64)
SLIPWAY_TFLITE_TYPE(int8_t, T::INT8)
SLIPWAY_TFLITE_TYPE(uint8_t, T::UINT8)
SLIPWAY_TFLITE_TYPE(int16_t, T::INT16)
#undef SLIPWAY_TFLITE_TYPE

struct Quant {
  std::vector<float> scale;
  std::vector<int64_t> zero;
  int axis = 0;
};

class Writer {
 public:
  fb::ModelT model;

  Writer() {
    model.version = 3;
    model.description = "test";
    model.buffers.push_back(std::make_unique<fb::BufferT>());
    model.subgraphs.push_back(std::make_unique<fb::SubGraphT>());
  }
  // The sub-graph that the methods below add to.
  fb::SubGraphT& graph() { return *model.subgraphs[current]; }
  // Adds a sub-graph and goes on there; its index.
  int SubGraph() {
    model.subgraphs.push_back(std::make_unique<fb::SubGraphT>());
    current = model.subgraphs.size() - 1;
    return static_cast<int>(current);
  }
  size_t current = 0;
  fb::TensorT& tensor(int i) { return *graph().tensors[static_cast<size_t>(i)]; }
  fb::OperatorT& op(size_t i) { return *graph().operators[i]; }

  // A tensor that an operator computes. -1 in `shape`: dynamic.
  int Value(const std::string& name, std::vector<int32_t> shape, T type = T::FLOAT32,
            const Quant& quant = {}) {
    auto t = std::make_unique<fb::TensorT>();
    t->name = name;
    t->type = type;
    t->has_rank = true;
    for (int32_t& d : shape) {
      if (d == -1) t->shape_signature = shape;
    }
    for (int32_t& d : shape) d = d == -1 ? 1 : d;
    t->shape = shape;
    if (!quant.scale.empty()) {
      t->quantization = std::make_unique<fb::QuantizationParametersT>();
      t->quantization->scale = quant.scale;
      t->quantization->zero_point =
          quant.zero.empty() ? std::vector<int64_t>(quant.scale.size(), 0) : quant.zero;
      t->quantization->quantized_dimension = quant.axis;
    }
    // Every tensor has a buffer of its own, as the converter writes them.
    t->buffer = static_cast<uint32_t>(model.buffers.size());
    model.buffers.push_back(std::make_unique<fb::BufferT>());
    graph().tensors.push_back(std::move(t));
    return static_cast<int>(graph().tensors.size()) - 1;
  }
  int Input(const std::string& name, const std::vector<int32_t>& shape, T type = T::FLOAT32,
            const Quant& quant = {}) {
    graph().inputs.push_back(Value(name, shape, type, quant));
    return graph().inputs.back();
  }
  int Output(int tensor) {
    graph().outputs.push_back(tensor);
    return tensor;
  }
  int Bytes(const std::string& name, const std::vector<int32_t>& shape, T type,
            std::vector<uint8_t> bytes, const Quant& quant = {}) {
    const int i = Value(name, shape, type, quant);
    model.buffers[tensor(i).buffer]->data = std::move(bytes);
    return i;
  }
  template <typename V>
  int Constant(const std::string& name, const std::vector<int32_t>& shape,
               const std::vector<V>& values, const Quant& quant = {}) {
    std::vector<uint8_t> bytes(values.size() * sizeof(V));
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return Bytes(name, shape, TypeOf<V>::value, std::move(bytes), quant);
  }
  // One level of a sparse tensor: dense of a size, or rows of indices.
  static std::unique_ptr<fb::DimensionMetadataT> DenseLevel(int32_t size) {
    auto m = std::make_unique<fb::DimensionMetadataT>();
    m->format = fb::DimensionType::DENSE;
    m->dense_size = size;
    return m;
  }
  static std::unique_ptr<fb::DimensionMetadataT> CompressedLevel(
      const std::vector<uint8_t>& segments, const std::vector<int32_t>& indices) {
    auto m = std::make_unique<fb::DimensionMetadataT>();
    m->format = fb::DimensionType::SPARSE_CSR;
    fb::Uint8VectorT s;
    s.values = segments;
    m->array_segments.Set(std::move(s));
    fb::Int32VectorT i;
    i.values = indices;
    m->array_indices.Set(std::move(i));
    return m;
  }
  int Ints(const std::string& name, const std::vector<int32_t>& values) {
    return Constant<int32_t>(name, {static_cast<int32_t>(values.size())}, values);
  }
  int Scalar(const std::string& name, int32_t value) {
    return Constant<int32_t>(name, {}, {value});
  }

  fb::OperatorT& Op(B code, const std::vector<int32_t>& inputs,
                    const std::vector<int32_t>& outputs) {
    auto op = std::make_unique<fb::OperatorT>();
    op->opcode_index = static_cast<uint32_t>(Code(code, ""));
    op->inputs = inputs;
    op->outputs = outputs;
    graph().operators.push_back(std::move(op));
    return *graph().operators.back();
  }
  template <typename O>
  fb::OperatorT& Op(B code, const std::vector<int32_t>& inputs, const std::vector<int32_t>& outputs,
                    O options) {
    fb::OperatorT& op = Op(code, inputs, outputs);
    op.builtin_options.Set(std::move(options));
    return op;
  }
  fb::OperatorT& Custom(const std::string& name, const std::vector<int32_t>& inputs,
                        const std::vector<int32_t>& outputs) {
    fb::OperatorT& op = Op(B::CUSTOM, inputs, outputs);
    op.opcode_index = static_cast<uint32_t>(Code(B::CUSTOM, name));
    return op;
  }

  std::vector<uint8_t> File() const {
    flatbuffers::FlatBufferBuilder builder;
    fb::FinishModelBuffer(builder, fb::Model::Pack(builder, &model));
    return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
  }
  Result<std::unique_ptr<ir::Graph>> Import(const ImportOptions& options = {}) const {
    auto bytes = std::make_shared<std::vector<uint8_t>>(File());
    return ImportTfliteBytes(*bytes, bytes, options);
  }

 private:
  int Code(B code, const std::string& custom) {
    for (size_t i = 0; i < model.operator_codes.size(); ++i) {
      if (model.operator_codes[i]->builtin_code == code &&
          model.operator_codes[i]->custom_code == custom)
        return static_cast<int>(i);
    }
    auto c = std::make_unique<fb::OperatorCodeT>();
    c->builtin_code = code;
    c->deprecated_builtin_code = static_cast<int8_t>(std::min(static_cast<int>(code), 127));
    c->custom_code = custom;
    c->version = 1;
    model.operator_codes.push_back(std::move(c));
    return static_cast<int>(model.operator_codes.size()) - 1;
  }
};

// Options in one line.
template <typename O, typename F>
O With(F&& set) {
  O o;
  set(o);
  return o;
}

inline fb::Conv2DOptionsT ConvOptions(fb::Padding padding, int stride,
                                      fb::Activation activation = fb::Activation::NONE,
                                      int dilation = 1) {
  fb::Conv2DOptionsT o;
  o.padding = padding;
  o.stride_w = o.stride_h = stride;
  o.activation = activation;
  o.dilation_w_factor = o.dilation_h_factor = dilation;
  return o;
}
inline fb::DepthwiseConv2DOptionsT DepthwiseOptions(
    fb::Padding padding, int stride, int multiplier,
    fb::Activation activation = fb::Activation::NONE) {
  fb::DepthwiseConv2DOptionsT o;
  o.padding = padding;
  o.stride_w = o.stride_h = stride;
  o.depth_multiplier = multiplier;
  o.activation = activation;
  return o;
}
inline fb::Pool2DOptionsT PoolOptions(fb::Padding padding, int stride, int filter,
                                      fb::Activation activation = fb::Activation::NONE) {
  fb::Pool2DOptionsT o;
  o.padding = padding;
  o.stride_w = o.stride_h = stride;
  o.filter_width = o.filter_height = filter;
  o.activation = activation;
  return o;
}

inline int CountOps(const ir::Graph& g, std::string_view op, std::string_view domain = "") {
  int n = 0;
  for (const auto& node : g.nodes()) n += node->Is(op, domain);
  return n;
}

}  // namespace slipway::tflite
