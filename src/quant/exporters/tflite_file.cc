#include "quant/exporters/tflite_file.h"

#include <algorithm>
#include <cstring>

namespace slipway::quant {
namespace {

fb::TensorType TypeFor(DType type) {
  switch (type) {
    case DType::kFloat32:
      return fb::TensorType::FLOAT32;
    case DType::kInt8:
      return fb::TensorType::INT8;
    case DType::kInt64:
      return fb::TensorType::INT64;
    default:
      return fb::TensorType::INT32;
  }
}

}  // namespace

TfliteFile::TfliteFile() {
  model_.version = 3;
  model_.description = "slipway";
  model_.buffers.push_back(std::make_unique<fb::BufferT>());  // the empty one, by custom
  model_.subgraphs.push_back(std::make_unique<fb::SubGraphT>());
  graph().name = "main";
}

int TfliteFile::Tensor(const std::string& name, const std::vector<int64_t>& shape,
                       fb::TensorType type, const TfliteQuant& quant) {
  auto t = std::make_unique<fb::TensorT>();
  t->name = name;
  t->type = type;
  t->has_rank = true;
  const bool dynamic = std::find(shape.begin(), shape.end(), -1) != shape.end();
  for (int64_t d : shape) {
    t->shape.push_back(static_cast<int32_t>(d < 0 ? 1 : d));
    if (dynamic) t->shape_signature.push_back(static_cast<int32_t>(d));
  }
  if (!quant.scales.empty()) {
    t->quantization = std::make_unique<fb::QuantizationParametersT>();
    t->quantization->scale = quant.scales;
    t->quantization->zero_point = quant.zeros;
    t->quantization->quantized_dimension = quant.axis;
  }
  // Every tensor has a buffer of its own, as the converter writes them and other readers expect.
  t->buffer = static_cast<uint32_t>(model_.buffers.size());
  model_.buffers.push_back(std::make_unique<fb::BufferT>());
  graph().tensors.push_back(std::move(t));
  return static_cast<int>(graph().tensors.size()) - 1;
}

int TfliteFile::Constant(const std::string& name, const ir::Tensor& value,
                         const TfliteQuant& quant) {
  const int i = Tensor(name, std::vector<int64_t>(value.dims().begin(), value.dims().end()),
                       TypeFor(value.dtype()), quant);
  model_.buffers.back()->data.assign(value.bytes().begin(), value.bytes().end());
  return i;
}

int TfliteFile::Ints(const std::string& name, const std::vector<int64_t>& values) {
  std::vector<int32_t> narrow(values.begin(), values.end());
  return Constant(name, ir::Tensor::Vector(narrow));
}

void TfliteFile::Op(fb::BuiltinOperator code, int version, std::vector<int> inputs,
                    std::vector<int> outputs) {
  size_t at = 0;
  auto& codes = model_.operator_codes;
  while (at < codes.size() && !(codes[at]->builtin_code == code && codes[at]->version == version))
    ++at;
  if (at == codes.size()) {
    auto c = std::make_unique<fb::OperatorCodeT>();
    c->builtin_code = code;
    c->deprecated_builtin_code = static_cast<int8_t>(std::min(static_cast<int>(code), 127));
    c->version = version;
    codes.push_back(std::move(c));
  }
  auto op = std::make_unique<fb::OperatorT>();
  op->opcode_index = static_cast<uint32_t>(at);
  op->inputs.assign(inputs.begin(), inputs.end());
  op->outputs.assign(outputs.begin(), outputs.end());
  graph().operators.push_back(std::move(op));
}

TfliteQuant TfliteFile::QuantOf(int tensor) const {
  const auto& q = At(tensor).quantization;
  if (!q) return {};
  return {q->scale, q->zero_point, q->quantized_dimension};
}

std::vector<int64_t> TfliteFile::ShapeOf(int tensor) const {
  const fb::TensorT& t = At(tensor);
  const auto& s = t.shape_signature.empty() ? t.shape : t.shape_signature;
  return {s.begin(), s.end()};
}

Result<std::string> TfliteFile::Bytes() const {
  int64_t size = 0;
  for (const auto& b : model_.buffers) size += static_cast<int64_t>(b->data.size());
  if (size > int64_t{2000} << 20) {
    return ResourceExhausted("the model has " + std::to_string(size) +
                             " bytes of weights, and a .tflite file holds 2 GB");
  }
  flatbuffers::FlatBufferBuilder builder(1 << 20);
  fb::FinishModelBuffer(builder, fb::Model::Pack(builder, &model_));
  return std::string(reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize());
}

}  // namespace slipway::quant
