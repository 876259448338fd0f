#pragma once
// Accuracy of anything that maps input tensors to output tensors.

#include <functional>
#include <vector>

#include "data/dataset.h"
#include "data/metrics.h"
#include "deploy/model_io.h"

namespace slipway::deploy {

using RunFunction =
    std::function<Result<std::vector<ir::Tensor>>(const std::vector<ir::Tensor>& inputs)>;

struct EvaluateOptions {
  int64_t samples = 0;  // 0 = all
  double max_seconds =
      0;  // stop after this long with what was done (emulated devices); 0 = no limit
  ThreadPool* pool = nullptr;
  std::function<void(int64_t done, int64_t total)> progress;
};

// Top-1 and top-5 of output 0, [batch, classes] (further dimensions of extent 1 allowed). Needs
// labels.
Result<data::AccuracyCounter> Evaluate(const RunFunction& run, const data::Dataset& data,
                                       const Feed& feed, const EvaluateOptions& options = {});

}  // namespace slipway::deploy
