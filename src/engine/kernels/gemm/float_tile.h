#pragma once
// The float32 product of 8 rows by 8 columns that kernels of 64-bit ARM share, in assembly.

#include <cstdint>

namespace slipway::kernels::baseline {

inline constexpr int kFloatTileRows = 8;

// y[r][j] = start[r][j] + sum over k of x[k / 4][r][k % 4] * w[k][j] for 8 rows r and 8 columns j,
// every sum one chain of fused products in the order of k. x has `groups` (1 at least) times 8 rows
// of 4 numbers; rows of start and y lie the strides apart, in floats. Nothing is read beyond that.
using FloatTile = void (*)(const float* x, const float* w, int64_t groups, const float* start,
                           int64_t start_stride, float* y, int64_t y_stride);
// For this CPU, the results of both are the same: cores of ARMv8.0 (Cortex-A53, A72) and of
// ARMv8.2 (Cortex-A55, Neoverse N1) want loads in another order.
FloatTile GetFloatTile();

}  // namespace slipway::kernels::baseline
