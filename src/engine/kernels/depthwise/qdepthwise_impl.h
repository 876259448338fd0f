// The source of the 8-bit depthwise convolution; qx86_*.cc include it with SLIPWAY_ISA set to the
// namespace of their instruction set.

#if defined(__x86_64__)
#include <immintrin.h>
#else
#include "engine/kernels/simd/sse_on_neon.h"
#endif

#include <cstdint>

#include "engine/kernels/depthwise/depthwise.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#if !defined(__x86_64__)
using namespace sse;  // NOLINT: names of x86
#endif

#if defined(__AVX512VNNI__)
#include "engine/kernels/simd/rectifier512.h"
#include "engine/kernels/simd/sigmoid512.h"
#endif

#if defined(__AVX512VNNI__)
constexpr int kTaps = 4, kBytes = 64, kOutputs = 7;
#define SLIPWAY_MM(op) _mm512_##op
using I = __m512i;
using F = __m512;
#elif defined(__AVX2__)
constexpr int kTaps = 2, kBytes = 32, kOutputs = 4;
#define SLIPWAY_MM(op) _mm256_##op
using I = __m256i;
using F = __m256;
#else
#if defined(__ARM_FEATURE_DOTPROD)
constexpr int kTaps = 4, kBytes = 16, kOutputs = 7;
#elif defined(__aarch64__)
constexpr int kTaps = 2, kBytes = 16, kOutputs = 7;
#else
constexpr int kTaps = 2, kBytes = 16, kOutputs = 4;
#endif
#define SLIPWAY_MM(op) _mm_##op
using I = __m128i;
using F = __m128;
#endif
#if defined(__ARM_FEATURE_DOTPROD)
constexpr bool kSigned = true;
#else
constexpr bool kSigned = false;
#endif
// Two taps of four channels lie behind each other, not in pairs.
#if defined(__aarch64__)
constexpr bool kApart = kTaps == 2;
#else
constexpr bool kApart = false;
#endif
#if defined(__AVX512VNNI__)
constexpr bool kDirect = true;
#else
constexpr bool kDirect = false;
#endif
// All shuffles work in lanes of 16 bytes. Of 16 channels in a lane, part j of four holds 4 j to 4 j
// + 3.
constexpr int kLanes = kBytes / 16;
// One column of interleaved rows: four parts, each beside that of the next column or the next part.
constexpr int kColumnBytes = 4 * kBytes;
#if defined(__aarch64__)
constexpr bool kSideBySide = true;
#else
constexpr bool kSideBySide = false;
#endif
constexpr int kColumnStep = kSideBySide ? kBytes : kColumnBytes;
inline int64_t PartStep(int64_t plane) { return kSideBySide ? plane / 4 : kBytes; }
// Where the weights of a part lie in a row of the window's groups, and from one column to the next.
constexpr int kTapStep = kSideBySide ? kBytes : 4 * kBytes;
inline int64_t PartWeights(int64_t group, int64_t window, int64_t part) {
  return kSideBySide ? (group * 4 + part) * window * kBytes : (group * window * 4 + part) * kBytes;
}
constexpr int kMostGroups = kQDepthwiseMostRows / kTaps;

