// The source of the row kernels; x86_*.cc include it with SLIPWAY_ISA set to the namespace of their
// instruction set.

#include <cmath>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "engine/kernels/rows/rows.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/math.h"
#include "engine/kernels/simd/vector.h"

// How each reduction starts, takes an element and joins two partial results.
struct Sum {
  static constexpr float kStart = 0;
  template <typename T>
  static T Take(T a, T x) {
    return a + x;
  }
  template <typename T>
  static T Join(T a, T b) {
    return a + b;
  }
};
struct Prod {
  static constexpr float kStart = 1;
  template <typename T>
  static T Take(T a, T x) {
    return a * x;
  }
  template <typename T>
  static T Join(T a, T b) {
    return a * b;
  }
};
struct Max {
  static constexpr float kStart = -__builtin_inff();
  template <typename T>
  static T Take(T a, T x) {
    return x > a ? x : x != x ? x : a;
  }
  template <typename T>
  static T Join(T a, T b) {
    return Take(a, b);
  }
};
struct Min {
  static constexpr float kStart = __builtin_inff();
  template <typename T>
  static T Take(T a, T x) {
    return x < a ? x : x != x ? x : a;
  }
  template <typename T>
  static T Join(T a, T b) {
    return Take(a, b);
  }
};
struct AbsSum {
  static constexpr float kStart = 0;
  template <typename T>
  static T Take(T a, T x) {
    return a + (x < 0 ? -x : x);
  }
  template <typename T>
  static T Join(T a, T b) {
    return a + b;
  }
};
struct SquareSum {
  static constexpr float kStart = 0;
  template <typename T>
  static T Take(T a, T x) {
    return a + x * x;
  }
  template <typename T>
  static T Join(T a, T b) {
    return a + b;
  }
};

template <typename R>
inline float Across(V v) {
#if defined(__AVX512F__)
  const auto join = [](V a, __m512 b) { return R::Join(a, reinterpret_cast<V>(b)); };
  const auto w = [](V a) { return reinterpret_cast<__m512>(a); };
  v = join(v, _mm512_shuffle_f32x4(w(v), w(v), 0x4E));
  v = join(v, _mm512_shuffle_f32x4(w(v), w(v), 0xB1));
  v = join(v, _mm512_permute_ps(w(v), 0x4E));
  v = join(v, _mm512_permute_ps(w(v), 0xB1));
  return v[0];
#else
  float a[kLanes];
  Store(a, v);
  for (int step = kLanes / 2; step > 0; step /= 2) {
    for (int i = 0; i < step; ++i) a[i] = R::Join(a[i], a[i + step]);
  }
  return a[0];
#endif
}

