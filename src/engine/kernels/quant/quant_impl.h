// The source of the integer kernels; x86_*.cc include it with SLIPWAY_ISA set to the namespace of
// their instruction set.

#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "engine/kernels/quant/quant.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/math.h"

// Clamping before rounding is the same, as the bounds are integers, and keeps the conversion in
// range; NaN becomes lo.
struct Rounder {
  float low, high;
  int32_t zero;
  explicit Rounder(const Requant& r)
      : low(static_cast<float>(r.lo - r.zero_point)),
        high(static_cast<float>(r.hi - r.zero_point)),
        zero(r.zero_point) {}
  template <typename Y>
  Y To(float v) const {
    if constexpr (sizeof(Y) == 4) {
      return v;
    } else {
      return static_cast<Y>(Number(v) + zero);
    }
  }
  // The code less its zero point.
  int32_t Number(float v) const {
    constexpr float kMagic = 12582912.0f;
    v = v > low ? v : low;
    v = v < high ? v : high;
    return static_cast<int32_t>((v + kMagic) - kMagic);
  }
};

struct QAdd {
  static float Of(int32_t a, int32_t b, const QBinaryParams& p) {
    return __builtin_fmaf(static_cast<float>(a), p.a_multiplier,
                          static_cast<float>(b) * p.b_multiplier);
  }
};
struct QMul {
  static float Of(int32_t a, int32_t b, const QBinaryParams& p) {
    return static_cast<float>(a * b) * p.a_multiplier;
  }
};

template <typename F, typename A, typename B, typename Y, Walk kWalk>
void Binary(const void* va, const void* vb, void* vy, int64_t n, int64_t period,
            const QBinaryParams& params) {
  const A* a = static_cast<const A*>(va);
  const B* b = static_cast<const B*>(vb);
  Y* y = static_cast<Y*>(vy);
  const QBinaryParams p = params;
  const Rounder to(p.to);
  if constexpr (kWalk == Walk::kPeriodicB) {
    if (period == 16) {
      for (int64_t i = 0; i < n; i += 16) {
        SLIPWAY_INDEPENDENT
        for (int64_t j = 0; j < 16; ++j)
          y[i + j] = to.template To<Y>(F::Of(a[i + j] - p.a_zero, b[j] - p.b_zero, p));
      }
      return;
    }
    for (int64_t i = 0; i < n; i += period) {
      SLIPWAY_INDEPENDENT
      for (int64_t j = 0; j < period; ++j)
        y[i + j] = to.template To<Y>(F::Of(a[i + j] - p.a_zero, b[j] - p.b_zero, p));
    }
  } else {
    const A a0 = *a;
    const B b0 = *b;
    SLIPWAY_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) {
      const int32_t x = (kWalk == Walk::kScalarA ? a0 : a[i]) - p.a_zero,
                    z = (kWalk == Walk::kScalarB ? b0 : b[i]) - p.b_zero;
      y[i] = to.template To<Y>(F::Of(x, z, p));
    }
  }
}

#if defined(__AVX512BW__)
template <typename X>
inline __m512 Widen(const X* x, int32_t zero) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  const __m512i wide = static_cast<X>(-1) < 0 ? _mm512_maskz_cvtepi8_epi32(0xffff, codes)
                                              : _mm512_maskz_cvtepu8_epi32(0xffff, codes);
  return _mm512_maskz_cvtepi32_ps(0xffff, _mm512_sub_epi32(wide, _mm512_set1_epi32(zero)));
}
inline bool Bounded(float v) { return v > -4e6f && v < 4e6f; }

