#pragma once
// Quantize/Dequantize around float operators as operators on integers: QLinearConv, QLinearMatMul,
// ConvInteger, MatMulInteger (ONNX) and those of com.microsoft
// (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).

#include <map>
#include <string>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::quant {

struct IntegerForm {
  std::map<std::string, int> operators;  // how many of each were made
  int left = 0;  // Convs, products and additions whose inputs are all codes, and that stay float
};

// Of a graph of plain operators. Only 8-bit codes with one scale for each activation become integer
// operators; everything else keeps its pairs. ReLU and Clip before a Quantize become a clip of
// codes, or nothing where the codes end there. What cannot be one operator from codes to codes (a
// residual or a float bias before the Quantize, a float output) becomes the integer product and
// float steps behind it.
Result<IntegerForm> ToIntegerOperators(ir::Graph* graph);

}  // namespace slipway::quant
