#pragma once
// Rows of 8-bit codes under the integer contract of model/ops/operators.inc, bit for bit, for every
// instruction set of the machine.

#include <cstdint>

#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

// What a real value becomes: clamp(round_half_even(v) + zero_point, lo, hi); unused for float32.
struct Requant {
  int32_t zero_point = 0, lo = 0, hi = 0;
};

struct QBinaryParams {
  int32_t a_zero = 0, b_zero = 0;
  float a_multiplier = 1, b_multiplier = 1;  // Mul uses a_multiplier alone
  Requant to;
};
// How an operand moves along the row.
enum class Walk : uint8_t { kRows = 0, kScalarB = 1, kScalarA = 2, kPeriodicB = 3, kCount };

enum class QBinaryKind : uint8_t {
#define SLIPWAY_QBINARY(NAME) k##NAME,
#include "engine/kernels/quant/kernels.inc"
#undef SLIPWAY_QBINARY
  kCount
};
// Index of an element type in the tables: uint8, int8, float32.
enum class CodeType : uint8_t { kU8 = 0, kS8 = 1, kF32 = 2 };

// y[i] = f(a[i], b[i]); kPeriodicB: b[i % period], n a multiple of period.
using QBinaryFunction = void (*)(const void* a, const void* b, void* y, int64_t n, int64_t period,
                                 const QBinaryParams& p);
// y = requantized((x - zero) * multiplier).
using QRescaleFunction = void (*)(const void* x, void* y, int64_t n, int32_t zero, float multiplier,
                                  const Requant& to);
// y = requantized(x / scale).
using QuantizeFunction = void (*)(const float* x, void* y, int64_t n, float scale,
                                  const Requant& to);
// y = (x - zero) * scale.
using DequantizeFunction = void (*)(const void* x, float* y, int64_t n, int32_t zero, float scale);

// y[i] = table[x[i]], 256 entries.
using LookupFunction = void (*)(const uint8_t* x, const uint8_t* table, uint8_t* y, int64_t n);

// y[r, c] = table[c][x[r, c]] for c < channels, both with rows `stride` apart; y may be x.
using ChannelLookupFunction = void (*)(const uint8_t* x, const uint8_t* table, uint8_t* y,
                                       int64_t rows, int64_t stride, int64_t channels);

struct QuantKernels {
  QBinaryFunction binary[static_cast<int>(QBinaryKind::kCount)][2][2][3]
                        [static_cast<int>(Walk::kCount)];  // [kind][a][b][y][walk]
  QRescaleFunction rescale[2][3];
  // y[i] = requantized(float(sum[i]) * multiplier) for int32 sums.
  void (*from_sums[3])(const int32_t* sums, void* y, int64_t n, float multiplier,
                       const Requant& to);
  QuantizeFunction quantize[2];
  DequantizeFunction dequantize[2];
  // sums[i] += x[i] for n codes.
  void (*accumulate[2])(const void* x, int32_t* sums, int64_t n);
  // sums[c] += clamp(round_half_even(x[r, c] / scale), lo - zero_point, hi - zero_point) over all
  // rows, `stride` elements apart: codes less their zero point.
  void (*accumulate_rounded)(const float* x, int64_t stride, int64_t rows, int64_t channels,
                             float scale, const Requant& to, int32_t* sums);
  // The sum of n codes.
  int32_t (*sum[2])(const void* x, int64_t n);
  // y[r, c] = requantized(fma(x[r, c], multiplier[c], offset[c])); strides in elements.
  void (*affine[2][3])(const void* x, int64_t x_stride, void* y, int64_t y_stride, int64_t rows,
                       int64_t channels, const float* multiplier, const float* offset,
                       const Requant& to);
  // y[i] = max(y[i], x[i]).
  void (*max[2])(const void* x, void* y, int64_t n);
  LookupFunction lookup;
  ChannelLookupFunction channel_lookup;
  // y[i * channels + c] = x[c * stride + i] for i < n, c < channels: few planes to pixels.
  void (*interleave)(const uint8_t* x, int64_t stride, int64_t channels, uint8_t* y, int64_t n);
};

const QuantKernels& GetQuant(Isa isa);
// The lookups of that table, or better ones where the CPU has AVX-512 VBMI.
LookupFunction GetLookup(Isa isa);
ChannelLookupFunction GetChannelLookup(Isa isa);

namespace baseline {
extern const QuantKernels kQuant;
}
namespace avx2 {
extern const QuantKernels kQuant;
}
namespace avx512 {
extern const QuantKernels kQuant;
extern const LookupFunction kLookupVbmi;
extern const ChannelLookupFunction kChannelLookupVbmi;
}  // namespace avx512

}  // namespace slipway::kernels
