// The source of the float16 depthwise convolution; harm_*.cc include it with SLIPWAY_ISA set to the
// namespace of their instruction set. With FEAT_FP16 the products of a window of up to kHalfTaps
// taps are summed in float16, and again in float32 where a sum leaves its range; all else is
// float32.

#include <cstdint>

#include "engine/kernels/depthwise/depthwise.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

constexpr int kOutputs = 7;  // extents of images are multiples of 7 more often than not

inline float16x8_t Load(const uint16_t* p) { return vreinterpretq_f16_u16(vld1q_u16(p)); }
inline float16x8_t LoadSome(const uint16_t* p, int64_t n) {
  uint16_t all[8] = {};
  for (int64_t i = 0; i < n; ++i) all[i] = p[i];
  return Load(all);
}
// 8 channels in float32, and as the products of a window are summed.
struct Wide {
  float32x4_t low, high;
};
inline Wide Widen(float16x8_t v) { return {vcvt_f32_f16(vget_low_f16(v)), vcvt_high_f32_f16(v)}; }
inline Wide Widen(Wide v) { return v; }
inline Wide Fma(float16x8_t x, float16x8_t w, Wide sum) {
  const Wide a = Widen(x), b = Widen(w);
  return {vfmaq_f32(sum.low, a.low, b.low), vfmaq_f32(sum.high, a.high, b.high)};
}
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
using Sums = float16x8_t;
inline Sums Fma(float16x8_t x, float16x8_t w, Sums sum) { return vfmaq_f16(sum, x, w); }
#else
using Sums = Wide;
#endif

inline int64_t MinOf(int64_t a, int64_t b) { return a < b ? a : b; }

// A row of outputs of 8 channels.
struct Row {
  const uint16_t* x;  // column 0 of the first row of the image that the window reaches
  int64_t rows;       // how many it reaches
  int64_t row_step;   // elements from one of them to the next
  int64_t pixel;      // elements from one column to the next, of x and y
  int64_t channels;   // 8 or fewer
  const float* bias;
  const uint16_t* weights;   // those of the first row
  const uint16_t* residual;  // or null
  uint16_t* y;
};

// kOutputs outputs from x on, which is where the window of the first begins; columns [first, last)
// from there lie in the image. kWindow and kStride 0: those of the shape.
template <typename S, int kWindow, int kStride, bool kInside>
__attribute__((always_inline)) inline void Sum(const DepthwiseShape& shape, const Row& row,
                                               const uint16_t* x, int64_t first, int64_t last,
                                               S (&sum)[kOutputs]) {
  const uint16_t* weights = row.weights;
  const int64_t pixel = row.pixel, channels = row.channels;
  const auto load = [&](const uint16_t* p) {
    return kInside || channels == 8 ? Load(p) : LoadSome(p, channels);
  };
#pragma GCC unroll 8
  for (int i = 0; i < kOutputs; ++i) sum[i] = S{};
#pragma GCC unroll 1
  for (int64_t r = 0; r < row.rows; ++r, x += row.row_step) {
    if constexpr (kWindow > 0) {
      float16x8_t w[kWindow];
#pragma GCC unroll 8
      for (int k = 0; k < kWindow; ++k, weights += 8) w[k] = Load(weights);
#pragma GCC unroll 32
      for (int c = 0; c < (kOutputs - 1) * kStride + kWindow; ++c) {
        if (!kInside && (c < first || c >= last)) continue;
        const float16x8_t v = load(x + c * pixel);
#pragma GCC unroll 8
        for (int k = 0; k < kWindow; ++k) {
          const int at = c - k;
          if (at < 0 || at % kStride != 0 || at / kStride >= kOutputs) continue;
          sum[at / kStride] = Fma(v, w[k], sum[at / kStride]);
        }
      }
    } else {
#pragma GCC unroll 1
      for (int64_t k = 0; k < shape.kernel_w; ++k, weights += 8) {
        const float16x8_t w = Load(weights);
#pragma GCC unroll 8
        for (int i = 0; i < kOutputs; ++i) {
          const int64_t c = i * shape.stride_w + k * shape.dilation_w;
          if (c >= first && c < last) sum[i] = Fma(load(x + c * pixel), w, sum[i]);
        }
      }
    }
  }
}

// In float32, whatever the window.
__attribute__((noinline)) void WideSum(const DepthwiseShape& shape, const Row& row,
                                       const uint16_t* x, int64_t first, int64_t last,
                                       Wide (&sum)[kOutputs]) {
  Sum<Wide, 0, 0, false>(shape, row, x, first, last, sum);
}

#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
inline bool Finite(const Sums (&sum)[kOutputs]) {
  uint16x8_t most = vdupq_n_u16(0);
  for (const Sums& s : sum) {
    const uint16x8_t bits = vreinterpretq_u16_f16(s);
    most = vmaxq_u16(most, vaddq_u16(bits, bits));  // without the sign
  }
  return vmaxvq_u16(most) < 0xf800;
}
#endif

