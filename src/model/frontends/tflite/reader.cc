#include "model/frontends/tflite/reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"

namespace slipway::tflite {
namespace {

// FlatBuffers offsets are 32 bits: what lies behind is only reached by `offset` and `size` of
// buffers.
constexpr size_t kFlatBufferMost = (size_t{1} << 31) - 1;

DType ToDType(fb::TensorType type) {
  switch (type) {
    case fb::TensorType::FLOAT32:
      return DType::kFloat32;
    case fb::TensorType::FLOAT16:
      return DType::kFloat16;
    case fb::TensorType::INT32:
      return DType::kInt32;
    case fb::TensorType::UINT8:
      return DType::kUInt8;
    case fb::TensorType::INT64:
      return DType::kInt64;
    case fb::TensorType::BOOL:
      return DType::kBool;
    case fb::TensorType::INT16:
      return DType::kInt16;
    case fb::TensorType::INT8:
      return DType::kInt8;
    case fb::TensorType::FLOAT64:
      return DType::kFloat64;
    case fb::TensorType::UINT64:
      return DType::kUInt64;
    case fb::TensorType::UINT32:
      return DType::kUInt32;
    case fb::TensorType::UINT16:
      return DType::kUInt16;
    case fb::TensorType::INT4:
      return DType::kInt4;
    case fb::TensorType::BFLOAT16:
      return DType::kBFloat16;
    default:
      return DType::kUndefined;
  }
}

std::string_view View(const flatbuffers::String* s) {
  return s ? std::string_view(s->c_str(), s->size()) : std::string_view();
}

std::vector<int32_t> Ints(const flatbuffers::Vector<int32_t>* v) {
  return v ? std::vector<int32_t>(v->begin(), v->end()) : std::vector<int32_t>();
}

std::string Quote(std::string_view s) {
  std::string out = "'";
  for (char c : s.substr(0, 200)) out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return out + (s.size() > 200 ? "...'" : "'");
}

std::string Sizes(std::span<const int32_t> dims) {
  std::string s = "[";
  for (size_t i = 0; i < dims.size() && i < 20; ++i) s += (i ? ", " : "") + std::to_string(dims[i]);
  return s + (dims.size() > 20 ? ", ...]" : "]");
}

class Reader {
 public:
  Reader(Bytes bytes, const ReadLimits& limits) : bytes_(bytes), limits_(limits) {}

  Result<Model> Read() {
    if (bytes_.size() < 8 || !flatbuffers::BufferHasIdentifier(bytes_.data(), "TFL3")) {
      return InvalidArgument(
          "not a TensorFlow Lite file: the identifier 'TFL3' is missing at byte 4; convert the "
          "model with "
          "tf.lite.TFLiteConverter");
    }
    flatbuffers::Verifier::Options options;
    options.max_depth = 16;
    options.max_tables = limits_.tables;
    flatbuffers::Verifier verifier(bytes_.data(), std::min(bytes_.size(), kFlatBufferMost),
                                   options);
    if (!verifier.VerifyBuffer<fb::Model>("TFL3")) {
      return InvalidArgument(
          "the file is damaged: its FlatBuffers tables point outside it or are too many; copy or "
          "convert it again");
    }
    file_ = flatbuffers::GetRoot<fb::Model>(bytes_.data());
    model_.version = file_->version();
    if (model_.version != 3) {
      return Unsupported("schema version " + std::to_string(model_.version) +
                         " is not supported; convert the model with TensorFlow 1.9 or later, which "
                         "write version 3");
    }
    model_.description = View(file_->description());
    SLIPWAY_RETURN_IF_ERROR(ReadCodes());
    SLIPWAY_RETURN_IF_ERROR(ReadBuffers());
    const auto* graphs = file_->subgraphs();
    if (!graphs || graphs->size() == 0) return InvalidArgument("the model has no sub-graph");
    if (graphs->size() > limits_.subgraphs)
      return Limit("sub-graphs", graphs->size(), limits_.subgraphs);
    for (flatbuffers::uoffset_t i = 0; i < graphs->size(); ++i) {
      auto graph = ReadSubGraph(*graphs->Get(i));
      if (!graph.ok()) {
        return graphs->size() == 1 ? graph.status()
                                   : graph.status().With("sub-graph " + std::to_string(i));
      }
      model_.subgraphs.push_back(std::move(*graph));
    }
    SLIPWAY_RETURN_IF_ERROR(ReadSignatures());
    ReadMetadata();
    return std::move(model_);
  }

