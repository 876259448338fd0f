#include "engine/backends/x86/run/qproduct.h"

#include <algorithm>
#include <cmath>

#include "engine/backends/x86/run/activation.h"
#include "model/ops/quantized.h"

namespace slipway::backends::x86 {
namespace {

using kernels::kQGemmBlock;

bool IsCode(DType t) { return t == DType::kUInt8 || t == DType::kInt8; }
kernels::CodeType TypeOf(DType t) {
  return t == DType::kFloat32 ? kernels::CodeType::kF32
         : t == DType::kInt8  ? kernels::CodeType::kS8
                              : kernels::CodeType::kU8;
}

}  // namespace

Result<QProduct> ReadQProduct(Builder& b, int64_t channels) {
  const ops::Attributes& a = b.attributes();
  QProduct p;
  if (!IsCode(b.in_type())) return Unsupported(std::string(DTypeName(b.in_type())) + " input");
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(1, DType::kInt8));
  SLIPWAY_RETURN_IF_ERROR(b.NeedType(2, DType::kFloat32));
  if (!b.HasWeights() || !b.ConstantData(2))
    return Unsupported("weights or a multiplier that are no constants");
  const int64_t multipliers = b.in_dims(2).count();
  if (multipliers != 1 && multipliers != channels)
    return InvalidArgument("a multiplier with " + std::to_string(multipliers) + " elements for " +
                           std::to_string(channels) + " channels");
  if (b.Has(3)) {
    SLIPWAY_RETURN_IF_ERROR(b.NeedType(3, DType::kInt32));
    if (!b.ConstantData(3)) return Unsupported("a bias that is no constant");
    if (b.in_dims(3).count() != channels) return InvalidArgument("a bias of another extent");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Requantizer to, ops::MakeRequantizer(a, b.out_type()));
  p.call.to = {to.zero_point, to.lo, to.hi};
  p.call.y_type = TypeOf(b.out_type());
  // Codes of few bits are signed ones as they are.
  const bool is_signed = b.in_type() == DType::kInt8;
  p.call.x_low = static_cast<int32_t>(a.Int("x_low", is_signed ? -128 : 0));
  p.call.x_high = static_cast<int32_t>(a.Int("x_high", is_signed ? 127 : 255));
  if (p.call.x_low > p.call.x_high || p.call.x_low < -128 || p.call.x_high > 255)
    return InvalidArgument("codes from " + std::to_string(p.call.x_low) + " to " +
                           std::to_string(p.call.x_high));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t x_zero,
                           ops::ReadZeroPoint(a, "x_zero_point", b.in_type()));
  p.call.x_low = std::min(p.call.x_low, x_zero);  // what fills the padding
  p.call.x_high = std::max(p.call.x_high, x_zero);
  p.shift = kernels::QGemmShift(is_signed);
  if (p.shift < 0 && p.call.x_high <= 127) p.shift = 0;
  p.call.flip = p.shift != 0;
  p.call.x_low += p.shift;
  p.call.x_high += p.shift;
  if (const auto* w = static_cast<const int8_t*>(b.ConstantData(1)); w && kernels::kQGemmRanges) {
    const auto [low, high] = std::minmax_element(w, w + b.in_dims(1).count());
    if (low != high) p.call.w_low = *low, p.call.w_high = *high;
  }
  if (b.Has(4)) {
    if (!IsCode(b.in_type(4))) return Unsupported("a residual that is not 8 bit");
    SLIPWAY_RETURN_IF_ERROR(b.NeedLikeOutput(4));
    SLIPWAY_ASSIGN_OR_RETURN(p.call.z_zero, ops::ReadZeroPoint(a, "z_zero_point", b.in_type(4)));
    p.residual = true;
    p.call.z_type = TypeOf(b.in_type(4));
    p.call.z_multiplier = a.Float("z_multiplier", 0);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation activation, ops::ParseActivation(a));
  const auto fused = FusedActivation::Of(activation, b.isa());
  p.call.activation = fused.function;
  p.call.a = fused.a;
  p.call.b = fused.b;
  p.call.y_multiplier = a.Float("y_multiplier", 1);
  const UnaryCall unary = FromActivation(activation);
  p.call.rectifier = kernels::MakeRectifierTable(unary.kind, unary.a, p.call.y_multiplier);
  p.call.leaky = fused.IsLeaky();
  // |sum| <= 2^31, |residual| < 512.
  const auto* m = static_cast<const float*>(b.ConstantData(2));
  const float most = 0.9f / std::max(1.0f, std::fabs(p.call.y_multiplier));
  p.call.bounded = (!p.residual || std::fabs(p.call.z_multiplier) < 1e5f) &&
                   (!fused.function || p.call.leaky || p.call.rectifier.limit > 0) &&
                   std::all_of(m, m + multipliers, [&](float v) { return std::fabs(v) < most; });
  return p;
}