template <typename T>
inline T Load(const void* p) {
  T v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <typename T>
inline void Store(void* p, T v) {
  __builtin_memcpy(p, &v, sizeof v);
}
inline I Dot(I acc, I x, I w) {
#if defined(__AVX512VNNI__)
  return _mm512_dpbusd_epi32(acc, x, w);
#elif defined(__ARM_FEATURE_DOTPROD)
  return (I)vdotq_s32((int32x4_t)acc, (int8x16_t)x, (int8x16_t)w);
#elif defined(__aarch64__)
  const int16x8_t a = (int16x8_t)x, b = (int16x8_t)w;
  return (I)vmlal_high_s16(vmlal_s16((int32x4_t)acc, vget_low_s16(a), vget_low_s16(b)), a, b);
#else
  return SLIPWAY_MM(add_epi32)(acc, SLIPWAY_MM(madd_epi16)(x, w));
#endif
}
// Between int32 and float32, to the nearest even. The plain intrinsics of GCC 12 warn of their own
// undefined operands.
inline F ToFloat(I v) {
#if defined(__AVX512F__)
  return _mm512_maskz_cvtepi32_ps(static_cast<__mmask16>(-1), v);
#else
  return SLIPWAY_MM(cvtepi32_ps)(v);
#endif
}
inline I ToInt(F v) {
#if defined(__AVX512F__)
  return _mm512_maskz_cvtps_epi32(static_cast<__mmask16>(-1), v);
#else
  return SLIPWAY_MM(cvtps_epi32)(v);
#endif
}
inline int64_t MinOf(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t MaxOf(int64_t a, int64_t b) { return a > b ? a : b; }

// Rows of the image that are interleaved, each for kPieces bands of them: a vector holds kBytes /
// kPieces channels of each band. `at` is where column 0 of the image lies; padding has step 0.
template <int kPieces>
struct Rows {
  const uint8_t* at[kTaps][kPieces];
  int64_t step[kTaps][kPieces];
};

// The vector at these places, which move on.
template <int kPieces>
inline I Gather(const uint8_t* (&at)[kPieces], const int64_t (&step)[kPieces]) {
  I v;
  if constexpr (kPieces == 1) {
    v = Load<I>(at[0]);
#if defined(__AVX512VNNI__)
  } else if constexpr (kPieces == 2) {
    v = _mm512_inserti64x4(_mm512_castsi256_si512(Load<__m256i>(at[0])), Load<__m256i>(at[1]), 1);
  } else {
    const auto lane = [&](int l) __attribute__((always_inline)) {
      if constexpr (kPieces == 4)
        return Load<__m128i>(at[l]);
      else
        return _mm_insert_epi64(_mm_cvtsi64_si128(Load<int64_t>(at[2 * l])),
                                Load<int64_t>(at[2 * l + 1]), 1);
    };
    v = _mm512_castsi128_si512(lane(0));
    v = _mm512_inserti32x4(v, lane(1), 1);
    v = _mm512_inserti32x4(v, lane(2), 2);
    v = _mm512_inserti32x4(v, lane(3), 3);
#elif defined(__AVX2__)
  } else {
    v = _mm256_inserti128_si256(_mm256_castsi128_si256(Load<__m128i>(at[0])), Load<__m128i>(at[1]),
                                1);
#endif
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPieces; ++p) at[p] += step[p];
  return v;
}

inline void Interleave(const I (&rows)[kTaps], I flip, uint8_t* to, int64_t part) {
  const I a = rows[0] ^ flip, b = rows[1] ^ flip;
  const I low = kApart ? SLIPWAY_MM(unpacklo_epi32)(a, b) : SLIPWAY_MM(unpacklo_epi8)(a, b),
          high = kApart ? SLIPWAY_MM(unpackhi_epi32)(a, b) : SLIPWAY_MM(unpackhi_epi8)(a, b);
  if constexpr (kTaps == 4) {
    const I c = rows[kTaps - 2] ^ flip, d = rows[kTaps - 1] ^ flip;
    const I low2 = SLIPWAY_MM(unpacklo_epi8)(c, d), high2 = SLIPWAY_MM(unpackhi_epi8)(c, d);
    Store(to, SLIPWAY_MM(unpacklo_epi16)(low, low2));
    Store(to + part, SLIPWAY_MM(unpackhi_epi16)(low, low2));
    Store(to + 2 * part, SLIPWAY_MM(unpacklo_epi16)(high, high2));
    Store(to + 3 * part, SLIPWAY_MM(unpackhi_epi16)(high, high2));
  } else {
    const I zero = {};
    Store(to, SLIPWAY_MM(unpacklo_epi8)(low, zero));
    Store(to + part, SLIPWAY_MM(unpackhi_epi8)(low, zero));
    Store(to + 2 * part, SLIPWAY_MM(unpacklo_epi8)(high, zero));
    Store(to + 3 * part, SLIPWAY_MM(unpackhi_epi8)(high, zero));
  }
}

// One strip of outputs: what is the same for all its steps.
template <int kPieces>
struct Strip {
  Rows<kPieces> rows[kMostGroups];
  int64_t groups, plane;       // bytes from one group's columns in the buffer to the next's
  int64_t left;                // column of the image that column 0 of the buffer is
  int64_t inside, inside_end;  // columns of the buffer that lie in the image
  int64_t safe_end;            // up to here whole vectors may be loaded
  int64_t count;               // channels
  uint8_t flip, padding[kBytes];
};

// A column that is padding or too near to the end of the image.
template <int kPieces>
__attribute__((noinline)) void SlowColumn(const Strip<kPieces>& s, int64_t group, int64_t column,
                                          I (&rows)[kTaps]) {
  const Rows<kPieces>& r = s.rows[group];
  for (int t = 0; t < kTaps; ++t) {
    rows[t] = Load<I>(s.padding);
    if (column < s.inside || column >= s.inside_end) continue;
    uint8_t bytes[kBytes] = {};
    for (int p = 0; p < kPieces; ++p) {
      const uint8_t* from = r.at[t][p] + (s.left + column) * r.step[t][p];
      for (int64_t i = 0; i < s.count; ++i) bytes[p * (kBytes / kPieces) + i] = from[i];
    }
    rows[t] = Load<I>(bytes);
  }
}

// Columns [begin, end) of the buffer.
template <int kPieces>
__attribute__((noinline)) void Fill(const Strip<kPieces>& s, uint8_t* buffer, int64_t begin,
                                    int64_t end) {
  const I flip = SLIPWAY_MM(set1_epi8)(static_cast<char>(s.flip));
  const int64_t part = PartStep(s.plane);
  for (int64_t g = 0; g < s.groups; ++g) {
    const Rows<kPieces>& r = s.rows[g];
    uint8_t* to = buffer + g * s.plane + begin * kColumnStep;
    int64_t c = begin;
    const auto pad = [&](int64_t stop) {
      for (; c < stop; ++c, to += kColumnStep) {
        const I byte = Load<I>(s.padding) ^ flip;
        const I rows = kTaps == 4 ? byte : SLIPWAY_MM(unpacklo_epi8)(byte, I{});
        for (int j = 0; j < 4; ++j) Store(to + j * part, rows);
      }
    };
    pad(MinOf(s.inside, end));
    const uint8_t* at[kTaps][kPieces];
#pragma GCC unroll 4
    for (int t = 0; t < kTaps; ++t) {
      for (int p = 0; p < kPieces; ++p) at[t][p] = r.at[t][p] + (s.left + c) * r.step[t][p];
    }
    for (const int64_t stop = MinOf(s.safe_end, end); c < stop; ++c, to += kColumnStep) {
      I rows[kTaps];
#pragma GCC unroll 4
      for (int t = 0; t < kTaps; ++t) rows[t] = Gather<kPieces>(at[t], r.step[t]);
      Interleave(rows, flip, to, part);
    }
    for (const int64_t stop = MinOf(s.inside_end, end); c < stop; ++c, to += kColumnStep) {
      I rows[kTaps];
      SlowColumn(s, g, c, rows);
      Interleave(rows, flip, to, part);
    }
    pad(end);
  }
}

#if defined(__AVX512VNNI__)
// The activation of one vector, as QDepthwiseParams::in_registers has it.
struct Activate {
  Rectifier512 rectifier;
  F slope, multiplier;
  bool rectify, leaky, swish;
  explicit Activate(const QDepthwiseParams& p)
      : rectifier(p.rectifier),
        slope(_mm512_set1_ps(p.a)),
        multiplier(_mm512_set1_ps(p.y_multiplier)),
        rectify(p.activation && p.y != CodeType::kF32 && !p.leaky),
        leaky(p.activation && p.y != CodeType::kF32 && p.leaky),
        swish(p.activation && p.y == CodeType::kF32) {}
  F Of(F v) const {
    if (leaky) return _mm512_mul_ps(_mm512_max_ps(v, _mm512_mul_ps(v, slope)), multiplier);
    return rectify ? rectifier.Of(v) : swish ? SwishOf(v, v) : v;
  }
};
// Four parts to the channels of four lanes.
inline void ToLanes(F a, F b, F c, F d, F (&lanes)[4]) {
  const F low1 = _mm512_shuffle_f32x4(a, b, 0x44), high1 = _mm512_shuffle_f32x4(a, b, 0xee),
          low2 = _mm512_shuffle_f32x4(c, d, 0x44), high2 = _mm512_shuffle_f32x4(c, d, 0xee);
  lanes[0] = _mm512_shuffle_f32x4(low1, low2, 0x88);
  lanes[1] = _mm512_shuffle_f32x4(low1, low2, 0xdd);
  lanes[2] = _mm512_shuffle_f32x4(high1, high2, 0x88);
  lanes[3] = _mm512_shuffle_f32x4(high1, high2, 0xdd);
}
#endif

// What becomes of the sums.
struct Finish {
  const uint8_t* multipliers;  // [4] vectors of float32
  const QDepthwiseParams* params;
  bool swish;  // whole lanes of floats, whose activation it is
  bool plain;  // see QDepthwiseView
  bool whole;  // a vector is kBytes channels of one output
  // Of the first output, for every lane: null where there is none.
  uint8_t* y[kLanes];
  const uint8_t* residual[kLanes];
  int64_t count[kLanes];  // channels
  int64_t step;           // elements from one output to the next
  int64_t plane;          // of the strip
};

// One value of lane l of output i.
inline void FinishValue(const Finish& f, int l, int64_t at, float v) {
  const QDepthwiseParams& p = *f.params;
  if (f.residual[l]) {
    const uint8_t code = f.residual[l][at];
    const int32_t z = p.z_signed ? static_cast<int8_t>(code) : code;
    v = __builtin_fmaf(static_cast<float>(z - p.z_zero), p.z_multiplier, v);
    if (p.activation) {
      p.activation(&v, &v, 1, p.a, p.b);
      v *= p.y_multiplier;
    }
  }
  if (p.y == CodeType::kF32) {
    reinterpret_cast<float*>(f.y[l])[at] = v;
    return;
  }
  constexpr float kMagic = 12582912.0f;
  const float low = static_cast<float>(p.to.lo - p.to.zero_point),
              high = static_cast<float>(p.to.hi - p.to.zero_point);
  v = v > low ? v : low;
  v = v < high ? v : high;
  f.y[l][at] = static_cast<uint8_t>(static_cast<int32_t>((v + kMagic) - kMagic) + p.to.zero_point);
}

// values: float32 of the sums, [4][kOutputs] vectors.
__attribute__((noinline)) void FinishValues(const Finish& f, uint8_t* values, int64_t outputs) {
  const QDepthwiseParams& p = *f.params;
  if (p.activation && !p.residual && !f.swish) {  // else behind the residual
    float* v = reinterpret_cast<float*>(values);
    p.activation(v, v, kOutputs * kBytes, p.a, p.b);
    if (p.y_multiplier != 1.0f) {
      for (int c = 0; c < kOutputs * kBytes; ++c) v[c] *= p.y_multiplier;
    }
  }
  const bool floats = p.y == CodeType::kF32 && !p.residual;
  for (int64_t i = 0; i < outputs; ++i) {
    const uint8_t* parts = values + i * kBytes;
    constexpr int kPart = kOutputs * kBytes;  // from one part to the next
#if defined(__AVX512VNNI__)
    F lanes[4];
    ToLanes(Load<F>(parts), Load<F>(parts + kPart), Load<F>(parts + 2 * kPart),
            Load<F>(parts + 3 * kPart), lanes);
    if (f.swish) {
#pragma GCC unroll 4
      for (F& v : lanes) v = SwishOf(v, v);
    }
#endif
#pragma GCC unroll 4
    for (int l = 0; l < kLanes; ++l) {
      if (!f.y[l]) continue;
      const uint8_t* part = parts + l * 16;
      if (floats && f.count[l] == 16) {
        uint8_t* to = f.y[l] + i * f.step * 4;
#if defined(__AVX512VNNI__)
        Store(to, lanes[l]);
#else
        for (int j = 0; j < 4; ++j) Store(to + j * 16, Load<__m128>(part + j * kPart));
#endif
        continue;
      }
      for (int64_t c = 0; c < f.count[l]; ++c)
        FinishValue(f, l, i * f.step + c, Load<float>(part + c / 4 * kPart + c % 4 * 4));
    }
  }
}

// Vectors of codes that are no whole outputs.
__attribute__((noinline)) void Scatter(const Finish& f, const uint8_t* codes, int64_t outputs) {
  for (int64_t i = 0; i < outputs; ++i, codes += kBytes) {
    for (int l = 0; l < kLanes; ++l) {
      if (!f.y[l]) continue;
      uint8_t* to = f.y[l] + i * f.step;
      if (f.count[l] == 16) {
        Store(to, Load<__m128i>(codes + l * 16));
      } else if (f.count[l] == 8) {
        Store(to, Load<int64_t>(codes + l * 16));
      } else {
        for (int64_t c = 0; c < f.count[l]; ++c) to[c] = codes[l * 16 + c];
      }
    }
  }
}

// values as above to codes of their activation, at `to`, which has room for kOutputs of them.
__attribute__((noinline)) void FinishActivated(const Finish& f, uint8_t* values, int64_t outputs,
                                               uint8_t* to, int64_t to_step) {
  const QDepthwiseParams& p = *f.params;
  float* v = reinterpret_cast<float*>(values);
  p.activation(v, v, kOutputs * kBytes, p.a, p.b);
  const F low = SLIPWAY_MM(set1_ps)(static_cast<float>(p.to.lo - p.to.zero_point)),
          high = SLIPWAY_MM(set1_ps)(static_cast<float>(p.to.hi - p.to.zero_point)),
          multiplier = SLIPWAY_MM(set1_ps)(p.y_multiplier);
  const I zero = SLIPWAY_MM(set1_epi32)(p.to.zero_point);
  for (int64_t i = 0; i < outputs; ++i, to += to_step) {
    I code[4];
    for (int j = 0; j < 4; ++j) {
      const F value = SLIPWAY_MM(mul_ps)(Load<F>(values + (j * kOutputs + i) * kBytes), multiplier);
      // NaN becomes low.
      const F inside = SLIPWAY_MM(min_ps)(SLIPWAY_MM(max_ps)(value, low), high);
      code[j] = SLIPWAY_MM(add_epi32)(ToInt(inside), zero);
    }
    const I first = SLIPWAY_MM(packs_epi32)(code[0], code[1]),
            second = SLIPWAY_MM(packs_epi32)(code[2], code[3]);
    Store(to, p.y == CodeType::kU8 ? SLIPWAY_MM(packus_epi16)(first, second)
                                   : SLIPWAY_MM(packs_epi16)(first, second));
  }
}

#if defined(__aarch64__)
#include "engine/kernels/depthwise/arm_qdepthwise.h"
#endif

// kOutputs outputs of a row, of which the first `outputs` are stored. kWindow and kStride are those
// of the columns; 0 reads them from the shape. kCodes: the usual way from sums to codes, everything
// in registers.
template <int kWindow, int kStride, bool kCodes>
void Outputs(const QDepthwiseView& d, const uint8_t* buffer, const uint8_t* weights,
             const uint8_t* bias, const Finish& f, int64_t outputs) {
  const int64_t groups = d.groups, window = d.shape.kernel_w;
  alignas(64) uint8_t kept[(kCodes ? 1 : 4) * kOutputs * kBytes];
  I half[kOutputs], first[kOutputs];
  const bool whole = f.whole && outputs == kOutputs;
  uint8_t* const to = whole ? f.y[0] : kept;
  const int64_t to_step = whole ? f.step : kBytes;
  const auto sum = [&](int j, I(&acc)[kOutputs]) __attribute__((always_inline)) {
    acc[0] = Load<I>(bias + j * kBytes);
#pragma GCC unroll 8
    for (int i = 1; i < kOutputs; ++i) acc[i] = acc[0];
#pragma GCC unroll 1
    for (int64_t g = 0; g < groups; ++g) {
      const uint8_t* x = buffer + g * f.plane + j * PartStep(f.plane);
      if constexpr (kWindow > 0) {
        I w[kWindow];
#if defined(__aarch64__)
        using Order = LoadOrder<kWindow, kStride>;
        I v[Order::kColumns];
        const auto load = [&](int at) __attribute__((always_inline)) {
          const int item = Order::kItems[at];
          if (item < Order::kColumns)
            v[item] = LoadInOrder(x, item * kColumnStep);
          else
            w[item - Order::kColumns] = LoadInOrder(weights + PartWeights(g, kWindow, j),
                                                    (item - Order::kColumns) * kTapStep);
        };
#pragma GCC unroll 8
        for (int at = 0; at < Order::kBefore; ++at) load(at);
#pragma GCC unroll 8
        for (int k = 0; k < kWindow; ++k) {
#pragma GCC unroll 8
          for (int i = 0; i < kOutputs; ++i) {
            DotInOrder<0>(acc[i], v[i * kStride + k], w[k]);
            const int at = Order::kBefore + k * kOutputs + i;
            if (at < Order::kCount) load(at);
          }
#pragma GCC unroll 8
          for (int i = 0; i < kOutputs; ++i) DotInOrder<1>(acc[i], v[i * kStride + k], w[k]);
        }
        continue;
#endif
#pragma GCC unroll 8
        for (int k = 0; k < kWindow; ++k)
          w[k] = Load<I>(weights + PartWeights(g, kWindow, j) + k * kTapStep);
#pragma GCC unroll 32
        for (int c = 0; c < (kOutputs - 1) * kStride + kWindow; ++c, x += kColumnStep) {
          const I v = Load<I>(x);
#pragma GCC unroll 8
          for (int k = 0; k < kWindow; ++k) {
            const int at = c - k;
            if (at < 0 || at % kStride != 0 || at / kStride >= kOutputs) continue;
            acc[at / kStride] = Dot(acc[at / kStride], v, w[k]);
          }
        }
      } else {
#pragma GCC unroll 1
        for (int64_t k = 0; k < window; ++k, x += d.shape.dilation_w * kColumnStep) {
          const I w = Load<I>(weights + PartWeights(g, window, j) + k * kTapStep);
#pragma GCC unroll 8
          for (int i = 0; i < kOutputs; ++i)
            acc[i] = Dot(acc[i], Load<I>(x + i * d.shape.stride_w * kColumnStep), w);
        }
      }
    }
  };
  if constexpr (kCodes) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      I acc[kOutputs];
      sum(j, acc);
      const F m = Load<F>(f.multipliers + j * kBytes);
      // Conversion rounds to the nearest even; everything behind it saturates.
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i) {
        acc[i] = ToInt(SLIPWAY_MM(mul_ps)(ToFloat(acc[i]), m));
        if (j % 2 == 0) {
          half[i] = acc[i];
          continue;
        }
        const I words = SLIPWAY_MM(packs_epi32)(half[i], acc[i]);
        if (j == 1)
          first[i] = words;
        else
          half[i] = words;
      }
    }
    const QDepthwiseParams& p = *f.params;
    if (!f.plain) {
      const I zero = SLIPWAY_MM(set1_epi16)(static_cast<short>(p.to.zero_point)),
              lo = SLIPWAY_MM(set1_epi16)(static_cast<short>(p.to.lo)),
              hi = SLIPWAY_MM(set1_epi16)(static_cast<short>(p.to.hi));
      const auto clamp = [&](I v) {
        return SLIPWAY_MM(min_epi16)(SLIPWAY_MM(max_epi16)(SLIPWAY_MM(adds_epi16)(v, zero), lo),
                                     hi);
      };
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i) first[i] = clamp(first[i]), half[i] = clamp(half[i]);
    }
    if (p.y == CodeType::kU8) {
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i)
        Store(to + i * to_step, SLIPWAY_MM(packus_epi16)(first[i], half[i]));
    } else {
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i)
        Store(to + i * to_step, SLIPWAY_MM(packs_epi16)(first[i], half[i]));
    }
    if (!whole) Scatter(f, kept, outputs);
  } else {
#pragma GCC unroll 1
    for (int j = 0; j < 4; ++j) {
      I acc[kOutputs];
      sum(j, acc);
      const F m = Load<F>(f.multipliers + j * kBytes);
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i)
        Store(kept + (j * kOutputs + i) * kBytes, SLIPWAY_MM(mul_ps)(ToFloat(acc[i]), m));
    }
    if (!f.params->activation || f.params->residual || f.params->y == CodeType::kF32) {
      FinishValues(f, kept, outputs);
      return;
    }
    alignas(64) uint8_t codes[kOutputs * kBytes];
    FinishActivated(f, kept, outputs, whole ? to : codes, to_step);
    if (!whole) Scatter(f, codes, outputs);
  }
}

