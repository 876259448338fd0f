#pragma once
// Post-training quantization of a model for a platform, as one step of the road.

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/dataset.h"
#include "engine/compiler/platform.h"
#include "model/ir/graph.h"
#include "quant/sensitivity/sensitivity.h"

namespace slipway::deploy {

struct QuantizeModelOptions {
  int64_t calibration_samples = 256;  // 0 = all of the data
  int64_t batch = 32;                 // when the model's is dynamic
  std::set<std::string> keep_float;   // node names
  ThreadPool* pool = nullptr;
  std::function<void(int64_t done, int64_t total)> progress;  // samples
};

struct QuantizedModel {
  std::unique_ptr<ir::Graph> original;   // fused, activations split: what the pairs were put into
  std::unique_ptr<ir::Graph> quantized;  // with Quantize/Dequantize
  int quantized_nodes = 0;
};

// `graph` is changed only in the copies. Errors: InvalidArgument when the platform has no scheme,
// the data does not fit, or a value is not finite.
Result<QuantizedModel> QuantizeModel(const ir::Graph& graph, const compiler::Scheme& scheme,
                                     const data::Dataset& calibration,
                                     const QuantizeModelOptions& options);

// Signal-to-noise of every layer on the first samples of `data`.
Result<std::vector<quant::LayerError>> Sensitivity(const QuantizedModel& model,
                                                   const data::Dataset& data, int64_t samples,
                                                   ThreadPool* pool);

}  // namespace slipway::deploy
