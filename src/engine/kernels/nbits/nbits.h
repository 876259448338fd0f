#pragma once
// Rows of float32 times weights of 1 to 8 bits with a scale and a zero point for each group of
// inputs (weight-only quantization, as GPTQ, AWQ and ONNX Runtime's MatMulNBits have it):
//
//   y[m, n] = bias[n] + sum over k of x[m, k] * (code[n, k] - zero[n, k / group]) * scale[n, k /
//   group]
//
// Weights stay packed and are decoded in registers, so that a product with one row reads BITS / 8
// bytes a weight. Activations are not rounded.

#include <cstdint>
#include <vector>

#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

// Columns of the result that are computed together.
inline constexpr int kNBitsPanel = 16;

// How the packed weights lie. Panels of 16 outputs one after another (the last filled up with
// zeros); in each the groups in order; in each group rows of 16 words of 32 bits, word j holding
// the next codes of output j from the low bits on (8 bits: four times 16 bytes). Codes are stored
// plus 2^(bits-1) where they are signed. Behind all codes the scales and then the offsets
// (2^(bits-1) - zero) * scale of unsigned codes, both [panels, groups, 16] float32.
struct NBitsShape {
  int64_t n = 0, k = 0, group = 0;  // group <= k; the last group may be shorter
  int bits = 0;
  bool offsets = true;

  bool Valid() const;  // a known width, positive sizes, and all below fits 2^46 bytes
  int codes_per_word() const { return 32 / bits; }
  int64_t panels() const { return (n + kNBitsPanel - 1) / kNBitsPanel; }
  int64_t groups() const { return (k + group - 1) / group; }
  int64_t words() const;  // rows of words in a panel
  int64_t panel_bytes() const { return words() * kNBitsPanel * 4; }
  int64_t scales_at() const { return panels() * panel_bytes(); }
  int64_t offsets_at() const { return scales_at() + panels() * groups() * kNBitsPanel * 4; }
  int64_t bytes() const {
    return offsets_at() + (offsets ? panels() * groups() * kNBitsPanel * 4 : 0);
  }
};
bool KnownNBits(int bits);

// Whether all zero points (null: 0) are in the middle of the codes, so that no offsets are needed.
bool NBitsCentered(const NBitsShape& shape, bool is_signed, const uint8_t* zeros);

// codes [n, k] (bytes, in the range of `bits` and sign), scales and zeros [n, groups]; zeros may be
// null (all 0) and have the type of the codes. The shape must be valid.
std::vector<uint8_t> PackNBits(const NBitsShape& shape, const uint8_t* codes, bool is_signed,
                               const float* scales, const uint8_t* zeros);

struct NBitsCall {
  const uint8_t* packed;  // 64-byte aligned
  const float* x;         // [m, k], rows one after another
  const float* sums;      // [m, groups] from the function below; null without offsets
  const float* bias;      // [n] or null
  float* y;               // [m, n]
  int64_t m;
};

// The outputs of panels [panel, end).
using NBitsLinear = void (*)(const NBitsShape& shape, const NBitsCall& call, int64_t panel,
                             int64_t end);

struct NBitsKernels {
  // The sum of each group of each row in [row, end).
  void (*sums)(const NBitsShape& shape, const float* x, float* sums, int64_t row, int64_t end);
  NBitsLinear (*linear)(int bits);  // null for an unknown width
};

const NBitsKernels& GetNBits(Isa isa);

namespace baseline {
extern const NBitsKernels kNBits;
}
namespace avx2 {
extern const NBitsKernels kNBits;
}
namespace avx512 {
extern const NBitsKernels kNBits;
}

}  // namespace slipway::kernels
