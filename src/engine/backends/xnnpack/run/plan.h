#pragma once
// What a step becomes for XNNPACK: a few of its operators in a row, with where their operands lie.
// Made without XNNPACK, so that the compile side asks the same questions as the run side.

#include <cstdint>
#include <limits>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"
#include "engine/format/op_desc.h"
#include "model/ops/window.h"
#include "slipway/backend.h"

namespace slipway::xnnpack {

enum class Kind : uint8_t {
  kConv,
  kDeconv,
  kLinear,
  kMatMul,  // of two operands that are both new in every run
  kMaxPool,
  kAveragePool,
  kGlobalAveragePool,
  kUnary,
  kBinary,
  kPRelu,
  kSoftmax,
  kCopy,
  kPad,
  kResize,
  kShuffle,
  kDepthToSpace,
  kQuantize,
  kDequantize,
  kFunction,  // ours: what XNNPACK has not, behind sums that it made
  kFlip,      // ours: the upper bit of every byte, which turns uint8 codes into int8 ones less 128
};
enum class Unary : uint8_t {
  kClamp,
  kSigmoid,
  kHardSwish,
  kElu,
  kLeakyRelu,
  kAbs,
  kNegate,
  kCeil,
  kFloor,
  kRound,
  kSqrt
};
enum class Function : uint8_t { kGelu, kGeluTanh, kTanh };
enum class Binary : uint8_t { kAdd, kSub, kMul, kDiv, kMax, kMin };

// Where an operand lies.
struct Place {
  enum From : uint8_t { kNone, kInput, kOutput, kWorkspace, kOwn };
  From from = kNone;
  uint32_t index = 0;
  uint64_t offset = 0;  // bytes
};

// How weights of a convolution or linear layer are to be read.
enum class Weights : uint8_t { kAsIs, kConv, kDeconv, kTransposed };

struct Stage {
  Kind kind = Kind::kCopy;
  Unary unary = Unary::kClamp;
  Binary binary = Binary::kAdd;
  Function function = Function::kGelu;
  DType type = DType::kFloat32;  // of what it reads
  Place a, b, y;
  float low = -std::numeric_limits<float>::infinity(),  // clamp of floats
      high = std::numeric_limits<float>::infinity();
  int32_t q_low = 0, q_high = 0;  // of codes
  int32_t a_zero = 0, b_zero = 0, y_zero = 0;
  float a_scale = 1, b_scale = 1;  // of codes, the output's being 1
  float alpha = 0;                 // of a unary function
  // Windows, two dimensions [height, width].
  int64_t in[2] = {1, 1}, out[2] = {1, 1}, kernel[2] = {1, 1}, stride[2] = {1, 1},
          dilation[2] = {1, 1}, pad_begin[2] = {0, 0}, pad_end[2] = {0, 0}, adjust[2] = {0, 0};
  int64_t batch = 1;                  // images, rows
  int64_t channels = 0, outputs = 0;  // of input and output
  int64_t group = 1;
  int64_t matrices = 1;            // of kMatMul; `group` of them share b
  int64_t a_step = 0, y_step = 0;  // elements from row to row of kCopy
  int64_t size = 0;                // bytes of an element that is moved; block of kDepthToSpace
  uint32_t flags = 0;
  std::vector<size_t> a_dims, b_dims;  // of kBinary; of kPad with what is added
  std::vector<size_t> before, after;
  uint32_t pad_value = 0;
  // Constants (indices of inputs, -1: none).
  int weights = -1, bias = -1, scales = -1;
  Weights order = Weights::kAsIs;
};

inline constexpr uint32_t kAlignCorners = 1, kLegacy = 2;  // of kResize

struct Plan {
  std::vector<Stage> stages;
  std::vector<std::vector<float>> own;  // constants that the step does not have as such
  uint64_t workspace = 0;
};

// Errors: Unsupported with the reason in a few words, InvalidArgument for tensors that do not fit
// the operator. Reads the data of constants.
Result<Plan> MakePlan(const format::OpDesc& op, const slipway_step& step);
// The same from the step's blob.
Result<Plan> MakePlan(const slipway_step& step);
// Whether there is a chance at all: the operator is in the table.
bool Knows(const format::OpDesc& op);

}  // namespace slipway::xnnpack
