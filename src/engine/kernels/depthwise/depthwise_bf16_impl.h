// The source of the depthwise convolution of bfloat16, in the namespace SLIPWAY_ISA. An instruction
// multiplies and adds two taps of a column: words of two rows of the image are interleaved in
// registers, which puts fours of channels into two of them in turns (PackDepthwiseBf16 follows).

#include <immintrin.h>

#include <cstdint>

#include "engine/kernels/depthwise/depthwise.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/sigmoid512.h"

constexpr int kOutputs = 7;  // of a row that are computed together

// Activations that are applied to sums where they are, in registers.
enum class InPlace : unsigned char { kNone, kLeaky, kSwish, kHardSwish, kOther };

// A vector of channels as words, and half of them as floats.
struct Wide {
  static constexpr int kChannels = 32;
  // Activations other than LeakyRelu; of the other the code is not worth it.
  static constexpr bool kInPlace = true;
  using Words = __m512i;
  using Floats = __m512;
  using Mask = __mmask32;
  static Words Load(Mask m, const uint16_t* p) { return _mm512_maskz_loadu_epi16(m, p); }
  static void Store(uint16_t* p, Mask m, Words v) {
    m == 0xffffffffu ? _mm512_storeu_si512(p, v) : _mm512_mask_storeu_epi16(p, m, v);
  }
  static Words Low(Words a, Words b) { return _mm512_unpacklo_epi16(a, b); }
  static Words High(Words a, Words b) { return _mm512_unpackhi_epi16(a, b); }
  static Words Zero() { return _mm512_setzero_si512(); }
  static Floats AsFloats(Words v) { return _mm512_castsi512_ps(v); }
  static Floats Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
  static Floats Dot(Floats sum, Words x, Words w) {
    return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w);
  }
  static Words Weights(const float* p) { return _mm512_loadu_si512(p); }
  static Floats Leaky(Floats v, float slope) {
    return _mm512_max_ps(v, _mm512_mul_ps(v, _mm512_set1_ps(slope)));
  }
  static Floats Clamp(Floats v, float low, float high) {  // the second operand where one is NaN
    return _mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), v));
  }
  // Back to the order of channels.
  static Words Narrow(Floats low, Floats high) {
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7),
                                    (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
};
struct Small {
  static constexpr int kChannels = 16;
  static constexpr bool kInPlace = false;
  using Words = __m256i;
  using Floats = __m256;
  using Mask = __mmask16;
  static Words Load(Mask m, const uint16_t* p) { return _mm256_maskz_loadu_epi16(m, p); }
  static void Store(uint16_t* p, Mask m, Words v) {
    m == 0xffff ? _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v)
                : _mm256_mask_storeu_epi16(p, m, v);
  }
  static Words Low(Words a, Words b) { return _mm256_unpacklo_epi16(a, b); }
  static Words High(Words a, Words b) { return _mm256_unpackhi_epi16(a, b); }
  static Words Zero() { return _mm256_setzero_si256(); }
  static Floats AsFloats(Words v) { return _mm256_castsi256_ps(v); }
  static Floats Load(const float* p) { return _mm256_loadu_ps(p); }
  static void Store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
  static Floats Dot(Floats sum, Words x, Words w) {
    return _mm256_dpbf16_ps(sum, (__m256bh)x, (__m256bh)w);
  }
  static Words Weights(const float* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Floats Leaky(Floats v, float slope) {
    return _mm256_max_ps(v, _mm256_mul_ps(v, _mm256_set1_ps(slope)));
  }
  static Floats Clamp(Floats v, float low, float high) {
    return _mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), v));
  }
  static Words Narrow(Floats low, Floats high) {
    return _mm256_permute4x64_epi64((__m256i)_mm256_cvtne2ps_pbh(high, low), 0xd8);
  }
};

// A row of outputs for the channels of a vector.
struct Row {
  const uint16_t* image;  // column 0 of row 0 of the plane, first channel
  int64_t top;            // the row of the image under the first tap, perhaps outside
  int64_t pixel;          // words from one column to the next, of x and y
  uint64_t mask;          // of the channels
  const float* packed;    // bias, then weights
  const uint16_t* residual;
  uint16_t* y;
  InPlace activation;
};

