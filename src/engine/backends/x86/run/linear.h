#pragma once
// Products of rows with a matrix: slipway.Linear, Gemm, MatMul.

#include "engine/backends/x86/run/activation.h"
#include "engine/backends/x86/run/step.h"

namespace slipway::backends::x86 {

// X [..., K] times input 1, [K, N] or transposed [N, K]; a bias [N] at input 2 and a residual like
// Y at input 3 may be there.
struct Linear {
  int64_t m = 0, k = 0, n = 0;
  bool transposed = false;
  ops::Activation activation;
};

// With packed weights, float32, bfloat16 or float16 (gemm.cc). All shapes have been checked.
Status BuildPacked(Builder& b, const Linear& linear);

}  // namespace slipway::backends::x86
