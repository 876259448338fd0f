#pragma once
// Weight-only quantization of a model, as one step of the road.

#include <functional>
#include <memory>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "data/dataset.h"
#include "model/ir/graph.h"
#include "quant/weight_only/weight_only.h"

namespace slipway::deploy {

struct WeightOnlyModel {
  std::unique_ptr<ir::Graph> quantized;
  std::vector<quant::WeightOnlyLayer> layers;
  uint64_t weight_bytes = 0;     // of these layers, float32
  uint64_t quantized_bytes = 0;  // codes, scales and zero points as a package holds them
};

// Parts of a graph run compiled for this machine on the pool's threads.
quant::MakeGraphRunner PartRunner(ThreadPool& pool);

// `samples` of the data (0: all) in batches of `batch` where the model's is dynamic. The parts run
// compiled for this machine on the pool's threads.
Result<WeightOnlyModel> QuantizeModelWeights(const ir::Graph& graph,
                                             const data::Dataset& calibration, int64_t samples,
                                             int64_t batch, ThreadPool& pool,
                                             quant::WeightOnlyOptions options);

}  // namespace slipway::deploy
