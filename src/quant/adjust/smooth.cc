#include <algorithm>
#include <cmath>

#include "quant/adjust/equalize.h"
#include "quant/adjust/layer.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Node;

struct Group {
  Node* norm;
  std::vector<Layer> consumers;
};

std::vector<Group> Groups(Graph& graph) {
  std::vector<Group> out;
  for (const auto& node : graph.nodes()) {
    if (!node->Is("LayerNormalization") || node->output()->is_output() ||
        !node->constant_input(1) || node->constant_input(1)->dtype() != DType::kFloat32 ||
        node->constant_input(1)->dims().rank() != 1 ||
        (node->input(2) && (!node->constant_input(2) ||
                            node->constant_input(2)->count() != node->constant_input(1)->count())))
      continue;
    Group group{node.get(), {}};
    bool all = !node->output()->uses().empty();
    for (const ir::Use& use : node->output()->uses()) {
      auto layer = Layer::Of(use.node);
      all = all && use.index == 0 && layer && !layer->conv() &&
            layer->inputs() == node->constant_input(1)->count();
      if (!all) break;
      group.consumers.push_back(std::move(*layer));
    }
    if (all) out.push_back(std::move(group));
  }
  return out;
}

// Rounded to symmetric codes of `bits` over the largest magnitude.
void Round(std::span<float> values, int bits) {
  float top = 0;
  for (const float v : values) top = std::max(top, std::fabs(v));
  const float scale = top / static_cast<float>((1 << (bits - 1)) - 1);
  if (!(scale > 0)) return;
  for (float& v : values) v = std::nearbyint(v / scale) * scale;
}

// Squared error of the layers' outputs with x / s and s W rounded, relative to their power.
double Error(const std::vector<float>& x, const std::vector<std::vector<float>>& weights,
             const std::vector<double>& s, const SmoothOptions& options, Parallel* pool) {
  const size_t k = s.size(), rows = x.size() / k;
  std::vector<float> xq(x.size());
  for (size_t i = 0; i < x.size(); ++i) xq[i] = static_cast<float>(x[i] / s[i % k]);
  Round(xq, options.activation_bits);
  double noise = 0, signal = 0;
  for (const std::vector<float>& w : weights) {
    const size_t n = w.size() / k;
    std::vector<double> noises(n, 0), signals(n, 0);
    const auto work = [&](int64_t begin, int64_t end) {
      std::vector<float> row(k);
      for (auto o = static_cast<size_t>(begin); o < static_cast<size_t>(end); ++o) {
        for (size_t j = 0; j < k; ++j) row[j] = static_cast<float>(w[o * k + j] * s[j]);
        Round(row, options.weight_bits);
        for (size_t r = 0; r < rows; ++r) {
          double exact = 0, rounded = 0;
          for (size_t j = 0; j < k; ++j) {
            exact += double{x[r * k + j]} * w[o * k + j];
            rounded += double{xq[r * k + j]} * row[j];
          }
          signals[o] += exact * exact;
          noises[o] += (exact - rounded) * (exact - rounded);
        }
      }
    };
    if (pool) {
      pool->ParallelFor(static_cast<int64_t>(n), 8, work);
    } else {
      work(0, static_cast<int64_t>(n));
    }
    for (size_t o = 0; o < n; ++o) {
      noise += noises[o];
      signal += signals[o];
    }
  }
  return signal > 0 ? noise / signal : 0;
}

}  // namespace

std::set<std::string> SmoothedValues(const Graph& graph) {
  const auto copy = graph.Clone();
  std::set<std::string> out;
  for (const Group& g : Groups(*copy)) out.insert(g.norm->output()->name());
  return out;
}

