#include "quant/adjust/equalize.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "quant/adjust/layer.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

constexpr double kLimit = 1e4;  // of a scale, over all rounds

// One layer, its consumers, and the clips between them.
struct Group {
  size_t layer = 0;
  std::vector<size_t> consumers;
  struct Clip {
    std::string value;  // behind it
    double limit;
  };
  std::vector<Clip> clips;
  bool direct = true;  // nothing but the layer's own activation in between
};

// Whether a fused activation lets positive scales through; a clip adds its limit.
bool Homogeneous(const Node& node, const Value* behind, std::vector<Group::Clip>* clips) {
  const std::string_view kind = node.attributes.String("activation", "none");
  if (kind == "none" || kind == "Relu" || kind == "LeakyRelu") return true;
  const auto params = node.attributes.Floats("activation_params");
  if (kind != "Clip" || params.size() < 2 || params[0] != 0 || !(params[1] > 0)) return false;
  clips->push_back({behind->name(), params[1]});
  return true;
}

std::optional<double> Scalar(const Value* v) {
  if (!v || !v->constant() || v->constant()->count() != 1) return std::nullopt;
  const auto values = v->constant()->ToDoubles();
  return values.size() == 1 ? std::optional(values[0]) : std::nullopt;
}

bool OnePixel(const Node& node) {
  const ir::Type &in = node.input(0)->type(), &out = node.output()->type();
  if (!in.known() || !out.known() || in.shape->size() < 2 || out.shape->size() != 2) return false;
  for (size_t i = 2; i < in.shape->size(); ++i) {
    if (!(*in.shape)[i].known() || (*in.shape)[i].value() != 1) return false;
  }
  return (*in.shape)[1].known() && (*out.shape)[1].known() &&
         (*in.shape)[1].value() == (*out.shape)[1].value();
}

class Finder {
 public:
  explicit Finder(Graph& graph) {
    for (const auto& node : graph.nodes()) {
      if (auto layer = Layer::Of(node.get())) {
        index_[node.get()] = layers.size();
        layers.push_back(std::move(*layer));
      }
    }
    for (size_t i = 0; i < layers.size(); ++i) {
      Node* node = layers[i].node();
      Group group{.layer = i};
      if (node->input(3) || !Homogeneous(*node, node->output(), &group.clips)) continue;
      if (Follow(node->output(), layers[i].outputs(), !layers[i].conv(), &group) &&
          !group.consumers.empty())
        groups.push_back(std::move(group));
    }
  }

  std::vector<Layer> layers;
  std::vector<Group> groups;

 private:
  // Whether all that reads `v` takes positive scales of its `channels`; `last`: they are the last
  // dimension.
  bool Follow(const Value* v, int64_t channels, bool last, Group* group) {
    if (v->is_output() || v->uses().empty()) return false;
    for (const ir::Use& use : v->uses()) {
      Node* node = use.node;
      if (const auto it = index_.find(node); it != index_.end()) {
        const Layer& layer = layers[it->second];
        const bool fits = layer.conv() ? !last : last || Rank(v) == 2;
        if (use.index != 0 || !fits || layer.inputs() != channels) return false;
        group->consumers.push_back(it->second);
        continue;
      }
      if (use.index != 0 || !node->domain().empty() || node->outputs().size() != 1) return false;
      const std::string& op = node->op();
      group->direct = false;
      if (op == "Clip") {
        const auto lo = Scalar(node->input(1)), hi = Scalar(node->input(2));
        if (lo != 0.0 || !hi || !(*hi > 0)) return false;
        group->clips.push_back({node->output()->name(), *hi});
      } else if (op == "PRelu") {
        const ir::Tensor* slope = node->constant_input(1);
        if (!slope) return false;
      } else if ((op == "Reshape" || op == "Flatten" || op == "Squeeze") && !last) {
        if (!OnePixel(*node)) return false;
      } else if (op != "Relu" && op != "LeakyRelu" && op != "Identity" &&
                 (last || (op != "MaxPool" && op != "AveragePool" && op != "GlobalAveragePool" &&
                           op != "GlobalMaxPool"))) {
        return false;
      }
      if (!Follow(node->output(), channels, last, group)) return false;
    }
    return true;
  }
  static size_t Rank(const Value* v) { return v->type().known() ? v->type().shape->size() : 0; }

  std::map<const Node*, size_t> index_;
};

}  // namespace

std::map<std::string, int> ClippedValues(const Graph& graph) {
  const auto copy = graph.Clone();
  std::map<std::string, int> out;
  const Finder finder(*copy);
  for (const Group& g : finder.groups) {
    for (const Group::Clip& clip : g.clips)
      out[clip.value] = finder.layers[g.layer].conv() ? 1 : -1;
  }
  return out;
}

