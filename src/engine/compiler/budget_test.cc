#include "engine/compiler/budget.h"

#include <gtest/gtest.h>

#include <random>

namespace slipway::compiler {
namespace {

std::vector<LayerOptions> Problem(std::mt19937& random, int layers, int most, bool whole) {
  std::vector<LayerOptions> out;
  std::uniform_real_distribution<double> real(0, 1);
  for (int l = 0; l < layers; ++l) {
    LayerOptions layer{.node = "n" + std::to_string(l)};
    const int count = std::uniform_int_distribution<int>(1, most)(random);
    for (int a = 0; a < count; ++a) {
      double cost = real(random), loss = real(random) * std::pow(10, -a);
      if (whole) cost = std::floor(8 * cost), loss = std::floor(8 * loss);  // ties
      layer.options.push_back({"a" + std::to_string(a), cost, loss});
    }
    out.push_back(std::move(layer));
  }
  return out;
}

// Every combination.
void Try(const std::vector<LayerOptions>& layers, size_t at, double cost, double loss,
         double budget, double& best) {
  if (cost > budget * (1 + 1e-12)) return;
  if (at == layers.size()) {
    best = std::min(best, loss);
    return;
  }
  for (const LayerOption& a : layers[at].options)
    Try(layers, at + 1, cost + a.cost, loss + a.loss, budget, best);
}

TEST(Budget, IsTheBestOfAllCombinations) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const auto layers = Problem(random, round % 8 + 1, 4, round % 3 == 0);
    double least = 0;
    for (const LayerOptions& l : layers) {
      double cheapest = 1e9;
      for (const LayerOption& a : l.options) cheapest = std::min(cheapest, a.cost);
      least += cheapest;
    }
    const double budget = least + std::uniform_real_distribution<double>(0, 3)(random);
    double best = 1e300;
    Try(layers, 0, 0, 0, budget, best);
    auto got = ChooseUnderBudget(layers, budget);
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    EXPECT_NEAR(got->loss, best, 1e-9) << round;
    EXPECT_LE(got->cost, budget * (1 + 1e-8)) << round;
    ASSERT_EQ(got->picks.size(), layers.size());
  }
}

// Every combination, with what switches cost.
void TrySwitching(const std::vector<LayerOptions>& layers,
                  const std::vector<DomainSwitch>& switches, std::vector<size_t>& picks,
                  double budget, double& best, double& cheapest) {
  if (picks.size() < layers.size()) {
    for (size_t i = 0; i < layers[picks.size()].options.size(); ++i) {
      picks.push_back(i);
      TrySwitching(layers, switches, picks, budget, best, cheapest);
      picks.pop_back();
    }
    return;
  }
  double cost = 0, loss = 0;
  for (size_t l = 0; l < layers.size(); ++l)
    cost += layers[l].options[picks[l]].cost, loss += layers[l].options[picks[l]].loss;
  for (const DomainSwitch& s : switches) {
    cost += s.Cost(layers[s.from].options[picks[s.from]].domain,
                   layers[s.to].options[picks[s.to]].domain);
  }
  cheapest = std::min(cheapest, cost);
  if (cost <= budget * (1 + 1e-12)) best = std::min(best, loss);
}

TEST(Budget, WithSwitchesIsTheBestOfAllCombinations) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> real(0, 1);
  int met = 0, missed = 0;
  for (int round = 0; round < 300; ++round) {
    auto layers = Problem(random, round % 7 + 2, 4, round % 3 == 0);
    for (LayerOptions& l : layers) {
      for (LayerOption& a : l.options) a.domain = static_cast<int>(random() % 3);
    }
    // Chains with short cuts, as residual networks have them.
    std::vector<DomainSwitch> switches;
    for (size_t l = 1; l < layers.size(); ++l) {
      switches.push_back({l - 1, l, 0.4 * real(random), 0.4 * real(random)});
      if (random() % 2 == 0)
        switches.push_back({random() % l, l, 0.4 * real(random), 0.4 * real(random)});
    }
    const double budget = 3 * real(random);
    double best = 1e300, cheapest = 1e300;
    std::vector<size_t> picks;
    TrySwitching(layers, switches, picks, budget, best, cheapest);
    auto got = ChooseUnderBudget(layers, budget, switches);
    if (best == 1e300) {
      ++missed;
      ASSERT_FALSE(got.ok());
      EXPECT_NE(got.status().message().find("cheapest choice costs " + std::to_string(cheapest)),
                std::string::npos)
          << got.status().ToString();
      continue;
    }
    ++met;
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    EXPECT_TRUE(got->exact);
    EXPECT_NEAR(got->loss, best, 1e-9) << round;
    EXPECT_LE(got->cost, budget * (1 + 1e-8)) << round;
  }
  EXPECT_GT(met, 50);
  EXPECT_GT(missed, 10);
}

// A switch that costs much keeps neighbours together: nothing of it is seen layer by layer.
TEST(Budget, SwitchesKeepNeighboursTogether) {
  std::vector<LayerOptions> layers;
  std::vector<DomainSwitch> switches;
  for (size_t l = 0; l < 100; ++l) {
    layers.push_back(
        {"n" + std::to_string(l), {{"int8", 1, l % 3 == 0 ? 0.5 : 0.4, 1}, {"float", 2, 0, 0}}});
    if (l > 0) switches.push_back({l - 1, l, 0.75, 0.75});
  }
  auto apart = ChooseUnderBudget(layers, 150), together = ChooseUnderBudget(layers, 150, switches);
  ASSERT_TRUE(apart.ok() && together.ok());
  const auto changes = [&](const BudgetChoice& c) {
    int n = 0;
    for (size_t l = 1; l < layers.size(); ++l) n += c.picks[l] != c.picks[l - 1];
    return n;
  };
  EXPECT_GT(changes(*apart), 40);
  EXPECT_LE(changes(*together), 2);
  EXPECT_LE(together->cost, 150 * (1 + 1e-8));
  EXPECT_TRUE(together->exact);
}

