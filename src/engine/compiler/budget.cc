#include "engine/compiler/budget.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace slipway::compiler {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The options of a layer that can be best, by rising cost and falling loss.
struct Useful {
  std::vector<size_t> picks;
  std::vector<double> cost, loss;
};

Useful UsefulOf(const LayerOptions& layer) {
  std::vector<size_t> order(layer.options.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const LayerOption &x = layer.options[a], &y = layer.options[b];
    return x.cost != y.cost ? x.cost < y.cost : x.loss < y.loss;
  });
  Useful u;
  for (const size_t i : order) {
    const LayerOption& a = layer.options[i];
    if (!u.loss.empty() && a.loss >= u.loss.back()) continue;
    u.picks.push_back(i);
    u.cost.push_back(a.cost);
    u.loss.push_back(a.loss);
  }
  return u;
}

// A step from one alternative to a dearer one on a layer's convex front.
struct Step {
  size_t layer, to;  // index among the useful ones
  double cost, gain;
};

std::vector<Step> StepsOf(const std::vector<Useful>& layers) {
  std::vector<Step> steps;
  for (size_t l = 0; l < layers.size(); ++l) {
    const Useful& u = layers[l];
    for (size_t at = 0; at + 1 < u.picks.size();) {
      size_t best = at + 1;
      double rate = -1;
      for (size_t next = at + 1; next < u.picks.size(); ++next) {
        const double r = (u.loss[at] - u.loss[next]) / (u.cost[next] - u.cost[at]);
        if (r >= rate) rate = r, best = next;
      }
      steps.push_back({l, best, u.cost[best] - u.cost[at], u.loss[at] - u.loss[best]});
      at = best;
    }
  }
  // Rates fall within a layer, so the order keeps a layer's steps in theirs.
  std::stable_sort(steps.begin(), steps.end(),
                   [](const Step& a, const Step& b) { return a.gain * b.cost > b.gain * a.cost; });
  return steps;
}

// What the layers from `first` on lose at least, for a rest of the budget: the relaxation that may
// take a part of the last step.
class Bound {
 public:
  Bound(const std::vector<Useful>& layers, const std::vector<Step>& steps, size_t first) {
    for (size_t l = first; l < layers.size(); ++l) {
      least_cost_ += layers[l].cost[0];
      most_loss_ += layers[l].loss[0];
    }
    cost_.push_back(0), gain_.push_back(0);
    for (const Step& s : steps) {
      if (s.layer < first) continue;
      cost_.push_back(cost_.back() + s.cost);
      gain_.push_back(gain_.back() + s.gain);
    }
  }
  double least_cost() const { return least_cost_; }
  double Loss(double budget) const {
    const double rest = budget - least_cost_;
    if (rest < 0) return kInfinity;
    const auto next = std::upper_bound(cost_.begin(), cost_.end(), rest);
    const auto i = static_cast<size_t>(next - cost_.begin());
    if (i == cost_.size()) return most_loss_ - gain_.back();
    const double part = (rest - cost_[i - 1]) / (cost_[i] - cost_[i - 1]);
    return most_loss_ - gain_[i - 1] - part * (gain_[i] - gain_[i - 1]);
  }

 private:
  double least_cost_ = 0, most_loss_ = 0;
  std::vector<double> cost_, gain_;  // after so many steps
};

struct State {
  double cost, loss;
  size_t parent, pick;
};

Status CheckLayers(const std::vector<LayerOptions>& layers) {
  for (const LayerOptions& layer : layers) {
    if (layer.options.empty()) return InvalidArgument("layer '" + layer.node + "' has no options");
    for (const LayerOption& a : layer.options) {
      if (!(a.cost >= 0) || !std::isfinite(a.cost) || !(a.loss >= 0) || !std::isfinite(a.loss))
        return InvalidArgument("layer '" + layer.node + "', alternative '" + a.name + "': cost " +
                               std::to_string(a.cost) + " and loss " + std::to_string(a.loss) +
                               " must be finite and not negative");
    }
  }
  return OkStatus();
}

