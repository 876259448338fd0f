// The source of the float32 depthwise convolution; x86_*.cc include it with SLIPWAY_ISA set to the
// namespace of their instruction set.

#include <cstddef>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#else
#include "engine/kernels/simd/sse_on_neon.h"
#endif

#include "engine/kernels/depthwise/depthwise.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#if !defined(__x86_64__)
using namespace sse;  // NOLINT: names of x86
#endif

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#define SLIPWAY_MM(op) _mm512_##op
using F = __m512;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#define SLIPWAY_MM(op) _mm256_##op
using F = __m256;
#else
constexpr int kLanes = 4;
#define SLIPWAY_MM(op) _mm_##op
using F = __m128;
#endif
#if defined(__AVX512F__)
#define SLIPWAY_REGISTER "v"
#elif defined(__aarch64__)
#define SLIPWAY_REGISTER "w"
#else
#define SLIPWAY_REGISTER "x"
#endif
// Extents of images are multiples of 7 more often than not.
constexpr int kOutputs = 7;

inline F Load(const float* p) { return SLIPWAY_MM(loadu_ps)(p); }
inline void Store(float* p, F v) { SLIPWAY_MM(storeu_ps)(p, v); }
inline F Fma(F a, F b, F c) {
#if defined(__aarch64__)
  return (F)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#elif defined(__FMA__)
  return SLIPWAY_MM(fmadd_ps)(a, b, c);
#else
  return _mm_add_ps(_mm_mul_ps(a, b), c);
#endif
}
#if defined(__aarch64__)
constexpr bool kArm = true;
#else
constexpr bool kArm = false;
#endif
inline int64_t MinOf(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t MaxOf(int64_t a, int64_t b) { return a > b ? a : b; }

#if defined(__AVX512F__)
#include "engine/kernels/simd/sigmoid512.h"
#endif

// Some first lanes, where channels last do not fill a vector.
struct Tail {
#if defined(__AVX512F__)
  __mmask16 mask;
  explicit Tail(int64_t n) : mask(static_cast<__mmask16>((1u << n) - 1)) {}
  F Load(const float* p) const { return _mm512_maskz_loadu_ps(mask, p); }
  void Store(float* p, F v) const { _mm512_mask_storeu_ps(p, mask, v); }
#elif defined(__AVX2__)
  __m256i mask;
  explicit Tail(int64_t n)
      : mask(_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                                _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))) {}
  F Load(const float* p) const { return _mm256_maskload_ps(p, mask); }
  void Store(float* p, F v) const { _mm256_maskstore_ps(p, mask, v); }
#else
  int64_t count;
  explicit Tail(int64_t n) : count(n) {}
  F Load(const float* p) const {
    float v[kLanes] = {};
    for (int64_t i = 0; i < count; ++i) v[i] = p[i];
    return _mm_loadu_ps(v);
  }
  void Store(float* p, F v) const {
    float all[kLanes];
    _mm_storeu_ps(all, v);
    for (int64_t i = 0; i < count; ++i) p[i] = all[i];
  }
#endif
};

// A row of outputs for the channels of a vector.
struct Row {
  const float* x;        // column 0 of the first row of the image that the window reaches
  int64_t rows;          // how many it reaches
  int64_t row_step;      // floats from one of them to the next
  int64_t pixel;         // floats from one column to the next, of x and y
  const float* weights;  // those of the first row
  const float* bias;
  const float* residual;  // or null
  float* y;
  float low, high;
  // Of the sums, in registers; what takes longer is as fast over whole rows.
  bool hard_swish, leaky;
  float slope;
};

