#include "engine/compiler/budget.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

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

// With costs between layers. A partial choice is one state: what it cost and lost, and the domains
// of its open layers, those with a switch to a layer still to come. Of states with the same open
// domains only those stay that no other beats in both, and that could still become better than the
// best whole choice known.
class Switching {
 public:
  Switching(const std::vector<LayerOptions>& layers, const std::vector<DomainSwitch>& switches,
            double budget)
      : layers_(layers), switches_(switches), budget_(budget) {}

  Result<BudgetChoice> Choose() {
    const size_t count = layers_.size();
    into_.resize(count);
    std::vector<size_t> last(count);  // the last layer that needs a layer's domain
    for (size_t l = 0; l < count; ++l) last[l] = l;
    for (const DomainSwitch& s : switches_) {
      if (s.from >= s.to || s.to >= count || !(s.up >= 0) || !std::isfinite(s.up) ||
          !(s.down >= 0) || !std::isfinite(s.down))
        return InvalidArgument("a switch of costs " + std::to_string(s.up) + " and " +
                               std::to_string(s.down) + " from layer " + std::to_string(s.from) +
                               " to layer " + std::to_string(s.to) + " of " +
                               std::to_string(count));
      into_[s.to].push_back(s);
      last[s.from] = std::max(last[s.from], s.to);
    }
    std::vector<Useful> useful;
    for (const LayerOptions& layer : layers_) {
      useful.push_back(UsefulOf(layer));
      for (const LayerOption& a : layer.options) {
        if (a.domain < 0 || a.domain > 255)
          return InvalidArgument("layer '" + layer.node + "', alternative '" + a.name +
                                 "': domain " + std::to_string(a.domain));
      }
    }
    const std::vector<Step> steps = StepsOf(useful);
    for (size_t first = 0; first <= count; ++first) bounds_.emplace_back(useful, steps, first);
    slack_ = 1e-9 * std::max(std::fabs(budget_), bounds_[0].least_cost());
    best_ = kInfinity;
    FirstChoices();

    std::vector<std::vector<State>> states(count + 1);
    states[0] = {{}};
    std::vector<size_t> open;  // layers whose domains `domains` holds, in order
    bool exact = true;
    for (size_t l = 0; l < count; ++l) {
      std::vector<size_t> still;
      for (const size_t o : open) {
        if (last[o] > l) still.push_back(o);
      }
      if (last[l] > l) still.push_back(l);
      std::map<std::string, std::vector<State>> made;
      const std::vector<size_t> picks = Candidates(layers_[l]);
      for (size_t s = 0; s < states[l].size(); ++s) {
        const State& from = states[l][s];
        for (const size_t pick : picks) {
          const LayerOption& a = layers_[l].options[pick];
          State to{from.cost + a.cost, from.loss + a.loss, s, pick, {}};
          for (const DomainSwitch& w : into_[l]) {
            const auto at = std::find(open.begin(), open.end(), w.from) - open.begin();
            to.cost +=
                w.Cost(static_cast<uint8_t>(from.domains[static_cast<size_t>(at)]), a.domain);
          }
          const double loss = to.loss + bounds_[l + 1].Loss(budget_ + slack_ - to.cost);
          if (!std::isfinite(loss) || loss > best_ + 1e-12 * (1 + loss)) continue;
          for (const size_t o : still)
            to.domains += o == l ? static_cast<char>(a.domain)
                                 : from.domains[static_cast<size_t>(
                                       std::find(open.begin(), open.end(), o) - open.begin())];
          made[to.domains].push_back(std::move(to));
        }
      }
      size_t all = 0;
      for (auto& [domains, list] : made) KeepBest(list), all += list.size();
      for (auto& [domains, list] : made) {
        if (all > kMostStates) Thin(list), exact = false;
        states[l + 1].insert(states[l + 1].end(), list.begin(), list.end());
      }
      open = std::move(still);
    }
    const auto end =
        std::min_element(states.back().begin(), states.back().end(),
                         [](const State& a, const State& b) { return a.loss < b.loss; });
    if (end == states.back().end()) {
      if (first_.picks.empty()) return CannotBeMet();
      return first_;
    }
    std::vector<size_t> picks(count);
    size_t s = static_cast<size_t>(end - states.back().begin());
    for (size_t l = count; l-- > 0;) {
      picks[l] = states[l + 1][s].pick;
      s = states[l + 1][s].parent;
    }
    BudgetChoice choice = TotalOf(std::move(picks));
    choice.exact = exact;
    return choice;
  }

 private:
  static constexpr size_t kMostStates = 200000;
  struct State {
    double cost = 0, loss = 0;
    size_t parent = 0, pick = 0;
    std::string domains;
  };

