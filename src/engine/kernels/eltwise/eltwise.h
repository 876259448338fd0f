#pragma once
// Elementwise functions of float32 on contiguous rows, for every instruction set of the machine.

#include <cstdint>

#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

enum class UnaryKind : uint8_t {
#define SLIPWAY_UNARY(NAME, LOW, HIGH) k##NAME,
#define SLIPWAY_BINARY(NAME)
#include "engine/kernels/eltwise/kernels.inc"
#undef SLIPWAY_UNARY
#undef SLIPWAY_BINARY
  kCount
};
enum class BinaryKind : uint8_t {
#define SLIPWAY_UNARY(NAME, LOW, HIGH)
#define SLIPWAY_BINARY(NAME) k##NAME,
#include "engine/kernels/eltwise/kernels.inc"
#undef SLIPWAY_UNARY
#undef SLIPWAY_BINARY
  kCount
};

// y[i] = f(x[i], a, b) for i < n; y may be x.
using UnaryFunction = void (*)(const float* x, float* y, int64_t n, float a, float b);
// z[i] = f(x[i], y[i % period]), where z may be x or y: see BinaryFunctions.
using BinaryFunction = void (*)(const float* x, const float* y, float* z, int64_t n,
                                int64_t period);

struct BinaryFunctions {
  BinaryFunction rows;      // x[i], y[i]; period ignored
  BinaryFunction scalar_y;  // x[i], y[0]
  BinaryFunction scalar_x;  // x[0], y[i]
  BinaryFunction periodic;  // x[i], y[i % period]; n is a multiple of period
};

struct EltwiseKernels {
  UnaryFunction unary[static_cast<int>(UnaryKind::kCount)];
  BinaryFunctions binary[static_cast<int>(BinaryKind::kCount)];
  // z[i] = c[i * cs] ? x[i * xs] : y[i * ys], strides 0 or 1.
  void (*where)(const uint8_t* c, int64_t cs, const float* x, int64_t xs, const float* y,
                int64_t ys, float* z, int64_t n);
  // Between float32 and bfloat16, rounding half to even; NaN becomes a quiet one.
  void (*to_bfloat16)(const float* x, uint16_t* y, int64_t n);
  void (*from_bfloat16)(const uint16_t* x, float* y, int64_t n);
  // Between float32 and float16, likewise; what lies beyond 65504 becomes infinite. Null on other
  // processors than 64-bit ARM.
  void (*to_float16)(const float* x, uint16_t* y, int64_t n);
  void (*from_float16)(const uint16_t* x, float* y, int64_t n);
  // Swish for results that are rounded to bfloat16: 2e-4 of the value.
  UnaryFunction rough_swish;
  // z = x + y, x - y and x * y of bfloat16 (kAdd, kSub, kMul), z may be x or y; null without AVX-512.
  void (*half_rows[3])(const uint16_t* x, const uint16_t* y, uint16_t* z, int64_t n);
};

const EltwiseKernels& GetEltwise(Isa isa);

namespace baseline {
extern const EltwiseKernels kEltwise;
}
namespace avx2 {
extern const EltwiseKernels kEltwise;
}
namespace avx512 {
extern const EltwiseKernels kEltwise;
}

}  // namespace slipway::kernels
