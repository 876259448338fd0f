#include "engine/backends/x86/run/step.h"

#include <algorithm>
#include <cstring>

namespace slipway::backends::x86 {

int64_t Builder::Physical(const slipway_tensor& t) const {
  Dims d = DimsOf(t);
  const int block = format::ChannelBlock(static_cast<Layout>(t.layout));
  if (block > 1 && d.rank() > 1) d[1] = RoundUp(d[1], block);
  return d.count();
}

Status Builder::Need(size_t inputs, size_t outputs) const {
  for (size_t i = 0; i < inputs; ++i) {
    if (!Has(i)) return InvalidArgument(op() + " needs input " + std::to_string(i));
  }
  for (size_t i = 0; i < outputs; ++i) {
    if (i >= step_.num_outputs || step_.outputs[i].dtype == 0)
      return InvalidArgument(op() + " needs output " + std::to_string(i));
  }
  return OkStatus();
}

Status Builder::NeedType(size_t i, DType type) const {
  if (in_type(i) == type) return OkStatus();
  return Unsupported(std::string(DTypeName(in_type(i))) + " input");
}

Status Builder::NeedPlain() const {
  auto check = [](const slipway_tensor* list, uint32_t count) {
    return std::all_of(list, list + count,
                       [](const slipway_tensor& t) { return t.dtype == 0 || t.layout == 0; });
  };
  if (check(step_.inputs, step_.num_inputs) && check(step_.outputs, step_.num_outputs))
    return OkStatus();
  return Unsupported(op() + " in a layout other than plain");
}

Status Builder::NeedLikeOutput(size_t i) const {
  if (in_dims(i) == out_dims() && in_layout(i) == out_layout()) return OkStatus();
  return InvalidArgument(op() + ": input " + std::to_string(i) + " " + in_dims(i).ToString() +
                         " must have the shape and layout of the output " + out_dims().ToString());
}

Result<std::vector<int64_t>> Builder::Ints(size_t i) const {
  const void* data = ConstantData(i);
  if (!data) return Unsupported("input " + std::to_string(i) + " that is no constant");
  std::vector<int64_t> v(static_cast<size_t>(in_dims(i).count()));
  if (in_type(i) == DType::kInt64) {
    if (!v.empty()) std::memcpy(v.data(), data, v.size() * 8);
  } else if (in_type(i) == DType::kInt32) {
    for (size_t k = 0; k < v.size(); ++k) v[k] = static_cast<const int32_t*>(data)[k];
  } else {
    return Unsupported("input " + std::to_string(i) + " of type " + DTypeName(in_type(i)));
  }
  return v;
}

Result<float> Builder::Scalar(size_t i, float fallback) const {
  if (!Has(i)) return fallback;
  const void* data = ConstantData(i);
  if (!data) return Unsupported("input " + std::to_string(i) + " that is no constant");
  if (in_type(i) != DType::kFloat32 || in_dims(i).count() != 1)
    return InvalidArgument("input " + std::to_string(i) + " must be a float32 scalar");
  return *static_cast<const float*>(data);
}

Result<int> Builder::Axis(int64_t axis, int rank) {
  if (axis < -rank || axis >= rank)
    return InvalidArgument("axis " + std::to_string(axis) + " is outside a tensor of rank " +
                           std::to_string(rank));
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

}  // namespace slipway::backends::x86