Result<std::vector<SmoothedGroup>> Smooth(Graph& graph, const Evaluator& evaluator,
                                          const BatchSource& data, const SmoothOptions& options,
                                          Parallel* pool) {
  if (options.alpha > 1) return InvalidArgument("smoothing's alpha lies between 0 and 1");
  std::vector<Group> groups = Groups(graph);
  std::map<std::string, int> channels;
  for (const Group& g : groups) channels[g.norm->output()->name()] = -1;
  if (groups.empty()) return std::vector<SmoothedGroup>{};
  // Rows of the first batch, spread over it, for the search.
  std::map<std::string, std::vector<float>> samples;
  Evaluator tap = [&](const std::vector<ir::Tensor>& in, const ValueObserver& observer) {
    return evaluator(in, [&](const ir::Value& v, const ir::Tensor& t) {
      observer(v, t);
      if (!channels.contains(v.name()) || t.dtype() != DType::kFloat32 || t.dims().rank() < 1)
        return;
      const int64_t k = t.dims()[static_cast<size_t>(t.dims().rank() - 1)];
      const int64_t rows = k > 0 ? t.count() / k : 0;
      std::vector<float>& to = samples[v.name()];
      const int64_t have = static_cast<int64_t>(to.size()) / std::max<int64_t>(1, k);
      const int64_t wanted = std::min(options.rows - have, std::max<int64_t>(1, options.rows / 4));
      for (int64_t i = 0; i < std::min(wanted, rows); ++i) {
        const float* from = t.data<float>() + rows * i / std::min(wanted, rows) * k;
        to.insert(to.end(), from, from + k);
      }
    });
  };
  SLIPWAY_ASSIGN_OR_RETURN(const auto statistics,
                           ObserveChannels(graph, tap, data, channels, pool));
  std::vector<SmoothedGroup> out;
  for (Group& g : groups) {
    const ChannelStatistics& seen = statistics.at(g.norm->output()->name());
    const size_t k = seen.hi.size();
    std::vector<double> x(k), w(k, 0);
    for (size_t j = 0; j < k; ++j) x[j] = std::max(std::fabs(seen.lo[j]), std::fabs(seen.hi[j]));
    std::vector<std::vector<float>> matrices;
    for (const Layer& layer : g.consumers) {
      const std::vector<double> own = layer.InputMagnitudes();
      for (size_t j = 0; j < k; ++j) w[j] = std::max(w[j], own[j]);
      if (options.alpha < 0) matrices.push_back(layer.Matrix());
    }
    const auto scales = [&](double alpha) {
      std::vector<double> s(k, 1);
      for (size_t j = 0; j < k; ++j) {
        if (x[j] > 0 && w[j] > 0)
          s[j] = std::clamp(std::pow(x[j], alpha) / std::pow(w[j], 1 - alpha), 1e-4, 1e4);
      }
      // Only ratios between channels matter; their geometric mean stays 1.
      double log = 0;
      for (const double v : s) log += std::log(v);
      for (double& v : s) v /= std::exp(log / static_cast<double>(k));
      return s;
    };
    SmoothedGroup report{g.norm->name(), {}, options.alpha, 0, 0};
    for (const Layer& layer : g.consumers) report.consumers.push_back(layer.node()->name());
    std::vector<double> chosen(k, 1);
    if (options.alpha < 0) {
      const std::vector<float>& rows = samples[g.norm->output()->name()];
      report.alpha = 0;
      report.error_before = report.error_after = Error(rows, matrices, chosen, options, pool);
      for (int i = 1; i <= 9; ++i) {
        const std::vector<double> s = scales(i * 0.1);
        const double error = Error(rows, matrices, s, options, pool);
        if (error < report.error_after) {
          report.error_after = error;
          report.alpha = i * 0.1;
          chosen = s;
        }
      }
    } else {
      chosen = scales(options.alpha);
    }
    if (report.alpha > 0) {
      std::vector<double> down(k);
      for (size_t j = 0; j < k; ++j) down[j] = 1 / chosen[j];
      for (const size_t input : {size_t{1}, size_t{2}}) {
        const ir::Tensor* old = g.norm->constant_input(input);
        if (!old) continue;
        const ir::Tensor aligned = old->Aligned();
        std::vector<float> values(k);
        for (size_t j = 0; j < k; ++j)
          values[j] = static_cast<float>(aligned.data<float>()[j] * down[j]);
        ReplaceConstant(graph, g.norm, input, ir::Tensor::Of<float>(old->dims(), values),
                        g.norm->name() + "/smoothed");
      }
      for (Layer& layer : g.consumers) {
        layer.ScaleInputs(chosen);
        layer.StoreWeights(graph);
      }
    }
    out.push_back(std::move(report));
  }
  return out;
}

}  // namespace slipway::quant
