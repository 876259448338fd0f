#include "model/frontends/onnx/tensor_proto.h"

#include <algorithm>
#include <charconv>

#include "base/checked.h"
#include "base/mapped_file.h"

namespace slipway::onnx {
namespace {

// Field numbers of TensorProto.
enum : uint32_t {
  kDims = 1,
  kDataType = 2,
  kSegment = 3,
  kFloatData = 4,
  kInt32Data = 5,
  kStringData = 6,
  kInt64Data = 7,
  kName = 8,
  kRawData = 9,
  kDoubleData = 10,
  kUint64Data = 11,
  kExternalData = 13,
  kDataLocation = 14,
};

std::optional<int64_t> ParseInt(std::string_view text) {
  int64_t value;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Status ParseExternalEntry(std::span<const uint8_t> message, TensorProto* out) {
  WireReader reader(message);
  Field f;
  std::string_view key, value;
  while (reader.Next(&f)) {
    if (f.id == 1 && f.type == WireType::kBytes) key = f.Text();
    if (f.id == 2 && f.type == WireType::kBytes) value = f.Text();
  }
  SLIPWAY_RETURN_IF_ERROR(reader.status());
  if (key == "location") out->location = value;
  if (key == "offset" || key == "length") {
    auto number = ParseInt(value);
    if (!number || *number < 0) {
      return InvalidArgument("external data " + std::string(key) + " " + Quote(value) +
                             " is not a size in bytes");
    }
    if (key == "offset") out->offset = *number;
    if (key == "length") out->length = *number;
  }
  return OkStatus();
}

// Which typed field holds elements of this type, and how many bytes each entry of it contributes to
// the dense tensor.
struct TypedField {
  uint32_t id = 0;
  int bytes = 0;
};
TypedField FieldOf(DType t) {
  switch (t) {
    case DType::kFloat32:
      return {kFloatData, 4};
    case DType::kFloat64:
      return {kDoubleData, 8};
    case DType::kInt64:
      return {kInt64Data, 8};
    case DType::kUInt64:
      return {kUint64Data, 8};
    case DType::kUInt32:
      return {kUint64Data, 4};
    case DType::kInt32:
      return {kInt32Data, 4};
    case DType::kInt16:
    case DType::kUInt16:
    case DType::kFloat16:
    case DType::kBFloat16:
      return {kInt32Data, 2};
    default:
      // 8-bit types, and the 4- and 2-bit types of which each entry packs a whole byte, low bits
      // first.
      return IsKnown(t) && DTypeBits(t) <= 8 ? TypedField{kInt32Data, 1} : TypedField{};
  }
}

Status ReadTyped(const TensorProto& proto, const TensorType& type, ir::Tensor* tensor) {
  const TypedField typed = FieldOf(type.dtype);
  uint8_t* out = tensor->mutable_data();
  size_t written = 0;
  bool too_many = false;
  auto put = [&](const void* value) {
    if (written + static_cast<size_t>(typed.bytes) > type.bytes) {
      too_many = true;
      return;
    }
    std::memcpy(out + written, value, static_cast<size_t>(typed.bytes));
    written += static_cast<size_t>(typed.bytes);
  };
  WireReader reader(proto.message);
  Field f;
  while (!too_many && reader.Next(&f)) {
    if (f.id != typed.id) continue;
    Status status;
    if (typed.id == kFloatData) {
      status = ForEachFixed<float>(f, [&](float v) { put(&v); });
    } else if (typed.id == kDoubleData) {
      status = ForEachFixed<double>(f, [&](double v) { put(&v); });
    } else {
      status = ForEachVarint(
          f, [&](uint64_t v) { put(&v); });  // little-endian: the low bytes come first
    }
    if (!status.ok()) return std::move(status).With(proto.Describe());
  }
  SLIPWAY_RETURN_IF_ERROR(Status(reader.status()).With(proto.Describe()));
  if (too_many || written != type.bytes) {
    return InvalidArgument(proto.Describe() + ": " + DTypeName(type.dtype) + type.dims.ToString() +
                           " needs " + std::to_string(type.bytes) + " bytes, the file gives " +
                           (too_many ? "more" : std::to_string(written)) +
                           "; export the model again");
  }
  return OkStatus();
}

Result<ir::Tensor> NormaliseBools(ir::Tensor tensor) {
  const auto bytes = tensor.bytes();
  if (std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b <= 1; })) return tensor;
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor copy, ir::Tensor::Allocate(DType::kBool, tensor.dims()));
  std::transform(bytes.begin(), bytes.end(), copy.mutable_data(), [](uint8_t b) { return b != 0; });
  return copy;
}

}  // namespace

std::string Quote(std::string_view text) {
  constexpr size_t kLongest = 120;
  std::string out = "'";
  for (char c : text.substr(0, kLongest))
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  if (text.size() > kLongest) out += "...";
  return out + "'";
}

std::string TensorProto::Describe() const {
  return name.empty() ? "an unnamed tensor" : "tensor " + Quote(name);
}

