#pragma once
// Moments of a quantized network's layers brought back to those of the float network.

#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "quant/calibrate/calibrate.h"

namespace slipway::quant {

struct CorrectOptions {
  // Also the deviation of every channel, by the scales of weights (where they are per channel and
  // free), and the statistics of BatchNormalization nodes that are still there.
  bool deviations = false;
  // Of `data`; fewer where a layer's values of so many would take more than a gigabyte.
  int64_t samples = 128;
};

struct CorrectedLayer {
  std::string node;
  // Root mean square over channels of the difference of means, relative to the float deviation:
  // before and after.
  double before = 0, after = 0;
};

// Bias correction (Nagel et al., 2019, section 4.2, empirical) and re-estimation of batch
// statistics (Sun et al., 2019: after folding, the scale and offset that give the output its float
// mean and deviation). `quantized` is `original` with the pairs that InsertQuantization put in.
// Layers in order, each behind the already corrected ones, before its activation and residual; one
// pass over the data. `evaluator`: of the float graph that StripActivations makes of `original`,
// which must show the values of StrippedValues. A layer without a bias gets one where its operator
// has a place for it. Unsupported: extents that only the data decide, or control flow; names the
// node.
Result<std::vector<CorrectedLayer>> CorrectMoments(const ir::Graph& stripped, ir::Graph& quantized,
                                                   const Evaluator& evaluator,
                                                   const BatchSource& data,
                                                   const CorrectOptions& options, Parallel* pool);

// A copy in which fused activations and residuals are nodes of their own: what a layer's arithmetic
// gives is the value "NAME/sum" of its output NAME there.
std::unique_ptr<ir::Graph> StripActivations(const ir::Graph& graph);
std::map<std::string, int> StrippedValues(const ir::Graph& stripped);

}  // namespace slipway::quant
