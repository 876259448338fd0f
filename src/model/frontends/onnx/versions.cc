#include "model/frontends/onnx/versions.h"

#include <algorithm>

namespace slipway::onnx {
namespace {

struct Introduced {
  std::string_view op;
  int opset;
};
constexpr Introduced kIntroduced[] = {
    {"AffineGrid", 20},
    {"Attention", 23},
    {"Bernoulli", 15},
    {"BitCast", 26},
    {"BitwiseAnd", 18},
    {"BitwiseNot", 18},
    {"BitwiseOr", 18},
    {"BitwiseXor", 18},
    {"BlackmanWindow", 17},
    {"CastLike", 15},
    {"Celu", 12},
    {"CenterCropPad", 18},
    {"Col2Im", 18},
    {"CumProd", 26},
    {"DFT", 17},
    {"DeformConv", 19},
    {"Einsum", 12},
    {"Gelu", 20},
    {"GreaterOrEqual", 12},
    {"GridSample", 16},
    {"GroupNormalization", 21},  // 18 had a scale for each group
    {"HammingWindow", 17},
    {"HannWindow", 17},
    {"HardSwish", 14},
    {"ImageDecoder", 20},
    {"LayerNormalization", 17},
    {"LessOrEqual", 12},
    {"MelWeightMatrix", 17},
    {"Mish", 18},
    {"NegativeLogLikelihoodLoss", 12},
    {"Optional", 15},
    {"OptionalGetElement", 15},
    {"OptionalHasElement", 15},
    {"RMSNormalization", 23},
    {"RotaryEmbedding", 23},
    {"STFT", 17},
    {"SequenceMap", 17},
    {"SoftmaxCrossEntropyLoss", 12},
    {"Swish", 24},
    {"TensorScatter", 24},
    {"Trilu", 14},
};

constexpr int kNever = 1000;

// bfloat16: those not listed took it with opset 13.
constexpr Introduced kBFloat16[] = {
    {"BatchNormalization", 14},
    {"Celu", kNever},
    {"ConstantOfShape", 20},
    {"CumSum", 14},
    {"Einsum", kNever},
    {"GreaterOrEqual", 16},
    {"LeakyRelu", 16},
    {"LessOrEqual", 16},
    {"OneHot", kNever},
    {"PRelu", 16},
    {"Range", kNever},
    {"TopK", 24},
    {"Trilu", 14},
    {"Where", 16},
};
constexpr std::string_view kBFloat16Since22[] = {
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "AveragePool",
    "Conv",
    "ConvTranspose",
    "Cos",
    "Cosh",
    "DeformConv",
    "Det",
    "Elu",
    "EyeLike",
    "GRU",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "GridSample",
    "HardSigmoid",
    "HardSwish",
    "InstanceNormalization",
    "LSTM",
    "LpNormalization",
    "LpPool",
    "MaxPool",
    "MaxRoiPool",
    "MaxUnpool",
    "Mish",
    "RNN",
    "RoiAlign",
    "Round",
    "Selu",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Tan",
    "ThresholdedRelu",
};

template <typename Range>
bool Contains(const Range& range, std::string_view op) {
  return std::find(std::begin(range), std::end(range), op) != std::end(range);
}

TypeRule BFloat16Rule(std::string_view op) {
  for (const Introduced& row : kBFloat16) {
    if (row.op == op) return {row.opset, DType::kFloat32};
  }
  if (Contains(kBFloat16Since22, op)) return {22, DType::kFloat32};
  return {};  // 13, as the type itself
}

}  // namespace

int SinceOpset(std::string_view op) {
  for (const Introduced& row : kIntroduced) {
    if (row.op == op) return row.opset;
  }
  return 11;
}

int SinceOpset(DType dtype) {
  switch (dtype) {
    case DType::kBFloat16:
      return 13;
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ:
      return 19;
    case DType::kUInt4:
    case DType::kInt4:
      return 21;
    case DType::kFloat4E2M1:
      return 23;
    case DType::kFloat8E8M0:
      return 24;
    case DType::kUInt2:
    case DType::kInt2:
      return 25;
    default:
      return 11;
  }
}

TypeRule RuleFor(std::string_view op, DType data) {
  if (data == DType::kBFloat16) return BFloat16Rule(op);
  const bool small = data == DType::kInt8 || data == DType::kInt16 || data == DType::kUInt8 ||
                     data == DType::kUInt16;
  const bool to32 = small || data == DType::kInt32 || data == DType::kUInt32;
  const bool wide = data == DType::kInt64 || data == DType::kUInt64;
  const bool byte = data == DType::kInt8 || data == DType::kUInt8;
  if (op == "Add" || op == "Sub" || op == "Mul" || op == "Div") {
    if (small) return {14, DType::kInt32};
  } else if (op == "Clip" || op == "Max" || op == "Min" || op == "Pow") {
    // Double holds 32 bits exactly, not 64.
    if (op == "Pow" && wide) return {12, DType::kUndefined};
    if (to32) return {12, DType::kFloat64};
    if (wide) return {12, DType::kUndefined};
  } else if (op == "Relu") {
    if (small || data == DType::kInt32) return {14, DType::kFloat64};
    if (wide) return {14, DType::kUndefined};
  } else if (op == "MaxPool") {
    if (byte) return {12, DType::kFloat32};
  } else if (op == "ReduceMax" || op == "ReduceMin") {
    if (byte) return {12, DType::kInt32};
    if (data == DType::kBool) return {20, DType::kInt32};
  } else if (op == "Pad") {
    if (data == DType::kBool) return {13, DType::kInt32};
  } else if (op == "CumSum") {
    if (data == DType::kFloat16) return {14, DType::kFloat32};
  } else if (op == "Celu") {
    if (data == DType::kFloat16) return {kNever, DType::kFloat32};
  }
  return {};
}

}  // namespace slipway::onnx
