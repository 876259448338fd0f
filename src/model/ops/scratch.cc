#include "model/ops/scratch.h"

#include <array>

#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

constexpr size_t kMostOperands = 24;

bool IsShort(DType t) { return t == DType::kFloat16 || t == DType::kBFloat16; }

template <typename From, typename To>
void Convert(const OpContext& c, const void* from, void* to, int64_t n) {
  const From* x = static_cast<const From*>(from);
  To* y = static_cast<To*>(to);
  For(c, n, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = static_cast<To>(static_cast<float>(x[i]));
  });
}

}  // namespace

Status SizeAt(const TensorView& t, int64_t i, int64_t least, const char* what, int64_t* out) {
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(t, what));
  if (i >= t.count()) return InvalidArgument(std::string(what) + " is too short");
  *out = IndexAt(t, i);
  if (*out >= least && *out <= (int64_t{1} << 40)) return OkStatus();
  return InvalidArgument(std::string(what) + " holds " + std::to_string(*out) + "; sizes from " +
                         std::to_string(least) + " on are allowed");
}

Status RunAsFloat32(const OpContext& c, Kernel kernel) {
  const size_t inputs = c.inputs.size(), count = inputs + c.outputs.size();
  if (count > kMostOperands) return Unsupported("too many operands of a 16-bit float type");
  std::array<TensorView, kMostOperands> views;
  std::array<std::unique_ptr<float[]>, kMostOperands> wide;
  for (size_t i = 0; i < count; ++i) {
    const TensorView& v = i < inputs ? c.inputs[i] : c.outputs[i - inputs];
    views[i] = v;
    if (!IsShort(v.dtype)) continue;
    const int64_t n = v.count();
    SLIPWAY_RETURN_IF_ERROR(AllocateScratch(n, &wide[i]));
    views[i].dtype = DType::kFloat32;
    views[i].data = wide[i].get();
    if (i >= inputs) continue;
    if (v.dtype == DType::kFloat16) {
      Convert<Float16, float>(c, v.data, wide[i].get(), n);
    } else {
      Convert<BFloat16, float>(c, v.data, wide[i].get(), n);
    }
  }
  const std::span<const TensorView> all(views.data(), count);
  SLIPWAY_RETURN_IF_ERROR(kernel({all.first(inputs), all.subspan(inputs), c.attributes, c.pool}));
  for (size_t i = inputs; i < count; ++i) {
    const TensorView& v = c.outputs[i - inputs];
    if (v.dtype == DType::kFloat16) {
      Convert<float, Float16>(c, wide[i].get(), v.data, v.count());
    } else if (v.dtype == DType::kBFloat16) {
      Convert<float, BFloat16>(c, wide[i].get(), v.data, v.count());
    }
  }
  return OkStatus();
}

Status RunFloat(const OpContext& c, DType type, Kernel kernel) {
  if (IsShort(type)) return RunAsFloat32(c, kernel);
  if (type != DType::kFloat32 && type != DType::kFloat64) return NoKernel(type);
  return kernel(c);
}

}  // namespace slipway::ops