 private:
  static Status Limit(const std::string& what, size_t count, size_t most) {
    return ResourceExhausted("the model has " + std::to_string(count) + " " + what +
                             ", over the limit of " + std::to_string(most));
  }

  Status ReadCodes() {
    if (!file_->operator_codes()) return OkStatus();
    for (const fb::OperatorCode* code : *file_->operator_codes()) {
      OperatorInfo op;
      // Codes up to 126 are in the old one-byte field; writers fill both with the larger meaning
      // the truth.
      op.code = static_cast<fb::BuiltinOperator>(
          std::max(static_cast<int32_t>(code->deprecated_builtin_code()),
                   static_cast<int32_t>(code->builtin_code())));
      op.custom = View(code->custom_code());
      op.version = code->version();
      codes_.push_back(op);
    }
    return OkStatus();
  }

  Status ReadBuffers() {
    if (!file_->buffers()) return OkStatus();
    for (flatbuffers::uoffset_t i = 0; i < file_->buffers()->size(); ++i) {
      const fb::Buffer* buffer = file_->buffers()->Get(i);
      Bytes bytes;
      bool present = false;
      if (buffer->data() && buffer->data()->size() > 0) {
        bytes = {buffer->data()->data(), buffer->data()->size()};
        present = true;
      } else if (buffer->offset() > 1) {
        if (buffer->offset() > bytes_.size() || buffer->size() > bytes_.size() - buffer->offset()) {
          return DataLoss("buffer " + std::to_string(i) + " lies at byte " +
                          std::to_string(buffer->offset()) + " with " +
                          std::to_string(buffer->size()) + " bytes, outside the file of " +
                          std::to_string(bytes_.size()) + " bytes; the file is truncated");
        }
        bytes = bytes_.subspan(buffer->offset(), buffer->size());
        present = buffer->size() > 0;
      }
      buffers_.push_back({bytes, present});
    }
    return OkStatus();
  }

  Status ReadQuantization(const fb::QuantizationParameters& q, TensorInfo* t) {
    if (q.details_type() != fb::QuantizationDetails::NONE)
      return Unsupported(
          "custom quantization is not supported; convert the model with standard quantization");
    if (!q.scale() || q.scale()->size() == 0) return OkStatus();
    Quantization& out = t->quantization;
    const size_t count = q.scale()->size();
    if (q.zero_point() && q.zero_point()->size() != 0 && q.zero_point()->size() != count) {
      return InvalidArgument("it has " + std::to_string(count) + " scales but " +
                             std::to_string(q.zero_point()->size()) + " zero points");
    }
    out.scale.assign(q.scale()->begin(), q.scale()->end());
    if (q.zero_point() && q.zero_point()->size() != 0) {
      // The verifier lets 8-byte elements lie at multiples of 4.
      out.zero.resize(q.zero_point()->size());
      std::memcpy(out.zero.data(), q.zero_point()->Data(), out.zero.size() * sizeof(int64_t));
    }
    out.axis = q.quantized_dimension();
    for (float s : out.scale) {
      if (!std::isfinite(s) || s < 0)
        return InvalidArgument("its scale " + std::to_string(s) + " is not a positive number");
    }
    if (count == 1) {
      out.axis = 0;
      return OkStatus();
    }
    if (out.axis < 0 || out.axis >= t->shape.rank() ||
        t->shape[static_cast<size_t>(out.axis)] != static_cast<int64_t>(count)) {
      return InvalidArgument("it has " + std::to_string(count) + " scales along dimension " +
                             std::to_string(out.axis) + ", which its shape " + t->shape.ToString() +
                             " does not have");
    }
    return OkStatus();
  }

