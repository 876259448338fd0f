#pragma once
// Convolutions and matrix products of codes with at most four levels on both sides, bit by bit
// (bit-serial: Umuroglu & Jahre, "Streamlined Deployment for Quantized Neural Networks", 2017;
// XNOR-Net, arXiv:1603.05279, is the case of one bit and two levels).
//
// With a code of the input a = a_base + a_step * sum_i 2^i p_i and a weight w = base + step * sum_j
// 2^j q_j, all p and q bits, a dot product over K terms is
//
//   base * (K * a_base + a_step * sum p) + step * (a_base * sum q + a_step * sum_ij 2^(i+j) |p_i &
//   q_j|)
//
// where sum p = sum_i 2^i |p_i| and likewise q. The last sum takes one AND and one population count
// for 64 products. Terms of the padding are zero: they count for nothing. All sums are modulo 2^32.
// The accumulator goes through the integer contract of model/ops/operators.inc, bit for bit.

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

// Outputs that lie side by side in the packed weights.
inline constexpr int kBitsPanel = 8;

// How packed weights lie: [group, panel, tap, word, plane, 8] uint64, bit c of word k being channel
// 64 k + c of the group; then int32: sum of q [group, tap, panel, 8], base and step [group, panel,
// 8]. The last panel of a group is filled up with zeros.
struct BitsWeights {
  int64_t outputs = 0, channels = 0;  // of one group; channels: of the input
  int64_t groups = 1, taps = 1;
  int planes = 1;  // 1 or 2

  bool Valid() const;  // positive sizes, and all below fits 2^46 bytes
  int64_t words() const { return (channels + 63) / 64; }
  int64_t panels() const { return (outputs + kBitsPanel - 1) / kBitsPanel; }
  int64_t panel_words() const { return taps * words() * planes * kBitsPanel; }
  int64_t sums_at() const { return groups * panels() * panel_words() * 8; }
  int64_t base_at() const { return sums_at() + groups * taps * panels() * kBitsPanel * 4; }
  int64_t step_at() const { return base_at() + groups * panels() * kBitsPanel * 4; }
  int64_t bytes() const { return step_at() + groups * panels() * kBitsPanel * 4; }
};

// How many planes codes [outputs * groups, size] need: 1 when no output has more than two different
// ones, 2 when those of each are at most four equally spaced ones; else nothing.
std::optional<int> BitsPlanes(const int8_t* codes, int64_t outputs, int64_t size);

// codes [groups * outputs, channels, taps]; shape.planes from BitsPlanes.
std::vector<uint8_t> PackBits(const BitsWeights& shape, const int8_t* codes);

// One convolution on images in channels-last layout. A matrix product is one of one row, a tap and
// no padding.
struct BitsConv {
  BitsWeights weights;
  int a_planes = 1;    // 1 or 2
  int32_t a_low = 0;   // the lowest code
  int a_shift = 0;     // p = (code - a_low) >> a_shift: 1 where every other code occurs
  int32_t a_zero = 0;  // the zero point: a = code - a_zero
  int64_t in_height = 1, in_width = 1, out_height = 1, out_width = 1;
  int64_t kernel_height = 1, kernel_width = 1, stride_height = 1, stride_width = 1;
  int64_t dilation_height = 1, dilation_width = 1, pad_top = 0, pad_left = 0;
  // The extent of the padded image: what all windows together touch, and the input at least.
  int64_t height = 1, width = 1;

  int64_t pixel_words() const { return weights.words() * a_planes; }
  int64_t pixels() const { return height * width; }
  int64_t planes_bytes() const { return weights.groups * pixels() * pixel_words() * 8; }
  int64_t sums_bytes() const { return weights.groups * pixels() * 4; }
  int64_t windows_bytes() const { return weights.groups * out_height * out_width * 4; }
  int32_t a_base() const { return a_low - a_zero; }
  int32_t a_step() const { return 1 << a_shift; }
};

// From accumulators to what is stored.
struct BitsFinish {
  const float* multiplier = nullptr;  // one, or one an output
  bool per_output = false;
  const int32_t* bias = nullptr;   // may be null
  const void* residual = nullptr;  // like the output, of 8 bits; may be null
  bool residual_signed = true;
  float z_multiplier = 0;
  int32_t z_zero = 0;
  // With an activation: min(max(v, lowest), highest) * y_multiplier.
  bool clamps = false;
  float lowest = 0, highest = 0, y_multiplier = 1;
  int to = 0;  // 0 uint8, 1 int8, 2 float32
  int32_t zero_point = 0, low = 0, high = 0;
};

struct BitsKernels {
  // Rows [row, end) of the padded image into planes [group, height, width, plane, word] and sums of
  // p [group, height, width]. x: [in_height, in_width, groups * channels] codes.
  void (*pack)(const BitsConv& conv, const uint8_t* x, uint64_t* planes, int32_t* sums, int64_t row,
               int64_t end);
  // y = 1 where x >= 0, else -1 (NaN too): kind bipolar of Quantize.
  void (*signs)(const float* x, int8_t* y, int64_t n);
  // K * a_base + a_step * sum p of output rows [row, end): [group, out_height, out_width].
  void (*windows)(const BitsConv& conv, const int32_t* sums, uint32_t* windows, int64_t row,
                  int64_t end);
  // Pixels [pixel, end) of [out_height, out_width] into y [pixel, groups * outputs], which starts
  // at pixel 0 (so does the residual).
  void (*convolve)(const BitsConv& conv, const uint64_t* planes, const uint32_t* windows,
                   const uint8_t* weights, const BitsFinish& finish, void* y, int64_t pixel,
                   int64_t end);
};

// The best that this CPU has; `isa` is that at most.
const BitsKernels& GetBits(Isa isa);

namespace baseline {
extern const BitsKernels kBits;
}
namespace avx2 {
extern const BitsKernels kBits;
}
namespace avx512popcnt {  // AVX-512 with VPOPCNTDQ; without it AVX2 does as well
extern const BitsKernels kBits;
}

}  // namespace slipway::kernels