TEST(Budget, ManyLayersWithSwitchesAreQuick) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> real(0, 1);
  std::vector<LayerOptions> layers;
  std::vector<DomainSwitch> switches;
  for (size_t l = 0; l < 160; ++l) {
    const double ms = real(random);
    layers.push_back(
        {"n" + std::to_string(l),
         {{"int8", ms * (0.3 + 0.4 * real(random)), std::pow(10, -3 * real(random)), 1},
          {"float", ms, 0, 0}}});
    if (l > 0) switches.push_back({l - 1, l, 0.2 * real(random), 0.2 * real(random)});
    if (l > 2 && l % 3 == 0) switches.push_back({l - 3, l, 0.2 * real(random), 0.2 * real(random)});
  }
  for (const double budget : {50.0, 60.0, 70.0}) {
    auto got = ChooseUnderBudget(layers, budget, switches);
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    EXPECT_LE(got->cost, budget * (1 + 1e-8));
  }
}

TEST(Budget, SwitchesAreChecked) {
  const std::vector<LayerOptions> layers = {{"a", {{"int8", 1, 1, 1}}},
                                            {"b", {{"float", 1, 0, 0}}}};
  // From codes (1) to floats (0): down.
  EXPECT_TRUE(ChooseUnderBudget(layers, 3, {{0, 1, 7, 1}}).ok());
  EXPECT_FALSE(ChooseUnderBudget(layers, 2.5, {{0, 1, 0, 1}}).ok());
  EXPECT_FALSE(ChooseUnderBudget(layers, 3, {{1, 0, 1, 1}}).ok());
  EXPECT_FALSE(ChooseUnderBudget(layers, 3, {{0, 2, 1, 1}}).ok());
  EXPECT_FALSE(ChooseUnderBudget(layers, 3, {{0, 1, -1, 0}}).ok());
  EXPECT_FALSE(ChooseUnderBudget(layers, 3, {{0, 1, 0, std::nan("")}}).ok());
  EXPECT_FALSE(
      ChooseUnderBudget({{"a", {{"int8", 1, 1, 300}}}, layers[1]}, 3, {{0, 1, 1, 1}}).ok());
}

TEST(Budget, LargeProblemsAreQuickAndExactAgainstDynamicProgramming) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  // Whole costs, so that a table over costs is exact.
  std::vector<LayerOptions> layers;
  for (int l = 0; l < 150; ++l) {
    LayerOptions layer{.node = "n" + std::to_string(l)};
    for (int a = 0; a < 5; ++a) {
      layer.options.push_back({"a" + std::to_string(a),
                               double(std::uniform_int_distribution<int>(0, 60)(random)),
                               std::uniform_real_distribution<double>(0, 1)(random)});
    }
    layers.push_back(std::move(layer));
  }
  constexpr int kBudget = 2500;
  std::vector<double> table(kBudget + 1, 0);
  for (const LayerOptions& layer : layers) {
    std::vector<double> next(kBudget + 1, 1e300);
    for (int b = 0; b <= kBudget; ++b) {
      for (const LayerOption& a : layer.options) {
        if (a.cost <= b)
          next[static_cast<size_t>(b)] = std::min(next[static_cast<size_t>(b)],
                                                  table[static_cast<size_t>(b - a.cost)] + a.loss);
      }
    }
    table = std::move(next);
  }
  auto got = ChooseUnderBudget(layers, kBudget);
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_NEAR(got->loss, table[kBudget], 1e-9);
}

TEST(Budget, TheFrontIsConvexAndItsEndsAreTheExtremes) {
  std::mt19937 random(7);
  const auto layers = Problem(random, 20, 4, false);
  auto front = ConvexFront(layers);
  ASSERT_TRUE(front.ok());
  for (size_t i = 1; i < front->size(); ++i) {
    EXPECT_GT((*front)[i].cost, (*front)[i - 1].cost);
    EXPECT_LT((*front)[i].loss, (*front)[i - 1].loss);
    if (i < 2) continue;
    const auto slope = [&](size_t j) {
      return ((*front)[j - 1].loss - (*front)[j].loss) / ((*front)[j].cost - (*front)[j - 1].cost);
    };
    EXPECT_LE(slope(i), slope(i - 1) * (1 + 1e-6));
  }
  double least = 0;
  for (const LayerOptions& l : layers) {
    double best = 1e9;
    for (const LayerOption& a : l.options) best = std::min(best, a.loss);
    least += best;
  }
  EXPECT_NEAR(front->back().loss, least, 1e-9);
}

TEST(Budget, MistakesAreNamed) {
  const std::vector<LayerOptions> layers = {{"conv1", {{"int8", 2, 0.1}, {"float", 5, 0}}}};
  auto low = ChooseUnderBudget(layers, 1);
  ASSERT_FALSE(low.ok());
  EXPECT_NE(low.status().message().find("costs 2"), std::string::npos) << low.status().message();
  EXPECT_FALSE(ChooseUnderBudget({{"conv1", {}}}, 1).ok());
  EXPECT_FALSE(ChooseUnderBudget({{"conv1", {{"x", 1, -1}}}}, 1).ok());
  EXPECT_FALSE(ChooseUnderBudget(layers, std::nan("")).ok());
  auto none = ChooseUnderBudget({}, 0);
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->picks.empty());
}

}  // namespace
}  // namespace slipway::compiler
