#pragma once
// The matrix product under convolutions and linear layers: C[M, N] = A[M, K] * B[K, N] in tiles
// that fit the first-level cache, operands packed by the caller's functions into fixed buffers on
// the stack. k runs in ascending order for every element, so a result does not depend on the number
// of threads. Floats accumulate in their own type (float32 for float32), integers modulo 2^32.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/checked.h"
#include "model/ops/kernel.h"

namespace slipway::ops {

inline constexpr int kTile = 64;
// Rows of a tile start on vector boundaries and loops over columns run to the next multiple of
// this.
inline constexpr int kTileColumns = 8;

namespace detail {

template <typename Acc, typename Buf>
inline Acc Product(Buf a, Buf b) {
  if constexpr (sizeof(Buf) < sizeof(Acc)) {
    return static_cast<Acc>(static_cast<int32_t>(a) * static_cast<int32_t>(b));
  } else {
    return a * b;
  }
}

// acc[i][0, n) += sum over k < kt of a[i][k] * b[k][0, n); kt a multiple of 4, n of kTileColumns.
template <typename Acc, typename Buf>
void MultiplyTile(Acc* __restrict acc, const Buf* __restrict a, const Buf* __restrict b, int mt,
                  int n, int kt) {
  int i = 0;
  for (; i + 2 <= mt; i += 2) {
    Acc* __restrict c0 = acc + i * kTile;
    Acc* __restrict c1 = c0 + kTile;
    const Buf* a0 = a + i * kTile;
    const Buf* a1 = a0 + kTile;
    for (int k = 0; k < kt; k += 4) {
      const Buf p0 = a0[k], p1 = a0[k + 1], p2 = a0[k + 2], p3 = a0[k + 3];
      const Buf q0 = a1[k], q1 = a1[k + 1], q2 = a1[k + 2], q3 = a1[k + 3];
      const Buf* __restrict b0 = b + k * kTile;
      for (int j = 0; j < n; ++j) {
        const Buf x0 = b0[j], x1 = b0[j + kTile], x2 = b0[j + 2 * kTile], x3 = b0[j + 3 * kTile];
        c0[j] = c0[j] + Product<Acc>(p0, x0) + Product<Acc>(p1, x1) + Product<Acc>(p2, x2) +
                Product<Acc>(p3, x3);
        c1[j] = c1[j] + Product<Acc>(q0, x0) + Product<Acc>(q1, x1) + Product<Acc>(q2, x2) +
                Product<Acc>(q3, x3);
      }
    }
  }
  for (; i < mt; ++i) {
    Acc* __restrict c0 = acc + i * kTile;
    const Buf* a0 = a + i * kTile;
    for (int k = 0; k < kt; k += 4) {
      const Buf p0 = a0[k], p1 = a0[k + 1], p2 = a0[k + 2], p3 = a0[k + 3];
      const Buf* __restrict b0 = b + k * kTile;
      for (int j = 0; j < n; ++j) {
        c0[j] = c0[j] + Product<Acc>(p0, b0[j]) + Product<Acc>(p1, b0[j + kTile]) +
                Product<Acc>(p2, b0[j + 2 * kTile]) + Product<Acc>(p3, b0[j + 3 * kTile]);
      }
    }
  }
}

}  // namespace detail

// pack_a(batch, i, k, n, Buf* to): to[0, n) = A[i][k, k + n).
// pack_b(batch, j, n, k, kn, Buf* to): to[r * kTile + c] = B[k + r][j + c] for r < kn, c < n;
// entries beyond are already zero. store(batch, i, j, n, const Acc* row): takes the finished
// C[i][j, j + n); called once for each element, from several threads.
template <typename Acc, typename Buf, typename PackA, typename PackB, typename Store>
void TiledGemm(const OpContext& c, int64_t batches, int64_t m, int64_t n, int64_t k,
               const PackA& pack_a, const PackB& pack_b, const Store& store) {
  const int64_t tiles_m = CeilDiv(m, kTile), tiles_n = CeilDiv(n, kTile);
  const int64_t tasks = batches * tiles_m * tiles_n;
  For(c, tasks, 1, [&](int64_t begin, int64_t end) {
    alignas(64) Acc acc[kTile * kTile];
    alignas(64) Buf a[kTile * kTile];
    alignas(64) Buf b[kTile * kTile];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t tm = task % tiles_m, tn = task / tiles_m % tiles_n;
      const int64_t batch = task / tiles_m / tiles_n;
      const int64_t i0 = tm * kTile, j0 = tn * kTile;
      const int mt = static_cast<int>(std::min<int64_t>(kTile, m - i0));
      const int nt = static_cast<int>(std::min<int64_t>(kTile, n - j0));
      const int columns = static_cast<int>(RoundUp(nt, kTileColumns));
      std::memset(static_cast<void*>(acc), 0, sizeof(Acc) * kTile * static_cast<size_t>(mt));
      for (int64_t k0 = 0; k0 < k; k0 += kTile) {
        const int kt = static_cast<int>(std::min<int64_t>(kTile, k - k0));
        const int kr = static_cast<int>(RoundUp(kt, 4));
        if (columns > nt)
          std::memset(static_cast<void*>(b), 0, sizeof(Buf) * kTile * static_cast<size_t>(kr));
        for (int r = kt; r < kr; ++r) std::fill(b + r * kTile, b + (r + 1) * kTile, Buf{0});
        pack_b(batch, j0, nt, k0, kt, static_cast<Buf*>(b));
        for (int i = 0; i < mt; ++i) {
          Buf* row = a + i * kTile;
          for (int r = kt; r < kr; ++r) row[r] = Buf{0};
          pack_a(batch, i0 + i, k0, kt, row);
        }
        detail::MultiplyTile<Acc, Buf>(acc, a, b, mt, columns, kr);
      }
      for (int i = 0; i < mt; ++i) {
        store(batch, i0 + i, j0, nt, static_cast<const Acc*>(acc + i * kTile));
      }
    }
  });
}

}  // namespace slipway::ops
