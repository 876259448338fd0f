#pragma once
// Convolutions with 3x3 windows and stride 1 in float32 by Winograd's algorithm (Lavin and Gray,
// "Fast Algorithms for Convolutional Neural Networks", 2015): F(4x4, 3x3) multiplies 4 times less
// than it counts, F(2x2, 3x3) 2.25 times. Images lie in channel blocks (nChw8c or nChw16c).
//
// The image is cut into tiles of TILE x TILE outputs. A block of tiles is transformed into
// (TILE + 2)^2 matrices [tiles, channels], each is multiplied by the transformed weights, and the
// sums are transformed back, one panel of output channels at a time, so that what lies between
// stays in the second-level cache. Bias, residual and activation are part of the way back.

#include <cstdint>

#include "engine/kernels/eltwise/eltwise.h"
#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

struct WinogradShape {
  int64_t images = 0, groups = 1;
  int64_t in_channels = 0, out_channels = 0;  // of a group; multiples of `block`
  int64_t height = 0, width = 0;              // of the input
  int64_t out_height = 0, out_width = 0;
  int64_t pad_top = 0, pad_left = 0;  // what lies outside of the input is zero, on every side
  int block = 16;                     // channels that lie together: 8 or 16
  int tile = 4;                       // 2 or 4

  // All extents positive and small enough for what is computed from them.
  bool Valid() const;
  int64_t points() const { return (tile + 2) * (tile + 2); }
  int64_t tiles_down() const { return (out_height + tile - 1) / tile; }
  int64_t tiles_across() const { return (out_width + tile - 1) / tile; }
  int64_t tiles() const { return images * tiles_down() * tiles_across(); }
  // Transformed weights, in floats: [group, panel, point, input channel, output channel of the
  // panel].
  int64_t weight_floats() const { return groups * out_channels * points() * in_channels; }
};

// How the work is cut for a number of threads. Results do not depend on it.
struct WinogradPlan {
  int64_t tiles = 0;    // of a block at most
  int64_t blocks = 0;   // of tiles
  bool shared = false;  // few tiles: threads share the transformed input and divide the panels
  int64_t point_stride = 0, sum_stride = 0;  // floats between the matrices of two points
  int64_t input_floats = 0, sum_floats = 0;  // of the two intermediates
  int64_t workspace_bytes = 0;               // for all threads, to be 64-byte aligned
};

struct WinogradCall {
  const float* x;         // [images, groups * in_channels / block, height, width, block]
  const float* weights;   // from `pack`, 64-byte aligned
  const float* bias;      // [groups * out_channels] or null
  const float* residual;  // like y, perhaps y itself, or null
  float* y;               // [images, groups * out_channels / block, out_height, out_width, block]
  float low, high;        // bounds of a result; infinite where there are none
  UnaryFunction activation;  // behind the bounds; null for none
  float a, b;
  float* workspace;
};

struct WinogradKernels {
  WinogradPlan (*plan)(const WinogradShape& shape, int threads);
  // weights [groups * out_channels, in_channels, 3, 3] -> transformed, for output channels
  // [panel, end) of all groups' panels.
  void (*pack)(const WinogradShape& shape, const float* weights, float* packed, int64_t panel,
               int64_t end);
  int64_t (*panels)(const WinogradShape& shape);  // of all groups

  // Whole blocks of one group: jobs [job, end) of plan.blocks * groups, in the memory of one
  // thread. Not for shared plans.
  void (*block)(const WinogradShape& shape, const WinogradPlan& plan, const WinogradCall& call,
                int64_t slot, int64_t job, int64_t end);
  // Shared plans, block after block and group after group: first vectors of input channels
  // [0, vectors), then panels of output channels.
  int64_t (*input_vectors)(const WinogradShape& shape);  // of a group
  int64_t (*group_panels)(const WinogradShape& shape);   // of a group
  void (*input)(const WinogradShape& shape, const WinogradPlan& plan, const WinogradCall& call,
                int64_t job, int64_t vector, int64_t end);
  void (*output)(const WinogradShape& shape, const WinogradPlan& plan, const WinogradCall& call,
                 int64_t slot, int64_t job, int64_t panel, int64_t end);
};

const WinogradKernels& GetWinograd(Isa isa);

namespace baseline {
extern const WinogradKernels kWinograd;
}
namespace avx2 {
extern const WinogradKernels kWinograd;
}
namespace avx512 {
extern const WinogradKernels kWinograd;
}

}  // namespace slipway::kernels
