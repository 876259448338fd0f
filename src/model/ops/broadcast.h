#pragma once
// Numpy broadcasting as rows: the output is walked once in memory order, and every input has along a row either stride 1 or stride 0.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "base/dims.h"
#include "model/ops/kernel.h"

namespace slipway::ops {

// Strides of N inputs over the output's dimensions, neighbours merged where all inputs allow it. Entry 0 is the innermost.
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

  // Calls row(out_offset, n, offsets[N]) so that the rows cover [begin, end) of the output; the inner strides are strides[j][0].
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

// Types that deserve loops of their own, which the compiler vectorises; the others share one strided loop (code size).
template <typename T>
inline constexpr bool kFastLoops = std::is_same_v<T, float> || std::is_same_v<T, int32_t> || std::is_same_v<T, int64_t>;

// y[i] = f(a[i], b[i]) over broadcast inputs, split over the pool.
template <typename A, typename B, typename Y, typename F>
void BroadcastBinary(const OpContext& c, const TensorView& a, const TensorView& b,
                     const TensorView& y, F f) {
  const int64_t count = y.count();
  if (count == 0) return;
  const Dims* const inputs[2] = {&a.dims, &b.dims};
  const auto plan = BroadcastPlan<2>::Make(y.dims, inputs);
  const A* pa = a.as<const A>();
  const B* pb = b.as<const B>();
  Y* py = y.as<Y>();
  For(c, count, kElementGrain, [&](int64_t begin, int64_t end) {
    plan.Rows(begin, end, [&](int64_t at, int64_t n, const int64_t* offsets) {
      const A* ra = pa + offsets[0];
      const B* rb = pb + offsets[1];
      Y* ry = py + at;
      const bool walk_a = plan.strides[0][0] != 0, walk_b = plan.strides[1][0] != 0;
      if constexpr (!kFastLoops<A> && !(sizeof(A) == 1 && sizeof(B) == 1)) {
        const int64_t sa = walk_a, sb = walk_b;
        for (int64_t i = 0; i < n; ++i) ry[i] = f(ra[i * sa], rb[i * sb]);
      } else if (walk_a && walk_b) {
        for (int64_t i = 0; i < n; ++i) ry[i] = f(ra[i], rb[i]);
      } else if (walk_a) {
        const B vb = *rb;
        for (int64_t i = 0; i < n; ++i) ry[i] = f(ra[i], vb);
      } else {
        const A va = *ra;
        for (int64_t i = 0; i < n; ++i) ry[i] = f(va, rb[walk_b ? i : 0]);
      }
    });
  });
}

}  // namespace slipway::ops
