#pragma once
// Products of 8-bit codes with 8-bit weights in int32, finished under the integer contract of
// model/ops/operators.inc while the sums are still in registers or the first-level cache:
//
//   sum[m, n] = sum over k of x[m, k] * w[k, n] + bias[n] + row_add[m]          (modulo 2^32)
//   v = float(sum) * multiplier[n]
//   v = fma(float(z[m, n] - z_zero), z_multiplier, v)                           (with a residual)
//   v = activation(v) * y_multiplier                                            (with an
//   activation) y = clamp(round_half_even(v) + zero_point, lo, hi), or v itself for float32
//
// Zero points of x and w are the caller's: they go into bias and row_add. Without an activation all
// instruction sets agree bit for bit; activations are float functions (eltwise.h) and agree to
// rounding.
//
// With AVX-512 VNNI four products of an unsigned and a signed byte go into one lane (vpdpbusd,
// which wraps and does not saturate); elsewhere codes are widened to 16 bits, as vpmaddubsw would
// saturate.

#include <cstdint>

#include "engine/kernels/eltwise/eltwise.h"
#include "engine/kernels/eltwise/rectifier.h"
#include "engine/kernels/quant/quant.h"

namespace slipway::kernels {

// Columns that lie together, and the alignment of runs.
inline constexpr int kQGemmBlock = 16, kQGemmDepth = 4;
// Kernels multiply unsigned codes on x86, signed ones on ARM: what QGemmCall::flip adds to codes of
// the other kind, and the alignment of all k of a column in packed weights.
#if defined(__aarch64__)
inline constexpr int kQGemmPackedDepth = 16;
inline constexpr bool kQGemmRanges = true;  // few bits multiply faster: see QGemmCall::x_low
constexpr int32_t QGemmShift(bool is_signed) { return is_signed ? 0 : -128; }
#else
inline constexpr int kQGemmPackedDepth = 4;
inline constexpr bool kQGemmRanges = false;
constexpr int32_t QGemmShift(bool is_signed) { return is_signed ? 128 : 0; }
#endif

// How many products of codes and weights of these ranges (moved by QGemmShift) a lane of 16 bits
// and one of 8 can sum, whatever they are.
struct QGemmBounds {
  int halves, bytes;
};
constexpr QGemmBounds SafeProducts(int x_low, int x_high, int w_low, int w_high) {
  const int all[4] = {x_low * w_low, x_low * w_high, x_high * w_low, x_high * w_high};
  int low = -1, high = 1;
  for (int v : all) low = v < low ? v : low, high = v > high ? v : high;
  const auto least = [](int a, int b) { return a < b ? a : b; };
  return {least(32768 / -low, 32767 / high), least(128 / -low, 127 / high)};
}
static_assert(SafeProducts(-128, 127, -127, 127).halves == 2);  // 8 bits, weights symmetric
static_assert(SafeProducts(-128, 127, -8, 7).halves == 31);     // W4A8
static_assert(SafeProducts(0, 7, -4, 3).bytes == 4);            // W3A3
static_assert(SafeProducts(0, 3, -2, 1).bytes == 21);           // W2A2

// Bytes of packed weights: [ceil(n / 16)][ceil(k / 4)][16][4], on ARM as QGemmPlace has them,
// filled up with zeros.
constexpr int64_t QGemmPackedBytes(int64_t k, int64_t n) {
  return (k + kQGemmPackedDepth - 1) / kQGemmPackedDepth * kQGemmPackedDepth * ((n + 15) / 16 * 16);
}
// Where the weight of code k and column n lies on ARM; depth: of all k, a multiple of 16.
constexpr int64_t QGemmPlace(Isa isa, int64_t depth, int64_t k, int64_t n) {
  const int64_t j = n % 16, block = n / 16 * depth * 16;
  if (isa == Isa::kArmDotprod) return block + k / 4 * 64 + j * 4 + k % 4;
  const int64_t half = block + j / 8 * depth * 8;
  if (isa == Isa::kArmI8mm) return half + k / 8 * 64 + j % 8 * 8 + k % 8;
  return half + k / 2 * 16 + j % 8 * 2 + k % 2;
}
// Packs w[k, n] at w + k * k_stride + n * n_stride. sums: [n] or null, the sum of every column.
void QGemmPack(const int8_t* w, int64_t k, int64_t n, int64_t k_stride, int64_t n_stride,
               int8_t* packed, int32_t* sums);

struct QGemmCall {
  // Row r of x begins at x + r / line * line_stride + r % line * x_stride (line 0: all rows are one
  // line), and holds its codes in runs of k bytes, the first of them at x + runs[i]; without runs
  // there is one at 0. A run up to k rounded up to 4 is readable (whatever it holds meets zero
  // weights). So a convolution whose image lies channels last, with its padding around it, needs
  // no copy of its windows: positions of an output row are a line, rows of the window are runs.
  // flip: QGemmShift is added to every byte of x, which makes unsigned codes of signed ones (on ARM
  // signed of unsigned ones); the caller takes that times the sums of columns off the bias.
  const uint8_t* x = nullptr;
  int64_t x_stride = 0, line = 0, line_stride = 0, rows = 0, k = 0, num_runs = 1;
  const int64_t* runs = nullptr;
  bool flip = false;
  // Groups have `columns` each, codes x_group bytes further in the row, and ceil(columns / 16)
  // blocks of weights, bias and multipliers; those of a block cover all runs. Weights are packed
  // with every run filled up to 4, 64-byte aligned.
  int64_t groups = 1, x_group = 0;
  const int8_t* weights = nullptr;
  int64_t columns = 0;
  // Codes (after flip) and weights lie within these; read on ARM without SDOT, where fewer bits
  // multiply faster.
  int32_t x_low = -128, x_high = 127, w_low = -128, w_high = 127;
  const int32_t* bias = nullptr;      // [blocks of all groups][16]
  const float* multiplier = nullptr;  // [blocks of all groups][16]
  // Only these blocks: how threads share a call of few rows.
  int64_t first_block = 0, end_block = INT64_MAX;
  const int32_t* row_add = nullptr;  // [rows] or null
  const void* z = nullptr;           // or null
  CodeType z_type = CodeType::kS8;
  int64_t z_stride = 0;
  float z_multiplier = 0;
  int32_t z_zero = 0;
  UnaryFunction activation = nullptr;
  RectifierTable rectifier;  // of activation and y_multiplier, if there is one
  bool leaky = false;        // it is x < 0 ? a x : x with 0 <= a <= 1
  float a = 0, b = 0, y_multiplier = 1;
  CodeType y_type = CodeType::kS8;
  Requant to;
  bool bounded = false;  // every |v| < 2^31 before rounding: it need not be clamped first
  void* y = nullptr;     // must not overlap x; may be z itself
  int64_t y_stride = 0;  // elements
};

struct QGemmKernels {
  // All of a call, on one thread. Nothing is allocated.
  void (*run)(const QGemmCall& call);
  // Packs the columns of b [k, n], rows row_stride apart, as QGemmPack does; with `flip` 128 less
  // (signed codes of unsigned ones). packed: 64-byte aligned; sums: [n rounded up to 16], of what
  // was packed.
  void (*pack)(const uint8_t* b, int64_t row_stride, int64_t k, int64_t n, bool flip,
               int8_t* packed, int32_t* sums);
  // The same of b transposed: columns [n, k], row_stride apart.
  void (*pack_rows)(const uint8_t* b, int64_t row_stride, int64_t k, int64_t n, bool flip,
                    int8_t* packed, int32_t* sums);
  // sums[i] = sum of the row's k codes (as they are).
  void (*row_sums[2])(const void* x, int64_t stride, int64_t rows, int64_t k, int32_t* sums);
};
// Of BestIntegerIsa().
const QGemmKernels& GetQGemm(Isa isa);

namespace baseline {
extern const QGemmKernels kQGemm;
}
namespace dotprod {
extern const QGemmKernels kQGemm;
}
namespace i8mm {
extern const QGemmKernels kQGemm;
}
namespace avx2 {
extern const QGemmKernels kQGemm;
}
namespace avx512 {
extern const QGemmKernels kQGemm;
}
namespace avx512vnni {
extern const QGemmKernels kQGemm;
}

}  // namespace slipway::kernels
