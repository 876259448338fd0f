#pragma once
// How much each layer suffers from quantization, as signal-to-quantization-noise ratios: 10
// log10(sum x^2 / sum (x - x_q)^2), in dB.

#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "quant/calibrate/calibrate.h"

namespace slipway::quant {

struct LayerError {
  std::string node, op;
  double alone_db = 0;  // this layer's inputs and weights quantized, everything before it float
  double accumulated_db = 0;  // everything before it quantized too
  double cosine = 1;          // accumulated
};

// `quantized` is `original` with the pairs that InsertQuantization put in: values keep their names.
// One row a layer that reads quantized weights or values, in execution order. Uses the first batch
// of `data` only (a few dozen samples settle these figures).
Result<std::vector<LayerError>> LayerErrors(const ir::Graph& original, const ir::Graph& quantized,
                                            const BatchSource& data, Parallel* pool);

// The worst layer by `alone_db`: where keeping a layer in float helps most. Null when there is
// none.
const LayerError* WorstLayer(const std::vector<LayerError>& errors);

}  // namespace slipway::quant
