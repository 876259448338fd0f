#include "deploy/weight_only.h"

#include <algorithm>

#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "model/passes/pass.h"

namespace slipway::deploy {

quant::MakeGraphRunner PartRunner(ThreadPool& pool) {
  return [&pool](const ir::Graph& part) -> Result<quant::GraphRunner> {
    SLIPWAY_ASSIGN_OR_RETURN(Runner runner,
                             Runner::ForGraph(std::shared_ptr<const ir::Graph>(part.Clone()),
                                              HostPlatform(), {.threads = pool.threads()}));
    auto shared = std::make_shared<Runner>(std::move(runner));
    return quant::GraphRunner([shared](const auto& inputs) { return shared->Run(inputs); });
  };
}

Result<WeightOnlyModel> QuantizeModelWeights(const ir::Graph& graph,
                                             const data::Dataset& calibration, int64_t samples,
                                             int64_t batch, ThreadPool& pool,
                                             quant::WeightOnlyOptions options) {
  SLIPWAY_ASSIGN_OR_RETURN(const Feed feed, FeedFor(graph, calibration, batch));
  WeightOnlyModel model;
  model.quantized = graph.Clone();
  SLIPWAY_ASSIGN_OR_RETURN(const auto reports,
                           passes::RunPasses(*model.quantized, {.level = passes::Level::kOnnx}));
  (void)reports;
  for (const std::string& name : options.keep_float) {
    if (!model.quantized->FindNode(name))
      return InvalidArgument("there is no node '" + name +
                             "' to keep in float; `slipway optimize --level onnx` shows the nodes");
  }
  options.pool = &pool;
  const int64_t total = samples > 0 ? std::min(samples, calibration.size()) : calibration.size();
  SLIPWAY_ASSIGN_OR_RETURN(
      model.layers,
      quant::QuantizeWeightsOnly(*model.quantized, PartRunner(pool),
                                 CalibrationBatches(calibration, feed, total, &pool), options));
  for (const quant::WeightOnlyLayer& l : model.layers) {
    const int64_t group = options.group > 0 ? std::min(options.group, l.inputs) : l.inputs,
                  groups = (l.inputs + group - 1) / group;
    model.weight_bytes += static_cast<uint64_t>(l.inputs * l.outputs) * 4;
    // A scale and an offset a group.
    model.quantized_bytes +=
        static_cast<uint64_t>(l.outputs * ((l.inputs * l.bits + 7) / 8 + groups * 8));
  }
  return model;
}

}  // namespace slipway::deploy
