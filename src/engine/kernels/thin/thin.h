#pragma once
// A few rows of float32 times a matrix of float32: y[m, n] = start[m, n] + sum over k of x[m, k] *
// w[k, n]. Such products run at the speed at which the weights come from memory, so the weights are
// read once, in streams, where they lie: no packed copy is made, whichever way they are stored.

#include <cstdint>

#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

// Rows beyond which packed weights are the better way.
inline constexpr int64_t kThinRows = 8;

struct ThinCall {
  const float* x;  // [m, k], rows one after another
  const float* w;  // [k, n], or transposed [n, k]
  float* y;        // [m, n]: holds what the product is added to; apart from x and w
  int64_t m, k, n;
};

// Columns [begin, end) of y. The sum of an element is formed in the same order wherever the ranges
// are cut.
using ThinFunction = void (*)(const ThinCall& call, int64_t begin, int64_t end);

struct ThinKernels {
  ThinFunction plain;       // w [k, n]
  ThinFunction transposed;  // w [n, k]
};

const ThinKernels& GetThin(Isa isa);

namespace baseline {
extern const ThinKernels kThin;
}
namespace avx2 {
extern const ThinKernels kThin;
}
namespace avx512 {
extern const ThinKernels kThin;
}

}  // namespace slipway::kernels