Result<std::vector<EqualizedGroup>> Equalize(
    Graph& graph, const std::map<std::string, ChannelStatistics>& statistics,
    const EqualizeOptions& options) {
  Finder finder(graph);
  std::vector<std::vector<double>> scales;  // by group, over all rounds
  for (const Group& g : finder.groups)
    scales.emplace_back(static_cast<size_t>(finder.layers[g.layer].outputs()), 1.0);
  for (int round = 0; round < options.rounds; ++round) {
    double change = 0;
    for (size_t g = 0; g < finder.groups.size(); ++g) {
      const Group& group = finder.groups[g];
      const std::vector<double> first = finder.layers[group.layer].OutputMagnitudes();
      std::vector<double> second(first.size(), 0);
      for (const size_t c : group.consumers) {
        const std::vector<double> own = finder.layers[c].InputMagnitudes();
        for (size_t i = 0; i < second.size(); ++i) second[i] = std::max(second[i], own[i]);
      }
      std::vector<double> down(first.size(), 1), up(first.size(), 1);
      for (size_t i = 0; i < first.size(); ++i) {
        if (!(first[i] > 0) || !(second[i] > 0)) continue;
        double s = std::sqrt(first[i] / second[i]) * scales[g][i];
        s = std::clamp(s, 1 / kLimit, kLimit);
        for (const Group::Clip& clip : group.clips) {
          const auto it = statistics.find(clip.value);
          const double top =
              it != statistics.end() && i < it->second.hi.size() ? it->second.hi[i] : clip.limit;
          if (top >= clip.limit * (1 - 1e-5)) {
            s = 1;
          } else {
            s = std::max(s, std::min(1.0, 1.1 * top / clip.limit));
          }
        }
        const double step = s / scales[g][i];
        if (!std::isfinite(step) || step <= 0) continue;
        change = std::max(change, std::fabs(std::log(step)));
        scales[g][i] = s;
        down[i] = 1 / step;
        up[i] = step;
      }
      finder.layers[group.layer].ScaleOutputs(down);
      for (const size_t c : group.consumers) finder.layers[c].ScaleInputs(up);
    }
    if (change < options.tolerance) break;
  }
  std::vector<EqualizedGroup> out;
  std::set<size_t> changed;
  for (size_t g = 0; g < finder.groups.size(); ++g) {
    const Group& group = finder.groups[g];
    Layer& layer = finder.layers[group.layer];
    EqualizedGroup report{layer.node()->name(), {}, 1};
    for (const size_t c : group.consumers)
      report.consumers.push_back(finder.layers[c].node()->name());
    std::vector<double> bias = layer.Bias();
    for (size_t i = 0; i < bias.size(); ++i) {
      bias[i] /= scales[g][i];
      report.largest = std::max({report.largest, scales[g][i], 1 / scales[g][i]});
    }
    if (report.largest > 1) {
      changed.insert(group.layer);
      changed.insert(group.consumers.begin(), group.consumers.end());
      if (layer.node()->constant_input(2)) layer.StoreBias(graph, bias);
    }
    out.push_back(std::move(report));
  }
  for (const size_t i : changed) finder.layers[i].StoreWeights(graph);
  return out;
}

namespace {

bool Absorbable(const Finder& finder, const Group& group) {
  const Node* node = finder.layers[group.layer].node();
  if (!group.direct || node->attributes.String("activation", "none") != "Relu") return false;
  return std::none_of(group.consumers.begin(), group.consumers.end(),
                      [&](size_t c) { return finder.layers[c].padded(); });
}

}  // namespace

std::map<std::string, int> RectifiedValues(const Graph& graph) {
  const auto copy = graph.Clone();
  std::map<std::string, int> out;
  const Finder finder(*copy);
  for (const Group& g : finder.groups) {
    if (Absorbable(finder, g))
      out[finder.layers[g.layer].node()->output()->name()] = finder.layers[g.layer].conv() ? 1 : -1;
  }
  return out;
}

Result<int> AbsorbBiases(Graph& graph, const std::map<std::string, ChannelStatistics>& statistics) {
  Finder finder(graph);
  int moved = 0;
  for (const Group& group : finder.groups) {
    Layer& layer = finder.layers[group.layer];
    const auto it = statistics.find(layer.node()->output()->name());
    if (it == statistics.end() || !Absorbable(finder, group)) continue;
    std::vector<double> bias = layer.Bias(), c(bias.size(), 0);
    if (it->second.mean.size() != bias.size()) continue;
    int here = 0;
    for (size_t i = 0; i < c.size(); ++i) {
      c[i] = std::max(0.0, it->second.mean[i] - 3 * it->second.deviation[i]);
      c[i] = std::min(c[i], std::max(0.0, it->second.lo[i]));
      here += c[i] > 0;
      bias[i] -= c[i];
    }
    if (here == 0) continue;
    moved += here;
    layer.StoreBias(graph, bias);
    for (const size_t consumer : group.consumers) {
      std::vector<double> more = finder.layers[consumer].Bias();
      const std::vector<double> response = finder.layers[consumer].Response(c);
      for (size_t i = 0; i < more.size(); ++i) more[i] += response[i];
      finder.layers[consumer].StoreBias(graph, more);
    }
  }
  return moved;
}

}  // namespace slipway::quant