// Rows of QAdd, 64 codes at a time. Values stay inside of int32 (4e6 times 2 times 255), so that
// conversion and saturating packing do what Rounder does, but for the bounds and the zero point.
template <typename A, typename B, typename Y>
void AddRows(const void* va, const void* vb, void* vy, int64_t n, int64_t period,
             const QBinaryParams& p) {
  const A* a = static_cast<const A*>(va);
  const B* b = static_cast<const B*>(vb);
  Y* y = static_cast<Y*>(vy);
  int64_t i = 0;
  if (Bounded(p.a_multiplier) && Bounded(p.b_multiplier)) {
    constexpr bool kSigned = static_cast<Y>(-1) < 0;
    const __m512 ma = _mm512_set1_ps(p.a_multiplier), mb = _mm512_set1_ps(p.b_multiplier);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i zero = _mm512_set1_epi16(static_cast<short>(p.to.zero_point)),
                  lo = _mm512_set1_epi16(static_cast<short>(p.to.lo)),
                  hi = _mm512_set1_epi16(static_cast<short>(p.to.hi));
    for (; i + 64 <= n; i += 64) {
      __m512i v[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const __m512 x = Widen(a + i + 16 * j, p.a_zero), z = Widen(b + i + 16 * j, p.b_zero);
        v[j] = _mm512_maskz_cvtps_epi32(0xffff, _mm512_fmadd_ps(x, ma, _mm512_mul_ps(z, mb)));
      }
      const auto clamp = [&](__m512i w) {
        return _mm512_min_epi16(_mm512_max_epi16(_mm512_adds_epi16(w, zero), lo), hi);
      };
      const __m512i low = clamp(_mm512_packs_epi32(v[0], v[1])),
                    high = clamp(_mm512_packs_epi32(v[2], v[3]));
      const __m512i bytes =
          kSigned ? _mm512_packs_epi16(low, high) : _mm512_packus_epi16(low, high);
      _mm512_storeu_si512(y + i, _mm512_maskz_permutexvar_epi32(0xffff, order, bytes));
    }
    const __m512i zero32 = _mm512_set1_epi32(p.to.zero_point), lo32 = _mm512_set1_epi32(p.to.lo),
                  hi32 = _mm512_set1_epi32(p.to.hi);
    for (; i + 16 <= n; i += 16) {
      const __m512 x = Widen(a + i, p.a_zero), z = Widen(b + i, p.b_zero);
      const __m512i v =
          _mm512_maskz_cvtps_epi32(0xffff, _mm512_fmadd_ps(x, ma, _mm512_mul_ps(z, mb)));
      const __m512i clamped =
          _mm512_min_epi32(_mm512_max_epi32(_mm512_add_epi32(v, zero32), lo32), hi32);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i),
                       _mm512_maskz_cvtepi32_epi8(0xffff, clamped));
    }
  }
  if (i < n) Binary<QAdd, A, B, Y, Walk::kRows>(a + i, b + i, y + i, n - i, period, p);
}
// A constant for each channel.
template <typename A, typename B, typename Y>
void AddPeriodic(const void* a, const void* b, void* y, int64_t n, int64_t period,
                 const QBinaryParams& p) {
  if (period < 32) return Binary<QAdd, A, B, Y, Walk::kPeriodicB>(a, b, y, n, period, p);
  for (int64_t i = 0; i < n; i += period)
    AddRows<A, B, Y>(static_cast<const A*>(a) + i, b, static_cast<Y*>(y) + i, period, period, p);
}
#endif

template <typename X, typename Y>
void Rescale(const void* vx, void* vy, int64_t n, int32_t zero, float multiplier,
             const Requant& r) {
  const X* x = static_cast<const X*>(vx);
  Y* y = static_cast<Y*>(vy);
  const Rounder to(r);
  SLIPWAY_INDEPENDENT
  for (int64_t i = 0; i < n; ++i)
    y[i] = to.template To<Y>(static_cast<float>(x[i] - zero) * multiplier);
}

template <typename Y>
void FromSums(const int32_t* sums, void* vy, int64_t n, float multiplier, const Requant& r) {
  Y* y = static_cast<Y*>(vy);
  const Rounder to(r);
  for (int64_t i = 0; i < n; ++i)
    y[i] = to.template To<Y>(static_cast<float>(sums[i]) * multiplier);
}

template <typename Y>
void Quantize(const float* x, void* vy, int64_t n, float scale, const Requant& r) {
  Y* y = static_cast<Y*>(vy);
  const Rounder to(r);
  for (int64_t i = 0; i < n; ++i) y[i] = to.template To<Y>(x[i] / scale);
}

template <typename X>
void Dequantize(const void* vx, float* y, int64_t n, int32_t zero, float scale) {
  const X* x = static_cast<const X*>(vx);
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i] - zero) * scale;
}

template <typename X>
void Accumulate(const void* vx, int32_t* sums, int64_t n) {
  const X* x = static_cast<const X*>(vx);
  for (int64_t i = 0; i < n; ++i) sums[i] += x[i];
}

void AccumulateRounded(const float* x, int64_t stride, int64_t rows, int64_t channels, float scale,
                       const Requant& r, int32_t* sums) {
  const Rounder to(r);
  for (; channels >= 64; channels -= 64, x += 64, sums += 64) {
    int32_t sum[64] = {};
    for (int64_t i = 0; i < rows; ++i) {
      const float* from = x + i * stride;
      for (int j = 0; j < 64; ++j) sum[j] += to.Number(from[j] / scale);
    }
    for (int j = 0; j < 64; ++j) sums[j] += sum[j];
  }
  for (int64_t i = 0; i < rows && channels > 0; ++i) {
    const float* from = x + i * stride;
    SLIPWAY_INDEPENDENT
    for (int64_t j = 0; j < channels; ++j) sums[j] += to.Number(from[j] / scale);
  }
}

