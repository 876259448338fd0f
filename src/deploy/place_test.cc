#include "deploy/place.h"

#include <gtest/gtest.h>

#include <set>

#include "base/cpu.h"
#include "deploy/graph_test_util.h"
#include "model/interp/interpreter.h"

namespace slipway::deploy {
namespace {

constexpr char kNet[] = R"(graph "net" {
  input %x: float32[1, 16, 20, 20]
  const %w: float32[16, 16, 3, 3] = random(1)
  const %d: float32[16, 1, 3, 3] = random(3)
  const %v: float32[16, 5] = random(2)
  %c = Conv(%x, %w) {pads = [1, 1, 1, 1]}
  %r = Relu(%c)
  %e = Conv(%r, %d) {pads = [1, 1, 1, 1], group = 16}
  %a = Add(%e, %c)
  %p = MaxPool(%a) {kernel_shape = [2, 2], strides = [2, 2]}
  %s = Softmax(%p) {axis = 1}
  %g = GlobalAveragePool(%s)
  %f = Flatten(%g)
  %y = MatMul(%f, %v)
  output %y
})";

// Backends whose prices lie: the cheap one is slow.
class Lying final : public compiler::CostModel {
 public:
  explicit Lying(std::string favourite) : favourite_(std::move(favourite)) {}
  compiler::Price Step(const ir::Node&, const std::string& backend, const backends::Candidate&,
                       const backends::Target&) const override {
    return {backend == favourite_ ? 0.001 : 1, compiler::Source::kMeasured};
  }
  compiler::Price Convert(const ir::Type&, format::Layout from, format::Layout to,
                          const backends::Target&) const override {
    return {from == to ? 0 : 0.001, compiler::Source::kMeasured};
  }

 private:
  const std::string favourite_;
};

compiler::Platform PlatformOf(std::vector<std::string> own) {
  auto p = GetPlatform("x86");
  EXPECT_TRUE(p.ok()) << p.status().ToString();
  p->backends = std::move(own);
  p->fallback = {"reference"};
  return *p;
}

TEST(Placement, AClockCorrectsPricesThatLie) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  auto graph = ParseGraph(kNet);
  ASSERT_TRUE(graph);
  // The reference backend's plain loops are far slower than the kernels of x86, whatever the prices
  // say.
  const Lying cost("reference");
  compiler::CompileOptions options;
  options.cost = &cost;
  std::set<int64_t> told;
  auto placed = Place(*graph, PlatformOf({"x86", "reference"}), options,
                      {.rounds = 5,
                       .round_seconds = 0.005,
                       .greedy = true,
                       .progress = [&](int64_t done, int64_t all) {
                         EXPECT_LE(done, all);
                         told.insert(done);
                       }});
  ASSERT_TRUE(placed.ok()) << placed.status().ToString();
  EXPECT_GE(told.size(), 4u);
  EXPECT_EQ(placed->plans[0].name, "kernels");
  EXPECT_EQ(placed->plans[0].nodes.count("x86"), 0u);  // as the prices had it
  const PlanRow* chosen = nullptr;
  std::set<std::string> names;
  for (const PlanRow& p : placed->plans) {
    names.insert(p.name);
    names.insert(p.also.begin(), p.also.end());
    EXPECT_EQ(p.samples_ms.size(), 5u) << p.name;
    EXPECT_GT(p.p50_ms, 0) << p.name;
    if (p.chosen) {
      EXPECT_EQ(chosen, nullptr);
      chosen = &p;
    }
  }
  for (const char* name : {"estimated", "x86 alone", "reference alone", "greedy", "in place 1"})
    EXPECT_EQ(names.count(name), 1u) << name;
  ASSERT_NE(chosen, nullptr);
  EXPECT_GT(chosen->nodes.count("x86"), 0u);
  // What is returned is the plan that is said to be chosen.
  std::map<std::string, int> nodes;
  for (const auto& row : placed->model.result.placement) ++nodes[row.backend];
  EXPECT_EQ(nodes, chosen->nodes);

  // What the lying prices say of every plan is told beside what it took.
  for (const PlanRow& p : placed->plans) {
    ASSERT_TRUE(p.alone.has_value()) << p.name;
    EXPECT_FALSE(p.compared.has_value());
  }
  EXPECT_NEAR(placed->plans[0].alone->ms, placed->plans[0].expected_ms, 1e-9);
  EXPECT_GE(placed->rounds, 1);
  EXPECT_FALSE(placed->compared_rounds.has_value());
  // Prices of what ran are those of its place.
  bool in_place = false;
  for (const auto& row : placed->model.result.placement)
    in_place |= row.source == compiler::Source::kInPlace;
  EXPECT_TRUE(in_place);

  // And it computes the network.
  auto session = Session::FromBytes(placed->model.bytes);
  ASSERT_TRUE(session.ok()) << session.status().ToString();
  auto inputs = MakeInputs({{"x", graph->inputs()[0]->type()}}, {}, {}, true);
  ASSERT_TRUE(inputs.ok());
  auto got = session->Run(*inputs);
  auto interpreter = interp::Interpreter::Create(*graph);
  ASSERT_TRUE(got.ok() && interpreter.ok());
  auto want = interpreter->Run(*inputs);
  ASSERT_TRUE(want.ok());
  const auto* a = reinterpret_cast<const float*>((*got)[0].bytes().data());
  const auto* b = reinterpret_cast<const float*>((*want)[0].bytes().data());
  for (int64_t i = 0; i < 5; ++i) EXPECT_NEAR(a[i], b[i], 1e-4);
}

