#pragma once
// Pruning of a model to a sparsity pattern, as one step of the road: before quantization, or alone.

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "data/dataset.h"
#include "engine/compiler/platform.h"
#include "model/ir/graph.h"
#include "quant/reconstruct/reconstruct.h"
#include "quant/sparsity/prune.h"

namespace slipway::deploy {

struct SparsifyOptions {
  compiler::SparsityPattern pattern;
  quant::PruneMethod method = quant::PruneMethod::kObs;
  bool ends = false;                 // also the layers at the ends of the network
  std::set<std::string> keep_dense;  // node names
  // Of each block, whose remaining weights are trained to the float network's outputs; 0: they are
  // not. Needs the learning library.
  int64_t iterations = 0;
  bool fisher = false;          // what the error of an element counts in this
  int64_t prune_samples = 256;  // that pruning looks at; 0: all
  int64_t samples = 1024;       // of the training; 0: all
  int64_t batch = 32;           // when the model's is dynamic
  uint64_t seed = 1;
  std::string work;  // as QuantizeModelOptions has it
  ThreadPool* pool = nullptr;
  std::function<void(const std::string& layer, int64_t index, int64_t count)> pruning;
  std::function<bool(const std::string& block, int64_t index, int64_t blocks, int64_t iteration)>
      learning;
};

struct SparseModel {
  std::unique_ptr<ir::Graph> graph;  // of the onnx level
  compiler::SparsityPattern pattern;
  quant::PruneReport report;
  std::vector<quant::BlockReport> blocks;  // of the training
  std::vector<std::string> Layers() const;
};

// `calibration` may be null where weights are pruned by magnitude and not trained. Errors: those of
// quant::Prune and quant::Reconstruct, and of the learning library when it is not there.
Result<SparseModel> SparsifyModel(const ir::Graph& graph, const data::Dataset* calibration,
                                  const SparsifyOptions& options);

// InvalidArgument names the layers whose weights lost the pattern on the way to `graph`: codes
// without a zero.
Status CheckSparsity(const ir::Graph& graph, const SparseModel& sparse);

// What a platform makes of a pattern, when that is nothing: one sentence, else empty.
std::string SparsityWarning(const compiler::Platform& platform,
                            const compiler::SparsityPattern& pattern);

}  // namespace slipway::deploy
