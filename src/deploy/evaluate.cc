#include "deploy/evaluate.h"

#include <algorithm>
#include <chrono>

namespace slipway::deploy {
namespace {

// Scores of one sample: no more than one extent is not 1.
bool IsOneVector(const Dims& dims) {
  return std::count_if(dims.begin(), dims.end(), [](int64_t d) { return d != 1; }) <= 1 &&
         std::none_of(dims.begin(), dims.end(), [](int64_t d) { return d == 0; });
}

}  // namespace

Result<data::AccuracyCounter> Evaluate(const RunFunction& run, const data::Dataset& data,
                                       const Feed& feed, const EvaluateOptions& options) {
  if (!data.has_labels())
    return InvalidArgument(
        "'" + data.path() +
        "' has no labels; evaluation needs them (docs/data.md says where they go)");
  data::AccuracyCounter counter;
  const int64_t end = options.samples > 0 ? std::min(options.samples, data.size()) : data.size();
  const auto start = std::chrono::steady_clock::now();
  for (int64_t begin = 0; begin < end; begin += feed.batch) {
    std::vector<int64_t> labels;
    SLIPWAY_ASSIGN_OR_RETURN(const auto batch,
                             LoadBatch(data, feed, begin, end, options.pool, &labels));
    const int64_t rows = feed.whole ? 1 : batch[0].dims()[0];
    SLIPWAY_ASSIGN_OR_RETURN(auto outputs, run(batch));
    if (outputs.empty() || outputs[0].dtype() != DType::kFloat32 || rows == 0 ||
        !(feed.whole ? IsOneVector(outputs[0].dims())
                     : !outputs[0].dims().empty() && outputs[0].dims()[0] == rows)) {
      return InvalidArgument("the model's first output is not float32 [" +
                             std::string(feed.whole ? "" : "batch, ") +
                             "classes]; accuracy needs class scores");
    }
    int64_t classes = outputs[0].count() / rows;
    std::span<const float> logits(outputs[0].data<float>(),
                                  labels.size() * static_cast<size_t>(classes));
    SLIPWAY_RETURN_IF_ERROR(counter.Add(logits, labels));
    if (options.progress) options.progress(counter.n(), end);
    std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    if (options.max_seconds > 0 && spent.count() > options.max_seconds) break;
  }
  return counter;
}

}  // namespace slipway::deploy
