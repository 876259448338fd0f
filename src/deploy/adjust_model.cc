#include "deploy/adjust_model.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "deploy/runtime_evaluator.h"
#include "quant/adjust/layer.h"

namespace slipway::deploy {
namespace {

std::set<std::string> Names(const std::map<std::string, int>& channels) {
  std::set<std::string> names;
  for (const auto& [name, axis] : channels) names.insert(name);
  return names;
}

Result<std::map<std::string, quant::ChannelStatistics>> Observed(
    const ir::Graph& graph, const quant::BatchSource& data,
    const std::map<std::string, int>& channels, ThreadPool* pool) {
  if (channels.empty()) return std::map<std::string, quant::ChannelStatistics>{};
  SLIPWAY_ASSIGN_OR_RETURN(const quant::Evaluator evaluator,
                           FastestEvaluator(graph, Names(channels), pool));
  return quant::ObserveChannels(graph, evaluator, data, channels, pool);
}

Result<std::vector<ir::Tensor>> Outputs(const ir::Graph& graph, const quant::BatchSource& data,
                                        ThreadPool* pool) {
  SLIPWAY_ASSIGN_OR_RETURN(auto batch, data(0));
  if (batch.empty()) return std::vector<ir::Tensor>{};
  SLIPWAY_ASSIGN_OR_RETURN(const quant::Evaluator run, quant::InterpreterEvaluator(graph, pool));
  return run(batch, {});
}

}  // namespace

Result<Adjustments> ParseAdjustments(const std::vector<std::string>& names) {
  Adjustments a;
  for (const std::string& name : names) {
    if (name == "equalize") {
      a.equalize = true;
    } else if (name == "bias-correction") {
      a.bias_correction = true;
    } else if (name == "bn") {
      a.batch_statistics = true;
    } else if (name == "smooth") {
      a.smooth = true;
    } else if (name.rfind("smooth:", 0) == 0) {
      const char *begin = name.data() + 7, *end = name.data() + name.size();
      const auto parsed = std::from_chars(begin, end, a.alpha);
      if (parsed.ec != std::errc() || parsed.ptr != end || !(a.alpha > 0 && a.alpha <= 1))
        return InvalidArgument("'" + name + "': the part after the colon is alpha, over 0 to 1");
      a.smooth = true;
    } else {
      return InvalidArgument("there is no adjustment '" + name +
                             "'; choose of equalize, smooth[:ALPHA], bias-correction, bn");
    }
  }
  return a;
}

Status AdjustFloat(ir::Graph& graph, const quant::BatchSource& data, const Adjustments& what,
                   int weight_bits, int activation_bits, ThreadPool* pool, AdjustReport* report) {
  if (what.bias_correction || what.batch_statistics) quant::AddBiases(graph);
  if (!what.equalize && !what.smooth) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const auto before, Outputs(graph, data, pool));
  if (what.equalize) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto clipped,
                             Observed(graph, data, quant::ClippedValues(graph), pool));
    SLIPWAY_ASSIGN_OR_RETURN(report->equalized, quant::Equalize(graph, clipped));
    SLIPWAY_ASSIGN_OR_RETURN(const auto rectified,
                             Observed(graph, data, quant::RectifiedValues(graph), pool));
    SLIPWAY_ASSIGN_OR_RETURN(report->absorbed, quant::AbsorbBiases(graph, rectified));
  }
  if (what.smooth) {
    const std::set<std::string> names = quant::SmoothedValues(graph);
    if (!names.empty()) {
      SLIPWAY_ASSIGN_OR_RETURN(const quant::Evaluator evaluator,
                               FastestEvaluator(graph, names, pool));
      quant::SmoothOptions options;
      options.alpha = what.alpha;
      options.weight_bits = weight_bits;
      options.activation_bits = activation_bits;
      SLIPWAY_ASSIGN_OR_RETURN(report->smoothed,
                               quant::Smooth(graph, evaluator, data, options, pool));
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(const auto after, Outputs(graph, data, pool));
  for (size_t i = 0; i < before.size() && i < after.size(); ++i) {
    if (before[i].dtype() != DType::kFloat32 || before[i].count() != after[i].count()) continue;
    double largest = 0, change = 0;
    for (int64_t j = 0; j < before[i].count(); ++j) {
      const double b = before[i].data<float>()[j];
      largest = std::max(largest, std::fabs(b));
      change = std::max(change, std::fabs(b - after[i].data<float>()[j]));
    }
    report->change = std::max(report->change, largest > 0 ? change / largest : change);
  }
  return OkStatus();
}

Status AdjustQuantized(const ir::Graph& original, ir::Graph& quantized,
                       const quant::BatchSource& data, const Adjustments& what, ThreadPool* pool,
                       AdjustReport* report) {
  if (!what.bias_correction && !what.batch_statistics) return OkStatus();
  const auto stripped = quant::StripActivations(original);
  SLIPWAY_ASSIGN_OR_RETURN(
      const quant::Evaluator evaluator,
      FastestEvaluator(*stripped, Names(quant::StrippedValues(*stripped)), pool));
  quant::CorrectOptions options;
  options.deviations = what.batch_statistics;
  SLIPWAY_ASSIGN_OR_RETURN(report->corrected, quant::CorrectMoments(*stripped, quantized, evaluator,
                                                                    data, options, pool));
  return OkStatus();
}

}  // namespace slipway::deploy