// kOutputs outputs from x on, which is where the window of the first begins. Without kInside only
// columns [first, last) from there lie in the image.
template <int kWindow, int kStride, bool kTail, bool kInside>
__attribute__((always_inline)) inline void Sum(const DepthwiseShape& shape, const Row& row,
                                               const Tail& tail, const float* x, int64_t first,
                                               int64_t last, F (&acc)[kOutputs]) {
  const auto load = [&](const float* p) { return kTail ? tail.Load(p) : Load(p); };
  const float* weights = row.weights;
  const int64_t pixel = row.pixel;
  acc[0] = Load(row.bias);
#pragma GCC unroll 8
  for (int i = 1; i < kOutputs; ++i) acc[i] = acc[0];
#pragma GCC unroll 1
  for (int64_t r = 0; r < row.rows; ++r, x += row.row_step) {
    if constexpr (kArm && kInside && (kWindow == 3 || kWindow == 5)) {
      // All outputs by one tap, then by the next: products wait for those before them.
      constexpr int kColumns = (kOutputs - 1) * kStride + kWindow;
      F w[kWindow], v[kColumns];
#pragma GCC unroll 8
      for (int k = 0; k < kWindow; ++k, weights += kLanes) w[k] = Load(weights);
#pragma GCC unroll 32
      for (int c = 0; c < kColumns; ++c) v[c] = Load(x + c * pixel);
#pragma GCC unroll 8
      for (int k = 0; k < kWindow; ++k) {
#pragma GCC unroll 8
        for (int i = 0; i < kOutputs; ++i) acc[i] = Fma(v[i * kStride + k], w[k], acc[i]);
        if constexpr (kWindow == 3 && kStride == 2) {  // or the compiler mixes taps again
          static_assert(kOutputs == 7);
          asm(""
              : "+" SLIPWAY_REGISTER(acc[0]), "+" SLIPWAY_REGISTER(acc[1]),
                "+" SLIPWAY_REGISTER(acc[2]), "+" SLIPWAY_REGISTER(acc[3]),
                "+" SLIPWAY_REGISTER(acc[4]), "+" SLIPWAY_REGISTER(acc[5]),
                "+" SLIPWAY_REGISTER(acc[6]));
        }
      }
    } else if constexpr (kWindow > 0) {
      F w[kWindow];
#pragma GCC unroll 8
      for (int k = 0; k < kWindow; ++k, weights += kLanes) w[k] = Load(weights);
#pragma GCC unroll 32
      for (int c = 0; c < (kOutputs - 1) * kStride + kWindow; ++c) {
        if (!kInside && (c < first || c >= last)) continue;
        F v = load(x + c * pixel);
        asm("" : "+" SLIPWAY_REGISTER(v));  // loaded once, not as an operand of each product
#pragma GCC unroll 8
        for (int k = 0; k < kWindow; ++k) {
          const int at = c - k;
          if (at < 0 || at % kStride != 0 || at / kStride >= kOutputs) continue;
          acc[at / kStride] = Fma(v, w[k], acc[at / kStride]);
        }
      }
    } else {
#pragma GCC unroll 1
      for (int64_t k = 0; k < shape.kernel_w; ++k, weights += kLanes) {
        const F w = Load(weights);
#pragma GCC unroll 8
        for (int i = 0; i < kOutputs; ++i) {
          const int64_t c = i * shape.stride_w + k * shape.dilation_w;
          if (kInside || (c >= first && c < last)) acc[i] = Fma(load(x + c * pixel), w, acc[i]);
        }
      }
    }
  }
}

// kWindow and kStride are those of the columns; 0 reads them from the shape.
template <int kWindow, int kStride, bool kTail>
void Outputs(const DepthwiseShape& shape, const Row& row, const Tail& tail) {
  const F low = SLIPWAY_MM(set1_ps)(row.low), high = SLIPWAY_MM(set1_ps)(row.high);
  const int64_t pixel = row.pixel, reach = (kOutputs - 1) * shape.stride_w + 1 +
                                           (shape.kernel_w - 1) * shape.dilation_w;
  float* y = row.y;
  const float* residual = row.residual;
  const auto finish = [&](F v) {
    if (residual) {
      v = SLIPWAY_MM(add_ps)(v, kTail ? tail.Load(residual) : Load(residual));
      residual += pixel;
    }
    // The second operand is the result where one is NaN.
    v = SLIPWAY_MM(min_ps)(high, SLIPWAY_MM(max_ps)(low, v));
    if constexpr (kTail)
      tail.Store(y, v);
    else
      Store(y, v);
    y += pixel;
  };
  for (int64_t column = 0; column < shape.out_w; column += kOutputs) {
    const int64_t left = column * shape.stride_w - shape.pad_left;
    const float* x = row.x + left * pixel;
    F acc[kOutputs];
    // Without the questions of the border where that is worth the code.
    constexpr bool kOften = kWindow > 0 && !kTail;
    if (kOften && left >= 0 && left + reach <= shape.in_w)
      Sum<kWindow, kStride, kTail, kOften>(shape, row, tail, x, 0, 0, acc);
    else
      Sum<kWindow, kStride, kTail, false>(shape, row, tail, x, -left, shape.in_w - left, acc);
    if (row.leaky) {
      const F slope = SLIPWAY_MM(set1_ps)(row.slope);
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i)
        acc[i] = SLIPWAY_MM(max_ps)(acc[i], SLIPWAY_MM(mul_ps)(acc[i], slope));
    }
#if defined(__AVX512F__)
    if (row.hard_swish) {
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i) acc[i] = HardSwishOf(acc[i]);
    }
#endif
    if (column + kOutputs <= shape.out_w) {
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i) finish(acc[i]);
    } else {
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs - 1; ++i) {
        if (column + i < shape.out_w) finish(acc[i]);
      }
    }
  }
}

#if defined(__aarch64__)
#include "engine/kernels/depthwise/arm_depthwise_strip.h"
#endif