template <typename R>
float ReducePiece(const float* x, int64_t n) {
  V a = Splat(R::kStart), b = a, c = a, d = a;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = R::Take(a, Load(x + i));
    b = R::Take(b, Load(x + i + kLanes));
    c = R::Take(c, Load(x + i + 2 * kLanes));
    d = R::Take(d, Load(x + i + 3 * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) a = R::Take(a, Load(x + i));
  float r = Across<R>(R::Join(R::Join(a, b), R::Join(c, d)));
  for (; i < n; ++i) r = R::Take(r, x[i]);
  return r;
}

// A float32 sum of millions loses digits: pieces of this many are joined in float64.
constexpr int64_t kPiece = 4096;

template <typename R>
float Reduce(const float* x, int64_t n) {
  if (n <= kPiece) return ReducePiece<R>(x, n);
  double r = R::kStart;
  for (int64_t i = 0; i < n; i += kPiece) {
    const int64_t count = n - i < kPiece ? n - i : kPiece;
    r = R::Join(r, static_cast<double>(ReducePiece<R>(x + i, count)));
  }
  return static_cast<float>(r);
}

// Four rows at a time, so that y is read and written once for four.
template <typename R>
void ReduceColumnsPiece(const float* x, int64_t n, int64_t stride, float* y, int64_t m) {
  int64_t j = 0;
  for (; j + 2 * kLanes <= m; j += 2 * kLanes) {
    V a = Splat(R::kStart), b = a, c = a, d = a;
    const float* p = x + j;
    int64_t i = 0;
    for (; i + 2 <= n; i += 2, p += 2 * stride) {
      a = R::Take(a, Load(p));
      b = R::Take(b, Load(p + kLanes));
      c = R::Take(c, Load(p + stride));
      d = R::Take(d, Load(p + stride + kLanes));
    }
    if (i < n) a = R::Take(a, Load(p)), b = R::Take(b, Load(p + kLanes));
    Store(y + j, R::Join(a, c));
    Store(y + j + kLanes, R::Join(b, d));
  }
  for (; j + kLanes <= m; j += kLanes) {
    V a = Splat(R::kStart), b = a;
    const float* p = x + j;
    int64_t i = 0;
    for (; i + 2 <= n; i += 2, p += 2 * stride)
      a = R::Take(a, Load(p)), b = R::Take(b, Load(p + stride));
    if (i < n) a = R::Take(a, Load(p));
    Store(y + j, R::Join(a, b));
  }
  for (; j < m; ++j) {
    float r = R::kStart;
    for (int64_t i = 0; i < n; ++i) r = R::Take(r, x[i * stride + j]);
    y[j] = r;
  }
}

template <typename R>
void ReduceColumns(const float* x, int64_t n, int64_t stride, float* y, int64_t m) {
  if (n <= kPiece) return ReduceColumnsPiece<R>(x, n, stride, y, m);
  constexpr int64_t kColumns = 64;
  for (int64_t j = 0; j < m; j += kColumns) {
    const int64_t width = m - j < kColumns ? m - j : kColumns;
    float part[kColumns];
    double all[kColumns];
    for (int64_t c = 0; c < width; ++c) all[c] = R::kStart;
    for (int64_t i = 0; i < n; i += kPiece) {
      const int64_t count = n - i < kPiece ? n - i : kPiece;
      ReduceColumnsPiece<R>(x + i * stride + j, count, stride, part, width);
      for (int64_t c = 0; c < width; ++c) all[c] = R::Join(all[c], static_cast<double>(part[c]));
    }
    for (int64_t c = 0; c < width; ++c) y[j + c] = static_cast<float>(all[c]);
  }
}

constexpr int64_t kChunk = 256;

void SoftmaxColumns(const float* x, float* y, int64_t n, int64_t stride, int64_t m, bool log) {
  constexpr int64_t kColumns = 64;
  for (int64_t j0 = 0; j0 < m; j0 += kColumns) {
    const int64_t width = m - j0 < kColumns ? m - j0 : kColumns;
    float top[kColumns], sum[kColumns];
    ReduceColumns<Max>(x + j0, n, stride, top, width);
    for (int64_t j = 0; j < width; ++j) sum[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
      const float* px = x + i * stride + j0;
      float e[kColumns];
      for (int64_t j = 0; j < width; ++j) e[j] = ExpOfNegative(px[j] - top[j]);
      for (int64_t j = 0; j < width; ++j) sum[j] += e[j];
      if (!log) {
        float* py = y + i * stride + j0;
        for (int64_t j = 0; j < width; ++j) py[j] = e[j];
      }
    }
    for (int64_t j = 0; j < width; ++j) sum[j] = log ? ::logf(sum[j]) : 1.0f / sum[j];
    for (int64_t i = 0; i < n; ++i) {
      const float* px = x + i * stride + j0;
      float* py = y + i * stride + j0;
      if (log) {
        SLIPWAY_INDEPENDENT
        for (int64_t j = 0; j < width; ++j) py[j] = (px[j] - top[j]) - sum[j];
      } else {
        for (int64_t j = 0; j < width; ++j) py[j] *= sum[j];
      }
    }
  }
}

// The sum of (x - mean)^2.
float SquaresAbout(float mean, const float* x, int64_t n) {
  V a = Splat(0), b = a;
  const V m = Splat(mean);
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const V p = Load(x + i) - m, q = Load(x + i + kLanes) - m;
    a += p * p;
    b += q * q;
  }
  float squares = Across<Sum>(a + b);
  for (; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  return squares;
}

Moments MomentsOf(const float* x, int64_t n) {
  const float mean = Reduce<Sum>(x, n) / static_cast<float>(n);
  double squares = 0;
  for (int64_t i = 0; i < n; i += kPiece)
    squares += SquaresAbout(mean, x + i, n - i < kPiece ? n - i : kPiece);
  return {mean, static_cast<float>(squares / static_cast<double>(n))};
}

// --- layer normalisation

// A vector of numbers: of float32 or of bfloat16.
inline V LoadAs(const float* p) { return Load(p); }
inline void StoreAs(float* p, V v) { Store(p, v); }
#if defined(__AVX512F__)
constexpr __mmask16 kAll = 0xFFFF;  // GCC 12 warns of its own header without
inline V LoadAs(const uint16_t* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m512i wide = _mm512_maskz_cvtepu16_epi32(kAll, half);
  return reinterpret_cast<V>(_mm512_maskz_slli_epi32(kAll, wide, 16));
}
inline __m256i Halves(V v) {  // rounded to nearest even; NaN stays one
  const __m512i bits = reinterpret_cast<__m512i>(v);
  const __m512i odd =
      _mm512_and_si512(_mm512_maskz_srli_epi32(kAll, bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan =
      _mm512_cmp_ps_mask(reinterpret_cast<__m512>(v), reinterpret_cast<__m512>(v), _CMP_UNORD_Q);
  const __m512i kept = _mm512_mask_blend_epi32(nan, up, _mm512_set1_epi32(0x7fc00000));
  return _mm512_maskz_cvtepi32_epi16(kAll, _mm512_maskz_srli_epi32(kAll, kept, 16));
}
inline void StoreAs(uint16_t* p, V v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), Halves(v));
}
#endif
// The first `count` numbers of a vector; 0 for the others.
template <typename T>
__attribute__((noinline)) V LoadPart(const T* p, int64_t count) {
  T all[kLanes] = {};
  __builtin_memcpy(all, p, static_cast<unsigned long>(count) * sizeof(T));
  return LoadAs(all);
}
template <typename T>
__attribute__((noinline)) void StorePart(T* p, V v, int64_t count) {
  T all[kLanes];
  StoreAs(all, v);
  __builtin_memcpy(p, all, static_cast<unsigned long>(count) * sizeof(T));
}
// 1 in the first `count` numbers of a vector.
__attribute__((noinline)) V Ones(int64_t count) {
  float all[2 * kLanes] = {};
  for (int i = 0; i < kLanes; ++i) all[i] = 1;
  return Load(all + kLanes - count);
}

inline float SumOf(V v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(reinterpret_cast<__m512>(v));
#else
  return Across<Sum>(v);
#endif
}

// The sums of (x - mean) or of its square over at most kPiece numbers of kR rows, so that they do
// not wait for one another.
template <bool kSquare, int kR, typename T>
inline void AddPiece(const T* x, int64_t stride, int64_t n, const float* mean, double* to) {
  V sum[kR][2] = {}, m[kR];
  for (int r = 0; r < kR; ++r) m[r] = Splat(mean[r]);
  const auto take = [](V& to, V v) { to = kSquare ? Fma(v, v, to) : to + v; };
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) {
      take(sum[r][0], LoadAs(x + r * stride + i) - m[r]);
      take(sum[r][1], LoadAs(x + r * stride + i + kLanes) - m[r]);
    }
  }
  for (; i < n; i += kLanes) {
    const int64_t left = n - i;
    const V ones = Ones(left < kLanes ? left : kLanes);
    for (int r = 0; r < kR; ++r)
      take(sum[r][0], (LoadPart(x + r * stride + i, left < kLanes ? left : kLanes) - m[r]) * ones);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kR; ++r) to[r] += static_cast<double>(SumOf(sum[r][0] + sum[r][1]));
}
template <bool kSquare, int kR, typename T>
inline void Means(const T* x, int64_t n, const float* mean, float* to) {
  double sum[kR] = {};
  for (int64_t i = 0; i < n; i += kPiece)
    AddPiece<kSquare, kR>(x + i, n, n - i < kPiece ? n - i : kPiece, mean, sum);
  for (int r = 0; r < kR; ++r) to[r] = static_cast<float>(sum[r] / static_cast<double>(n));
}