// Sums of kOutputs outputs; the window of the first begins at column `left`. With y they are
// clamped and go there, else to `sums`. kWindow and kStride are those of the columns; 0 reads them
// from the shape.
template <typename T, int kWindow, int kStride>
__attribute__((noinline)) void Sum(const DepthwiseShape& s, const DepthwiseParams& p,
                                   const Row& row, int64_t left, uint16_t* y, float* sums) {
  constexpr int kHalf = T::kChannels / 2;
  using Words = typename T::Words;
  const int64_t pixel = row.pixel;
  typename T::Floats low[kOutputs], high[kOutputs];
#pragma GCC unroll 8
  for (int i = 0; i < kOutputs; ++i) {
    low[i] = T::Load(row.packed);
    high[i] = T::Load(row.packed + kHalf);
  }
  const float* weights = row.packed + T::kChannels;
  const auto all = static_cast<typename T::Mask>(row.mask);
#pragma GCC unroll 1
  for (int64_t r = 0; r < s.kernel_h; r += 2) {
    const int64_t a = row.top + r * s.dilation_h, b = a + s.dilation_h;
    const bool in_a = a >= 0 && a < s.in_h, in_b = r + 1 < s.kernel_h && b >= 0 && b < s.in_h;
    if (!in_a && !in_b) {
      weights += s.kernel_w * T::kChannels;
      continue;
    }
    // Rows outside count as zeros.
    const auto mask_a = static_cast<typename T::Mask>(in_a ? all : 0),
               mask_b = static_cast<typename T::Mask>(in_b ? all : 0);
    const uint16_t* xa = row.image + ((in_a ? a : b) * s.in_w + left) * pixel;
    const uint16_t* xb = row.image + ((in_b ? b : a) * s.in_w + left) * pixel;
    if constexpr (kWindow > 0) {
      Words wl[kWindow], wh[kWindow];
#pragma GCC unroll 8
      for (int k = 0; k < kWindow; ++k, weights += T::kChannels) {
        wl[k] = T::Weights(weights);
        wh[k] = T::Weights(weights + kHalf);
      }
#pragma GCC unroll 32
      for (int c = 0; c < (kOutputs - 1) * kStride + kWindow; ++c) {
        if (static_cast<uint64_t>(left + c) >= static_cast<uint64_t>(s.in_w)) continue;
        const Words va = T::Load(mask_a, xa + c * pixel), vb = T::Load(mask_b, xb + c * pixel);
        const Words xl = T::Low(va, vb), xh = T::High(va, vb);
#pragma GCC unroll 8
        for (int k = 0; k < kWindow; ++k) {
          const int at = c - k;
          if (at < 0 || at % kStride != 0 || at / kStride >= kOutputs) continue;
          low[at / kStride] = T::Dot(low[at / kStride], xl, wl[k]);
          high[at / kStride] = T::Dot(high[at / kStride], xh, wh[k]);
        }
      }
    } else {
#pragma GCC unroll 1
      for (int64_t k = 0; k < s.kernel_w; ++k, weights += T::kChannels) {
        const Words wl = T::Weights(weights), wh = T::Weights(weights + kHalf);
#pragma GCC unroll 8
        for (int i = 0; i < kOutputs; ++i) {
          const int64_t c = i * s.stride_w + k * s.dilation_w;
          if (left + c < 0 || left + c >= s.in_w) continue;
          const Words va = T::Load(mask_a, xa + c * pixel), vb = T::Load(mask_b, xb + c * pixel);
          low[i] = T::Dot(low[i], T::Low(va, vb), wl);
          high[i] = T::Dot(high[i], T::High(va, vb), wh);
        }
      }
    }
  }
  if (y) {
    if (row.activation == InPlace::kLeaky) {
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i) {
        low[i] = T::Leaky(low[i], p.a);
        high[i] = T::Leaky(high[i], p.a);
      }
    }
    if constexpr (T::kInPlace) {
      if (row.activation == InPlace::kSwish) {
#pragma GCC unroll 8
        for (int i = 0; i < kOutputs; ++i) {
          low[i] = RoughSwishOf(low[i], low[i]);
          high[i] = RoughSwishOf(high[i], high[i]);
        }
      } else if (row.activation == InPlace::kHardSwish) {
#pragma GCC unroll 8
        for (int i = 0; i < kOutputs; ++i) {
          low[i] = HardSwishOf(low[i]);
          high[i] = HardSwishOf(high[i]);
        }
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kOutputs; ++i, y += pixel)
      T::Store(y, all,
               T::Narrow(T::Clamp(low[i], p.low, p.high), T::Clamp(high[i], p.low, p.high)));
    return;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kOutputs; ++i) {
    T::Store(sums + i * T::kChannels, low[i]);
    T::Store(sums + i * T::kChannels + kHalf, high[i]);
  }
}