BudgetChoice Total(const std::vector<LayerOptions>& layers, std::vector<size_t> picks) {
  BudgetChoice c;
  for (size_t l = 0; l < layers.size(); ++l) {
    c.cost += layers[l].options[picks[l]].cost;
    c.loss += layers[l].options[picks[l]].loss;
  }
  c.picks = std::move(picks);
  return c;
}

}  // namespace

Result<BudgetChoice> ChooseUnderBudget(const std::vector<LayerOptions>& layers, double budget) {
  SLIPWAY_RETURN_IF_ERROR(CheckLayers(layers));
  std::vector<Useful> useful;
  for (const LayerOptions& layer : layers) useful.push_back(UsefulOf(layer));
  const std::vector<Step> steps = StepsOf(useful);
  std::vector<Bound> bounds;
  for (size_t first = 0; first <= layers.size(); ++first) bounds.emplace_back(useful, steps, first);
  // Sums of the same figures in another order may differ by this much.
  const double slack = 1e-9 * std::max(std::fabs(budget), bounds[0].least_cost());
  if (!(bounds[0].least_cost() <= budget + slack))
    return InvalidArgument("a budget of " + std::to_string(budget) +
                           " cannot be met: the cheapest choice costs " +
                           std::to_string(bounds[0].least_cost()));

  // A first choice: the steps in order as far as they fit.
  double best = 0, spent = bounds[0].least_cost();
  for (const Useful& u : useful) best += u.loss[0];
  std::vector<size_t> at(layers.size(), 0);
  std::vector<bool> stopped(layers.size(), false);
  for (const Step& s : steps) {
    if (stopped[s.layer] || spent + s.cost > budget + slack) {
      stopped[s.layer] = true;
      continue;
    }
    at[s.layer] = s.to;
    spent += s.cost;
    best -= s.gain;
  }

  // All partial choices that may still lead to a better one, layer by layer.
  std::vector<std::vector<State>> states(layers.size() + 1);
  states[0] = {{0, 0, 0, 0}};
  const double tolerance = 1e-12 * (1 + std::fabs(best));
  for (size_t l = 0; l < layers.size(); ++l) {
    std::vector<State> next;
    for (size_t s = 0; s < states[l].size(); ++s) {
      for (size_t a = 0; a < useful[l].picks.size(); ++a) {
        const State made = {states[l][s].cost + useful[l].cost[a],
                            states[l][s].loss + useful[l].loss[a], s, a};
        if (made.loss + bounds[l + 1].Loss(budget + slack - made.cost) <= best + tolerance)
          next.push_back(made);
      }
    }
    std::sort(next.begin(), next.end(), [](const State& a, const State& b) {
      return a.cost != b.cost ? a.cost < b.cost : a.loss < b.loss;
    });
    for (const State& s : next) {
      if (states[l + 1].empty() || s.loss < states[l + 1].back().loss) states[l + 1].push_back(s);
    }
  }
  std::vector<size_t> picks(layers.size());
  if (states.back().empty()) {  // by rounding alone: the first choice is the best
    for (size_t l = 0; l < layers.size(); ++l) picks[l] = useful[l].picks[at[l]];
    return Total(layers, std::move(picks));
  }
  size_t s = states.back().size() - 1;  // of the least loss
  for (size_t l = layers.size(); l-- > 0;) {
    picks[l] = useful[l].picks[states[l + 1][s].pick];
    s = states[l + 1][s].parent;
  }
  return Total(layers, std::move(picks));
}

Result<std::vector<BudgetChoice>> ConvexFront(const std::vector<LayerOptions>& layers) {
  SLIPWAY_RETURN_IF_ERROR(CheckLayers(layers));
  std::vector<Useful> useful;
  for (const LayerOptions& layer : layers) useful.push_back(UsefulOf(layer));
  std::vector<size_t> picks;
  for (const Useful& u : useful) picks.push_back(u.picks[0]);
  std::vector<BudgetChoice> front = {Total(layers, picks)};
  for (const Step& s : StepsOf(useful)) {
    picks[s.layer] = useful[s.layer].picks[s.to];
    front.push_back(Total(layers, picks));
  }
  return front;
}

}  // namespace slipway::compiler
