// The source of the pooling kernels; x86_*.cc include it with SLIPWAY_ISA set to the namespace of
// their instruction set.

#if defined(__x86_64__)
#include <immintrin.h>
#else
#include "engine/kernels/simd/sse_on_neon.h"
#endif

#include <cstdint>

#include "engine/kernels/pool/pool.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#if !defined(__x86_64__)
using namespace sse;  // NOLINT: names of x86
#endif

#include "engine/kernels/simd/vector.h"

// Vectors of kLanes elements as floats. `best` where one is NaN:
#if defined(__AVX512F__)
using F = __m512;
inline F Max(F x, F best) { return _mm512_max_ps(x, best); }
#elif defined(__AVX2__)
using F = __m256;
inline F Max(F x, F best) { return _mm256_max_ps(x, best); }
#else
using F = __m128;
inline F Max(F x, F best) { return _mm_max_ps(x, best); }
#endif
inline F Read(const float* p) { return reinterpret_cast<F>(Load(p)); }
inline void Write(float* p, F v) { Store(p, reinterpret_cast<V>(v)); }
inline F Sum(F a, F b) { return a + b; }
inline F Times(F a, F b) { return a * b; }
inline F All(F, float x) { return reinterpret_cast<F>(Splat(x)); }
inline F Factors(F, const float* p) { return Read(p); }
#if defined(__aarch64__)
// Of float16.
inline F Read(const uint16_t* p) {
  return reinterpret_cast<F>(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))));
}
inline void Write(uint16_t* p, F v) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(reinterpret_cast<float32x4_t>(v))));
}
#elif defined(__AVX512F__)
// Of bfloat16 the elements at even and at odd places: a shift and a mask take them apart, which is
// cheaper than to widen them in order.
struct Half {
  __m256 even, odd;
};
inline Half Read(const uint16_t* p) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(v, 16)),
          _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(INT32_C(-65536))))};
}
// The upper halves are the rounded values.
inline __m256i Rounded(__m256 v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __mmask8 nan = _mm256_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  return _mm256_mask_or_epi32(up, nan, bits, _mm256_set1_epi32(0x400000));
}
inline void Write(uint16_t* p, Half v) {
  const __m256i even = _mm256_srli_epi32(Rounded(v.even), 16), odd = Rounded(v.odd);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_blend_epi16(even, odd, 0xaa));
}
inline void Write(float* p, Half v) {
  const __m256 low = _mm256_unpacklo_ps(v.even, v.odd), high = _mm256_unpackhi_ps(v.even, v.odd);
  _mm256_storeu_ps(p, _mm256_permute2f128_ps(low, high, 0x20));
  _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(low, high, 0x31));
}
inline Half Max(Half x, Half best) {
  return {_mm256_max_ps(x.even, best.even), _mm256_max_ps(x.odd, best.odd)};
}
inline Half Sum(Half a, Half b) { return {a.even + b.even, a.odd + b.odd}; }
inline Half Times(Half a, Half b) { return {a.even * b.even, a.odd * b.odd}; }
inline Half All(Half, float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Half Factors(Half, const float* p) {
  const __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
  const __m256 low = _mm256_permute2f128_ps(a, b, 0x20), high = _mm256_permute2f128_ps(a, b, 0x31);
  return {_mm256_shuffle_ps(low, high, 0x88), _mm256_shuffle_ps(low, high, 0xdd)};
}
#endif
// The first n < kLanes elements.
template <typename T>
inline auto ReadSome(const T* p, int64_t n) {
  T all[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) all[i] = p[i];
  return Read(all);
}
template <typename T, typename Vector>
inline void WriteSome(T* p, Vector v, int64_t n) {
  T all[kLanes];
  Write(all, v);
  for (int64_t i = 0; i < n; ++i) p[i] = all[i];
}
// F or Half.
template <typename T>
using VectorOf = decltype(Read(static_cast<const T*>(nullptr)));

// The taps of a window inside of the image, along one dimension.
struct Taps {
  int64_t first, count;  // the position of the first in the image
  int64_t padded;        // those inside image and padding
};
__attribute__((noinline)) Taps TapsAtBorder(const PoolShape& s, int d, int64_t start) {
  const int64_t step = s.dilation[d], n = s.kernel[d];
  const auto below = [&](int64_t limit) {
    const int64_t taps = start >= limit ? 0 : (limit - start + step - 1) / step;
    return taps < n ? taps : n;
  };
  const int64_t lo = below(0), hi = below(s.in[d]);
  return {start + lo * step, hi > lo ? hi - lo : 0, below(s.in[d] + s.pad_end[d])};
}
inline Taps TapsAt(const PoolShape& s, int d, int64_t o) {
  const int64_t start = o * s.stride[d] - s.pad_begin[d], n = s.kernel[d];
  if (start >= 0 && start + (n - 1) * s.dilation[d] < s.in[d]) return {start, n, n};
  return TapsAtBorder(s, d, start);
}

// What all channels of an output have in common.
struct Window {
  int64_t taps[3], step[3];  // elements from one tap to the next
  int64_t apart_x, apart_y;  // elements between vectors that are computed together
};

// kVectors vectors at once; with 0 the first n < kLanes channels.
template <typename T, bool kMax, int kVectors>
__attribute__((noinline)) void Reduce(const Window& w, const void* from, float scale, void* to,
                                      int64_t n) {
  constexpr int kCount = kVectors == 0 ? 1 : kVectors;
  const auto* x = static_cast<const T*>(from);
  auto* y = static_cast<T*>(to);
  const auto read = [&](const T* p) { return kVectors == 0 ? ReadSome(p, n) : Read(p); };
  using Vector = VectorOf<T>;
  Vector sum[kCount];
  // The first tap is what a greatest one starts with, NaN or not.
  for (int i = 0; i < kCount; ++i) sum[i] = kMax ? read(x + i * w.apart_x) : Vector{};
#pragma GCC unroll 1
  for (int64_t a = 0; a < w.taps[0]; ++a) {
    const T* row = x + a * w.step[0];
#pragma GCC unroll 1
    for (int64_t b = 0; b < w.taps[1]; ++b, row += w.step[1]) {
      const T* p = row;
#pragma GCC unroll 1
      for (int64_t c = 0; c < w.taps[2]; ++c, p += w.step[2]) {
#pragma GCC unroll 4
        for (int i = 0; i < kCount; ++i) {
          const Vector v = read(p + i * w.apart_x);
          sum[i] = kMax ? Max(v, sum[i]) : Sum(v, sum[i]);
        }
      }
    }
  }
  const Vector factor = All(Vector{}, scale);
  for (int i = 0; i < kCount; ++i) {
    const Vector v = kMax ? sum[i] : Times(sum[i], factor);
    if constexpr (kVectors == 0)
      WriteSome(y, v, n);
    else
      Write(y + i * w.apart_y, v);
  }
}

using ReduceFunction = void (*)(const Window&, const void*, float, void*, int64_t);
struct Reducers {
  ReduceFunction four, one, some;
};
template <typename T, bool kMax>
constexpr Reducers kReducers = {Reduce<T, kMax, 4>, Reduce<T, kMax, 1>, Reduce<T, kMax, 0>};

// T is that of the bytes only.
template <typename T>
void Pixel(const Reducers& reduce, const Window& w, const T* x, float scale, T* y,
           int64_t channels) {
  if (channels < kLanes) return reduce.some(w, x, scale, y, channels);
  int64_t c = 0;
  for (; c + 4 * kLanes <= channels; c += 4 * kLanes) reduce.four(w, x + c, scale, y + c, 0);
  for (; c + kLanes <= channels; c += kLanes) reduce.one(w, x + c, scale, y + c, 0);
  // The last ones together with some that are there already.
  if (c < channels) reduce.one(w, x + channels - kLanes, scale, y + channels - kLanes, 0);
}

template <typename T>
void Windows(const PoolShape& s, PoolKind kind, const void* px, void* py, int64_t begin,
             int64_t end) {
  const auto* x = static_cast<const T*>(px);
  auto* y = static_cast<T*>(py);
  const bool max = kind == PoolKind::kMax;
  const Reducers& reduce = max ? kReducers<T, true> : kReducers<T, false>;
  // Pixels of few vectors: four outputs at once.
  const bool narrow = s.pixel < 4 * kLanes && s.pixel % kLanes == 0;
  T none[kLanes];  // what an output without a tap is
  Write(none, All(VectorOf<T>{}, max ? -__builtin_inff() : 0.0f));
  Window w;
  w.apart_x = narrow ? s.stride[2] * s.pixel : kLanes;
  w.apart_y = narrow ? s.pixel : kLanes;
  int64_t step = s.pixel;
  for (int d = 2; d >= 0; --d) {  // a dilation beyond the image leaves one tap at most
    w.step[d] = (s.dilation[d] < s.in[d] ? s.dilation[d] : 1) * step;
    step *= s.in[d];
  }
  for (int64_t row = begin; row < end; ++row) {
    const int64_t plane = row / (s.out[0] * s.out[1]);
    const Taps a = TapsAt(s, 0, row / s.out[1] % s.out[0]), b = TapsAt(s, 1, row % s.out[1]);
    w.taps[0] = a.count;
    w.taps[1] = b.count;
    const T* from = x + ((plane * s.in[0] + a.first) * s.in[1] + b.first) * s.in[2] * s.pixel;
    T* to = y + row * s.out[2] * s.pixel;
    int64_t last = 0;
    float scale = 0;
    for (int64_t o = 0; o < s.out[2]; ++o, to += s.pixel) {
      const Taps c = TapsAt(s, 2, o);
      w.taps[2] = c.count;
      const int64_t taps = a.count * b.count * c.count;
      if (taps == 0) {
        for (int64_t i = 0; i < s.pixel; ++i) to[i] = none[0];
        continue;
      }
      const int64_t count =
          kind == PoolKind::kAveragePadded ? a.padded * b.padded * c.padded : taps;
      if (count != last) scale = 1.0f / static_cast<float>(count);
      last = count;
      const int64_t start = c.first, reach = (s.kernel[2] - 1) * s.dilation[2];
      if (narrow && c.count == s.kernel[2] && o + 4 <= s.out[2] &&
          start + 3 * s.stride[2] + reach < s.in[2]) {
        for (int64_t i = 0; i < s.pixel; i += kLanes)
          reduce.four(w, from + start * s.pixel + i, scale, to + i, 0);
        o += 3;
        to += 3 * s.pixel;
        continue;
      }
      Pixel(reduce, w, from + c.first * s.pixel, scale, to, s.pixel);
    }
  }
}

// Sums of kVectors vectors of channels, kChains pixels at once.
template <typename T, int kVectors, int kChains>
inline void Column(const T* x, int64_t pixels, int64_t stride, float* y) {
  VectorOf<T> sum[kChains][kVectors] = {};
  int64_t p = 0;
  for (; p + kChains <= pixels; p += kChains, x += kChains * stride) {
#pragma GCC unroll 8
    for (int j = 0; j < kChains; ++j) {
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i)
        sum[j][i] = Sum(sum[j][i], Read(x + j * stride + i * kLanes));
    }
  }
#pragma GCC unroll 1
  for (; p < pixels; ++p, x += stride) {
    for (int i = 0; i < kVectors; ++i) sum[0][i] = Sum(sum[0][i], Read(x + i * kLanes));
  }
  for (int i = 0; i < kVectors; ++i) {
    VectorOf<T> v = sum[0][i];
    for (int j = 1; j < kChains; ++j) v = Sum(v, sum[j][i]);
    Write(y + i * kLanes, v);
  }
}

