// The source of the thin products; x86_*.cc include it with SLIPWAY_ISA set to the namespace of
// their instruction set.

#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "engine/kernels/thin/thin.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/vector.h"

inline float Fma(float a, float b, float c) {
#if defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
inline float Sum(V v) {
  float s[kLanes];
  __builtin_memcpy(s, &v, sizeof s);
#pragma GCC unroll 8
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) s[i] += s[i + half];
  }
  return s[0];
}

// How far ahead weights are asked for, in floats (measured on a Zen 4 core): the hardware stops at
// the end of a page.
constexpr int64_t kAheadPlain = 128, kAheadTransposed = 256;

// --- w [k, n]: some rows of w at a time run over y, which stays in the cache.

// kTaps rows of w for kRows rows of x.
template <int kRows, int kTaps>
inline void Rows(const float* x, int64_t x_stride, const float* w, int64_t n, float* y,
                 int64_t begin, int64_t end) {
  V a[kRows][kTaps];
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTaps; ++t) a[r][t] = Splat(x[r * x_stride + t]);
  }
  int64_t at = begin;
  for (; at + kLanes <= end; at += kLanes) {
    V sum[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sum[r] = Load(y + r * n + at);
#pragma GCC unroll 8
    for (int t = 0; t < kTaps; ++t) {
      const float* p = w + t * n + at;
      if constexpr (kLanes == 16) __builtin_prefetch(p + kAheadPlain);
      const V v = Load(p);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sum[r] = Fma(a[r][t], v, sum[r]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) Store(y + r * n + at, sum[r]);
  }
  for (; at < end; ++at) {
    for (int r = 0; r < kRows; ++r) {
      float sum = y[r * n + at];
      for (int t = 0; t < kTaps; ++t) sum = Fma(x[r * x_stride + t], w[t * n + at], sum);
      y[r * n + at] = sum;
    }
  }
}

// Columns of y that are worked on together.
constexpr int64_t kColumns = 4096;

template <int kRows>
void PlainRows(const ThinCall& c, int64_t row, int64_t begin, int64_t end) {
  // As many rows of w as registers hold factors for.
  constexpr int kRegisters = kLanes == 16 ? 24 : 10;
  constexpr int kTaps = kRegisters / kRows > 8   ? 8
                        : kRegisters / kRows > 0 ? kRegisters / kRows
                                                 : 1;
  const float* x = c.x + row * c.k;
  float* y = c.y + row * c.n;
  for (int64_t from = begin; from < end; from += kColumns) {
    const int64_t to = end - from < kColumns ? end : from + kColumns;
    int64_t k = 0;
    for (; k + kTaps <= c.k; k += kTaps)
      Rows<kRows, kTaps>(x + k, c.k, c.w + k * c.n, c.n, y, from, to);
    for (; k < c.k; ++k) Rows<kRows, 1>(x + k, c.k, c.w + k * c.n, c.n, y, from, to);
  }
}

// --- w [n, k]: scalar products of rows.

// kOuts rows of w with kRows rows of x. kSums, which decides how the sums round, must depend on the
// shape only.
template <int kRows, int kOuts, int kSums>
inline void Dots(const ThinCall& c, int64_t row, int64_t out) {
  const float* x = c.x + row * c.k;
  const float* w = c.w + out * c.k;
  V sum[kOuts][kRows][kSums] = {};
  int64_t k = 0;
  for (; k + kSums * kLanes <= c.k; k += kSums * kLanes) {
#pragma GCC unroll 4
    for (int s = 0; s < kSums; ++s) {
      V v[kRows];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) v[r] = Load(x + r * c.k + k + s * kLanes);
#pragma GCC unroll 4
      for (int o = 0; o < kOuts; ++o) {
        const float* p = w + o * c.k + k + s * kLanes;
        if constexpr (kLanes == 16) __builtin_prefetch(p + kAheadTransposed);
        const V b = Load(p);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) sum[o][r][s] = Fma(v[r], b, sum[o][r][s]);
      }
    }
  }
  for (int o = 0; o < kOuts; ++o) {
    for (int r = 0; r < kRows; ++r) {
      V all = sum[o][r][0];
      for (int s = 1; s < kSums; ++s) all += sum[o][r][s];
      float total = Sum(all);
      for (int64_t i = k; i < c.k; ++i) total = Fma(x[r * c.k + i], w[o * c.k + i], total);
      c.y[(row + r) * c.n + out + o] += total;
    }
  }
}

template <int kRows>
void TransposedRows(const ThinCall& c, int64_t row, int64_t begin, int64_t end) {
  constexpr int kSums = kRows <= 2 ? 2 : 1;
  constexpr int kOuts = kLanes == 16 ? 4 : kRows <= 2 ? 2 : 1;
  int64_t out = begin;
  // Short rows are one stream, which the hardware sees through; of long ones several run at a time.
  if (kRows == 1 && c.k < 1536) {
    for (; out < end; ++out) Dots<kRows, 1, 4>(c, row, out);
    return;
  }
  for (; out + kOuts <= end; out += kOuts) Dots<kRows, kOuts, kSums>(c, row, out);
  if constexpr (kOuts > 1) {
    for (; out < end; ++out) Dots<kRows, 1, kSums>(c, row, out);
  }
}

void Plain(const ThinCall& c, int64_t begin, int64_t end) {
  int64_t row = 0;
#define SLIPWAY_THIN(ROWS) \
  for (; row + ROWS <= c.m; row += ROWS) PlainRows<ROWS>(c, row, begin, end);
#include "engine/kernels/thin/kernels.inc"
#undef SLIPWAY_THIN
}

void Transposed(const ThinCall& c, int64_t begin, int64_t end) {
  int64_t row = 0;
#define SLIPWAY_THIN(ROWS) \
  for (; row + ROWS <= c.m; row += ROWS) TransposedRows<ROWS>(c, row, begin, end);
#include "engine/kernels/thin/kernels.inc"
#undef SLIPWAY_THIN
}

}  // namespace

const ThinKernels kThin = {Plain, Transposed};

}  // namespace slipway::kernels::SLIPWAY_ISA
