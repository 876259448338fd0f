#include "engine/compiler/eliminate.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <random>

namespace slipway::compiler {
namespace {

double BruteForce(const PairwiseProblem& p, int variables) {
  std::vector<int> states(static_cast<size_t>(variables), 0);
  double best = std::numeric_limits<double>::infinity();
  for (;;) {
    best = std::min(best, p.Cost(states));
    int v = 0;
    while (v < variables && ++states[static_cast<size_t>(v)] == static_cast<int>(p.states(v)))
      states[static_cast<size_t>(v++)] = 0;
    if (v == variables) return best;
  }
}

TEST(Eliminate, EqualsBruteForceOnRandomProblems) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  for (int round = 0; round < 300 && std::chrono::steady_clock::now() < deadline; ++round) {
    PairwiseProblem p;
    int n = 1 + static_cast<int>(rng() % 7);
    auto random_costs = [&](size_t count) {
      std::vector<double> c(count);
      for (double& x : c)
        x = rng() % 10 == 0 ? std::numeric_limits<double>::infinity() : rng() % 1000;
      c[rng() % count] = rng() % 1000;
      return c;
    };
    for (int v = 0; v < n; ++v) p.AddVariable(random_costs(1 + rng() % 4));
    for (int e = 0; e < n * 2; ++e) {
      int a = static_cast<int>(rng() % n), b = static_cast<int>(rng() % n);
      p.AddPair(a, b, random_costs(p.states(a) * p.states(b)));
    }
    auto s = p.Solve(1 << 20);
    ASSERT_TRUE(s.exact);
    double best = BruteForce(p, n);
    ASSERT_EQ(s.cost, best);
    if (best < std::numeric_limits<double>::infinity()) {
      ASSERT_DOUBLE_EQ(p.Cost(s.states), best);
    }
    ASSERT_GE(p.Solve(0).cost, best);
  }
}

}  // namespace
}  // namespace slipway::compiler
