#pragma once
// Convolutions in float32 and bfloat16 by products in registers: a tile of up to 14 neighbouring
// pixels times two vectors of output channels runs through all taps and input channels (implicit
// GEMM; Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD
// Architectures", 2018), so that every sum is written once, with bias, residual and activation.
//
// Images lie in channel blocks (nChw8c or nChw16c) or with their channels last; those of few
// channels may lie plain and become the one or the other. What lies outside of the image is left
// out of the sums; rows where that is more than one tap of the first and the last pixel are copied
// with their padding, a band of rows at a time, into the workspace. Every output is summed in one
// order, whatever the number of threads.

#include <cstdint>

#include "engine/kernels/eltwise/eltwise.h"
#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

enum class ConvInput : unsigned char { kBlocked, kPlain, kChannelsLast };

// Channels of an image that may lie plain.
inline constexpr int64_t kConvFewChannels = 8;

struct ConvShape {
  int64_t images = 0, groups = 1;
  int64_t in_channels = 0, out_channels = 0;  // of a group
  int64_t height = 0, width = 0;              // of the input
  int64_t out_height = 0, out_width = 0;
  int64_t kernel_height = 1, kernel_width = 1;
  int64_t stride_height = 1, stride_width = 1;
  int64_t dilation_height = 1, dilation_width = 1;
  int64_t pad_top = 0, pad_left = 0;  // what lies outside of the input is zero, on every side;
                                      // negative: rows and columns that are left out
  int block = 16;                     // channels that lie together: 8 or 16
  ConvInput input = ConvInput::kBlocked;
  bool last = false;  // y (and the residual) lie with channels last, else in blocks
  // The outputs may be every so many rows and columns of a larger image (transposed convolutions
  // are several of these); y then points to the first of them. No height: they are y.
  int64_t y_step_height = 1, y_step_width = 1, y_height = 0, y_width = 0;

  // All extents positive and small enough for what is computed from them. In blocks, several groups
  // fill theirs; in a single one, what lies behind the last channel of its block is zero and
  // becomes zero. Blocks go to blocks, channels last to channels last, few() to either.
  bool Valid() const;
  int64_t in_blocks() const { return (in_channels + block - 1) / block; }  // of a group
  // Images of kConvFewChannels at most, one group and windows without dilation across: a whole
  // window is one run of products.
  bool few() const {
    return input != ConvInput::kBlocked && in_channels <= kConvFewChannels && groups == 1 &&
           dilation_width == 1;
  }
};

// What an instruction set makes of a shape.
struct ConvTraits {
  int lanes;  // output channels of a vector
  int pair;   // elements of x that are multiplied together: 1 for float32, 2 for bfloat16
  int block;  // of channels that lie together; others are not taken
};

// Products with x at a place relative to the tile's first pixel.
struct ConvStep {
  int64_t offset;  // bytes
  int32_t depth;   // words of 4 bytes: one float or a pair of bfloat16
  int32_t edges;   // bits: 1 where the first pixel of a row, 2 where the last one lies outside of x
};

// How the work is cut for a number of threads.
struct ConvPlan {
  ConvShape shape;  // 1x1 windows: all pixels as one row
  ConvTraits traits;
  const ConvStep* steps = nullptr;  // the caller's, from ConvSteps; not of few channels
  int64_t num_steps = 0;            // [kernel row, block of input channels, kernel column]
  int64_t row_steps = 0;            // steps of a kernel row
  int64_t step_words = 0;           // of a step, for one output channel
  const int64_t* moves = nullptr;   // the caller's, from ConvSteps: bytes from a word to the next
  int64_t num_moves = 0;            // of a step; of few channels: of the whole window
  bool copies = false;              // bands of x are copied, with padding
  int64_t columns = 0;              // of a row of x, copied or where it lies
  int64_t column_bytes = 0, row_bytes = 0, plane_bytes = 0;  // of x: a column, a row, a block
  int64_t bands = 1, splits = 1;  // of output rows (or of a single row), of output channels
  int64_t vectors = 0;            // of output channels of a group
  int64_t jobs = 0;
  int64_t workspace_bytes = 0;  // for one thread, a multiple of 64
};
ConvPlan PlanConv(const ConvShape& shape, const ConvTraits& traits, int threads);
// plan.num_steps steps and plan.num_moves moves.
void ConvSteps(const ConvPlan& plan, ConvStep* steps, int64_t* moves);

// Packed weights: [group, vector of output channels, step, word, lane], in words of 4 bytes;
// missing channels are zero. Behind them a float for every lane of [group, vector]: the bias. The
// layout depends on the shape and the traits alone.
int64_t ConvWeightWords(const ConvShape& shape, const ConvTraits& traits);  // without the bias
int64_t ConvPackedBytes(const ConvShape& shape, const ConvTraits& traits);
// weights [groups * out_channels, in_channels, kernel_height, kernel_width] and bias [groups *
// out_channels] (null for none) of float or bfloat16 (by traits.pair) -> packed.
void PackConv(const ConvShape& shape, const ConvTraits& traits, const void* weights,
              const void* bias, void* packed);

struct ConvCall {
  const void* x = nullptr;
  const float* weights = nullptr;  // packed, 64-byte aligned
  const void* residual = nullptr;  // like y, perhaps y itself, or null
  void* y = nullptr;        // [images, groups * out_channels / block, out_height, out_width, block]
  float low = 0, high = 0;  // bounds of a result; infinite where there are none
  UnaryFunction activation = nullptr;  // behind the bounds; keeps 0 where channels are missing
  float a = 0, b = 0;
  // Which function that is: some kernels have it themselves, with the same results.
  UnaryKind kind = UnaryKind::kIdentity;
};

struct ConvKernels {
  ConvTraits traits;
  // Jobs [job, end) of plan.jobs, in the memory of one thread.
  void (*run)(const ConvPlan& plan, const ConvCall& call, void* workspace, int64_t job,
              int64_t end);
};

const ConvKernels& GetConv(Isa isa);
// Null where there are no instructions for products of bfloat16.
const ConvKernels* GetConvBf16(Isa isa);

namespace baseline {
extern const ConvKernels kConv;
}
namespace avx2 {
extern const ConvKernels kConv;
}
namespace avx512 {
extern const ConvKernels kConv;
}
namespace avx512bf16 {
extern const ConvKernels kConv;
}

}  // namespace slipway::kernels
