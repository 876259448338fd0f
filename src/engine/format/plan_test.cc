#include "engine/format/plan.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "engine/format/package_test_util.h"

namespace slipway::format {
namespace {

struct Random {
  std::mt19937_64 engine;
  explicit Random(uint64_t seed) : engine(seed) {}
  int operator()(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine); }
};

// A random program in the shape of networks: chains with skips, in-place steps, views, workspaces.
PackageMaker RandomProgram(Random& random) {
  PackageMaker m;
  std::vector<int> readable = {m.Input("x", DType::kUInt8, {random(1, 5000)})};
  const int steps = random(1, 60);
  for (int s = 0; s < steps; ++s) {
    const int x = readable[static_cast<size_t>(random(std::max(0, static_cast<int>(readable.size()) - 4), static_cast<int>(readable.size()) - 1))];
    std::string name = "t" + std::to_string(s);
    int y;
    const int root = m.data.tensors[static_cast<size_t>(x)].alias >= 0 ? m.data.tensors[static_cast<size_t>(x)].alias : x;
    const bool arena = m.data.tensors[static_cast<size_t>(root)].kind == TensorKind::kArena;
    if (arena && random(0, 3) == 0) {
      y = m.Arena(name, DType::kUInt8, m.data.tensors[static_cast<size_t>(x)].shape, root);
      // Written over: nothing of the block may be read under its old names.
      std::erase_if(readable, [&](int t) { return t == root || m.data.tensors[static_cast<size_t>(t)].alias == root; });
    } else {
      y = m.Arena(name, DType::kUInt8, {random(0, 3) ? random(0, 5000) : 4096});
    }
    std::vector<int> inputs = {x};
    if (random(0, 2) == 0) inputs.push_back(-1);
    if (random(0, 2) == 0 && !readable.empty()) inputs.push_back(readable[static_cast<size_t>(random(0, static_cast<int>(readable.size()) - 1))]);
    std::vector<int> outputs = {y};
    if (random(0, 5) == 0) outputs.push_back(m.Arena(name + "b", DType::kUInt8, {random(1, 100)}));
    m.Step(name, "", "Relu", inputs, outputs).workspace = random(0, 2) ? 0 : static_cast<uint64_t>(random(1, 3000));
    for (int t : outputs) readable.push_back(t);
    if (readable.empty()) break;
  }
  int y = m.Output("y", DType::kUInt8, {8});
  m.Step("end", "", "Relu", {readable.back()}, {y});
  return m;
}

TEST(Plan, RandomProgramsNeverOverlapAndStayNearTheBound) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  double worst = 1, sum = 0;
  int count = 0;
  for (uint64_t seed = 1; seed <= 3000 && std::chrono::steady_clock::now() < end; ++seed) {
    Random random(seed);
    PackageMaker m = RandomProgram(random);
    std::vector<uint64_t> bytes, workspace;
    for (const PackageTensor& t : m.data.tensors) bytes.push_back(static_cast<uint64_t>(t.shape[0].value()));
    for (const PackageStep& s : m.data.steps) workspace.push_back(s.workspace);
    MemoryPlan plan = PlanMemory(m.data, bytes, workspace);
    // The straightforward check, apart from CheckPlan: which bytes are whose at each step.
    Liveness live = ComputeLiveness(m.data);
    for (size_t s = 0; s < m.data.steps.size(); ++s) {
      std::vector<std::pair<uint64_t, uint64_t>> ranges;
      for (size_t i = 0; i < m.data.tensors.size(); ++i) {
        if (m.data.tensors[i].kind != TensorKind::kArena || live.owner[i] != static_cast<int>(i) || live.first[i] < 0) continue;
        const int step = static_cast<int>(s);
        if (live.first[i] <= step && step <= live.last[i] && bytes[i]) ranges.emplace_back(plan.tensor_offsets[i], bytes[i]);
      }
      if (workspace[s]) ranges.emplace_back(plan.workspace_offsets[s], workspace[s]);
      for (size_t a = 0; a < ranges.size(); ++a) {
        ASSERT_EQ(ranges[a].first % 64, 0u) << "seed " << seed;
        ASSERT_LE(ranges[a].first + ranges[a].second, plan.arena_size) << "seed " << seed;
        for (size_t b = 0; b < a; ++b) {
          ASSERT_TRUE(ranges[a].first + ranges[a].second <= ranges[b].first || ranges[b].first + ranges[b].second <= ranges[a].first)
              << "seed " << seed << " step " << s;
        }
      }
    }
    ASSERT_TRUE(CheckPlan(m.data, plan, bytes, workspace).ok()) << "seed " << seed;
    const uint64_t bound = PlanLowerBound(m.data, bytes, workspace);
    ASSERT_GE(plan.arena_size, bound) << "seed " << seed;
    if (bound > 0) {
      const double ratio = static_cast<double>(plan.arena_size) / static_cast<double>(bound);
      worst = std::max(worst, ratio);
      sum += ratio;
      ++count;
    }
    // The plan is valid to the reader too.
    if (seed % 10 == 0) {
      m.Plan();
      auto file = SerializePackage(m.data);
      ASSERT_TRUE(file.ok()) << "seed " << seed << ": " << file.status().ToString();
    }
  }
  RecordProperty("mean_over_bound", std::to_string(sum / count));
  RecordProperty("worst_over_bound", std::to_string(worst));
  EXPECT_LT(sum / count, 1.05);
  EXPECT_LT(worst, 1.6);
}

TEST(Plan, AChainNeedsTwoBuffers) {
  PackageMaker m;
  int t = m.Input("x", DType::kUInt8, {1000});
  for (int i = 0; i < 20; ++i) {
    int next = m.Arena("t" + std::to_string(i), DType::kUInt8, {1000});
    m.Step("s" + std::to_string(i), "", "Relu", {t}, {next});
    t = next;
  }
  int y = m.Output("y", DType::kUInt8, {1000});
  m.Step("end", "", "Relu", {t}, {y});
  m.Plan();
  EXPECT_EQ(m.data.arena_size, 2048u);
}

TEST(Plan, AliasesOfAnOutputLieInItsMemory) {
  PackageMaker m;
  int x = m.Input("x", DType::kUInt8, {1000});
  int t = m.Arena("t", DType::kUInt8, {1000});
  int y = m.Output("y", DType::kUInt8, {1000}, t);
  m.Step("a", "", "Relu", {x}, {t});
  m.Step("b", "", "Relu", {t}, {y});
  Liveness live = ComputeLiveness(m.data);
  EXPECT_EQ(live.owner, (std::vector<int>{x, y, y}));
  m.Plan();
  EXPECT_EQ(m.data.arena_size, 0u);
  EXPECT_TRUE(SerializePackage(m.data).ok());
}

}  // namespace
}  // namespace slipway::format