using OutputsFunction = void (*)(const QDepthwiseView&, const uint8_t*, const uint8_t*,
                                 const uint8_t*, const Finish&, int64_t);
template <bool kCodes>
OutputsFunction ChooseOutputs([[maybe_unused]] const DepthwiseShape& s) {
#if defined(__AVX2__) || defined(__aarch64__)
  constexpr bool kWorth = kCodes || kBytes > 16;  // the code
  if (kWorth && s.dilation_w == 1) {
#if defined(__aarch64__)
    if (kCodes && s.kernel_w == 3 && s.stride_w == 1 && GroupsFit(s)) return Codes;
#endif
    if (s.kernel_w == 3 && s.stride_w == 1) return Outputs<3, 1, kCodes>;
    if (s.kernel_w == 3 && s.stride_w == 2) return Outputs<3, 2, kCodes>;
    if (s.kernel_w == 5 && s.stride_w == 1) return Outputs<5, 1, kCodes>;
#if defined(__AVX512VNNI__)
    if (s.kernel_w == 5 && s.stride_w == 2) return Outputs<5, 2, kCodes>;
    if (kCodes && s.kernel_w == 7 && s.stride_w == 1) return Outputs<7, 1, true>;
#endif
  }
#endif
  return Outputs<0, 0, kCodes>;
}

