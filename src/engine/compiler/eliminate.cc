#include "engine/compiler/eliminate.h"

#include <algorithm>
#include <limits>
#include <list>
#include <set>

namespace slipway::compiler {
namespace {

// A cost table over some variables; the first variable changes slowest.
struct Table {
  std::vector<int> vars;
  std::vector<double> cost;
};

}  // namespace

int PairwiseProblem::AddVariable(std::vector<double> costs) {
  unary_.push_back(std::move(costs));
  return static_cast<int>(unary_.size()) - 1;
}

void PairwiseProblem::AddPair(int a, int b, std::vector<double> cost) {
  if (a == b) {
    auto& u = unary_[static_cast<size_t>(a)];
    for (size_t i = 0; i < u.size(); ++i) u[i] += cost[i * u.size() + i];
    return;
  }
  pairs_.push_back({a, b, std::move(cost)});
}

double PairwiseProblem::Cost(const std::vector<int>& states) const {
  double total = 0;
  for (size_t v = 0; v < unary_.size(); ++v) total += unary_[v][static_cast<size_t>(states[v])];
  for (const Pair& p : pairs_) {
    size_t i = static_cast<size_t>(states[static_cast<size_t>(p.a)]);
    size_t j = static_cast<size_t>(states[static_cast<size_t>(p.b)]);
    total += p.cost[i * unary_[static_cast<size_t>(p.b)].size() + j];
  }
  return total;
}

bool PairwiseProblem::Eliminate(size_t max_table, Solution& solution) const {
  const size_t n = unary_.size();
  std::vector<std::set<int>> neighbours(n);
  std::vector<std::list<Table>::iterator> unused;
  std::list<Table> tables;
  std::vector<std::vector<std::list<Table>::iterator>> of(n);
  auto add = [&](Table t) {
    tables.push_back(std::move(t));
    auto it = std::prev(tables.end());
    for (int v : it->vars) of[static_cast<size_t>(v)].push_back(it);
  };
  for (size_t v = 0; v < n; ++v) add({{static_cast<int>(v)}, unary_[v]});
  for (const Pair& p : pairs_) {
    add({{p.a, p.b}, p.cost});
    neighbours[static_cast<size_t>(p.a)].insert(p.b);
    neighbours[static_cast<size_t>(p.b)].insert(p.a);
  }
  struct Step {
    int var;
    std::vector<int> rest;
    std::vector<int> best;  // by state of `rest`
  };
  std::vector<Step> steps;
  std::vector<bool> done(n, false);
  // Minimum degree first; ties by index keep the result deterministic.
  std::set<std::pair<size_t, int>> order;
  for (size_t v = 0; v < n; ++v) order.insert({neighbours[v].size(), static_cast<int>(v)});
  double constant = 0;
  while (!order.empty()) {
    int var = order.begin()->second;
    order.erase(order.begin());
    const size_t sv = static_cast<size_t>(var);
    done[sv] = true;
    std::vector<int> rest(neighbours[sv].begin(), neighbours[sv].end());
    size_t size = 1;
    for (int r : rest) {
      size *= states(r);
      if (size * states(var) > max_table) return false;
    }
    Table joined{rest, std::vector<double>(size, std::numeric_limits<double>::infinity())};
    Step step{var, rest, std::vector<int>(size, 0)};
    // For every table of this variable: how its index moves with each of `rest` and with the
    // variable.
    struct Strides {
      const Table* table;
      std::vector<size_t> rest;
      size_t own = 0;
    };
    std::vector<Strides> strides;
    for (auto it : of[sv]) {
      Strides s{&*it, std::vector<size_t>(rest.size(), 0)};
      size_t stride = 1;
      for (size_t k = it->vars.size(); k-- > 0;) {
        int v = it->vars[k];
        if (v == var) {
          s.own = stride;
        } else {
          s.rest[static_cast<size_t>(std::lower_bound(rest.begin(), rest.end(), v) -
                                     rest.begin())] = stride;
        }
        stride *= states(v);
      }
      strides.push_back(std::move(s));
    }
    std::vector<size_t> digit(rest.size(), 0);
    for (size_t index = 0; index < size; ++index) {
      for (size_t state = 0; state < states(var); ++state) {
        double cost = 0;
        for (const Strides& s : strides) {
          size_t at = state * s.own;
          for (size_t k = 0; k < rest.size(); ++k) at += digit[k] * s.rest[k];
          cost += s.table->cost[at];
        }
        if (cost < joined.cost[index]) {
          joined.cost[index] = cost;
          step.best[index] = static_cast<int>(state);
        }
      }
      for (size_t k = rest.size(); k-- > 0;) {
        if (++digit[k] < states(rest[k])) break;
        digit[k] = 0;
      }
    }
    for (auto it : std::vector(of[sv])) {
      for (int v : it->vars) {
        auto& list = of[static_cast<size_t>(v)];
        list.erase(std::find(list.begin(), list.end(), it));
      }
      tables.erase(it);
    }
    for (int r : rest) {
      auto& set = neighbours[static_cast<size_t>(r)];
      order.erase({set.size(), r});
      set.erase(var);
      for (int other : rest) {
        if (other != r) set.insert(other);
      }
      order.insert({set.size(), r});
    }
    if (rest.empty()) {
      constant += joined.cost[0];
    } else {
      add(std::move(joined));
    }
    steps.push_back(std::move(step));
  }
  solution.states.assign(n, 0);
  for (auto it = steps.rbegin(); it != steps.rend(); ++it) {
    size_t index = 0;
    for (int r : it->rest)
      index = index * states(r) + static_cast<size_t>(solution.states[static_cast<size_t>(r)]);
    solution.states[static_cast<size_t>(it->var)] = it->best[index];
  }
  solution.cost = constant;
  solution.exact = true;
  return true;
}

void PairwiseProblem::Descend(std::vector<int>& current) const {
  std::vector<std::vector<const Pair*>> of(unary_.size());
  for (const Pair& p : pairs_) {
    of[static_cast<size_t>(p.a)].push_back(&p);
    of[static_cast<size_t>(p.b)].push_back(&p);
  }
  for (int round = 0; round < 100; ++round) {
    bool moved = false;
    for (size_t v = 0; v < unary_.size(); ++v) {
      double best = std::numeric_limits<double>::infinity();
      int best_state = current[v];
      for (size_t s = 0; s < unary_[v].size(); ++s) {
        double cost = unary_[v][s];
        for (const Pair* p : of[v]) {
          bool first = p->a == static_cast<int>(v);
          size_t i = first ? s : static_cast<size_t>(current[static_cast<size_t>(p->a)]);
          size_t j = first ? static_cast<size_t>(current[static_cast<size_t>(p->b)]) : s;
          cost += p->cost[i * unary_[static_cast<size_t>(p->b)].size() + j];
        }
        if (cost < best - 1e-12) {
          best = cost;
          best_state = static_cast<int>(s);
        }
      }
      if (best_state != current[v]) {
        current[v] = best_state;
        moved = true;
      }
    }
    if (!moved) return;
  }
}

PairwiseProblem::Solution PairwiseProblem::Solve(size_t max_table) const {
  Solution solution;
  if (Eliminate(max_table, solution)) return solution;
  // Starts: the cheapest state of each variable alone (greedy), then "every variable in its k-th
  // state", which for layouts are the uniform ones.
  solution.exact = false;
  solution.cost = std::numeric_limits<double>::infinity();
  size_t most = 0;
  for (const auto& u : unary_) most = std::max(most, u.size());
  for (size_t start = 0; start <= most; ++start) {
    std::vector<int> states(unary_.size());
    for (size_t v = 0; v < unary_.size(); ++v) {
      states[v] = start == 0
                      ? static_cast<int>(std::min_element(unary_[v].begin(), unary_[v].end()) -
                                         unary_[v].begin())
                      : static_cast<int>(std::min(start - 1, unary_[v].size() - 1));
    }
    Descend(states);
    double cost = Cost(states);
    if (cost < solution.cost) {
      solution.cost = cost;
      solution.states = std::move(states);
    }
  }
  return solution;
}

}  // namespace slipway::compiler
