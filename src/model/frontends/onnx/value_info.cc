#include "model/frontends/onnx/value_info.h"

#include "model/frontends/onnx/tensor_proto.h"

namespace slipway::onnx {
namespace {

const char* KindName(ValueInfoProto::Kind kind) {
  switch (kind) {
    case ValueInfoProto::Kind::kMap:
      return "a map";
    case ValueInfoProto::Kind::kNested:
      return "a sequence or an optional of something else than tensors";
    case ValueInfoProto::Kind::kSparse:
      return "a sparse tensor";
    default:
      return "not a tensor";
  }
}

}  // namespace

Result<ir::Container> ContainerOf(const ValueInfoProto& info, const std::string& what) {
  switch (info.kind) {
    case ValueInfoProto::Kind::kTensor:
      return ir::Container::kTensor;
    case ValueInfoProto::Kind::kSequence:
      return ir::Container::kSequence;
    case ValueInfoProto::Kind::kOptional:
      return ir::Container::kOptional;
    case ValueInfoProto::Kind::kOptionalSequence:
      return ir::Container::kOptionalSequence;
    default:
      return Unsupported(what + " is " + KindName(info.kind) +
                         "; only tensors, and sequences and optionals of tensors, are supported");
  }
}

Result<DType> ElementType(const ValueInfoProto& info, const std::string& what) {
  if (info.elem_type == static_cast<int64_t>(DType::kString)) {
    return Unsupported(what +
                       " holds strings, which Slipway does not compute with; do text processing "
                       "outside the model");
  }
  const DType dtype = info.elem_type > 0 && info.elem_type < 256
                          ? static_cast<DType>(info.elem_type)
                          : DType::kUndefined;
  if (!IsKnown(dtype))
    return Unsupported(what + " has the unknown element type " + std::to_string(info.elem_type));
  return dtype;
}

std::optional<SymShape> KnownShape(const ValueInfoProto& info) {
  if (!info.shape) return std::nullopt;
  SymShape shape;
  for (const DimProto& d : *info.shape) {
    if (!d.value || *d.value < 0) return std::nullopt;
    shape.push_back(*d.value);
  }
  return shape;
}

}  // namespace slipway::onnx
