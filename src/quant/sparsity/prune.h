#pragma once
// Pruning of a float graph to a sparsity pattern, layer by layer, without labels. What is lost is
// then made up for block by block (reconstruct.h, `weights`), and the network may be quantized
// (`keep_zeros`): symmetric codes and zero points have an exact 0.

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "engine/compiler/sparsity_pattern.h"
#include "model/ir/graph.h"
#include "quant/calibrate/calibrate.h"
#include "quant/reconstruct/block_walk.h"
#include "quant/sparsity/mask.h"

namespace slipway::quant {

enum class PruneMethod : uint8_t {
  kMagnitude = 0,  // the smallest weights go, the others stay as they are
  kObs = 1,        // what costs the layer's outputs least, the others make up for it (mask.h)
};

struct PruneOptions {
  SparsityPattern pattern;
  PruneMethod method = PruneMethod::kObs;
  bool ends = false;                 // also the layers at the ends of the network
  std::set<std::string> keep_dense;  // node names
  double damping = 0.01;             // mask.h; ten times more where that is too little, twice
  Parallel* pool = nullptr;
  // Told before each layer; false stops (Unavailable).
  std::function<bool(const std::string& layer, size_t index, size_t count)> progress;
};

struct PrunedLayer {
  std::string name;
  WeightShape shape;  // of one group
  int64_t groups = 1;
  int64_t weights = 0, zeros = 0;  // after pruning
  // Squared error of the layer's output as a share of the output's square, on the inputs that the
  // pruned layers before it give: of pruning by magnitude, and of what was done. Negative: not
  // known, for there was no data.
  double magnitude = -1, chosen = -1;
  // What a compressed form takes for weights of `bits`, with the bits that say where they lie.
  int64_t Bytes(const SparsityPattern& pattern, int bits) const;
};
struct DenseLayer {
  std::string name, reason;
};
struct PruneReport {
  std::vector<PrunedLayer> layers;  // in the graph's order
  std::vector<DenseLayer> dense;    // with constant weights, not pruned
  int64_t weights() const;          // of the pruned layers
  int64_t zeros() const;
};

// Changes the weights of `graph` (as the onnx level leaves it, with known types) in place. `make`
// runs parts of it on this machine. `data`: null: none, which only magnitudes can do without.
// InvalidArgument: options, no such layer, no data, no layer that fits, weights or values that are
// not finite (named). Deterministic, whatever the pool.
Result<PruneReport> Prune(ir::Graph& graph, const MakeGraphRunner& make, const BatchSource* data,
                          const PruneOptions& options);

// Whether the weights of each layer that `graph` has (floats, or codes behind a Dequantize) are as
// the pattern wants them. Names those of `layers` that are not; a layer that is no longer there by
// its name is left out.
Result<std::vector<std::string>> BrokenLayers(const ir::Graph& graph,
                                              const SparsityPattern& pattern,
                                              const std::vector<std::string>& layers);
// Nodes with constant weights of which at least one is not zero and whose zeros are as N:M wants.
std::vector<std::string> SparseLayers(const ir::Graph& graph, const SparsityPattern& pattern);

}  // namespace slipway::quant