// What follows the sums of outputs [column, column + n).
template <typename T>
__attribute__((noinline)) void Finish(const DepthwiseParams& p, const Row& row, int64_t column,
                                      int64_t n, float* sums) {
  constexpr int kHalf = T::kChannels / 2;
  const auto mask = static_cast<typename T::Mask>(row.mask);
  if (row.residual) {
    for (int64_t i = 0; i < n; ++i) {
      const auto z = T::Load(mask, row.residual + (column + i) * row.pixel);
      float* at = sums + i * T::kChannels;
      T::Store(at, T::Load(at) + T::AsFloats(T::Low(T::Zero(), z)));
      T::Store(at + kHalf, T::Load(at + kHalf) + T::AsFloats(T::High(T::Zero(), z)));
    }
  }
  if (p.activation) p.activation(sums, sums, n * T::kChannels, p.a, p.b);
  uint16_t* y = row.y + column * row.pixel;
  for (int64_t i = 0; i < n; ++i, y += row.pixel) {
    const float* at = sums + i * T::kChannels;
    T::Store(y, mask,
             T::Narrow(T::Clamp(T::Load(at), p.low, p.high),
                       T::Clamp(T::Load(at + kHalf), p.low, p.high)));
  }
}

using SumFunction = void (*)(const DepthwiseShape&, const DepthwiseParams&, const Row&, int64_t,
                             uint16_t*, float*);
template <typename T>
SumFunction ChooseSum(const DepthwiseShape& s) {
  if (s.dilation_w == 1) {
    if (s.kernel_w == 3 && s.stride_w == 1) return Sum<T, 3, 1>;
    if (s.kernel_w == 3 && s.stride_w == 2) return Sum<T, 3, 2>;
    if (s.kernel_w == 5 && s.stride_w == 1) return Sum<T, 5, 1>;
    if (s.kernel_w == 5 && s.stride_w == 2) return Sum<T, 5, 2>;
  }
  return Sum<T, 0, 0>;
}

template <typename T>
void Outputs(const DepthwiseShape& s, const DepthwiseParams& p, const Row& row, SumFunction sum) {
  const bool simple =
      !row.residual && (row.activation == InPlace::kNone || row.activation == InPlace::kLeaky ||
                        (T::kInPlace && row.activation != InPlace::kOther));
  alignas(64) float sums[kOutputs * T::kChannels];
  for (int64_t column = 0; column < s.out_w; column += kOutputs) {
    const int64_t left = column * s.stride_w - s.pad_left, rest = s.out_w - column;
    const bool direct = simple && rest >= kOutputs;
    sum(s, p, row, left, direct ? row.y + column * row.pixel : nullptr, sums);
    if (!direct) Finish<T>(p, row, column, rest < kOutputs ? rest : kOutputs, sums);
  }
}

void Run(const DepthwiseShape& s, const DepthwiseParams& p, const DepthwiseCall& call,
         int64_t begin, int64_t end) {
  const bool blocked = p.block > 1;
  const int64_t rows = p.rows, bands = (s.out_h + rows - 1) / rows;
  const int64_t pixel = blocked ? p.block : s.channels, parts = s.channels / pixel;
  const int64_t taps = (s.kernel_h + 1) / 2 * s.kernel_w, room = (pixel + 15) / 16 * 16;
  const SumFunction wide = ChooseSum<Wide>(s), small = ChooseSum<Small>(s);
  const InPlace activation = !p.activation ? InPlace::kNone
                             : p.kind == UnaryKind::kLeakyRelu && p.a >= 0 && p.a <= 1
                                 ? InPlace::kLeaky
                             : p.kind == UnaryKind::kSwish && p.a == 1.0f ? InPlace::kSwish
                             : p.kind == UnaryKind::kHardSwish            ? InPlace::kHardSwish
                                                                          : InPlace::kOther;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t band = unit % bands, plane = unit / bands;  // [batch, parts]
    const int64_t last = (band + 1) * rows < s.out_h ? (band + 1) * rows : s.out_h;
    for (int64_t out = band * rows; out < last; ++out) {
      const int64_t at = (plane * s.out_h + out) * s.out_w * pixel;
      Row row;
      row.top = out * s.stride_h - s.pad_top;
      row.pixel = pixel;
      row.activation = activation;
      for (int64_t c = 0; c < pixel;) {
        const int64_t width = pixel - c >= 32 ? 32 : 16,
                      live = pixel - c < width ? pixel - c : width;
        row.image = static_cast<const uint16_t*>(call.x) + plane * s.in_h * s.in_w * pixel + c;
        row.mask = (uint64_t{1} << live) - 1;
        row.packed = call.weights + (plane % parts * room + c) * (taps + 1);
        row.residual =
            call.residual ? static_cast<const uint16_t*>(call.residual) + at + c : nullptr;
        row.y = static_cast<uint16_t*>(call.y) + at + c;
        width == 32 ? Outputs<Wide>(s, p, row, wide) : Outputs<Small>(s, p, row, small);
        c += width;
      }
    }
  }
}

}  // namespace

const DepthwiseKernels kDepthwise = {16, Run};

}  // namespace slipway::kernels::SLIPWAY_ISA