template <typename T>
void Sums(const void* from, int64_t pixels, int64_t stride, float* y, int64_t channels) {
  const auto* x = static_cast<const T*>(from);
  if (channels < kLanes) {
    VectorOf<T> sum = {};
    for (int64_t p = 0; p < pixels; ++p) sum = Sum(sum, ReadSome(x + p * stride, channels));
    return WriteSome(y, sum, channels);
  }
  int64_t c = 0;
  for (; c + 4 * kLanes <= channels; c += 4 * kLanes) Column<T, 4, 2>(x + c, pixels, stride, y + c);
  for (; c < channels; c += kLanes) {
    const int64_t at = c + kLanes <= channels ? c : channels - kLanes;
    Column<T, 1, 8>(x + at, pixels, stride, y + at);
  }
}

template <typename T>
void Scale(const void* from, int64_t pixels, int64_t stride, const float* factors, void* to,
           int64_t channels) {
  const auto* x = static_cast<const T*>(from);
  auto* y = static_cast<T*>(to);
  using Vector = VectorOf<T>;
  const auto some = [&](int64_t n) {
    float all[kLanes] = {};
    for (int64_t i = 0; i < n; ++i) all[i] = factors[channels - n + i];
    return Factors(Vector{}, all);
  };
  if (channels == kLanes) {
    const Vector f = Factors(Vector{}, factors);
    for (int64_t p = 0; p < pixels; ++p, x += stride, y += stride) Write(y, Times(Read(x), f));
    return;
  }
  // Some channels at a time, whose factors are brought into the order of their elements once.
  constexpr int kMost = 32;
  const int64_t whole = channels / kLanes * kLanes, rest = channels - whole;
  for (int64_t first = 0; first < whole; first += kMost * kLanes) {
    Vector f[kMost];
    const int64_t left = (whole - first) / kLanes, count = left < kMost ? left : kMost;
    for (int64_t i = 0; i < count; ++i) f[i] = Factors(Vector{}, factors + first + i * kLanes);
    const T* from_x = x + first;
    T* to_y = y + first;
    for (int64_t p = 0; p < pixels; ++p, from_x += stride, to_y += stride) {
      for (int64_t i = 0; i < count; ++i)
        Write(to_y + i * kLanes, Times(Read(from_x + i * kLanes), f[i]));
    }
  }
  if (rest == 0) return;
  const Vector last = some(rest);
  for (int64_t p = 0; p < pixels; ++p, x += stride, y += stride)
    WriteSome(y + whole, Times(ReadSome(x + whole, rest), last), rest);
}

}  // namespace

const PoolKernels kPool = {Windows<float>, Sums<float>, Scale<float>};
#if defined(__aarch64__)
const PoolKernels kPoolF16 = {Windows<uint16_t>, Sums<uint16_t>, Scale<uint16_t>};
#elif defined(__AVX512F__)
const PoolKernels kPoolBf16 = {Windows<uint16_t>, Sums<uint16_t>, Scale<uint16_t>};
#endif

}  // namespace slipway::kernels::SLIPWAY_ISA