Result<QWeights> PackQWeights(Builder& b, const std::string& form, int64_t groups, int64_t columns,
                              int64_t column_stride, int64_t depth,
                              const std::function<std::vector<int64_t>()>& order, int32_t x_zero,
                              const QProduct& product) {
  QWeights p;
  const int64_t own = CeilDiv(columns, int64_t{kQGemmBlock});
  const auto group_bytes =
      CheckedMul(RoundUp(depth, int64_t{kernels::kQGemmPackedDepth}), own * kQGemmBlock);
  const auto bytes = group_bytes ? CheckedMul(*group_bytes, groups) : std::nullopt;
  if (!bytes || *bytes > INT64_MAX / 2) return ResourceExhausted("too many weights");
  p.blocks = own * groups;
  p.bias_at = *bytes;  // blocks have whole lines
  p.multiplier_at = p.bias_at + p.blocks * kQGemmBlock * 4;
  const auto pack = [&](const void* raw, uint8_t* data) {
    const auto* w = static_cast<const int8_t*>(raw);
    auto* bias = reinterpret_cast<int32_t*>(data + p.bias_at);
    auto* multiplier = reinterpret_cast<float*>(data + p.multiplier_at);
    std::fill_n(bias, p.blocks * kQGemmBlock, 0);
    std::fill_n(multiplier, p.blocks * kQGemmBlock, 0.0f);
    const auto* m = static_cast<const float*>(b.ConstantData(2));
    const auto* given = static_cast<const int32_t*>(b.ConstantData(3));
    const bool one = b.in_dims(2).count() == 1;
    const uint32_t zero = static_cast<uint32_t>(x_zero + product.shift);
    const std::vector<int64_t> places = order();
    std::vector<int8_t> ordered(static_cast<size_t>(depth * columns));
    std::vector<int32_t> sums(static_cast<size_t>(columns));
    for (int64_t g = 0; g < groups; ++g) {
      int8_t* to = ordered.data();
      for (int64_t j = 0; j < columns; ++j) {
        const int8_t* from = w + (g * columns + j) * column_stride;
        for (int64_t k : places) *to++ = k < 0 ? int8_t{0} : from[k];
      }
      kernels::QGemmPack(ordered.data(), depth, columns, 1, depth,
                         reinterpret_cast<int8_t*>(data) + g * *group_bytes, sums.data());
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t at = g * own * kQGemmBlock + j, channel = g * columns + j;
        const uint32_t sum = static_cast<uint32_t>(sums[static_cast<size_t>(j)]);
        bias[at] =
            static_cast<int32_t>((given ? static_cast<uint32_t>(given[channel]) : 0) - zero * sum);
        multiplier[at] = m[one ? 0 : channel];
      }
    }
    return OkStatus();
  };
  SLIPWAY_ASSIGN_OR_RETURN(p.packed,
                           b.Packed(form, p.multiplier_at + p.blocks * kQGemmBlock * 4, pack));
  return p;
}

}  // namespace slipway::backends::x86
