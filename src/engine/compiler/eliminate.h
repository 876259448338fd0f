#pragma once
// Minimises a sum of unary and pairwise cost tables over discrete variables.

#include <cstddef>
#include <vector>

namespace slipway::compiler {

class PairwiseProblem {
 public:
  int AddVariable(std::vector<double> costs);  // unary cost per state; at least one state
  // cost[i * states(b) + j] for a in state i and b in state j; several terms between two variables
  // add up.
  void AddPair(int a, int b, std::vector<double> cost);
  size_t states(int variable) const { return unary_[static_cast<size_t>(variable)].size(); }

  struct Solution {
    std::vector<int> states;
    double cost = 0;
    bool exact = true;
  };
  // Exact while no elimination table exceeds max_table entries; else the best local minimum from
  // several starts.
  Solution Solve(size_t max_table) const;
  double Cost(const std::vector<int>& states) const;

 private:
  struct Pair {
    int a, b;
    std::vector<double> cost;
  };
  bool Eliminate(size_t max_table, Solution& solution) const;
  void Descend(std::vector<int>& states) const;

  std::vector<std::vector<double>> unary_;
  std::vector<Pair> pairs_;
};

}  // namespace slipway::compiler
