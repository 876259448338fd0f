#include "model/frontends/onnx/value_proto.h"

#include <memory>
#include <vector>

#include "base/mapped_file.h"
#include "model/frontends/onnx/tensor_proto.h"

namespace slipway::onnx {
namespace {

using ir::Container;
using ir::Tensor;

// SequenceProto.DataType and OptionalProto.DataType.
constexpr uint64_t kHoldsNothing = 0, kHoldsTensor = 1, kHoldsSequence = 3;

Status Other(const std::string& what) {
  return Unsupported("the " + what +
                     " holds something else than dense tensors, which Slipway does not compute "
                     "with");
}

Result<Tensor> ReadTensor(std::span<const uint8_t> message, std::shared_ptr<const void> owner) {
  SLIPWAY_ASSIGN_OR_RETURN(TensorProto proto, ParseTensorProto(message));
  return TensorFromProto(proto, std::move(owner));
}

Result<Tensor> ReadSequence(std::span<const uint8_t> message, DType dtype,
                            const std::shared_ptr<const void>& owner, std::string* name) {
  std::vector<Tensor> items;
  WireReader reader(message);
  Field f;
  while (reader.Next(&f)) {
    if (f.id == 2 && f.type == WireType::kVarint && f.number != kHoldsNothing &&
        f.number != kHoldsTensor)
      return Other("sequence");
    if (f.type != WireType::kBytes) continue;
    if (f.id == 1 && name) *name = std::string(f.Text());
    if (f.id >= 4 && f.id <= 7) return Other("sequence");
    if (f.id != 3) continue;
    if (items.size() >= ir::kMaxSequence)
      return ResourceExhausted("the sequence holds more than " + std::to_string(ir::kMaxSequence) +
                               " tensors");
    SLIPWAY_ASSIGN_OR_RETURN(Tensor t, ReadTensor(f.bytes, owner));
    items.push_back(std::move(t));
  }
  SLIPWAY_RETURN_IF_ERROR(reader.status());
  if (!items.empty()) dtype = items[0].dtype();
  return Tensor::Sequence(dtype, std::move(items));
}

Result<Tensor> ReadOptional(std::span<const uint8_t> message, const ir::Type& type,
                            const std::shared_ptr<const void>& owner, std::string* name) {
  Tensor value;
  WireReader reader(message);
  Field f;
  while (reader.Next(&f)) {
    if (f.id == 2 && f.type == WireType::kVarint && f.number != kHoldsNothing &&
        f.number != kHoldsTensor && f.number != kHoldsSequence)
      return Other("optional");
    if (f.type != WireType::kBytes) continue;
    if (f.id == 1 && name) *name = std::string(f.Text());
    if (f.id == 4 || f.id == 6 || f.id == 7) return Other("optional");
    if (f.id == 3) {
      SLIPWAY_ASSIGN_OR_RETURN(value, ReadTensor(f.bytes, owner));
    } else if (f.id == 5) {
      SLIPWAY_ASSIGN_OR_RETURN(value, ReadSequence(f.bytes, type.dtype, owner, nullptr));
    }
  }
  SLIPWAY_RETURN_IF_ERROR(reader.status());
  if (!value.present()) return Tensor::NoOptional(type.dtype, type.container);
  if (value.is_container() != (type.container == Container::kOptionalSequence))
    return InvalidArgument("the optional holds " + value.Describe() + " where the model declares " +
                           type.ToString());
  return Tensor::Optional(std::move(value));
}

}  // namespace

Result<Tensor> ReadValueProtoFile(const std::string& path, const ir::Type& type,
                                  std::string* name) {
  if (!type.is_container()) return ReadTensorProtoFile(path, name);
  SLIPWAY_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  auto value = type.is_sequence() ? ReadSequence(file->bytes(), type.dtype, file, name)
                                  : ReadOptional(file->bytes(), type, file, name);
  if (!value.ok()) return std::move(value).status().With(path);
  return value;
}

}  // namespace slipway::onnx