template <int kR, typename T>
inline void LayerNormTile(const LayerNormCall& c, const T* x, T* y) {
  const int64_t n = c.n;
  const float zero[kR] = {};
  float mean[kR] = {}, variance[kR], inverse[kR];
  if (!c.root_mean) Means<false, kR>(x, n, zero, mean);
  Means<true, kR>(x, n, mean, variance);
  V m[kR], s[kR];
  for (int r = 0; r < kR; ++r) {
    inverse[r] = 1.0f / __builtin_sqrtf(variance[r] + c.epsilon);
    m[r] = Splat(mean[r]);
    s[r] = Splat(inverse[r]);
  }
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const V scale = Load(c.scale + i), bias = c.bias ? Load(c.bias + i) : V{};
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r)
      StoreAs(y + r * n + i, Fma((LoadAs(x + r * n + i) - m[r]) * s[r], scale, bias));
  }
  if (i == n) return;
  const int64_t left = n - i;
  const V scale = LoadPart(c.scale + i, left), bias = c.bias ? LoadPart(c.bias + i, left) : V{};
  for (int r = 0; r < kR; ++r) {
    const V v = (LoadPart(x + r * n + i, left) - m[r]) * s[r];
    StorePart(y + r * n + i, Fma(v, scale, bias), left);
  }
}