// A unit: outputs [column, column_end) of bands [band, band_end) of rows of one block of channels
// and, where a vector holds several pieces, of those `bands` further down each.
struct Unit {
  const QDepthwiseBlock* block;
  int64_t image, band, band_end, bands, column, column_end;
};

template <int kPieces>
__attribute__((noinline)) void Prepare(const QDepthwiseView& d, const Unit& u, int64_t columns,
                                       Strip<kPieces>& strip) {
  const DepthwiseShape& s = d.shape;
  strip.groups = d.groups;
  strip.plane = columns * kColumnBytes;
  strip.left = u.column * s.stride_w - s.pad_left;
  strip.count = u.block->count;
  strip.flip = d.params.x_signed == kSigned ? 0 : 0x80;
  for (uint8_t& b : strip.padding) b = static_cast<uint8_t>(d.params.x_zero);
  strip.inside = MinOf(MaxOf(-strip.left, 0), columns);
  strip.inside_end = MaxOf(MinOf(s.in_w - strip.left, columns), strip.inside);
}

// Lets the strip point at the rows of a band.
template <int kPieces>
__attribute__((noinline)) void Place(const QDepthwiseView& d, const QDepthwiseCall& call,
                                     const Unit& u, int64_t band, Strip<kPieces>& strip) {
  const DepthwiseShape& s = d.shape;
  strip.safe_end = strip.inside_end;
  const uint8_t* x = call.x + u.image * s.in_h * s.in_w * s.channels + u.block->channel;
  const uint8_t* const end = call.x + s.batch * s.in_h * s.in_w * s.channels;
  for (int64_t g = 0; g < d.groups; ++g) {
    Rows<kPieces>& rows = strip.rows[g];
    for (int t = 0; t < kTaps; ++t) {
      for (int p = 0; p < kPieces; ++p) {
        const int64_t row = (band + p * u.bands) * d.rows, tap = g * kTaps + t;
        const int64_t at = row * s.stride_h - s.pad_top + tap * s.dilation_h;
        const bool used =
            tap < (d.rows - 1) * s.stride_h + s.kernel_h && row < s.out_h && at >= 0 && at < s.in_h;
        rows.at[t][p] = used ? x + at * s.in_w * s.channels : strip.padding;
        rows.step[t][p] = used ? s.channels : 0;
        if (!used || strip.count == kBytes / kPieces) continue;
        const int64_t room = end - kBytes / kPieces - rows.at[t][p];
        strip.safe_end = MinOf(strip.safe_end, room < 0 ? 0 : room / s.channels + 1 - strip.left);
      }
    }
  }
}