void Finish(const DepthwiseParams& p, const Row& row, int64_t column, int64_t count,
            const Wide (&sum)[kOutputs]) {
  const float32x4_t low = vdupq_n_f32(p.low), high = vdupq_n_f32(p.high);
  const float32x4_t bias[2] = {vld1q_f32(row.bias), vld1q_f32(row.bias + 4)};
  alignas(16) float all[kOutputs * 8];
  for (int64_t i = 0; i < count; ++i) {
    Wide v = {sum[i].low + bias[0], sum[i].high + bias[1]};
    if (row.residual) {
      const uint16_t* z = row.residual + (column + i) * row.pixel;
      const Wide r = Widen(row.channels == 8 ? Load(z) : LoadSome(z, row.channels));
      v = {v.low + r.low, v.high + r.high};
    }
    vst1q_f32(all + i * 8, vminq_f32(high, vmaxq_f32(low, v.low)));
    vst1q_f32(all + i * 8 + 4, vminq_f32(high, vmaxq_f32(low, v.high)));
  }
  if (p.activation) p.activation(all, all, count * 8, p.a, p.b);
  for (int64_t i = 0; i < count; ++i) {
    const float16x8_t v =
        vcvt_high_f16_f32(vcvt_f16_f32(vld1q_f32(all + i * 8)), vld1q_f32(all + i * 8 + 4));
    uint16_t* y = row.y + (column + i) * row.pixel;
    if (row.channels == 8) {
      vst1q_u16(y, vreinterpretq_u16_f16(v));
      continue;
    }
    uint16_t some[8];
    vst1q_u16(some, vreinterpretq_u16_f16(v));
    for (int64_t j = 0; j < row.channels; ++j) y[j] = some[j];
  }
}

template <int kWindow, int kStride>
void Outputs(const DepthwiseShape& shape, const DepthwiseParams& p, const Row& row) {
  const int64_t reach =
      (kOutputs - 1) * shape.stride_w + 1 + (shape.kernel_w - 1) * shape.dilation_w;
  for (int64_t column = 0; column < shape.out_w; column += kOutputs) {
    const int64_t left = column * shape.stride_w - shape.pad_left;
    const uint16_t* x = row.x + left * row.pixel;
    Wide wide[kOutputs];
    if (shape.kernel_h * shape.kernel_w > kHalfTaps) {
      WideSum(shape, row, x, -left, shape.in_w - left, wide);
    } else {
      Sums sum[kOutputs];
      if (kWindow > 0 && row.channels == 8 && left >= 0 && left + reach <= shape.in_w)
        Sum<Sums, kWindow, kStride, kWindow != 0>(shape, row, x, 0, reach, sum);
      else
        Sum<Sums, kWindow, kStride, false>(shape, row, x, -left, shape.in_w - left, sum);
      for (int i = 0; i < kOutputs; ++i) wide[i] = Widen(sum[i]);
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
      if (!Finite(sum)) WideSum(shape, row, x, -left, shape.in_w - left, wide);
#endif
    }
    Finish(p, row, column, MinOf(kOutputs, shape.out_w - column), wide);
  }
}

using OutputsFunction = void (*)(const DepthwiseShape&, const DepthwiseParams&, const Row&);
OutputsFunction ChooseOutputs(const DepthwiseShape& s) {
  if (s.dilation_w == 1) {
    if (s.kernel_w == 3 && s.stride_w == 1) return Outputs<3, 1>;
    if (s.kernel_w == 3 && s.stride_w == 2) return Outputs<3, 2>;
    if (s.kernel_w == 5 && s.stride_w == 1) return Outputs<5, 1>;
  }
  return Outputs<0, 0>;
}

void Run(const DepthwiseShape& d, const DepthwiseParams& p, const DepthwiseCall& call,
         int64_t begin, int64_t end) {
  const int64_t bands = (d.out_h + p.rows - 1) / p.rows, taps = d.kernel_h * d.kernel_w;
  const OutputsFunction outputs = ChooseOutputs(d);
  const auto* const x = static_cast<const uint16_t*>(call.x);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t band = unit % bands, image = unit / bands;
    const int64_t last = MinOf((band + 1) * p.rows, d.out_h);
    for (int64_t row = band * p.rows; row < last; ++row) {
      const int64_t top = row * d.stride_h - d.pad_top;
      // Taps [first, stop) of a column lie in the image.
      int64_t first = top < 0 ? (-top + d.dilation_h - 1) / d.dilation_h : 0;
      int64_t stop = top < d.in_h ? (d.in_h - top + d.dilation_h - 1) / d.dilation_h : 0;
      stop = MinOf(stop, d.kernel_h);
      first = MinOf(first, stop);
      const int64_t at = (image * d.out_h + row) * d.out_w * d.channels;
      Row s;
      s.rows = stop - first;
      s.row_step = d.dilation_h * d.in_w * d.channels;
      s.pixel = d.channels;
      for (int64_t c = 0; c < d.channels; c += 8) {
        s.channels = MinOf(8, d.channels - c);
        const float* w = call.weights + c / 8 * (8 + taps * 4);
        s.bias = w;
        s.weights = reinterpret_cast<const uint16_t*>(w + 8) + first * d.kernel_w * 8;
        const int64_t from = s.rows > 0 ? top + first * d.dilation_h : 0;
        s.x = x + (image * d.in_h + from) * d.in_w * d.channels + c;
        s.residual = call.residual ? static_cast<const uint16_t*>(call.residual) + at + c : nullptr;
        s.y = static_cast<uint16_t*>(call.y) + at + c;
        outputs(d, p, s);
      }
    }
  }
}

}  // namespace

const DepthwiseKernels kDepthwiseF16 = {8, Run};

}  // namespace slipway::kernels::SLIPWAY_ISA
