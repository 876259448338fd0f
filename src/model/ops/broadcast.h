#pragma once
// Numpy broadcasting as rows: the output is walked once in memory order, and every input has along
// a row either stride 1 or stride 0.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "base/dims.h"
#include "model/ops/kernel.h"

namespace slipway::ops {

// Strides of N inputs over the output's dimensions, neighbours merged where all inputs allow it.
// Entry 0 is the innermost.
template <int N>
struct BroadcastPlan {
  int rank = 0;  // at least 1 after Make
  int64_t dims[kMaxRank] = {};
  int64_t strides[N][kMaxRank] = {};

  // Inputs are aligned at their last dimension; a dimension of 1 or a missing one is repeated.
  static BroadcastPlan Make(const Dims& out, const Dims* const (&inputs)[N]) {
    BroadcastPlan p;
    int64_t step[N];
    std::fill(step, step + N, 1);
    for (int i = out.rank() - 1; i >= 0; --i) {
      const int64_t n = out[static_cast<size_t>(i)];
      int64_t stride[N];
      for (int j = 0; j < N; ++j) {
        const int at = i - (out.rank() - inputs[j]->rank());
        const int64_t d = at < 0 ? 1 : (*inputs[j])[static_cast<size_t>(at)];
        stride[j] = d == 1 ? 0 : step[j];
        step[j] *= d;
      }
      if (n == 1) continue;
      bool merge = p.rank > 0;
      for (int j = 0; merge && j < N; ++j) {
        merge = stride[j] == p.strides[j][p.rank - 1] * p.dims[p.rank - 1];
      }
      if (merge) {
        p.dims[p.rank - 1] *= n;
        continue;
      }
      p.dims[p.rank] = n;
      for (int j = 0; j < N; ++j) p.strides[j][p.rank] = stride[j];
      ++p.rank;
    }
    if (p.rank == 0) p.dims[p.rank++] = 1;
    return p;
  }

  // Calls row(out_offset, n, offsets[N]) so that the rows cover [begin, end) of the output; the
  // inner strides are strides[j][0].
  template <typename F>
  void Rows(int64_t begin, int64_t end, F&& row) const {
    int64_t index[kMaxRank], offsets[N] = {};
    int64_t rest = begin;
    for (int d = 0; d < rank; ++d) {
      index[d] = rest % dims[d];
      rest /= dims[d];
      for (int j = 0; j < N; ++j) offsets[j] += index[d] * strides[j][d];
    }
    for (int64_t at = begin; at < end;) {
      const int64_t n = std::min(dims[0] - index[0], end - at);
      row(at, n, static_cast<const int64_t*>(offsets));
      at += n;
      for (int j = 0; j < N; ++j) offsets[j] -= index[0] * strides[j][0];
      index[0] = 0;
      for (int d = 1; d < rank; ++d) {
        for (int j = 0; j < N; ++j) offsets[j] += strides[j][d];
        if (++index[d] < dims[d]) break;
        for (int j = 0; j < N; ++j) offsets[j] -= dims[d] * strides[j][d];
        index[d] = 0;
      }
    }
  }
};

inline constexpr int64_t kElementGrain = 16384;

// Types that deserve loops of their own, which the compiler vectorises; the others share one
// strided loop (code size).
template <typename T>
inline constexpr bool kFastLoops =
    std::is_same_v<T, float> || std::is_same_v<T, int32_t> || std::is_same_v<T, int64_t>;

// One row of a binary operator: n outputs at `at` from inputs at offsets[0] and offsets[1], which
// move along the row where walk says so.
struct BinaryRow {
  int64_t at, n;
  int64_t offsets[2];
  bool walk[2];
};
// Calls row for all rows of y, split over the pool (not a template, so that every operator and type
// does not bring its own copy).
void ForBinaryRows(const OpContext& c, const Dims& a, const Dims& b, const Dims& y,
                   void (*row)(const void* context, const BinaryRow&), const void* context);

// y[i] = f(a[i], b[i]) over broadcast inputs, split over the pool.
template <typename A, typename B, typename Y, typename F>
void BroadcastBinary(const OpContext& c, const TensorView& a, const TensorView& b,
                     const TensorView& y, F f) {
  struct Context {
    const A* a;
    const B* b;
    Y* y;
    F f;
  } const context{a.as<const A>(), b.as<const B>(), y.as<Y>(), f};
  auto row = [](const void* p, const BinaryRow& r) {
    const Context& x = *static_cast<const Context*>(p);
    const A* ra = x.a + r.offsets[0];
    const B* rb = x.b + r.offsets[1];
    Y* ry = x.y + r.at;
    const int64_t n = r.n;
    if constexpr (!kFastLoops<A> && !(sizeof(A) == 1 && sizeof(B) == 1)) {
      const int64_t sa = r.walk[0], sb = r.walk[1];
      for (int64_t i = 0; i < n; ++i) ry[i] = x.f(ra[i * sa], rb[i * sb]);
    } else if (r.walk[0] && r.walk[1]) {
      for (int64_t i = 0; i < n; ++i) ry[i] = x.f(ra[i], rb[i]);
    } else if (r.walk[0]) {
      const B vb = *rb;
      for (int64_t i = 0; i < n; ++i) ry[i] = x.f(ra[i], vb);
    } else {
      const A va = *ra;
      const int64_t sb = r.walk[1];
      for (int64_t i = 0; i < n; ++i) ry[i] = x.f(va, rb[i * sb]);
    }
  };
  ForBinaryRows(c, a.dims, b.dims, y.dims, row, &context);
}

}  // namespace slipway::ops
