#pragma once
// Resizing along rows and columns by tables: separable sums of a few weighted inputs (linear,
// cubic, any filter) and copies (nearest). Where the weights come from (model/ops/resize.h) costs
// nothing here.
//
// An image is rows of columns of pixels of some elements that lie together: one of plain layout, a
// block of channels, or all channels. Each row of the output is a sum of rows of the input
// (float32), and then each of its columns a sum of columns of that. Every product and every sum is
// rounded to float32, in the order of the tables, as model/ops/operators.inc has it for QResize:
// codes come out bit for bit. A weight of 0 does not touch its input, NaN and infinity included.

#include <cstdint>

#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

enum class ResizeType : uint8_t { kFloat32 = 0, kUInt8 = 1, kInt8 = 2, kBFloat16 = 3, kCount = 4 };

// Which columns each column of the output reads, and their weights: see table.h, which holds them.
struct ResizeColumns {
  int64_t in = 0, out = 0, taps = 1;
  const int32_t* index = nullptr;  // [out, taps], in [0, in)
  const float* weight = nullptr;   // [out, taps]
  bool doubled = false;            // to the nearest: column o is column o / 2
  bool pairs = false;              // two taps and no weight is 0

  // For pixels of one element, unless lanes is 0: where the inputs of each vector of outputs begin,
  // and which of one vector from there on each output takes: [out / lanes], [out / lanes, taps,
  // lanes].
  int64_t lanes = 0;
  const int32_t *start = nullptr, *from = nullptr;
  const float* line = nullptr;
};

// What a sum becomes in codes: y = clamp(round_half_even(sum * multiplier) + zero_point, lo, hi).
struct ResizeFinish {
  float multiplier = 1;
  int32_t zero_point = 0, lo = 0, hi = 0;
};

// Elements behind the sums of a row that may be read (and not used).
inline constexpr int64_t kResizePadding = 16;

// s[i] = sum over k < taps of weight[k] * float(x[k][i] - zero) for i < n; zero is for codes. No
// weight is 0; without taps s is 0.
using ResizeRowsFunction = void (*)(const void* const* x, const float* weight, int64_t taps,
                                    int64_t n, int32_t zero, float* s);
// y[o * channels + i] = finished sum over taps of weight * s[index * channels + i]. s has
// kResizePadding elements behind its last where channels is less than that, another than 1, or a
// line of `in` below `lanes`.
using ResizeColumnsFunction = void (*)(const ResizeColumns& c, const float* s, int64_t channels,
                                       void* y, const ResizeFinish& finish);

// Codes with weights that are multiples of 2^-n: sums in 16 bits, exact as in float32. Codes of
// either sign as unsigned ones: xor flip (0 or 128), which lo, hi and the zero point are too; x and
// y have one scale and zero point, and the weights of a sum add up to 2^n, those of a row and of a
// column together to 2^shift, at most 2^8.
struct ResizeShorts {
  int shift = 0;
  int32_t zero_point = 0, lo = 0, hi = 255;
  uint8_t flip = 0;
};

struct ResizeKernels {
  ResizeRowsFunction rows[static_cast<int>(ResizeType::kCount)];        // by the input's type
  ResizeColumnsFunction columns[static_cast<int>(ResizeType::kCount)];  // by the output's
  // Pixel o of y is pixel c.index[o] of x, `bytes` each; one tap. Then `times` - 1 such rows more
  // behind it.
  void (*copy)(const ResizeColumns& c, const void* x, int64_t bytes, int64_t times, void* y);
  // As `rows` and `columns`, with whole weights; more than one channel, s with twice the padding.
  void (*short_rows)(const void* const* x, const uint16_t* weight, int64_t taps, int64_t n,
                     uint8_t flip, uint16_t* s);
  void (*short_columns)(const ResizeColumns& c, const uint16_t* weight, const uint16_t* s,
                        int64_t channels, uint8_t* y, const ResizeShorts& finish);
};

// bfloat16: with AVX-512 only, else null.
const ResizeKernels& GetResize(Isa isa);

namespace baseline {
extern const ResizeKernels kResize;
}
namespace avx2 {
extern const ResizeKernels kResize;
}
namespace avx512 {
extern const ResizeKernels kResize;
}

}  // namespace slipway::kernels
