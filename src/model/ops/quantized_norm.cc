// QLayerNorm in plain loops: the steps of ReduceMean, Sub, Mul, Quantize, Sqrt and Div, each
// rounded as they round.

#include <cmath>
#include <vector>

#include "model/ops/dispatch.h"
#include "model/ops/quantized.h"

namespace slipway::ops {

Result<NormRounding> ReadNormRounding(const Attributes& attributes, DType y) {
  NormRounding r;
  SLIPWAY_ASSIGN_OR_RETURN(r.to, MakeRequantizer(attributes, y));
  if (y == DType::kFloat32) return InvalidArgument("a normalisation to float32, not to codes");
  r.scale = attributes.Float("scale", 1);
  r.v_scale = attributes.Float("v_scale", 0);
  r.epsilon = attributes.Float("epsilon", 0);
  if (!(r.scale > 0) || std::isinf(r.scale) || !(r.v_scale >= 0) || std::isinf(r.v_scale))
    return InvalidArgument("scales must be positive and finite");
  const int64_t zero = attributes.Int("v_zero_point", 0), lo = attributes.Int("v_q_min", -128),
                hi = attributes.Int("v_q_max", 127);
  if (lo < -128 || hi > 255 || lo > hi || zero < -128 || zero > 255)
    return InvalidArgument("v_q_min " + std::to_string(lo) + ", v_q_max " + std::to_string(hi) +
                           " and v_zero_point " + std::to_string(zero) + " are no codes");
  r.v_to = {static_cast<int32_t>(zero), static_cast<int32_t>(lo), static_cast<int32_t>(hi)};
  return r;
}

Status SlipwayQLayerNorm(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  SLIPWAY_ASSIGN_OR_RETURN(const NormRounding r, ReadNormRounding(*c.attributes, y.dtype));
  const bool codes = c.Has(2);
  if (codes ? x.dtype == DType::kFloat32 : x.dtype != DType::kFloat32) return NoKernel(x.dtype);
  int32_t a_zero = 0, b_zero = 0;
  if (codes) {
    if (c.inputs[2].dims != x.dims)
      return InvalidArgument("X " + x.dims.ToString() + " and B " + c.inputs[2].dims.ToString() +
                             " differ");
    SLIPWAY_ASSIGN_OR_RETURN(a_zero, ReadZeroPoint(*c.attributes, "a_zero_point", x.dtype));
    SLIPWAY_ASSIGN_OR_RETURN(b_zero,
                             ReadZeroPoint(*c.attributes, "b_zero_point", c.inputs[2].dtype));
  }
  const float a_multiplier = c.attributes->Float("a_multiplier", 1),
              b_multiplier = c.attributes->Float("b_multiplier", 1);
  const auto code = [&](size_t i, int64_t at, int32_t zero) {
    const uint8_t v = c.inputs[i].as<const uint8_t>()[at];
    return static_cast<float>((c.inputs[i].dtype == DType::kInt8 ? static_cast<int8_t>(v) : v) -
                              zero);
  };
  if (x.dims.rank() < 1) return InvalidArgument("expects X of rank 1 or more");
  if (x.count() == 0) return OkStatus();
  const int64_t n = x.dims.back();
  const float* weight = nullptr;
  if (c.Has(1)) {
    if (c.inputs[1].dtype != DType::kFloat32 || c.inputs[1].count() != n)
      return InvalidArgument("a weight that is not one float32 for each of " + std::to_string(n));
    weight = c.inputs[1].as<const float>();
  }
  For(c, x.count() / n, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(codes ? static_cast<size_t>(n) : 0);
    for (int64_t row = begin; row < end; ++row) {
      const float* px = x.as<const float>() + row * n;
      if (codes) {
        for (int64_t i = 0; i < n; ++i)
          sums[static_cast<size_t>(i)] = std::fma(code(0, row * n + i, a_zero), a_multiplier,
                                                  code(2, row * n + i, b_zero) * b_multiplier);
        px = sums.data();
      }
      uint8_t* py = y.as<uint8_t>() + row * n;
      double sum = 0, squares = 0;
      for (int64_t i = 0; i < n; ++i) sum += px[i];
      const float mean = static_cast<float>(sum / static_cast<double>(n));
      for (int64_t i = 0; i < n; ++i) {
        const float d = px[i] - mean;
        squares += d * d;
      }
      const float s = r.Deviation(static_cast<float>(squares / static_cast<double>(n)));
      for (int64_t i = 0; i < n; ++i) {
        float v = (px[i] - mean) / s;
        if (weight) v *= weight[i];
        py[i] = static_cast<uint8_t>(r.to.Convert<int32_t>(v / r.scale));
      }
    }
  });
  return OkStatus();
}

}  // namespace slipway::ops
