#pragma once
// Products of float16 on 64-bit ARM: convolutions and rows times a constant matrix.
//
//   y = float16(activation(clamp(bias + residual + sum over k of x[k] * w[k])))
//
// x, w, the residual and y are float16. With FEAT_FP16 (ARMv8.2) sums of kHalfChunk products at a
// time are made in float16 by FMLA, eight in a vector, and those are added up in float32, in
// which everything behind is computed; with u = 2^-11 a sum differs from the exact one by no more
// than
//
//   (kHalfChunk + 2) u sum |x w| + K 2^-25,
//
// the last for what lies below float16's least normal number. Where a sum comes out infinite or as
// no number, because float16 ends at 65504 on the way, its tile is made once more in float32: the
// result is infinite only where the sum itself lies beyond 65504. Without FEAT_FP16 x and w are
// widened and all is computed in float32.
//
// Images lie with channels last. A tile of kHalfRows pixels is copied to [k / 8][row][8] (windows
// become rows of a matrix there) and multiplied by panels of 16 columns. Every output is summed in
// one order, whatever the number of threads.

#include <cstdint>

#include "engine/kernels/eltwise/eltwise.h"
#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

inline constexpr int64_t kHalfRows = 8;    // of a tile
inline constexpr int64_t kHalfPanel = 16;  // columns of a panel
inline constexpr int64_t kHalfChunk = 64;  // products that are summed in float16
// Bytes behind pixels and weights that are read, and not used.
inline constexpr int64_t kHalfBehind = 128;

// A convolution; a product of m rows with a matrix is one of a window of 1x1 over a row of m
// pixels.
struct HalfShape {
  int64_t images = 1, groups = 1;
  int64_t in_channels = 0, out_channels = 0;  // of a group
  int64_t height = 1, width = 0, out_height = 1, out_width = 0;
  int64_t kernel_height = 1, kernel_width = 1;
  int64_t stride_height = 1, stride_width = 1;
  int64_t dilation_height = 1, dilation_width = 1;
  int64_t pad_top = 0, pad_left = 0;  // what lies outside of the input is zero, on every side

  // All extents positive and small enough for what is computed from them.
  bool Valid() const;
  int64_t depth() const { return kernel_height * kernel_width * in_channels; }  // of a sum
  int64_t groups8() const { return (depth() + 7) / 8; }
  int64_t pixels() const { return out_height * out_width; }
  int64_t panels() const { return (out_channels + kHalfPanel - 1) / kHalfPanel; }
  // Columns as they are packed: whole vectors of 8.
  int64_t columns() const { return (out_channels + 7) / 8 * 8; }
  // Whether every pixel's window is its own channels.
  bool pointwise() const {
    return kernel_height == 1 && kernel_width == 1 && stride_height == 1 && stride_width == 1 &&
           pad_top == 0 && pad_left == 0 && height == out_height && width == out_width;
  }
};

// How the work is cut: into jobs of some pixels by some panels, each in the memory of one thread.
struct HalfPlan {
  HalfShape shape;
  int64_t rows = 0;             // pixels of a block, whole tiles
  int64_t blocks = 0;           // of an image
  int64_t parts = 1;            // of the panels
  int64_t jobs = 0;             // images * groups * blocks * parts
  int64_t workspace_bytes = 0;  // of one thread, a multiple of 64
};
HalfPlan PlanHalf(const HalfShape& shape, int threads);

// Packed weights: for every group panels of 16 columns (the last perhaps 8), in each [k][column],
// k running over taps and then channels, to a multiple of 8 with zeros; behind all a float of the
// bias for each of groups * columns().
int64_t HalfPackedBytes(const HalfShape& shape);
// weights [groups * out_channels, in_channels, kernel_height, kernel_width], or with `rows`
// [in_channels, out_channels]; bias [groups * out_channels] or null; float16 both.
void PackHalf(const HalfShape& shape, bool rows, const uint16_t* weights, const uint16_t* bias,
              void* packed);

struct HalfCall {
  const uint16_t* x = nullptr;
  const void* weights = nullptr;       // packed, 64-byte aligned
  const uint16_t* residual = nullptr;  // like y, perhaps y itself, or null
  uint16_t* y = nullptr;
  float low = 0, high = 0;             // bounds of a result; infinite where there are none
  UnaryFunction activation = nullptr;  // behind the bounds
  float a = 0, b = 0;
};

struct HalfKernels {
  // Jobs [job, end) of plan.jobs.
  void (*run)(const HalfPlan& plan, const HalfCall& call, void* workspace, int64_t job,
              int64_t end);
};

// By BestHalfIsa(); null on other processors than 64-bit ARM.
const HalfKernels* GetHalf(Isa isa);

namespace baseline {
extern const HalfKernels kHalf;
}
namespace fp16 {
extern const HalfKernels kHalf;
}

}  // namespace slipway::kernels