Result<TensorProto> ParseTensorProto(std::span<const uint8_t> message) {
  TensorProto out;
  out.message = message;
  bool segmented = false;
  size_t rank = 0;
  WireReader reader(message);
  Field f;
  Status status;
  while (status.ok() && reader.Next(&f)) {
    const bool bytes = f.type == WireType::kBytes;
    switch (f.id) {
      case kDims:
        status = ForEachVarint(f, [&](uint64_t v) {
          if (++rank <= kMaxRank) out.dims.push_back(static_cast<int64_t>(v));
        });
        break;
      case kDataType:
        if (f.type == WireType::kVarint) out.data_type = f.Int();
        break;
      case kSegment:
        segmented = true;
        break;
      case kName:
        if (bytes) out.name = f.Text();
        break;
      case kRawData:
        if (!bytes) status = InvalidArgument("raw_data has the wrong wire type");
        out.raw = f.bytes;
        break;
      case kExternalData:
        if (bytes) status = ParseExternalEntry(f.bytes, &out);
        break;
      case kDataLocation:
        out.external = f.number == 1;
        break;
      default:
        break;
    }
  }
  if (status.ok()) status = reader.status();
  if (status.ok() && segmented) {
    status = Unsupported("is stored in segments, which no exporter writes; export the model again");
  }
  if (status.ok() && rank > kMaxRank) {
    status = Unsupported("has " + std::to_string(rank) + " dimensions; at most " +
                         std::to_string(kMaxRank) + " are supported");
  }
  if (!status.ok()) return std::move(status).With(out.Describe());
  return out;
}

Result<TensorType> CheckTensorType(const TensorProto& proto) {
  if (proto.data_type == static_cast<int64_t>(DType::kString)) {
    return Unsupported(proto.Describe() +
                       " holds strings, which Slipway does not compute with; do text processing "
                       "outside the model");
  }
  const DType dtype = proto.data_type > 0 && proto.data_type < 256
                          ? static_cast<DType>(proto.data_type)
                          : DType::kUndefined;
  if (!IsKnown(dtype)) {
    return Unsupported(proto.Describe() + " has element type " + std::to_string(proto.data_type) +
                       (proto.data_type == 14 || proto.data_type == 15 ? " (complex)" : "") +
                       ", which is not supported");
  }
  const Dims dims{std::span<const int64_t>(proto.dims)};
  auto bytes = CheckedBytes(dtype, dims);
  if (!bytes) {
    return InvalidArgument(proto.Describe() + " has the impossible shape " + dims.ToString());
  }
  return TensorType{dtype, dims, static_cast<size_t>(*bytes)};
}

Result<ir::Tensor> TensorFromProto(const TensorProto& proto, std::shared_ptr<const void> owner) {
  SLIPWAY_ASSIGN_OR_RETURN(TensorType type, CheckTensorType(proto));
  if (proto.external) {
    return Unsupported(proto.Describe() +
                       " keeps its data in another file, which is not possible here");
  }
  if (proto.raw) {
    if (proto.raw->size() != type.bytes) {
      return InvalidArgument(proto.Describe() + ": " + DTypeName(type.dtype) +
                             type.dims.ToString() + " needs " + std::to_string(type.bytes) +
                             " bytes, raw_data has " + std::to_string(proto.raw->size()) +
                             "; export the model again");
    }
    auto tensor = ir::Tensor::Wrap(type.dtype, type.dims, *proto.raw, std::move(owner));
    if (!tensor.ok()) return std::move(tensor).status().With(proto.Describe());
    return type.dtype == DType::kBool ? NormaliseBools(std::move(*tensor)) : std::move(tensor);
  }
  // Every entry of a typed field takes at least one byte of the message and gives at most eight: do
  // not allocate what cannot be there.
  if (type.bytes > proto.message.size() * 8) {
    return InvalidArgument(proto.Describe() + ": " + DTypeName(type.dtype) + type.dims.ToString() +
                           " needs " + std::to_string(type.bytes) +
                           " bytes, which the file does not hold; export the model again");
  }
  auto tensor = ir::Tensor::Allocate(type.dtype, type.dims);
  if (!tensor.ok()) return std::move(tensor).status().With(proto.Describe());
  SLIPWAY_RETURN_IF_ERROR(ReadTyped(proto, type, &*tensor));
  return type.dtype == DType::kBool ? NormaliseBools(std::move(*tensor)) : std::move(tensor);
}

Result<ir::Tensor> ReadTensorProtoFile(const std::string& path, std::string* name) {
  SLIPWAY_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  auto read = [&]() -> Result<ir::Tensor> {
    SLIPWAY_ASSIGN_OR_RETURN(TensorProto proto, ParseTensorProto(file->bytes()));
    if (name) *name = std::string(proto.name);
    return TensorFromProto(proto, file);
  };
  auto tensor = read();
  if (!tensor.ok()) return std::move(tensor).status().With(path);
  return tensor;
}

WireWriter WriteTensorProto(std::string_view name, const ir::Tensor& tensor) {
  WireWriter out;
  for (int64_t d : tensor.dims()) out.Int(kDims, d);
  out.Int(kDataType, static_cast<int64_t>(tensor.dtype()));
  out.Text(kName, name);
  out.Blob(kRawData, tensor.bytes());
  return out;
}

}  // namespace slipway::onnx
