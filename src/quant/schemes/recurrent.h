#pragma once
// RNN, GRU and LSTM: their weights alone become codes, inputs and states stay float32. W and R are
// read through a Dequantize of signed codes with one scale for each row (gate and unit, of each
// direction) and no zero point; with two directions a Reshape stands behind it, as ONNX has one
// axis of scales.

#include <string>
#include <vector>

#include "quant/schemes/placement.h"
#include "quant/schemes/quantize.h"

namespace slipway::quant {

struct RecurrentLayer {
  const ir::Node* node = nullptr;
  int bits = 0;      // of its weights
  std::string kept;  // why they stay float; empty when they do not
};

// The recurrent nodes that the scheme names and `options` does not keep float, in the graph's
// order. Bits: those in options.weight_bits (2 to 8); else the scheme's from 4 to 8, and 8 where
// it has fewer, which recurrent weights do not stand.
std::vector<RecurrentLayer> RecurrentLayers(const ir::Graph& graph, const Scheme& scheme,
                                            const QuantizeOptions& options);

// Puts the Dequantize nodes in. Constants that several nodes read at the same bits get one. Ranges
// are the scheme's weight observer's. InvalidArgument: weights that are not finite.
Status QuantizeRecurrent(ir::Graph& graph, const Scheme& scheme, const QuantizeOptions& options);

}  // namespace slipway::quant