  Result<TensorInfo> ReadTensor(const fb::Tensor& from) {
    TensorInfo t;
    t.name = View(from.name());
    t.type = from.type();
    t.dtype = ToDType(from.type());
    t.is_variable = from.is_variable();
    t.sparsity = from.sparsity();
    const std::vector<int32_t> shape = Ints(from.shape());
    t.signature = Ints(from.shape_signature());
    if (shape.size() > static_cast<size_t>(kMaxRank)) {
      return Unsupported("it has " + std::to_string(shape.size()) + " dimensions; at most " +
                         std::to_string(kMaxRank) + " are supported");
    }
    for (int32_t d : shape) {
      if (d < -1) return InvalidArgument("its shape " + Sizes(shape) + " is impossible");
      t.shape.push_back(d);
    }
    // Old writers put -1 into `shape` itself.
    if (t.signature.empty() && std::count(shape.begin(), shape.end(), -1) > 0) t.signature = shape;
    for (size_t i = 0; i < t.shape.size(); ++i) {
      if (t.shape[i] == -1) t.shape[i] = 1;
    }
    if (!t.signature.empty()) {
      bool good = t.signature.size() == shape.size();
      for (size_t i = 0; good && i < shape.size(); ++i)
        good = t.signature[i] == -1 || t.signature[i] == t.shape[i];
      if (!good) {
        return InvalidArgument("its shape signature " + Sizes(t.signature) +
                               " contradicts its shape " + Sizes(shape));
      }
      if (std::count(t.signature.begin(), t.signature.end(), -1) == 0) t.signature.clear();
    }
    t.has_shape = !shape.empty() || from.has_rank();
    if (t.dtype != DType::kUndefined && !CheckedBytes(t.dtype, t.shape))
      return InvalidArgument("its shape " + Sizes(shape) + " is impossible");
    if (from.quantization()) SLIPWAY_RETURN_IF_ERROR(ReadQuantization(*from.quantization(), &t));
    if (from.buffer() >= std::max<size_t>(buffers_.size(), 1)) {
      return InvalidArgument("it uses buffer " + std::to_string(from.buffer()) + " of " +
                             std::to_string(buffers_.size()));
    }
    if (buffers_.empty() || from.buffer() == 0) return t;
    const auto& [bytes, present] = buffers_[from.buffer()];
    if (!present) {
      // A constant without elements has an empty buffer; so have activations of some writers.
      // Not by the count: the other extents may overflow it.
      t.constant = t.has_shape && t.signature.empty() && !t.is_variable &&
                   std::find(t.shape.begin(), t.shape.end(), 0) != t.shape.end();
      return t;
    }
    t.constant = true;
    t.bytes = bytes;
    t.has_shape = true;
    if (t.dtype == DType::kUndefined || t.sparsity) return t;
    const auto want = static_cast<uint64_t>(*CheckedBytes(t.dtype, t.shape));
    if (bytes.size() != want) {
      return InvalidArgument("its buffer has " + std::to_string(bytes.size()) + " bytes, but " +
                             DTypeName(t.dtype) + " " + t.shape.ToString() + " takes " +
                             std::to_string(want));
    }
    return t;
  }

  Status CheckIndices(std::span<const int32_t> indices, size_t count, bool optional,
                      const std::string& what) {
    for (int32_t i : indices) {
      if ((i == -1 && optional) || (i >= 0 && static_cast<size_t>(i) < count)) continue;
      return InvalidArgument(what + " refers to tensor " + std::to_string(i) + " of " +
                             std::to_string(count));
    }
    return OkStatus();
  }

  Result<SubGraphInfo> ReadSubGraph(const fb::SubGraph& from) {
    SubGraphInfo g;
    g.name = View(from.name());
    const size_t count = from.tensors() ? from.tensors()->size() : 0;
    const size_t operators = from.operators() ? from.operators()->size() : 0;
    tensors_ += count;
    operators_ += operators;
    if (tensors_ > limits_.tensors) return Limit("tensors", tensors_, limits_.tensors);
    if (operators_ > limits_.operators) return Limit("operators", operators_, limits_.operators);
    for (size_t i = 0; i < count; ++i) {
      const fb::Tensor* from_tensor = from.tensors()->Get(static_cast<flatbuffers::uoffset_t>(i));
      auto tensor = ReadTensor(*from_tensor);
      if (!tensor.ok())
        return tensor.status().With("tensor " + std::to_string(i) + " " +
                                    Quote(View(from_tensor->name())));
      g.tensors.push_back(std::move(*tensor));
    }
    g.inputs = Ints(from.inputs());
    g.outputs = Ints(from.outputs());
    SLIPWAY_RETURN_IF_ERROR(CheckIndices(g.inputs, count, false, "the list of inputs"));
    SLIPWAY_RETURN_IF_ERROR(CheckIndices(g.outputs, count, false, "the list of outputs"));
    for (size_t i = 0; i < operators; ++i) {
      const fb::Operator& op = *from.operators()->Get(static_cast<flatbuffers::uoffset_t>(i));
      if (op.opcode_index() >= codes_.size()) {
        return InvalidArgument("operator " + std::to_string(i) + " has code index " +
                               std::to_string(op.opcode_index()) + " of " +
                               std::to_string(codes_.size()));
      }
      OperatorInfo info = codes_[op.opcode_index()];
      info.inputs = Ints(op.inputs());
      info.outputs = Ints(op.outputs());
      info.intermediates = Ints(op.intermediates());
      info.options = &op;
      if (op.custom_options())
        info.custom_options = {op.custom_options()->data(), op.custom_options()->size()};
      if (op.large_custom_options_offset() > 1) {
        const uint64_t at = op.large_custom_options_offset(), size = op.large_custom_options_size();
        if (at > bytes_.size() || size > bytes_.size() - at) {
          return DataLoss("operator " + std::to_string(i) +
                          " has options outside the file; the file is truncated");
        }
        info.custom_options = bytes_.subspan(at, size);
      }
      const std::string what = "operator " + std::to_string(i) + " (" + OperatorName(info) + ")";
      SLIPWAY_RETURN_IF_ERROR(CheckIndices(info.inputs, count, true, what));
      SLIPWAY_RETURN_IF_ERROR(CheckIndices(info.outputs, count, false, what));
      SLIPWAY_RETURN_IF_ERROR(CheckIndices(info.intermediates, count, true, what));
      g.operators.push_back(std::move(info));
    }
    return g;
  }

