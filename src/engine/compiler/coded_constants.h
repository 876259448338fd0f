#pragma once
// Weights of RNN, GRU and LSTM that a graph has as codes behind a Dequantize. Kernels multiply
// floats; the package holds the codes, and the floats are made when it is loaded.

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::compiler {

struct CodedConstant {
  int bits = 8;  // 4 or 8
  int64_t rows = 1;
  std::shared_ptr<const std::vector<uint8_t>> bytes;  // as format/codes.h has them
  ir::Tensor floats;  // what they stand for; keeps the address below from becoming another's
};
// By the address of the float constant's bytes.
using CodedConstants = std::map<const uint8_t*, CodedConstant>;

// Makes float constants of what recurrent nodes, also in bodies, read as W and R from a Dequantize
// of constants (with a Reshape or Transpose behind it). `coded` (may be null) gets those whose
// codes are signed, of 8 bits at most, with a scale for each row or one for all and no zero point.
Status FoldRecurrentWeights(ir::Graph& graph, CodedConstants* coded);

}  // namespace slipway::compiler