TEST(Placement, ANetworkLevelBackendTakesPart) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  if (!Backends().Find("opencv")) GTEST_SKIP() << "skipped: built without OpenCV";
  auto graph = ParseGraph(kNet);
  ASSERT_TRUE(graph);
  auto placed =
      Place(*graph, PlatformOf({"x86", "opencv"}), {}, {.rounds = 3, .round_seconds = 0.002});
  ASSERT_TRUE(placed.ok()) << placed.status().ToString();
  bool alone = false;
  for (const PlanRow& p : placed->plans) alone |= p.single && p.nodes.count("opencv") != 0;
  EXPECT_TRUE(alone);
}

TEST(Placement, TwoWaysAreCompared) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  auto graph = ParseGraph(kNet);
  ASSERT_TRUE(graph);
  const Lying one("x86"), other("reference");
  compiler::CompileOptions options;
  options.cost = &one;
  auto placed = Place(*graph, PlatformOf({"x86", "reference"}), options,
                      {.rounds = 3, .round_seconds = 0.002, .compare = &other});
  ASSERT_TRUE(placed.ok()) << placed.status().ToString();
  ASSERT_TRUE(placed->compared_rounds.has_value());
  std::map<std::string, const PlanRow*> named;
  for (const PlanRow& p : placed->plans) {
    named[p.name] = &p;
    for (const std::string& name : p.also) named[name] = &p;
    ASSERT_TRUE(p.alone && p.compared);
  }
  ASSERT_TRUE(named.count("kernels") && named.count("by estimates: kernels"));
  // Each way begins with the plan that its prices like, and prices the other's by them.
  EXPECT_LT(named["kernels"]->alone->ms, named["by estimates: kernels"]->alone->ms);
  EXPECT_GT(named["kernels"]->compared->ms, named["by estimates: kernels"]->compared->ms);
}

TEST(Placement, OneBackendHasOnePlan) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  auto graph = ParseGraph(kNet);
  ASSERT_TRUE(graph);
  auto placed = Place(*graph, PlatformOf({"reference"}), {});
  ASSERT_TRUE(placed.ok()) << placed.status().ToString();
  ASSERT_EQ(placed->plans.size(), 1u);
  EXPECT_TRUE(placed->plans[0].chosen);
}

TEST(Placement, OnlyThisMachine) {
  auto graph = ParseGraph(kNet);
  auto platform = GetPlatform(ThisCpu().arch == "aarch64" ? "x86" : "arm64-generic");
  ASSERT_TRUE(graph && platform.ok());
  platform->device = "local";
  auto placed = Place(*graph, *platform, {});
  ASSERT_FALSE(placed.ok());
  EXPECT_NE(placed.status().message().find("does not run on this machine"), std::string::npos);
}

}  // namespace
}  // namespace slipway::deploy