template <int kPieces>
void Prepare(const QDepthwiseView& d, const Unit& u, Finish& f) {
  f.multipliers =
      d.packed + u.block->packed + (d.rows * d.groups * d.shape.kernel_w + 1) * 4 * kBytes;
  f.params = &d.params;
  f.plain = d.plain;
  f.whole = kPieces == 1 && u.block->count == kBytes;
  f.step = d.shape.channels;
  for (int l = 0; l < kLanes; ++l)
    f.count[l] = MaxOf(0, MinOf(u.block->count - l % (kLanes / kPieces) * 16, 16));
  f.swish = kDirect && d.params.y == CodeType::kF32 && d.params.activation &&
            d.params.in_registers() && u.block->count == kBytes / kPieces;
}

// Lets f point at the output in this column and in row `row` of the band.
template <int kPieces>
__attribute__((noinline)) void Place(const QDepthwiseView& d, const QDepthwiseCall& call,
                                     const Unit& u, int64_t band, int64_t row, int64_t column,
                                     Finish& f) {
  const DepthwiseShape& s = d.shape;
  const int64_t size = d.params.y == CodeType::kF32 ? 4 : 1;
  for (int l = 0; l < kLanes; ++l) {
    const int piece = l / (kLanes / kPieces);
    const int64_t out = (band + piece * u.bands) * d.rows + row;
    const bool used = out < s.out_h && f.count[l] > 0;
    const int64_t at = ((u.image * s.out_h + out) * s.out_w + column) * s.channels +
                       u.block->channel + l % (kLanes / kPieces) * 16;
    f.y[l] = used ? static_cast<uint8_t*>(call.y) + at * size : nullptr;
    f.residual[l] = used && call.residual ? call.residual + at : nullptr;
  }
}

