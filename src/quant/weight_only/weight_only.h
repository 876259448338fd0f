#pragma once
// Weight-only quantization of products (MatMul, Gemm): weights become codes with a scale and a zero
// point for each group of inputs, activations stay as they are. For transformers at small batches,
// where the time goes into reading weights.

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/ir/graph.h"
#include "quant/calibrate/calibrate.h"
#include "quant/reconstruct/block_walk.h"

namespace slipway::quant {

enum class WeightOnlyMethod : uint8_t {
  kNearest = 0,  // round to nearest between a group's extremes
  kAwq = 1,      // channels scaled by their activations, ranges clipped (Lin et al., 2023)
  kGptq = 2,     // errors of a column made up for by those behind it (Frantar et al., 2022)
};

struct WeightOnlyOptions {
  WeightOnlyMethod method = WeightOnlyMethod::kGptq;
  int bits = 4;         // 2 to 8
  int64_t group = 128;  // inputs that share a scale; 0: all of an output
  int end_bits = 8;     // of layers at the ends of the network
  // GPTQ: columns by falling size of their inputs (groups then keep the ranges of the float
  // weights); a share of the mean diagonal that is added to the diagonal.
  bool act_order = false;
  double damping = 0.01;
  // Weights that are exactly 0 stay 0 (a pruned network); only GPTQ would change them.
  bool keep_zeros = false;
  std::set<std::string> keep_float;  // node names
  Parallel* pool = nullptr;
  // Told before each layer; false stops (Unavailable).
  std::function<bool(const std::string& layer, size_t index, size_t count)> progress;
};

struct WeightOnlyLayer {
  std::string name;
  int64_t inputs = 0, outputs = 0;
  int bits = 0;
  // Squared error of the layer's output as a share of the output's square, on the inputs that the
  // quantized layers before it give: of rounding to nearest, and of what was chosen.
  double nearest = 0, chosen = 0;
  // AWQ: "", "folded" into what is before it, or "multiplied" by a node of its own.
  std::string scaled;
};

// Changes `graph` (not yet fused) in place; its weights are then behind a Dequantize with `group`.
// `make` is called for parts of the graph. InvalidArgument: options, no data, no such layer, or
// values that are not finite (named). Deterministic, whatever the pool.
Result<std::vector<WeightOnlyLayer>> QuantizeWeightsOnly(ir::Graph& graph,
                                                         const MakeGraphRunner& make,
                                                         const BatchSource& data,
                                                         const WeightOnlyOptions& options);

// ---- of one layer ----

// Codes of rows [n, k] and for each group of a row a scale and a zero point.
struct GroupedCodes {
  int64_t n = 0, k = 0, group = 0;  // group <= k; the last one may be shorter
  std::vector<uint8_t> codes;       // [n, k]
  std::vector<float> scales;        // [n, groups]
  std::vector<uint8_t> zeros;       // [n, groups]
  int64_t groups() const { return (k + group - 1) / group; }
  float Value(int64_t row, int64_t column) const {
    const int64_t g = row * groups() + column / group;
    return static_cast<float>(codes[static_cast<size_t>(row * k + column)] -
                              zeros[static_cast<size_t>(g)]) *
           scales[static_cast<size_t>(g)];
  }
};

class InputStatistics;
// `weights` [n, k] rows. Rounded to nearest: between the extremes of each group, or (`inputs`) with
// the clipping that costs the outputs least; `factors` [k] were multiplied into the weights, so
// that their inputs are divided by them (empty: none).
GroupedCodes RoundToNearest(std::span<const float> weights, int64_t k, int bits, int64_t group,
                            const InputStatistics* inputs, std::span<const double> factors,
                            Parallel* pool);
Result<GroupedCodes> Gptq(std::span<const float> weights, int bits, int64_t group,
                          const InputStatistics& inputs, const WeightOnlyOptions& options);
// The factors of the input channels that cost the outputs of all of `layers` (rows [n, k] each)
// least when their products are rounded to nearest; empty: none helps by 5 %.
std::vector<double> AwqFactors(const std::vector<std::vector<float>>& layers, int bits,
                               int64_t group, const InputStatistics& inputs, Parallel* pool);

}  // namespace slipway::quant
