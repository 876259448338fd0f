#pragma once
// The light algorithms of quant/adjust around quantization, with their data and the fastest engine.

#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "model/ir/graph.h"
#include "quant/adjust/correct.h"
#include "quant/adjust/equalize.h"

namespace slipway::deploy {

struct Adjustments {
  bool equalize = false;          // with the absorption of high biases
  bool smooth = false;            // SmoothQuant
  double alpha = -1;              // its alpha; < 0: searched, layer by layer
  bool bias_correction = false;   // means of channels
  bool batch_statistics = false;  // means and deviations
  bool any() const { return equalize || smooth || bias_correction || batch_statistics; }
};
// Of "equalize", "smooth", "smooth:0.5", "bias-correction", "bn". InvalidArgument lists them.
Result<Adjustments> ParseAdjustments(const std::vector<std::string>& names);

struct AdjustReport {
  std::vector<quant::EqualizedGroup> equalized;
  int absorbed = 0;  // channels
  std::vector<quant::SmoothedGroup> smoothed;
  std::vector<quant::CorrectedLayer> corrected;
  // Largest difference of the outputs on the first batch, relative to the largest output, by what
  // should not change them.
  double change = 0;
};

// What keeps the float function. `bits`: of the search for alpha.
Status AdjustFloat(ir::Graph& graph, const quant::BatchSource& data, const Adjustments& what,
                   int weight_bits, int activation_bits, ThreadPool* pool, AdjustReport* report);
// What changes integers, once they are there.
Status AdjustQuantized(const ir::Graph& original, ir::Graph& quantized,
                       const quant::BatchSource& data, const Adjustments& what, ThreadPool* pool,
                       AdjustReport* report);

}  // namespace slipway::deploy
