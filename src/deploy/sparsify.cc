#include "deploy/sparsify.h"

#include <algorithm>

#include "deploy/model_io.h"
#include "deploy/quantize_model.h"
#include "deploy/weight_only.h"
#include "model/passes/pass.h"

namespace slipway::deploy {
namespace {

Status Train(const ir::Graph& dense, const data::Dataset& calibration, const Feed& feed,
             const SparsifyOptions& options, SparseModel* model) {
  quant::ReconstructionOptions learn;
  learn.weights = true;
  SLIPWAY_ASSIGN_OR_RETURN(learn::Engine* const engine, learn::GetEngine());
  SLIPWAY_ASSIGN_OR_RETURN(const auto work, quant::WorkFolder::Open(options.work));
  const int64_t total =
      options.samples > 0 ? std::min(options.samples, calibration.size()) : calibration.size();
  SLIPWAY_ASSIGN_OR_RETURN(const auto all,
                           AllSamples(calibration, feed, total, options.pool, *work));
  if (options.pool) engine->SetThreads(options.pool->threads());
  learn.work = work.get();
  learn.fisher = options.fisher;
  learn.learn.batch = feed.batch;
  learn.learn.seed = options.seed;
  learn.learn.iterations = options.iterations;
  if (options.learning) {
    learn.progress = [&](const quant::Block& block, size_t index, size_t count, int64_t iteration) {
      return options.learning(block.name, static_cast<int64_t>(index), static_cast<int64_t>(count),
                              iteration);
    };
  }
  SLIPWAY_ASSIGN_OR_RETURN(model->blocks,
                           quant::Reconstruct(dense, *model->graph, *engine, all, learn));
  return OkStatus();
}

}  // namespace

std::vector<std::string> SparseModel::Layers() const {
  std::vector<std::string> names;
  for (const quant::PrunedLayer& l : report.layers) names.push_back(l.name);
  return names;
}

Result<SparseModel> SparsifyModel(const ir::Graph& graph, const data::Dataset* calibration,
                                  const SparsifyOptions& options) {
  if (options.iterations > 0 && !calibration)
    return InvalidArgument("training what pruning leaves needs calibration data");
  SparseModel model;
  model.pattern = options.pattern;
  model.graph = graph.Clone();
  SLIPWAY_RETURN_IF_ERROR(
      passes::RunPasses(*model.graph, {.level = passes::Level::kOnnx}).status());
  const auto dense = model.graph->Clone();
  quant::PruneOptions prune;
  prune.pattern = options.pattern;
  prune.method = options.method;
  prune.ends = options.ends;
  prune.keep_dense = options.keep_dense;
  prune.pool = options.pool;
  if (options.pruning) {
    prune.progress = [&](const std::string& layer, size_t index, size_t count) {
      options.pruning(layer, static_cast<int64_t>(index), static_cast<int64_t>(count));
      return true;
    };
  }
  Feed feed;
  quant::BatchSource batches;
  ThreadPool alone({.threads = 1});
  ThreadPool& pool = options.pool ? *options.pool : alone;
  if (calibration) {
    SLIPWAY_ASSIGN_OR_RETURN(feed, FeedFor(*model.graph, *calibration, options.batch));
    const int64_t total = options.prune_samples > 0
                              ? std::min(options.prune_samples, calibration->size())
                              : calibration->size();
    batches = CalibrationBatches(*calibration, feed, total, &pool);
  }
  SLIPWAY_ASSIGN_OR_RETURN(model.report, quant::Prune(*model.graph, PartRunner(pool),
                                                      calibration ? &batches : nullptr, prune));
  if (options.iterations > 0)
    SLIPWAY_RETURN_IF_ERROR(Train(*dense, *calibration, feed, options, &model));
  SLIPWAY_RETURN_IF_ERROR(CheckSparsity(*model.graph, model));
  return model;
}

Status CheckSparsity(const ir::Graph& graph, const SparseModel& sparse) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto broken,
                           quant::BrokenLayers(graph, sparse.pattern, sparse.Layers()));
  if (broken.empty()) return OkStatus();
  std::string names;
  for (size_t i = 0; i < broken.size() && i < 3; ++i) names += (i > 0 ? ", " : "") + broken[i];
  if (broken.size() > 3) names += " and " + std::to_string(broken.size() - 3) + " more";
  return InvalidArgument("the codes of " + names + " have lost the zeros of " +
                         sparse.pattern.ToString() +
                         "; give these layers more bits or keep them in float");
}

std::string SparsityWarning(const compiler::Platform& platform,
                            const compiler::SparsityPattern& pattern) {
  if (compiler::Gains(platform.sparsity, pattern)) return "";
  std::string list;
  for (const std::string& p : platform.sparsity) list += (list.empty() ? "" : ", ") + p;
  return "platform '" + platform.name + "' is no faster with " + pattern.ToString() +
         (list.empty() ? ", nor with any other sparsity that is known here"
                       : "; it is with " + list) +
         " (the key 'sparsity' of its YAML)";
}

}  // namespace slipway::deploy
