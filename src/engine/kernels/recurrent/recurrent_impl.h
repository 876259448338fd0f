// The source of the recurrent kernels; x86_*.cc and arm_*.cc include it with SLIPWAY_ISA set to the
// namespace of their instruction set.

#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "engine/kernels/recurrent/recurrent.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/math.h"
#include "engine/kernels/simd/vector.h"

// Rows at a time: four where 32 registers hold 16 sums, 4 vectors of weights and an element.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRows = 4;
#else
constexpr int kRows = 2;
#endif

// Where a vector of the first row's sums comes from and goes.
struct Place {
  const float* from;
  float* to;
  int64_t from_stride, to_stride;
};

// kVectors of the `stride` vectors that each k has from w on, for kNow rows.
template <int kNow, int kVectors>
void Sums(const RecurrentProduct& p, int64_t row, const float* w, int stride, const Place* at) {
  V sum[kNow][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kNow; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[r][v] = Load(at[v].from + (row + r) * at[v].from_stride);
  }
  const float* x = p.x + row * p.x_stride;
  for (int64_t k = 0; k < p.k; ++k, w += stride * kLanes) {
    V value[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) value[v] = Load(w + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kNow; ++r) {
      const V element = Splat(x[r * p.x_stride + k]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[r][v] = Fma(element, value[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kNow; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) Store(at[v].to + (row + r) * at[v].to_stride, sum[r][v]);
  }
}

using SumsFunction = void (*)(const RecurrentProduct&, int64_t, const float*, int, const Place*);

void Product(const RecurrentProduct& p, int64_t begin, int64_t end) {
  constexpr SumsFunction kOne[9] = {nullptr, Sums<1, 1>, Sums<1, 2>, Sums<1, 3>, Sums<1, 4>,
                                    nullptr, Sums<1, 6>, nullptr,    Sums<1, 8>},
                         kSome[5] = {nullptr, Sums<kRows, 1>, Sums<kRows, 2>, Sums<kRows, 3>,
                                     Sums<kRows, 4>};
  for (int64_t block = begin, some; block < end; block += some) {
    some = RecurrentGroup(p.gates, p.blocks - block);
    const int vectors = static_cast<int>(some) * p.gates;
    const float* w = p.w + block * p.k * p.gates * kLanes;
    Place at[8];
    Place* next = at;
#pragma GCC unroll 1
    for (int64_t unit = block; unit < block + some; ++unit) {
      float* to = p.sums + (unit * p.slots + p.first) * kLanes;
#pragma GCC unroll 1
      for (int gate = 0; gate < p.gates; ++gate, to += kLanes)
        *next++ = {to, to, p.sums_stride, p.sums_stride};
      if (p.apart)
        next[-1] = {p.apart_start + unit * kLanes, p.apart + unit * kLanes, 0, p.apart_stride};
    }
    const int half = vectors > 4 ? vectors / 2 : vectors;
    int64_t row = 0;
    for (; row + kRows <= p.rows; row += kRows) {
      for (int v = 0; v < vectors; v += half) kSome[half](p, row, w + v * kLanes, vectors, at + v);
    }
    for (; row < p.rows; ++row) kOne[vectors](p, row, w, vectors, at);
  }
}

// x = f(x), n > 0, whole vectors.
template <typename F>
inline void Each(float* x, int64_t n, const F& f) {
  for (int64_t i = 0; i < n; i += kLanes) {
    float y[kLanes];
    SLIPWAY_INDEPENDENT
    for (int lane = 0; lane < kLanes; ++lane) y[lane] = f(x[i + lane]);
    __builtin_memcpy(x + i, y, sizeof y);
  }
}

// Once in the program: it is long, and its calls are few.
#ifdef __clang__
__attribute__((noinline))
#else
__attribute__((noinline, noclone))
#endif
void Apply(const CellActivation& f, float* x, int64_t n) {
  const float a = f.a, b = f.b;
  switch (f.function) {
    case CellFunction::kSigmoid:
      return Each(x, n, [](float v) { return Sigmoid(v); });
    case CellFunction::kTanh:
      return Each(x, n, [](float v) { return Tanh(v); });
    case CellFunction::kRelu:
      return Each(x, n, [](float v) { return v < 0.0f ? 0.0f : v; });
    case CellFunction::kHardSigmoid:
      return Each(x, n, [=](float v) {
        const float y = a * v + b;
        return y < 0.0f ? 0.0f : y > 1.0f ? 1.0f : y;
      });
  }
}

void Lstm(float* sums, float* cell, float* next, int64_t blocks, const CellActivation* f) {
  for (int64_t block = 0; block < blocks;
       ++block, sums += 4 * kLanes, cell += kLanes, next += kLanes) {
    Apply(f[0], sums, 3 * kLanes);
    Apply(f[1], sums + 3 * kLanes, kLanes);
    const V now = Load(sums + 2 * kLanes) * Load(cell) + Load(sums) * Load(sums + 3 * kLanes);
    Store(cell, now);
    Store(next, now);
    Apply(f[2], next, kLanes);
    Store(next, Load(next) * Load(sums + kLanes));
  }
}

void Gru(float* sums, const float* apart, const float* hidden, float* next, int64_t blocks,
         const CellActivation* f) {
  for (int64_t block = 0; block < blocks;
       ++block, sums += 3 * kLanes, hidden += kLanes, next += kLanes) {
    float* candidate = sums + 2 * kLanes;
    Apply(f[0], sums, (apart ? 2 : 1) * kLanes);
    if (apart) {
      Store(candidate, Load(candidate) + Load(sums + kLanes) * Load(apart));
      apart += kLanes;
    }
    Apply(f[1], candidate, kLanes);
    const V update = Load(sums);
    Store(next, (Splat(1) - update) * Load(candidate) + update * Load(hidden));
  }
}

void GruReset(float* sums, const float* hidden, float* reset, int64_t blocks,
              const CellActivation* f) {
  for (int64_t block = 0; block < blocks;
       ++block, sums += 3 * kLanes, hidden += kLanes, reset += kLanes) {
    Apply(f[0], sums + kLanes, kLanes);
    Store(reset, Load(sums + kLanes) * Load(hidden));
  }
}

void Rnn(float* sums, float* next, int64_t blocks, const CellActivation* f) {
  Apply(f[0], sums, blocks * kLanes);
  for (int64_t i = 0; i < blocks * kLanes; i += kLanes) Store(next + i, Load(sums + i));
}

}  // namespace

const RecurrentKernels kRecurrent = {kLanes, Product, Lstm, Gru, GruReset, Rnn};

}  // namespace slipway::kernels::SLIPWAY_ISA
