// Prints what every candidate of every backend takes on shapes of real models: where the figures in
// the compile sides come from.
//
//   calibrate [WORD]        only the lines that contain WORD

#include <cstdio>
#include <cstring>

#include "engine/backends/cts/harness.h"
#include "model/ir/stats.h"
#include "model/ir/text.h"

namespace {

// Inputs and node of one-node graphs in the text form.
constexpr const char* kNodes[] = {
    // ResNet-50
    "x: float32[1, 3, 224, 224] | const %w: float32[64, 3, 7, 7] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [3, 3, 3, 3], strides = [2, 2], activation = \"Relu\"}",
    "x: float32[1, 64, 56, 56] | const %w: float32[64, 64, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], activation = \"Relu\"}",
    "x: float32[1, 64, 56, 56] | const %w: float32[256, 64, 1, 1] = random(1) | slipway.Conv(%x, "
    "%w) {activation = \"Relu\"}",
    "x: float32[1, 512, 28, 28] | const %w: float32[1024, 512, 1, 1] = random(1) | "
    "slipway.Conv(%x, %w) {strides = [2, 2]}",
    "x: float32[1, 256, 14, 14] | const %w: float32[256, 256, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], activation = \"Relu\"}",
    "x: float32[1, 512, 7, 7] | const %w: float32[2048, 512, 1, 1] = random(1) | slipway.Conv(%x, "
    "%w) {}",
    "x: float32[1, 64, 112, 112] | | MaxPool(%x) {kernel_shape = [3, 3], strides = [2, 2], pads = "
    "[1, 1, 1, 1]}",
    "x: float32[1, 2048, 7, 7] | | GlobalAveragePool(%x)",
    "x: bfloat16[1, 64, 112, 112] | | MaxPool(%x) {kernel_shape = [3, 3], strides = [2, 2], pads = "
    "[1, 1, 1, 1]}",
    "x: float32[1, 128, 56, 56] | | AveragePool(%x) {kernel_shape = [2, 2], strides = [2, 2]}",
    "x: bfloat16[1, 128, 56, 56] | | AveragePool(%x) {kernel_shape = [2, 2], strides = [2, 2]}",
    "x: bfloat16[1, 2048, 7, 7] | | GlobalAveragePool(%x)",
    "x: float32[1, 96, 56, 56] | | GlobalAveragePool(%x)",
    "x: bfloat16[1, 96, 56, 56] | | GlobalAveragePool(%x)",
    "x: float32[1, 672, 14, 14] | | GlobalAveragePool(%x)",
    // MobileNet, EfficientNet, RegNet
    "x: float32[1, 3, 224, 224] | const %w: float32[32, 3, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], strides = [2, 2], activation = \"Relu\"}",
    "x: float32[1, 144, 56, 56] | const %w: float32[144, 1, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 144, activation = \"Relu\"}",
    "x: float32[1, 576, 14, 14] | const %w: float32[576, 1, 5, 5] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [2, 2, 2, 2], group = 576, activation = \"Swish\", activation_params = [1.0]}",
    "x: float32[1, 24, 56, 56] | const %w: float32[144, 24, 1, 1] = random(1) | slipway.Conv(%x, "
    "%w) {}",
    "x: float32[1, 160, 28, 28] | const %w: float32[160, 16, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 10}",
    "x: float32[1, 144, 1, 1] | const %w: float32[24, 144, 1, 1] = random(1) | slipway.Conv(%x, "
    "%w) {activation = \"Swish\", activation_params = [1.0]}",
    "x: float32[1, 144, 56, 56] | input %s: float32[1, 144, 1, 1] | Mul(%x, %s)",
    "x: float32[1, 672, 14, 14] | input %s: float32[1, 672, 1, 1] | Mul(%x, %s)",
    "x: float32[1, 32, 112, 112] | const %w: float32[8, 32] = random(1); const %v: float32[32, 8] = random(2) | "
    "slipway.SqueezeExcite(%x, %w, %v) {activation = \"Swish\", activation_params = [1.0]}",
    "x: float32[1, 96, 56, 56] | const %w: float32[4, 96] = random(1); const %v: float32[96, 4] = random(2) | "
    "slipway.SqueezeExcite(%x, %w, %v) {activation = \"Swish\", activation_params = [1.0]}",
    "x: float32[1, 672, 14, 14] | const %w: float32[28, 672] = random(1); const %v: float32[672, 28] = random(2) | "
    "slipway.SqueezeExcite(%x, %w, %v) {activation = \"Swish\", activation_params = [1.0]}",
    "x: float32[1, 1152, 7, 7] | const %w: float32[48, 1152] = random(1); const %v: float32[1152, 48] = random(2) | "
    "slipway.SqueezeExcite(%x, %w, %v) {activation = \"Swish\", activation_params = [1.0]}",
    "x: bfloat16[1, 32, 112, 112] | const %w: bfloat16[8, 32] = random(1); const %v: bfloat16[32, 8] = random(2) | "
    "slipway.SqueezeExcite(%x, %w, %v) {activation = \"Swish\", activation_params = [1.0]}",
    "x: bfloat16[1, 96, 56, 56] | const %w: bfloat16[4, 96] = random(1); const %v: bfloat16[96, 4] = random(2) | "
    "slipway.SqueezeExcite(%x, %w, %v) {activation = \"Swish\", activation_params = [1.0]}",
    "x: bfloat16[1, 672, 14, 14] | const %w: bfloat16[28, 672] = random(1); const %v: bfloat16[672, 28] = random(2) | "
    "slipway.SqueezeExcite(%x, %w, %v) {activation = \"Swish\", activation_params = [1.0]}",
    "x: bfloat16[1, 1152, 7, 7] | const %w: bfloat16[48, 1152] = random(1); const %v: bfloat16[1152, 48] = random(2) | "
    "slipway.SqueezeExcite(%x, %w, %v) {activation = \"Swish\", activation_params = [1.0]}",
    "x: bfloat16[1, 144, 56, 56] | input %s: bfloat16[1, 144, 1, 1] | Mul(%x, %s)",
    "x: bfloat16[1, 672, 14, 14] | input %s: bfloat16[1, 672, 1, 1] | Mul(%x, %s)",
    "x: bfloat16[1, 144, 56, 56] | const %w: bfloat16[144, 1, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 144, activation = \"Relu\"}",
    "x: bfloat16[1, 576, 14, 14] | const %w: bfloat16[576, 1, 5, 5] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [2, 2, 2, 2], group = 576, activation = \"Swish\", activation_params = [1.0]}",
    // 3x3 windows of ResNet-18, DenseNet, SqueezeNet and RegNet
    "x: float32[1, 64, 56, 56] | const %w: float32[64, 64, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 128, 28, 28] | const %w: float32[128, 128, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 256, 14, 14] | const %w: float32[256, 256, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 512, 7, 7] | const %w: float32[512, 512, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 128, 56, 56] | const %w: float32[32, 128, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 128, 28, 28] | const %w: float32[32, 128, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 128, 14, 14] | const %w: float32[32, 128, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 128, 7, 7] | const %w: float32[32, 128, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 16, 55, 55] | const %w: float32[64, 16, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 32, 27, 27] | const %w: float32[128, 32, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 48, 13, 13] | const %w: float32[192, 48, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 64, 13, 13] | const %w: float32[256, 64, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 1, activation = \"Relu\"}",
    "x: float32[1, 160, 28, 28] | const %w: float32[160, 16, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 10, activation = \"Relu\"}",
    "x: float32[1, 400, 14, 14] | const %w: float32[400, 16, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 25, activation = \"Relu\"}",
    "x: float32[1, 400, 7, 7] | const %w: float32[400, 16, 3, 3] = random(1) | slipway.Conv(%x, "
    "%w) {pads = [1, 1, 1, 1], group = 25, activation = \"Relu\"}",
    "x: float32[1, 64, 28, 28] | const %w: float32[64, 32, 2, 2] = random(1) | ConvTranspose(%x, "
    "%w) "
    "{strides = [2, 2]}",
    "x: float32[1, 128, 16, 16] | const %w: float32[128, 64, 4, 4] = random(1) | ConvTranspose(%x, "
    "%w) {strides = [2, 2], pads = [1, 1, 1, 1]}",
    // Vectors and transformers
    "x: float32[1, 2048] | const %w: float32[1000, 2048] = random(1) | slipway.Linear(%x, %w) "
    "{transW = 1}",
    "x: float32[1, 4096] | const %w: float32[4096, 2304] = random(1) | MatMul(%x, %w)",
    "x: float32[1, 4096] | const %w: float32[2304, 4096] = random(1) | slipway.Linear(%x, %w) "
    "{transW = 1}",
    "x: float32[1, 512] | const %w: float32[1000, 512] = random(1) | slipway.Linear(%x, %w) "
    "{transW = 1}",
    "x: float32[2, 1024] | const %w: float32[1024, 1024] = random(1) | slipway.Linear(%x, %w)",
    "x: float32[2, 4096] | const %w: float32[4096, 2304] = random(1) | slipway.Linear(%x, %w)",
    "x: float32[2, 4096] | const %w: float32[2304, 4096] = random(1) | slipway.Linear(%x, %w) "
    "{transW = 1}",
    "x: float32[4, 4096] | const %w: float32[4096, 2304] = random(1) | slipway.Linear(%x, %w)",
    "x: float32[4, 4096] | const %w: float32[2304, 4096] = random(1) | slipway.Linear(%x, %w) "
    "{transW = 1}",
    "x: float32[1, 197, 768] | const %w: float32[768, 3072] = random(1) | slipway.Linear(%x, %w) "
    "{activation = \"Gelu\"}",
    "x: float32[1, 3136, 96] | const %w: float32[96, 288] = random(1) | slipway.Linear(%x, %w)",
    "x: float32[1, 3136, 384] | const %w: float32[384, 96] = random(1) | slipway.Linear(%x, %w)",
    "x: float32[1, 49, 3072] | const %w: float32[3072, 768] = random(1) | slipway.Linear(%x, %w)",
    "x: float32[16, 1024] | const %w: float32[1024, 1024] = random(1) | slipway.Linear(%x, %w)",
    "x: bfloat16[1, 197, 768] | const %w: bfloat16[768, 3072] = random(1) | slipway.Linear(%x, %w) "
    "{activation = \"Gelu\"}",
    "x: float32[1, 2048] | const %w: int8[2048, 2048] = fill(3); const %s: float32[2048, 16] = "
    "fill(0.01) | slipway.LinearNBits(%x, %w, %s) {bits = 4, group = 128}",
    "x: float32[128, 2048] | const %w: int8[2048, 2048] = fill(3); const %s: float32[2048, 16] = "
    "fill(0.01) | slipway.LinearNBits(%x, %w, %s) {bits = 4, group = 128}",
    "x: float32[128, 2048] | const %w: float32[2048, 2048] = random(1) | slipway.Linear(%x, %w)",
    "x: float32[1, 12, 197, 64] | input %k: float32[1, 12, 64, 197] | MatMul(%x, %k)",
    "x: float32[1, 12, 197, 64] | input %k: float32[1, 12, 197, 64]; input %v: float32[1, 12, 197, "
    "64] | Attention(%x, %k, %v)",
    "x: float32[64, 3, 49, 32] | input %k: float32[64, 3, 49, 32]; input %v: float32[64, 3, 49, "
    "32]; "
    "input %m: float32[1, 3, 49, 49] | Attention(%x, %k, %v, %m)",
    "x: float32[1, 24, 49, 32] | input %k: float32[1, 24, 49, 32]; input %v: float32[1, 24, 49, "
    "32] "
    "| Attention(%x, %k, %v)",
    "x: float32[1, 512, 768] | input %k: float32[1, 512, 768]; input %v: float32[1, 512, 768] | "
    "Attention(%x, %k, %v) {q_num_heads = 12, kv_num_heads = 12}",
    "x: float32[1, 12, 197, 197] | | Softmax(%x)",
    "x: float32[1, 197, 768] | const %w: float32[768] = random(1); const %b: float32[768] = "
    "random(2) | LayerNormalization(%x, %w, %b)",
    "x: float32[1, 197, 12, 64] | | Transpose(%x) {perm = [0, 2, 1, 3]}",
    "x: float32[1, 768, 196] | | Transpose(%x) {perm = [0, 2, 1]}",
    "x: float32[1, 197, 768] | const %b: float32[768] = random(2) | Add(%x, %b)",
    // Elementwise
    "x: float32[1, 64, 56, 56] | | Relu(%x)",
    "x: float32[1, 64, 56, 56] | | Sigmoid(%x)",
    "x: float32[1, 64, 56, 56] | | Swish(%x)",
    "x: float32[1, 64, 56, 56] | | HardSwish(%x)",
    "x: float32[1, 64, 56, 56] | | Gelu(%x)",
    "x: float32[1, 64, 56, 56] | | Tanh(%x)",
    "x: float32[1, 64, 56, 56] | | Exp(%x)",
    "x: float32[1, 64, 56, 56] | | Sqrt(%x)",
    "x: float32[1, 64, 56, 56] | | Mish(%x)",
    "x: float32[1, 64, 56, 56] | input %z: float32[1, 64, 56, 56] | slipway.Add(%x, %z) "
    "{activation = \"Relu\"}",
    "x: float32[1, 64, 56, 56] | input %z: float32[1, 64, 56, 56] | Mul(%x, %z)",
    "x: float32[1, 64, 56, 56] | const %a: float32[64] = fill(1.5) | BatchNormalization(%x, %a, "
    "%a, %a, %a)",
    "x: float32[1, 64, 56, 56] | input %z: float32[1, 32, 56, 56] | Concat(%x, %z) {axis = 1}",
    "x: float32[1, 116, 28, 28] | const %n: int64[2] = [58, 58] | Split(%x, %n) {axis = 1}",
    "x: float32[1, 64, 56, 56] | | ReduceMean(%x)",
    "x: float32[1, 256, 20, 20] | const %s: float32[4] = [1, 1, 2, 2] | Resize(%x, _, %s)",
    "x: float32[1, 64, 128, 128] | const %s: float32[4] = [1, 1, 2, 2] | Resize(%x, _, %s) {mode = "
    "\"linear\"}",
    "x: float32[1, 21, 65, 65] | const %s: int64[4] = [1, 21, 513, 513] | Resize(%x, _, _, %s) "
    "{mode = \"linear\", coordinate_transformation_mode = \"align_corners\"}",
    "x: bfloat16[1, 64, 128, 128] | const %s: float32[4] = [1, 1, 2, 2] | Resize(%x, _, %s) {mode = "
    "\"linear\"}",
    "x: uint8[1, 256, 20, 20] | const %s: float32[4] = [1, 1, 2, 2] | Resize(%x, _, %s)",
    "x: uint8[1, 64, 128, 128] | const %s: float32[4] = [1, 1, 2, 2] | slipway.QResize(%x, _, %s) "
    "{mode = \"linear\", multiplier = 1, x_zero_point = 128, y_zero_point = 128, to = 2, q_min = 0, "
    "q_max = 255}",
    "x: uint8[1, 64, 128, 128] | const %s: float32[4] = [1, 1, 2, 2] | slipway.QResize(%x, _, %s) "
    "{mode = \"linear\", multiplier = 0.9, x_zero_point = 128, y_zero_point = 120, to = 2, q_min = 0, "
    "q_max = 255}",
    // Integer
    "x: uint8[1, 64, 56, 56] | const %w: int8[64, 64, 3, 3] = random(1); const %m: float32[1] = "
    "fill(0.001) | slipway.QConv(%x, %w, %m) {pads = [1, 1, 1, 1], to = 2, q_min = 0, q_max = 255}",
    "x: int8[1, 64, 56, 56] | const %w: int8[64, 64, 3, 3] = random(1); const %m: float32[1] = "
    "fill(0.001) | slipway.QConv(%x, %w, %m) {pads = [1, 1, 1, 1]}",
    "x: uint8[1, 64, 56, 56] | const %w: int8[256, 64, 1, 1] = random(1); const %m: float32[1] = "
    "fill(0.001) | slipway.QConv(%x, %w, %m) {to = 2, q_min = 0, q_max = 255}",
    "x: uint8[1, 144, 56, 56] | const %w: int8[144, 1, 3, 3] = random(1); const %m: float32[1] = "
    "fill(0.001) | slipway.QConv(%x, %w, %m) {pads = [1, 1, 1, 1], group = 144, to = 2, q_min = 0, "
    "q_max = 255}",
    "x: uint8[1, 3, 224, 224] | const %w: int8[64, 3, 7, 7] = random(1); const %m: float32[1] = "
    "fill(0.001) | slipway.QConv(%x, %w, %m) {pads = [3, 3, 3, 3], strides = [2, 2], to = 2, q_min "
    "= 0, q_max = 255}",
    "x: uint8[1, 2048] | const %w: int8[1000, 2048] = random(1); const %m: float32[1] = "
    "fill(0.001) | slipway.QLinear(%x, %w, %m) {transW = 1, to = 1}",
    "x: uint8[1, 64, 112, 112] | | MaxPool(%x) {kernel_shape = [3, 3], strides = [2, 2], pads = "
    "[1, 1, 1, 1]}",
    "x: uint8[1, 2048, 7, 7] | | slipway.QAveragePool(%x) {global = 1, multiplier = 0.7, to = 2, "
    "q_min = 0, q_max = 255}",
    "x: uint8[1, 64, 56, 56] | input %z: int8[1, 64, 56, 56] | slipway.QAdd(%x, %z) {a_multiplier "
    "= 0.7, b_multiplier = 0.5, to = 2, q_min = 0, q_max = 255}",
    "x: uint8[1, 64, 56, 56] | input %z: uint8[1, 64, 1, 1] | slipway.QMul(%x, %z) {multiplier = "
    "0.007, to = 2, q_min = 0, q_max = 255}",
    "x: uint8[1, 256, 28, 28] | input %z: uint8[1, 32, 28, 28] | Concat(%x, %z) {axis = 1}",
    "x: uint8[1, 64, 56, 56] | | slipway.QRescale(%x) {multiplier = 0.7, to = 2, q_min = 0, q_max "
    "= 255}",
    "x: uint8[1, 64, 56, 56] | const %t: uint8[256] = random(1) | slipway.QLookup(%x, %t)",
    "x: float32[1, 3, 224, 224] | const %s: float32[] = fill(0.01) | slipway.Quantize(%x, %s) "
    "{signed = 0}",
    "x: uint8[1, 64, 56, 56] | const %s: float32[] = fill(0.01) | slipway.Dequantize(%x, %s) "
    "{signed = 0}",
};

}  // namespace