using OutputsFunction = void (*)(const DepthwiseShape&, const Row&, const Tail&);
template <bool kTail>
OutputsFunction ChooseOutputs([[maybe_unused]] const DepthwiseShape& s) {
#if defined(__AVX2__) || defined(__aarch64__)  // the baseline of x86 stays small
  if (s.dilation_w == 1) {
    if (s.kernel_w == 3 && s.stride_w == 1) return Outputs<3, 1, kTail>;
    if (s.kernel_w == 3 && s.stride_w == 2) return Outputs<3, 2, kTail>;
    if (s.kernel_w == 5 && s.stride_w == 1) return Outputs<5, 1, kTail>;
    if constexpr (!kTail) {
      if (s.kernel_w == 5 && s.stride_w == 2) return Outputs<5, 2, kTail>;
      if (s.kernel_w == 7 && s.stride_w == 1) return Outputs<7, 1, kTail>;
    }
  }
#endif
  return Outputs<0, 0, kTail>;
}

void Run(const DepthwiseShape& shape, const DepthwiseParams& p, const DepthwiseCall& call,
         int64_t begin, int64_t end) {
  const DepthwiseShape& d = shape;
  const bool blocked = p.block > 1;
  const int64_t rows = p.rows, bands = (d.out_h + rows - 1) / rows;
  // A unit's part of a row: a block or all channels.
  const int64_t pixel = blocked ? p.block : d.channels, parts = d.channels / pixel;
  const int64_t taps = d.kernel_h * d.kernel_w;
  const int64_t packed = (taps + 1) * kLanes;
  const OutputsFunction full = ChooseOutputs<false>(d), part = ChooseOutputs<true>(d);
  const Tail tail(pixel % kLanes);
#if defined(__aarch64__)
  const bool strips = StripFits(d) && !call.residual;
#else
  constexpr bool strips = false;
#endif
  const bool hard_swish = kLanes == 16 && p.kind == UnaryKind::kHardSwish && !call.residual,
             leaky = p.kind == UnaryKind::kLeakyRelu && p.a >= 0 && p.a <= 1 && !call.residual &&
                     !strips;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t band = unit % bands, plane = unit / bands;  // [batch, parts]
    const float* x = static_cast<const float*>(call.x) + plane * d.in_h * d.in_w * pixel;
    const float* weights = call.weights + plane % parts * (pixel / kLanes) * packed;
    const int64_t last = MinOf((band + 1) * rows, d.out_h);
    int64_t channel = 0;  // where those begin that are summed row by row
#if defined(__aarch64__)
    if (strips) {
      channel = pixel / kLanes * kLanes;
      for (int64_t row = band * rows; row < last; row += kStripRows) {
        for (int64_t c = 0; c < channel; c += kLanes) {
          float* const y = static_cast<float*>(call.y) + (plane * d.out_h + row) * d.out_w * pixel;
          RunStrip(d,
                   {x + c, row * d.stride_h - d.pad_top, pixel, weights + c / kLanes * packed,
                    y + c, p.low, p.high},
                   MinOf(kStripRows, last - row));
        }
      }
    }
#endif
    for (int64_t row = band * rows; row < last; ++row) {
      const int64_t top = row * d.stride_h - d.pad_top;
      // Taps [first, stop) of a column lie in the image.
      int64_t first = top < 0 ? (-top + d.dilation_h - 1) / d.dilation_h : 0;
      int64_t stop = top < d.in_h ? (d.in_h - top + d.dilation_h - 1) / d.dilation_h : 0;
      stop = MinOf(stop, d.kernel_h);
      first = MinOf(first, stop);
      const int64_t at = (plane * d.out_h + row) * d.out_w * pixel;
      Row s;
      s.rows = stop - first;
      s.row_step = d.dilation_h * d.in_w * pixel;
      s.pixel = pixel;
      s.low = p.low;
      s.high = p.high;
      s.hard_swish = hard_swish;
      s.leaky = leaky;
      s.slope = p.a;
      for (int64_t c = channel; c < pixel; c += kLanes) {
        const float* w = weights + c / kLanes * packed;
        s.x = s.rows > 0 ? x + (top + first * d.dilation_h) * d.in_w * pixel + c : x;
        s.bias = w;
        s.weights = w + (1 + first * d.kernel_w) * kLanes;
        s.residual = call.residual ? static_cast<const float*>(call.residual) + at + c : nullptr;
        s.y = static_cast<float*>(call.y) + at + c;
        (pixel - c < kLanes ? part : full)(d, s, tail);
      }
      if (p.activation && !hard_swish && !leaky) {
        float* y = static_cast<float*>(call.y) + at;
        p.activation(y, y, d.out_w * pixel, p.a, p.b);
      }
    }
  }
}

}  // namespace

#if defined(__aarch64__)
const DepthwiseKernels kDepthwise = {kLanes, Run, kStripRows};
#else
const DepthwiseKernels kDepthwise = {kLanes, Run};
#endif

}  // namespace slipway::kernels::SLIPWAY_ISA
