#pragma once
// Depthwise convolution: every channel has a window of its own, y[n, c, :] = x[n, c, :] * w[c, :].
// Float32, bfloat16 and float16 as slipway.Conv has it and 8-bit codes as slipway.QConv has it (bit
// for bit), for group = channels in = channels out and two spatial dimensions (one: let the height
// be 1). Windows, strides, dilations and padding are arbitrary; padding is never written to memory.
//
// A plan is made once for a shape and holds the packed weights; it is immutable and may be used by
// several threads.

#include <cstdint>
#include <vector>

#include "base/aligned.h"
#include "engine/kernels/eltwise/eltwise.h"
#include "engine/kernels/eltwise/rectifier.h"
#include "engine/kernels/quant/quant.h"
#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

struct DepthwiseShape {
  int64_t batch = 0, channels = 0;
  int64_t in_h = 1, in_w = 1, out_h = 1, out_w = 1;
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;  // negative: the image is cut

  // Extents within limits that no arithmetic on them can exceed, and outputs that lie where the
  // window can be.
  bool Valid() const;
};

// ---- float32, bfloat16, float16
// -------------------------------------------------------------------
//
// x and y lie channels last ([batch, height, width, channels]) or in blocks of channels ([batch,
// channels / block, height, width, block]); sums are made in the order of the window's taps, or of
// its columns (3 x 3 on ARM), whatever the units are. x, y and the residual have one type; sums are
// float32, as are weights for float32.

struct DepthwiseParams {
  int64_t block =
      1;  // 8 or 16: channels of a block, of which there are whole ones; 1: channels last
  int64_t rows = 1;                    // of outputs in a unit
  float low, high;                     // what the sums are clamped to
  UnaryFunction activation = nullptr;  // instead, over rows that have just been written
  float a = 0, b = 0;
  // Which function that is: some kernels have it themselves, with the same results.
  UnaryKind kind = UnaryKind::kIdentity;
};

struct DepthwiseCall {
  const void* x;
  const float* weights;  // from Pack...
  const void* residual;  // like y, or null
  void* y;
};

struct DepthwiseKernels {
  int lanes;  // at most the block where there are blocks; not of bfloat16
  // The units [begin, end) of DepthwiseUnits.
  void (*run)(const DepthwiseShape& shape, const DepthwiseParams& params, const DepthwiseCall& call,
              int64_t begin, int64_t end);
  int rows = 1;  // of outputs that it sums together: a unit has best a multiple
};
// AVX2's for Isa::kAvx512Vnni and up to kAvx512 where blocks are too small for more.
const DepthwiseKernels& GetDepthwise(Isa isa, int64_t block);
// Of bfloat16, by BestBfloat16Isa(): null without AVX512-BF16 and for blocks of 8. Taps of a column
// are multiplied in pairs; numbers below the least normal one count as 0.
const DepthwiseKernels* GetDepthwiseBf16(Isa isa, int64_t block);

// Of float16 with channels last, by BestHalfIsa(): null on other processors than 64-bit ARM. With
// FEAT_FP16 sums of windows of up to kHalfTaps taps are made in float16, and in float32 where they
// leave its range there.
const DepthwiseKernels* GetDepthwiseF16(Isa isa);
inline constexpr int64_t kHalfTaps = 64;

// Units can be computed in any order.
int64_t DepthwiseUnits(const DepthwiseShape& shape, const DepthwiseParams& params);

// weights [channels, kernel_h, kernel_w]; bias null or one a channel -> for every `lanes` channels
// their bias and behind it their taps. Data is null where memory fails.
AlignedBuffer PackDepthwise(const DepthwiseShape& shape, int lanes, const float* weights,
                            const float* bias);

// For bfloat16: weights as bits, bias null or one a channel.
AlignedBuffer PackDepthwiseBf16(const DepthwiseShape& shape, int64_t block, const uint16_t* weights,
                                const float* bias);

// For float16, likewise: for every 8 channels their bias as floats, then their taps.
AlignedBuffer PackDepthwiseF16(const DepthwiseShape& shape, const uint16_t* weights,
                               const float* bias);

namespace baseline {
extern const DepthwiseKernels kDepthwise, kDepthwiseF16;
}
namespace fp16 {
extern const DepthwiseKernels kDepthwiseF16;
}
namespace avx2 {
extern const DepthwiseKernels kDepthwise;
}
namespace avx512 {
extern const DepthwiseKernels kDepthwise;
}
namespace avx512bf16 {
extern const DepthwiseKernels kDepthwise;
}