  Status ReadSignatures() {
    if (!file_->signature_defs()) return OkStatus();
    const SubGraphInfo& main = model_.subgraphs[0];
    for (const fb::SignatureDef* def : *file_->signature_defs()) {
      if (def->subgraph_index() >= model_.subgraphs.size()) {
        return InvalidArgument("signature " + Quote(View(def->signature_key())) +
                               " is of sub-graph " + std::to_string(def->subgraph_index()) +
                               " of " + std::to_string(model_.subgraphs.size()));
      }
      if (def->subgraph_index() != 0) continue;
      SignatureInfo signature;
      signature.key = View(def->signature_key());
      auto read = [&](const auto* maps, const std::vector<int32_t>& tensors, auto* out) -> Status {
        if (!maps) return OkStatus();
        for (const fb::TensorMap* map : *maps) {
          const auto index = static_cast<int32_t>(map->tensor_index());
          if (std::find(tensors.begin(), tensors.end(), index) == tensors.end()) {
            return InvalidArgument("signature " + Quote(signature.key) + " names tensor " +
                                   std::to_string(map->tensor_index()) +
                                   ", which is no input or output of the model");
          }
          out->emplace_back(index, View(map->name()));
        }
        return OkStatus();
      };
      SLIPWAY_RETURN_IF_ERROR(read(def->inputs(), main.inputs, &signature.inputs));
      SLIPWAY_RETURN_IF_ERROR(read(def->outputs(), main.outputs, &signature.outputs));
      model_.signatures.push_back(std::move(signature));
    }
    return OkStatus();
  }

  void ReadMetadata() {
    if (!file_->metadata()) return;
    for (const fb::Metadata* m : *file_->metadata()) {
      if (m->buffer() < buffers_.size())
        model_.metadata.emplace_back(View(m->name()), buffers_[m->buffer()].first);
    }
  }

  Bytes bytes_;
  const ReadLimits& limits_;
  const fb::Model* file_ = nullptr;
  Model model_;
  std::vector<OperatorInfo> codes_;
  std::vector<std::pair<Bytes, bool>> buffers_;
  size_t tensors_ = 0, operators_ = 0;
};

}  // namespace

std::string OperatorName(const OperatorInfo& op) {
  if (op.code == fb::BuiltinOperator::CUSTOM) return "CUSTOM " + Quote(op.custom);
  const std::string name = fb::EnumNameBuiltinOperator(op.code);
  const int code = static_cast<int>(op.code);
  if (!name.empty()) return name;
  return (code >= 162 && code <= 205 ? "STABLEHLO operator code " : "operator code ") +
         std::to_string(code);
}

std::string TypeName(fb::TensorType type) {
  if (const DType d = ToDType(type); d != DType::kUndefined) return DTypeName(d);
  std::string name = fb::EnumNameTensorType(type);
  if (name.empty()) return "type " + std::to_string(static_cast<int>(type));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return name;
}

Result<Model> ReadModel(Bytes bytes, const ReadLimits& limits) {
  return Reader(bytes, limits).Read();
}

}  // namespace slipway::tflite