template <typename T>
void LayerNormRows(const LayerNormCall& c, int64_t row, int64_t end) {
  constexpr int kAtOnce = 4;
  const T* x = static_cast<const T*>(c.x);
  T* y = static_cast<T*>(c.y);
  for (; row + kAtOnce <= end; row += kAtOnce)
    LayerNormTile<kAtOnce>(c, x + row * c.n, y + row * c.n);
  for (; row < end; ++row) LayerNormTile<1>(c, x + row * c.n, y + row * c.n);
}

void LayerNorm(const LayerNormCall& c, int64_t row, int64_t end) {
#if defined(__AVX512F__)
  if (c.half) return LayerNormRows<uint16_t>(c, row, end);
#endif
  LayerNormRows<float>(c, row, end);
}

void NormalizeBy(const float* x, float* y, int64_t n, float mean, float scale, float bias) {
  SLIPWAY_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) y[i] = MulAdd(x[i] - mean, scale, bias);
}

#include "engine/kernels/rows/softmax_impl.h"

}  // namespace

const RowKernels kRows = {
    {
#define SLIPWAY_REDUCE(NAME) Reduce<NAME>,
#include "engine/kernels/rows/kernels.inc"
#undef SLIPWAY_REDUCE
    },
    {
#define SLIPWAY_REDUCE(NAME) ReduceColumns<NAME>,
#include "engine/kernels/rows/kernels.inc"
#undef SLIPWAY_REDUCE
    },
    Softmax,
    SoftmaxColumns,
    SoftmaxCodes,
    MomentsOf,
    LayerNorm,
    kLanes == 16,
    LayerNormCodes,
    NormalizeBy,
};

}  // namespace slipway::kernels::SLIPWAY_ISA
