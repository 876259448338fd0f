// The source of the row kernels; x86_*.cc include it with SLIPWAY_ISA set to the namespace of their
// instruction set.

#include <cmath>
#include <cstdint>

#include "engine/kernels/rows/rows.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/math.h"

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float V __attribute__((vector_size(kLanes * 4)));

inline V LoadV(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline void StoreV(float* p, V v) { __builtin_memcpy(p, &v, sizeof v); }
inline V Splat(float x) { return V{} + x; }

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
  float a[kLanes];
  StoreV(a, v);
  for (int step = kLanes / 2; step > 0; step /= 2) {
    for (int i = 0; i < step; ++i) a[i] = R::Join(a[i], a[i + step]);
  }
  return a[0];
}

template <typename R>
float ReducePiece(const float* x, int64_t n) {
  V a = Splat(R::kStart), b = a, c = a, d = a;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = R::Take(a, LoadV(x + i));
    b = R::Take(b, LoadV(x + i + kLanes));
    c = R::Take(c, LoadV(x + i + 2 * kLanes));
    d = R::Take(d, LoadV(x + i + 3 * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) a = R::Take(a, LoadV(x + i));
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
      a = R::Take(a, LoadV(p));
      b = R::Take(b, LoadV(p + kLanes));
      c = R::Take(c, LoadV(p + stride));
      d = R::Take(d, LoadV(p + stride + kLanes));
    }
    if (i < n) a = R::Take(a, LoadV(p)), b = R::Take(b, LoadV(p + kLanes));
    StoreV(y + j, R::Join(a, c));
    StoreV(y + j + kLanes, R::Join(b, d));
  }
  for (; j + kLanes <= m; j += kLanes) {
    V a = Splat(R::kStart), b = a;
    const float* p = x + j;
    int64_t i = 0;
    for (; i + 2 <= n; i += 2, p += 2 * stride)
      a = R::Take(a, LoadV(p)), b = R::Take(b, LoadV(p + stride));
    if (i < n) a = R::Take(a, LoadV(p));
    StoreV(y + j, R::Join(a, b));
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

void Softmax(const float* x, float* y, int64_t n, bool log) {
  const float top = Reduce<Max>(x, n);
  float sum = 0;
  if (log) {
    for (int64_t i = 0; i < n; i += kChunk) {
      float e[kChunk];
      const int64_t count = n - i < kChunk ? n - i : kChunk;
      for (int64_t j = 0; j < count; ++j) e[j] = ExpOfNegative(x[i + j] - top);
      sum += Reduce<Sum>(e, count);
    }
    const float shift = ::logf(sum);
    SLIPWAY_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - top) - shift;
    return;
  }
  for (int64_t i = 0; i < n; i += kChunk) {
    const int64_t count = n - i < kChunk ? n - i : kChunk;
    SLIPWAY_INDEPENDENT
    for (int64_t j = i; j < i + count; ++j) y[j] = ExpOfNegative(x[j] - top);
    sum += Reduce<Sum>(y + i, count);
  }
  const float scale = 1.0f / sum;
  for (int64_t i = 0; i < n; ++i) y[i] *= scale;
}

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
    const V p = LoadV(x + i) - m, q = LoadV(x + i + kLanes) - m;
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

void Normalize(const float* x, float* y, int64_t n, float mean, float inverse, const float* scale,
               const float* bias) {
  if (bias) {
    SLIPWAY_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) y[i] = MulAdd((x[i] - mean) * inverse, scale[i], bias[i]);
  } else {
    SLIPWAY_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * inverse * scale[i];
  }
}

void NormalizeBy(const float* x, float* y, int64_t n, float mean, float scale, float bias) {
  SLIPWAY_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) y[i] = MulAdd(x[i] - mean, scale, bias);
}

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
    MomentsOf,
    Normalize,
    NormalizeBy,
};

}  // namespace slipway::kernels::SLIPWAY_ISA