  // Of each domain the options that no other of it beats.
  static std::vector<size_t> Candidates(const LayerOptions& layer) {
    std::vector<size_t> picks;
    for (size_t i = 0; i < layer.options.size(); ++i) {
      const LayerOption& a = layer.options[i];
      bool beaten = false;
      for (size_t j = 0; j < layer.options.size() && !beaten; ++j) {
        const LayerOption& b = layer.options[j];
        beaten = b.domain == a.domain && b.cost <= a.cost && b.loss <= a.loss &&
                 (b.cost < a.cost || b.loss < a.loss || j < i);
      }
      if (!beaten) picks.push_back(i);
    }
    return picks;
  }
  BudgetChoice TotalOf(std::vector<size_t> picks) const {
    BudgetChoice c = Total(layers_, std::move(picks));
    for (const DomainSwitch& s : switches_) {
      c.cost += s.Cost(layers_[s.from].options[c.picks[s.from]].domain,
                       layers_[s.to].options[c.picks[s.to]].domain);
    }
    return c;
  }
  void Offer(std::vector<size_t> picks) {
    const BudgetChoice c = TotalOf(std::move(picks));
    if (c.cost <= budget_ + slack_ && c.loss < best_) best_ = c.loss, first_ = c;
  }
  // Whole choices that may fit: of one domain, and with smaller and smaller budgets and no thought
  // of switches.
  void FirstChoices() {
    std::vector<LayerOptions> one(layers_.size());
    for (int domain = 0; domain < 256; ++domain) {
      std::vector<std::vector<size_t>> from(layers_.size());
      bool whole = true;
      for (size_t l = 0; l < layers_.size(); ++l) {
        one[l] = {layers_[l].node, {}};
        for (size_t i = 0; i < layers_[l].options.size(); ++i) {
          if (layers_[l].options[i].domain != domain) continue;
          one[l].options.push_back(layers_[l].options[i]);
          from[l].push_back(i);
        }
        whole &= !one[l].options.empty();
      }
      if (!whole) continue;
      auto c = ChooseUnderBudget(one, budget_);
      if (!c.ok()) continue;
      for (size_t l = 0; l < layers_.size(); ++l) c->picks[l] = from[l][c->picks[l]];
      Offer(std::move(c->picks));
    }
    const double least = bounds_[0].least_cost();
    for (int i = 0; i <= 20; ++i) {
      auto c = ChooseUnderBudget(layers_, budget_ - (budget_ - least) * i / 20);
      if (c.ok()) Offer(std::move(c->picks));
    }
  }
  static void KeepBest(std::vector<State>& states) {
    std::sort(states.begin(), states.end(), [](const State& a, const State& b) {
      return a.cost != b.cost ? a.cost < b.cost : a.loss < b.loss;
    });
    size_t kept = 0;
    for (size_t i = 0; i < states.size(); ++i) {
      if (kept > 0 && states[i].loss >= states[kept - 1].loss) continue;
      if (kept != i) states[kept] = std::move(states[i]);
      ++kept;
    }
    states.resize(kept);
  }
  // The least loss of all that cost about the same.
  void Thin(std::vector<State>& states) const {
    size_t kept = 0;
    int64_t cell = -1;
    for (size_t i = 0; i < states.size(); ++i) {
      const auto at = static_cast<int64_t>(states[i].cost / (budget_ + slack_) * 4000);
      if (at != cell) ++kept, cell = at;
      if (kept - 1 != i) states[kept - 1] = std::move(states[i]);
    }
    states.resize(kept);
  }
  Status CannotBeMet() const {
    // Where nothing is lost the cheapest of all is the one left.
    std::vector<LayerOptions> free = layers_;
    for (LayerOptions& layer : free) {
      for (LayerOption& a : layer.options) a.loss = 0;
    }
    SLIPWAY_ASSIGN_OR_RETURN(const BudgetChoice least, Switching(free, switches_, 1e300).Choose());
    return InvalidArgument("a budget of " + std::to_string(budget_) +
                           " cannot be met: the cheapest choice costs " +
                           std::to_string(least.cost));
  }

  const std::vector<LayerOptions>& layers_;
  const std::vector<DomainSwitch>& switches_;
  double budget_, slack_ = 0, best_ = 0;
  BudgetChoice first_;
  std::vector<std::vector<DomainSwitch>> into_;
  std::vector<Bound> bounds_;
};

}  // namespace

Result<BudgetChoice> ChooseUnderBudget(const std::vector<LayerOptions>& layers, double budget,
                                       const std::vector<DomainSwitch>& switches) {
  SLIPWAY_RETURN_IF_ERROR(CheckLayers(layers));
  if (!switches.empty()) return Switching(layers, switches, budget).Choose();
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
