#pragma once
// What QAttention (operators.inc) is asked to do, read and checked once for the plain loops and for
// faster ones.

#include <array>
#include <cstdint>
#include <span>

#include "base/dims.h"
#include "base/dtype.h"
#include "base/status.h"
#include "model/ops/attributes.h"
#include "model/ops/quantized.h"

namespace slipway::ops {

struct QAttention {
  // A matrix for each batch: element [i, j] of batch b lies at At(b) + i * row + j * column.
  struct Matrix {
    std::array<int64_t, kMaxRank> batch{};  // strides, of the innermost batch dimension first
    int64_t row = 0, column = 0;
  };
  struct Operand {
    Dims dims;
    DType dtype = DType::kUndefined;  // kUndefined: absent
  };

  int64_t m = 0, n = 0, k = 0, d = 0, batches = 0;  // q [m, k], k [k, n], v [n, d], y [m, d]
  int batch_rank = 0;
  std::array<int64_t, kMaxRank> batch{};  // extents, the innermost first
  Matrix q, keys, v, y, bias, mask;
  int32_t q_zero = 0, k_zero = 0, v_zero = 0;
  float s_multiplier = 1, s_scale = 0;  // 0: scores are not rounded
  float t_scale = 1, t_multiplier = 1;  // of a mask
  float p_scale = 1, multiplier = 1;
  Requantizer s_to, t_to, p_to, to;
  DType p_type = DType::kInt8;

  int64_t At(const Matrix& x, int64_t b) const {
    int64_t at = 0;
    for (size_t i = 0; i < static_cast<size_t>(batch_rank); ++i) {
      at += b % batch[i] * x.batch[i];
      b /= batch[i];
    }
    return at;
  }
};

// inputs: Q, K, V, bias?, mask?. InvalidArgument: they do not fit each other, the output or the
// attributes.
Result<QAttention> ReadQAttention(const Attributes& attributes,
                                  std::span<const QAttention::Operand> inputs,
                                  const QAttention::Operand& output);
// The dimension of x that dimension i of the permuted operand is: `perm` of `rank` entries, or none
// for the identity. InvalidArgument: it is no permutation.
Result<std::array<int, kMaxRank>> ReadPermutation(std::span<const int64_t> perm, int rank);

}  // namespace slipway::ops