int main(int argc, char** argv) {
  using namespace slipway;
  const char* word = argc > 1 ? argv[1] : "";
  for (const char* node : kNodes) {
    const std::string line = node;
    if (line.find(word) == std::string::npos) continue;
    const size_t a = line.find('|'), b = line.find('|', a + 1);
    std::string more = line.substr(a + 1, b - a - 1);
    for (char& ch : more) {
      if (ch == ';') ch = '\n';
    }
    const size_t op = line.find_first_not_of(' ', b + 1);
    const bool two = line.find("Split") != std::string::npos;
    const std::string text = "graph \"g\" {\n input %" + line.substr(0, a) + "\n" + more + "\n " +
                             (two ? "%y, %y2" : "%y") + " = " + line.substr(op) + "\n output %y\n" +
                             (two ? " output %y2\n" : "") + "}\n";
    cts::Case c;
    auto graph = ir::ParseText(text);
    if (!graph.ok()) {
      std::fprintf(stderr, "%s\n%s\n", text.c_str(), graph.status().message().c_str());
      return 1;
    }
    c.graph = std::move(*graph);
    const auto timings = cts::Measure(c, 0.05);
    if (!timings.ok()) {
      std::fprintf(stderr, "%s: %s\n", node, timings.status().message().c_str());
      continue;
    }
    const ir::Node& n = *c.graph->nodes().front();
    const double macs = static_cast<double>(ir::NodeMacs(n).known() ? ir::NodeMacs(n).value() : 0),
                 bytes = static_cast<double>(ir::NodeBytes(n).value_or(0));
    std::printf("%s\n", node);
    for (const auto& t : *timings) {
      std::printf("    %-10s %-28s %10.1f us  %7.1f GMAC/s  %6.1f GB/s\n", t.backend.c_str(),
                  t.kernel.c_str(), t.microseconds, macs / t.microseconds * 1e-3,
                  bytes / t.microseconds * 1e-3);
    }
  }
  return 0;
}