template <int kPieces>
void RunBand(const QDepthwiseView& d, const QDepthwiseCall& call, const Unit& u, int64_t band) {
  const DepthwiseShape& s = d.shape;
  alignas(64) uint8_t buffer[kQDepthwiseBuffer];
  const int64_t steps = (u.column_end - u.column + kOutputs - 1) / kOutputs;
  const int64_t advance = kOutputs * s.stride_w,
                reach = (kOutputs - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1;
  Strip<kPieces> strip;
  Prepare(d, u, (steps - 1) * advance + reach, strip);
  Finish f;
  Prepare<kPieces>(d, u, f);
  f.plane = strip.plane;
  const bool codes =
      d.params.y != CodeType::kF32 && !call.residual && d.bounded && !d.params.activation;
  const OutputsFunction compute = codes ? ChooseOutputs<true>(s) : ChooseOutputs<false>(s);
  const uint8_t* packed = d.packed + u.block->packed;
  const int64_t weights = d.groups * s.kernel_w * 4 * kBytes;  // of one row of outputs
  int64_t filled = 0;
  Place(d, call, u, band, strip);
#if defined(__aarch64__)
  if (compute == Codes) {  // whole rows
    Fill<kPieces>(strip, buffer, 0, (steps - 1) * advance + reach);
    for (int64_t r = 0; r < d.rows; ++r) {
      Place<kPieces>(d, call, u, band, r, u.column, f);
      if (!f.y[0]) break;
      Codes(d, buffer, packed + r * weights, packed + d.rows * weights, f, u.column_end - u.column);
    }
    return;
  }
#endif
  for (int64_t i = 0; i < steps; ++i) {
    const int64_t to = i * advance + reach;
    Fill<kPieces>(strip, buffer, filled, to);
    filled = to;
    const int64_t first = u.column + i * kOutputs, outputs = MinOf(kOutputs, u.column_end - first);
    for (int64_t r = 0; r < d.rows; ++r) {
      Place<kPieces>(d, call, u, band, r, first, f);
      if (kPieces == 1 && !f.y[0]) break;
      compute(d, buffer + i * advance * kColumnStep, packed + r * weights,
              packed + d.rows * weights, f, outputs);
    }
  }
}

#if defined(__AVX512VNNI__)
#include "engine/kernels/depthwise/qdepthwise_direct.h"
#endif

template <int kPieces>
void RunUnit(const QDepthwiseView& d, const QDepthwiseCall& call, const Unit& u) {
#if defined(__AVX512VNNI__)
  if (d.direct && u.block->count == kBytes / kPieces) return RunDirect<kPieces>(d, call, u);
#endif
  for (int64_t band = u.band; band < u.band_end; ++band) RunBand<kPieces>(d, call, u, band);
}

void Run(const QDepthwiseView& d, const QDepthwiseCall& call, int64_t begin, int64_t end) {
  const DepthwiseShape& s = d.shape;
  const int64_t chunks = (s.out_w + d.columns - 1) / d.columns;
  const auto units = [&](int64_t bands) { return (bands + d.merged - 1) / d.merged * chunks; };
  const int64_t all = units(d.bands) * d.whole_blocks;  // of whole blocks in an image
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t image = unit / d.image_units;
    int64_t at = unit % d.image_units, bands = d.bands;
    const QDepthwiseBlock* block = d.blocks;
    if (at < all) {
      block += at % d.whole_blocks;
      at /= d.whole_blocks;
    } else {
      at -= all;
      for (block += d.whole_blocks;; ++block) {
        const int64_t pieces = kBytes / block->width;
        bands = (d.bands + pieces - 1) / pieces;
        if (at < units(bands)) break;
        at -= units(bands);
      }
    }
    const int64_t column = at % chunks * d.columns;
    const int64_t band = at / chunks * d.merged;
    const Unit u = {block,
                    image,
                    band,
                    MinOf(band + d.merged, bands),
                    bands,
                    column,
                    MinOf(column + d.columns, s.out_w)};
    switch (kBytes / block->width) {
#if defined(__AVX512VNNI__)
      case 8:
        RunDirect<8>(d, call, u);
        break;
      case 4:
        RunUnit<4>(d, call, u);
        break;
#endif
#if defined(__AVX2__)
      case 2:
        RunUnit<2>(d, call, u);
        break;
#endif
      default:
        RunUnit<1>(d, call, u);
        break;
    }
  }
}

}  // namespace

const QDepthwiseKernels kQDepthwise = {kTaps,  kSigned,  kApart,  kSideBySide,
                                       kBytes, kOutputs, kDirect, Run};

}  // namespace slipway::kernels::SLIPWAY_ISA