template <typename X>
int32_t SumOf(const void* vx, int64_t n) {
  const X* x = static_cast<const X*>(vx);
  uint32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<uint32_t>(static_cast<int32_t>(x[i]));
  return static_cast<int32_t>(sum);
}

#if defined(__AVX512BW__)
// kVectors times 16 channels of all rows; `last`: the lanes of the last vector.
template <typename X, typename Y, int kVectors>
void AffineBlock(const X* x, int64_t x_stride, Y* y, int64_t y_stride, int64_t rows,
                 const float* multiplier, const float* offset, __mmask16 last, const Requant& r) {
  __m512 m[kVectors], o[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const __mmask16 live = v + 1 < kVectors ? static_cast<__mmask16>(0xffff) : last;
    m[v] = _mm512_maskz_loadu_ps(live, multiplier + 16 * v);
    o[v] = _mm512_maskz_loadu_ps(live, offset + 16 * v);
  }
  const __m512 low = _mm512_set1_ps(static_cast<float>(r.lo - r.zero_point)),
               high = _mm512_set1_ps(static_cast<float>(r.hi - r.zero_point));
  const __m512i zero = _mm512_set1_epi32(r.zero_point);
  for (int64_t i = 0; i < rows; ++i, x += x_stride, y += y_stride) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const bool whole = v + 1 < kVectors || last == 0xffff;
      const __m128i codes = whole ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + 16 * v))
                                  : _mm_maskz_loadu_epi8(last, x + 16 * v);
      const __m512i wide = static_cast<X>(-1) < 0 ? _mm512_maskz_cvtepi8_epi32(0xffff, codes)
                                                  : _mm512_maskz_cvtepu8_epi32(0xffff, codes);
      __m512 f = _mm512_fmadd_ps(_mm512_maskz_cvtepi32_ps(0xffff, wide), m[v], o[v]);
      if constexpr (sizeof(Y) == 4) {
        _mm512_mask_storeu_ps(y + 16 * v, whole ? static_cast<__mmask16>(0xffff) : last, f);
      } else {
        f = _mm512_min_ps(_mm512_max_ps(f, low), high);  // NaN becomes low
        const __m512i code = _mm512_add_epi32(_mm512_maskz_cvtps_epi32(0xffff, f), zero);
        const __m128i bytes = _mm512_maskz_cvtepi32_epi8(0xffff, code);
        if (whole) {
          _mm_storeu_si128(reinterpret_cast<__m128i*>(y + 16 * v), bytes);
        } else {
          _mm_mask_storeu_epi8(y + 16 * v, last, bytes);
        }
      }
    }
  }
}
#endif

template <typename X, typename Y>
void Affine(const void* vx, int64_t x_stride, void* vy, int64_t y_stride, int64_t rows,
            int64_t channels, const float* multiplier, const float* offset, const Requant& r) {
  const X* x = static_cast<const X*>(vx);
  Y* y = static_cast<Y*>(vy);
#if defined(__AVX512BW__)
  for (int64_t c = 0; c < channels; c += 64) {
    const int64_t left = channels - c;
    const int vectors = left >= 64 ? 4 : static_cast<int>((left + 15) / 16);
    const int64_t tail = left >= 64 ? 16 : left - 16 * (vectors - 1);
    const __mmask16 last = static_cast<__mmask16>(tail == 16 ? 0xffff : (1 << tail) - 1);
    const auto block = vectors == 4   ? AffineBlock<X, Y, 4>
                       : vectors == 3 ? AffineBlock<X, Y, 3>
                       : vectors == 2 ? AffineBlock<X, Y, 2>
                                      : AffineBlock<X, Y, 1>;
    block(x + c, x_stride, y + c, y_stride, rows, multiplier + c, offset + c, last, r);
  }
#else
  const Rounder to(r);
  for (int64_t i = 0; i < rows; ++i, x += x_stride, y += y_stride) {
    SLIPWAY_INDEPENDENT
    for (int64_t c = 0; c < channels; ++c)
      y[c] = to.template To<Y>(__builtin_fmaf(static_cast<float>(x[c]), multiplier[c], offset[c]));
  }
#endif
}

template <typename X>
void MaxRow(const void* vx, void* vy, int64_t n) {
  const X* x = static_cast<const X*>(vx);
  X* y = static_cast<X*>(vy);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] > y[i] ? x[i] : y[i];
}

