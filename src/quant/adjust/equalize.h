#pragma once
// Scales moved between layers so that the network computes the same and quantizes better.

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "quant/calibrate/calibrate.h"

namespace slipway::quant {

// A layer, and what reads its output through functions f with f(s x) = s f(x), s > 0, channel by
// channel.
struct EqualizedGroup {
  std::string layer;
  std::vector<std::string> consumers;
  double largest = 1;  // the largest of max(s, 1 / s) over its channels
};

struct EqualizeOptions {
  int rounds = 40;
  double tolerance = 1e-3;  // ends when no |ln s| of a round is larger
};

// Cross-layer equalisation (Nagel et al., 2019, section 4.1), over all pairs (layer, consumers) in
// turn until it settles; depthwise layers are consumers and layers like others, so triples come out
// balanced too. Goes through ReLU, LeakyReLU, PReLU, pooling and the flattening of one pixel;
// through a clip (ReLU6) where no channel that reaches its limit on the calibration data changes
// and no other comes near it: on such data the outputs are the same. `statistics`: of the values of
// ClippedValues; without a value's, its channels stay.
Result<std::vector<EqualizedGroup>> Equalize(
    ir::Graph& graph, const std::map<std::string, ChannelStatistics>& statistics,
    const EqualizeOptions& options = {});

// The values behind clips that Equalize needs statistics of, and the dimension of their channels.
std::map<std::string, int> ClippedValues(const ir::Graph& graph);

// High-bias absorption (section 4.1.3): where a channel behind a ReLU lies above c = max(0, mean -
// 3 sd) on all calibration data, c moves from its bias to those of the layers behind it. Exact on
// such data; consumers with padding are left alone. `statistics`: of the values of RectifiedValues.
// Returns how many channels moved.
Result<int> AbsorbBiases(ir::Graph& graph,
                         const std::map<std::string, ChannelStatistics>& statistics);
std::map<std::string, int> RectifiedValues(const ir::Graph& graph);

struct SmoothOptions {
  double alpha = -1;  // share of the difficulty that moves to the weights; < 0: searched
  int weight_bits = 8, activation_bits = 8;  // of the search
  int64_t rows = 64;                         // of sample activations, for the search
};

struct SmoothedGroup {
  std::string norm;
  std::vector<std::string> consumers;
  double alpha = 0;                          // 0: left as it was, nothing was better
  double error_before = 0, error_after = 0;  // relative, of the search
};

// SmoothQuant (Xiao et al., 2022): for a LayerNormalization that only linear layers read, s_j =
// max|X_j|^a / max|W_j|^(1 - a) goes from its scale and bias to their weights. The search takes of
// 0.1, 0.2 ... 0.9 and no change what gives the least squared error of the layers' outputs with
// activations per tensor and weights per channel quantized.
Result<std::vector<SmoothedGroup>> Smooth(ir::Graph& graph, const Evaluator& evaluator,
                                          const BatchSource& data, const SmoothOptions& options,
                                          Parallel* pool);
// The values that `evaluator` of Smooth must show.
std::set<std::string> SmoothedValues(const ir::Graph& graph);

}  // namespace slipway::quant