// ---- 8 bit
// ----------------------------------------------------------------------------------------------------------------------------
//
// x and y lie channels last: [batch, height, width, channels]. Bytes of several rows of the image
// are interleaved in a small buffer on the stack, so that one instruction multiplies and adds 4
// (VNNI, SDOT) or 2 (multiply-add of pairs) taps of a column; signed codes are moved to unsigned
// ones by flipping their top bit (SDOT: unsigned to signed ones), and what that and zero points add
// is taken off the bias, modulo 2^32 as the sums are.

struct QDepthwiseParams {
  bool x_signed = false;
  int32_t x_zero = 0;
  CodeType y = CodeType::kU8;
  Requant to;
  bool residual = false, z_signed = false;
  int32_t z_zero = 0;
  float z_multiplier = 0;
  UnaryFunction activation = nullptr;    // over values in no particular order, before the rounding
  float a = 0, b = 0, y_multiplier = 1;  // the last: of what the activation gives
  // What kernels may take instead: for codes the table of activation and y_multiplier, if there is
  // one; for floats whether it is x / (1 + e^-x).
  RectifierTable rectifier;
  bool leaky = false;  // for codes whether it is x < 0 ? a x : x with 0 <= a <= 1
  bool swish = false;

  bool in_registers() const {  // an activation of these, or none
    return !residual && (!activation || (y == CodeType::kF32 ? swish && y_multiplier == 1
                                                             : leaky || rectifier.limit > 0));
  }
};

// Channels that are computed together. A vector holds `width` channels of as many rows of outputs
// as fill it.
struct QDepthwiseBlock {
  int64_t channel = 0;  // the first
  int32_t width = 0;    // the vector's bytes, 32, 16 or 8 (the last of full ones and direct only)
  int32_t count = 0;    // <= width
  int64_t packed = 0;   // offset of its weights, bias and multipliers
};

struct QDepthwiseView {  // what the kernel reads
  DepthwiseShape shape;
  QDepthwiseParams params;
  bool bounded = false;           // no value can leave the range of int32
  bool direct = false;            // see QDepthwiseKernels
  bool plain = false;             // codes without a zero point and with all of their type's range
  int64_t rows = 1;               // of outputs that share interleaved rows of the image (a band)
  int64_t bands = 1, merged = 1;  // in all; of one unit
  int64_t groups = 1;             // of rows that are interleaved
  int64_t columns = 1;            // outputs of a row that are computed together
  int64_t image_units = 0;
  int64_t whole_blocks = 0;  // blocks whose width is the vector's, full ones first
  const QDepthwiseBlock* blocks = nullptr;
  const uint8_t* packed = nullptr;
};
struct QDepthwiseCall {
  const uint8_t* x;
  void* y;
  const uint8_t* residual;  // like y, 8 bit; null without
};

struct QDepthwiseKernels {
  int taps;           // of a column that one instruction takes: 4 int8 or 2 int16 weights
  bool is_signed;     // the codes that it multiplies; others are moved
  bool apart;         // weights of two taps lie behind each other for four channels, not in pairs
  bool side_by_side;  // weights of a part of 4 channels lie behind each other
  int width;          // bytes of a vector
  int outputs;        // of a row that one step computes
  bool direct;        // small windows have a way of their own
  // The units [begin, end) of what QDepthwisePlan::units counts.
  void (*run)(const QDepthwiseView& view, const QDepthwiseCall& call, int64_t begin, int64_t end);
};
// By BestIntegerIsa().
const QDepthwiseKernels& GetQDepthwise(Isa isa);

class QDepthwisePlan {
 public:
  // weights [channels, kernel_h, kernel_w]; multipliers one or one a channel; bias null or one a
  // channel. False: the window is too large for the buffer.
  bool Make(const DepthwiseShape& shape, const QDepthwiseParams& params, const int8_t* weights,
            const float* multipliers, bool per_channel, const int32_t* bias,
            const QDepthwiseKernels& kernels);
  int64_t units() const;
  const QDepthwiseView& view() const { return view_; }

  QDepthwisePlan() = default;
  QDepthwisePlan(const QDepthwisePlan&) = delete;
  QDepthwisePlan& operator=(const QDepthwisePlan&) = delete;

 private:
  QDepthwiseView view_;
  std::vector<QDepthwiseBlock> blocks_;
  std::vector<uint8_t> storage_;
};

namespace dotprod {
extern const QDepthwiseKernels kQDepthwise;
}
namespace baseline {
extern const QDepthwiseKernels kQDepthwise;
}
namespace avx2 {
extern const QDepthwiseKernels kQDepthwise;
}
namespace avx512vnni {
extern const QDepthwiseKernels kQDepthwise;
}

// Limits: bytes of the buffer of interleaved columns, rows of a window.
inline constexpr int64_t kQDepthwiseBuffer = 65536, kQDepthwiseMostRows = 64;

}  // namespace slipway::kernels
