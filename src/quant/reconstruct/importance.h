#pragma once
// What the error of an element of a block's output costs the task: Fisher's information, the mean
// square of the derivative of the log likelihood there (BRECQ: Li et al., 2021, section 3.2).

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "learn/learn.h"
#include "model/ir/graph.h"
#include "quant/reconstruct/blocks.h"
#include "quant/reconstruct/work.h"

namespace slipway::quant {

// Values of all samples, by name.
using Values = std::map<std::string, std::shared_ptr<const ir::Tensor>>;
// Samples [begin, end) of a tensor; it stays alive through them.
Result<ir::Tensor> Samples(const std::shared_ptr<const ir::Tensor>& whole, int64_t begin,
                           int64_t end);

// One tensor for each output of `block`, like it: (1 + g^2 / mean g^2) / 2, g the derivative at the
// float network. Needs no labels: outputs [batch, classes] are scores (behind a Softmax,
// probabilities), whose labels are drawn from the network's own distribution; of other outputs g is
// that of a Gaussian likelihood, by random signs. `values`: of the float network, all that the rest
// of the graph reads. Deterministic for a seed. Unsupported names an operator without derivative.
Result<std::vector<ir::Tensor>> Importance(const ir::Graph& graph, const Block& block,
                                           const Values& values, int64_t samples, int64_t batch,
                                           learn::Engine& engine, WorkFolder& work, uint64_t seed);

}  // namespace slipway::quant
