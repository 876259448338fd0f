#pragma once
// Reductions, softmax and normalisation of float32 along rows (contiguous) and columns (strided),
// for every instruction set of the machine.

#include <cstdint>

#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

enum class ReduceKind : uint8_t {
#define SLIPWAY_REDUCE(NAME) k##NAME,
#include "engine/kernels/rows/kernels.inc"
#undef SLIPWAY_REDUCE
  kCount
};

struct Moments {
  float mean, variance;  // variance about the mean, of the population
};

// Layer normalisation of rows of n numbers one after another, in float32: y = (x - mean) /
// sqrt(variance + epsilon) * scale + bias.
struct LayerNormCall {
  const void* x;
  void* y;         // may be x, of the same type
  bool half;       // x and y are bfloat16, not float32
  bool root_mean;  // no mean is subtracted (RMS normalisation)
  int64_t n;
  const float* scale;  // [n]
  const float* bias;   // [n] or null
  float epsilon;
};

// How numbers become codes, and codes numbers: clamp(round_half_even(v), low, high), which is the
// code less its zero point.
struct Rounding {
  float scale = 0;  // between codes
  float low = 0, high = 0;
};
// Rows of n scores to the codes of their softmax:
//   s = x; with score.scale > 0 s = round(s) * score.scale
//   s = s + bias                                                    (with a bias)
//   s = fma(round(s / sum.scale), sum_multiplier, mask)             (with a mask, and a bias beside)
//   y = round(softmax(s) / code.scale) + zero
struct SoftmaxCodesCall {
  const float* x = nullptr;
  uint8_t* y = nullptr;
  float* work = nullptr;  // 4 rows of n rounded up to 16
  int64_t x_stride = 0, y_stride = 0, rows = 0, n = 0;
  Rounding score, sum, code;
  float sum_multiplier = 1;
  const float *bias = nullptr, *mask = nullptr;
  int64_t bias_stride = 0, mask_stride = 0;
  int32_t zero = 0;
};

// Layer normalisation of rows of n numbers, one after another, to codes (QLayerNorm of
// model/ops/operators.inc): y = round((x - mean) / sqrt(v + epsilon) * weight / code.scale) + zero,
// v the variance, rounded where variance.scale > 0.
struct LayerNormCodesCall {
  const float* x = nullptr;
  uint8_t* y = nullptr;
  int64_t n = 0;
  const float* weight = nullptr;  // [n] or null
  float epsilon = 0;
  Rounding variance, code;
  int32_t zero = 0;
};

struct RowKernels {
  // The reduction of x[0 .. n), n >= 1.
  float (*reduce[static_cast<int>(ReduceKind::kCount)])(const float* x, int64_t n);
  // y[j] = the reduction of x[i * stride + j] over i < n, for j < m.
  void (*reduce_columns[static_cast<int>(ReduceKind::kCount)])(const float* x, int64_t n,
                                                               int64_t stride, float* y, int64_t m);
  // Softmax (log: its logarithm) of rows one after another; y may be x.
  void (*softmax)(const float* x, float* y, int64_t rows, int64_t n, bool log);
  // The same over i < n of x[i * stride + j], for each j < m.
  void (*softmax_columns)(const float* x, float* y, int64_t n, int64_t stride, int64_t m, bool log);
  void (*softmax_codes)(const SoftmaxCodesCall& call);
  Moments (*moments)(const float* x, int64_t n);
  // Rows [row, end); x and y bfloat16 only where `half_rows` says so.
  void (*layer_norm)(const LayerNormCall& call, int64_t row, int64_t end);
  bool half_rows;
  // Rows [row, end).
  void (*layer_norm_codes)(const LayerNormCodesCall& call, int64_t row, int64_t end);
  // y = (x - mean) * scale + bias.
  void (*normalize_by)(const float* x, float* y, int64_t n, float mean, float scale, float bias);
};

const RowKernels& GetRows(Isa isa);

namespace baseline {
extern const RowKernels kRows;
}
namespace avx2 {
extern const RowKernels kRows;
}
namespace avx512 {
extern const RowKernels kRows;
}

}  // namespace slipway::kernels