void Interleave(const uint8_t* x, int64_t stride, int64_t channels, uint8_t* y, int64_t n) {
  int64_t i = 0;
#if defined(__AVX2__)
  if (channels == 3) {
    // Byte b of vector v is of channel (16 v + b) % 3 and pixel (16 v + b) / 3; -1 makes a zero.
    alignas(16) int8_t order[3][3][16];
    for (int b = 0; b < 48; ++b) {
      for (int c = 0; c < 3; ++c)
        order[b / 16][c][b % 16] = static_cast<int8_t>(b % 3 == c ? b / 3 : -1);
    }
    for (; i + 16 <= n; i += 16) {
      for (int v = 0; v < 3; ++v) {
        __m128i all = _mm_setzero_si128();
        for (int c = 0; c < 3; ++c) {
          const __m128i plane =
              _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + c * stride + i));
          all = _mm_or_si128(
              all, _mm_shuffle_epi8(plane,
                                    _mm_load_si128(reinterpret_cast<const __m128i*>(order[v][c]))));
        }
        _mm_storeu_si128(reinterpret_cast<__m128i*>(y + 3 * i + 16 * v), all);
      }
    }
  }
#endif
  for (; i < n; ++i) {
    for (int64_t c = 0; c < channels; ++c) y[i * channels + c] = x[c * stride + i];
  }
}

#include "engine/kernels/quant/lookup_impl.h"

#define SLIPWAY_WALKS(F, A, B, Y)                                                \
  {                                                                              \
    Binary<F, A, B, Y, Walk::kRows>, Binary<F, A, B, Y, Walk::kScalarB>,         \
        Binary<F, A, B, Y, Walk::kScalarA>, Binary<F, A, B, Y, Walk::kPeriodicB> \
  }
#define SLIPWAY_OUTPUTS(F, A, B) \
  { SLIPWAY_WALKS(F, A, B, uint8_t), SLIPWAY_WALKS(F, A, B, int8_t), SLIPWAY_WALKS(F, A, B, float) }

constexpr QuantKernels Make() {
  QuantKernels k = {
      {
#define SLIPWAY_QBINARY(NAME)                                                               \
  {{SLIPWAY_OUTPUTS(Q##NAME, uint8_t, uint8_t), SLIPWAY_OUTPUTS(Q##NAME, uint8_t, int8_t)}, \
   {SLIPWAY_OUTPUTS(Q##NAME, int8_t, uint8_t), SLIPWAY_OUTPUTS(Q##NAME, int8_t, int8_t)}},
#include "engine/kernels/quant/kernels.inc"
#undef SLIPWAY_QBINARY
      },
      {{Rescale<uint8_t, uint8_t>, Rescale<uint8_t, int8_t>, Rescale<uint8_t, float>},
       {Rescale<int8_t, uint8_t>, Rescale<int8_t, int8_t>, Rescale<int8_t, float>}},
      {FromSums<uint8_t>, FromSums<int8_t>, FromSums<float>},
      {Quantize<uint8_t>, Quantize<int8_t>},
      {Dequantize<uint8_t>, Dequantize<int8_t>},
      {Accumulate<uint8_t>, Accumulate<int8_t>},
      AccumulateRounded,
      {SumOf<uint8_t>, SumOf<int8_t>},
      {{Affine<uint8_t, uint8_t>, Affine<uint8_t, int8_t>, Affine<uint8_t, float>},
       {Affine<int8_t, uint8_t>, Affine<int8_t, int8_t>, Affine<int8_t, float>}},
      {MaxRow<uint8_t>, MaxRow<int8_t>},
      Lookup,
      ChannelLookup,
      Interleave,
  };
#if defined(__AVX512BW__)
  constexpr int kRows = static_cast<int>(Walk::kRows),
                kPeriodicB = static_cast<int>(Walk::kPeriodicB);
  auto& add = k.binary[static_cast<int>(QBinaryKind::kAdd)];
  const auto set = [&]<typename A, typename B, typename Y>(A, B, Y) {
    QBinaryFunction* f = add[A(-1) < 0][B(-1) < 0][Y(-1) < 0];
    f[kRows] = AddRows<A, B, Y>;
    f[kPeriodicB] = AddPeriodic<A, B, Y>;
  };
  constexpr uint8_t u = 0;
  constexpr int8_t i = 0;
  set(u, u, u), set(u, u, i), set(u, i, u), set(u, i, i);
  set(i, u, u), set(i, u, i), set(i, i, u), set(i, i, i);
#endif
  return k;
}

}  // namespace

const QuantKernels kQuant = Make();
#if defined(__AVX512BW__)
const LookupFunction kLookupVbmi = LookupVbmi;
const ChannelLookupFunction kChannelLookupVbmi = ChannelLookupVbmi;
#endif

}  // namespace slipway::kernels::SLIPWAY_ISA
