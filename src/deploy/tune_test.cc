#include "deploy/tune.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "base/cpu.h"
#include "deploy/graph_test_util.h"
#include "deploy/package_clock.h"
#include "deploy/place.h"
#include "perfdb/cost_model.h"

namespace slipway::deploy {
namespace {

constexpr char kNet[] = R"(graph "net" {
  input %x: float32[1, 16, 10, 10]
  const %w: float32[16, 16, 3, 3] = random(1)
  const %v: float32[16, 5] = random(2)
  %c = Conv(%x, %w) {pads = [1, 1, 1, 1]}
  %r = Relu(%c)
  %d = Conv(%r, %w) {pads = [1, 1, 1, 1]}
  %p = MaxPool(%d) {kernel_shape = [2, 2], strides = [2, 2]}
  %g = GlobalAveragePool(%p)
  %f = Flatten(%g)
  %y = MatMul(%f, %v)
  output %y
})";

class Tuning : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "slipway_tune_" +
            testing::UnitTest::GetInstance()->current_test_info()->name() + ".db";
    std::filesystem::remove(path_);
    auto store = perfdb::Store::Open(path_);
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(*store);
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove(path_);
  }
  std::string path_;
  std::unique_ptr<perfdb::Store> store_;
};

TEST_F(Tuning, MeasuresOnceAndPlacesByIt) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  auto graph = ParseGraph(kNet);
  ASSERT_TRUE(graph);
  auto platform = GetPlatform("x86");
  ASSERT_TRUE(platform.ok()) << platform.status().ToString();
  int64_t last = 0, all = 0;
  auto first = Tune(*graph, *platform, {}, *store_, [&](int64_t done, int64_t of) {
    EXPECT_EQ(done, last + 1);
    last = done;
    all = of;
  });
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_GT(first->kernels.measured, 5);
  EXPECT_GT(first->conversions.measured, 3);
  EXPECT_EQ(first->hand_overs.all, 0);  // no network-level backend
  for (const TuneCounts& c : {first->kernels, first->conversions}) {
    EXPECT_EQ(c.known, 0);
    EXPECT_EQ(c.all, c.measured + c.skipped);
  }
  EXPECT_EQ(last, all);
  auto second = Tune(*graph, *platform, {}, *store_);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->kernels.measured, 0);
  EXPECT_EQ(second->kernels.known, first->kernels.measured);
  EXPECT_EQ(second->conversions.measured, 0);
  EXPECT_EQ(second->conversions.known, first->conversions.all);
  // Every chosen kernel has its measured price, and so has every conversion that could be.
  const perfdb::MeasuredCost cost(*store_, StepKey(*platform, 1));
  compiler::CompileOptions options;
  options.cost = &cost;
  auto compiled = CompileModel(*graph, *platform, options);
  ASSERT_TRUE(compiled.ok()) << compiled.status().ToString();
  const std::string key = StepKey(*platform, 1).Hash();
  int priced = 0, moves = 0;
  for (const auto& row : compiled->result.placement) {
    for (const compiler::Move& m : row.moves) {
      ++moves;
      EXPECT_EQ(m.price.source, compiler::Source::kMeasured) << m.value << " " << m.what;
    }
    EXPECT_EQ(row.source, compiler::Source::kMeasured) << row.node;
    const auto ms = store_->KernelMs(key, row.signature);
    if (!ms) continue;  // a view
    ++priced;
    EXPECT_EQ(row.cost_ms, *ms) << row.node;
  }
  EXPECT_GE(priced, 4);
  EXPECT_GE(moves, 4);
  // They are steps by themselves in the database.
  auto steps = store_->Steps(compiler::kConvertOp);
  ASSERT_TRUE(steps.ok());
  EXPECT_EQ(static_cast<int>(steps->size()), first->conversions.measured);
  for (const auto& step : *steps) {
    EXPECT_EQ(step.row.backend, "reference");
    EXPECT_GT(step.row.ms, 0) << step.row.signature;
    EXPECT_FALSE(step.key.emulated);
  }
}

TEST_F(Tuning, WhatCrossesIntoNetworksIsMeasured) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  if (!Backends().Find("opencv")) GTEST_SKIP() << "skipped: built without OpenCV";
  auto graph = ParseGraph(kNet);
  auto platform = GetPlatform("x86");
  ASSERT_TRUE(graph && platform.ok());
  platform->backends = {"x86", "opencv"};
  auto first = Tune(*graph, *platform, {}, *store_);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_GT(first->hand_overs.measured, 2);
  auto second = Tune(*graph, *platform, {}, *store_);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->hand_overs.measured, 0);
  EXPECT_EQ(second->hand_overs.known, first->hand_overs.measured);
  auto steps = store_->Steps(compiler::kHandOverOp, "opencv");
  ASSERT_TRUE(steps.ok());
  EXPECT_EQ(static_cast<int>(steps->size()), 2 * first->hand_overs.measured);  // in and out
  const perfdb::MeasuredCost cost(*store_, StepKey(*platform, 1));
  compiler::CompileOptions options;
  options.cost = &cost;
  auto compiled = CompileModel(*graph, *platform, options);
  ASSERT_TRUE(compiled.ok()) << compiled.status().ToString();
  int crossings = 0;
  for (const auto& row : compiled->result.placement) {
    for (const compiler::Move& m : row.moves) {
      if (m.backend != "opencv") continue;
      ++crossings;
      EXPECT_EQ(m.price.source, compiler::Source::kMeasured) << m.value << " " << m.what;
    }
  }
  EXPECT_GT(crossings, 4);
}

TEST_F(Tuning, TwoInputsAndAResidualOfThreeDimensions) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  auto graph = ParseGraph(R"(graph "g" {
  input %x: float32[N, 8, 4, 6, 6]
  input %z: float32[N, 8, 4, 6, 6]
  const %w: float32[8, 8, 3, 3, 3] = random(1)
  %c = Conv(%x, %w) {pads = [1, 1, 1, 1, 1, 1]}
  %y = Add(%c, %z)
  output %y
})");
  auto platform = GetPlatform("x86-onednn");
  ASSERT_TRUE(graph && platform.ok());
  auto tuned = TuneAndPlace(*graph, *platform, {}, {.rounds = 3, .round_seconds = 0.002}, false,
                            *store_, {});
  ASSERT_TRUE(tuned.ok()) << tuned.status().ToString();
  EXPECT_GT(tuned->report.kernels.measured, 0);
  for (const std::string& why : tuned->report.skipped) ADD_FAILURE() << why;
  EXPECT_EQ(tuned->report.kernels.skipped, 0);
  EXPECT_EQ(tuned->report.conversions.skipped, 0);
}

// Values between steps are of 16 bits here.
TEST_F(Tuning, BFloat16KernelsAndConversionsAreMeasured) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  auto graph = ParseGraph(kNet);
  auto platform = GetPlatform("x86-bf16");
  ASSERT_TRUE(graph && platform.ok());
  auto report = Tune(*graph, *platform, {}, *store_);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_GT(report->kernels.measured, 5);
  EXPECT_EQ(report->kernels.skipped, 0);
  EXPECT_EQ(report->conversions.skipped, 0);
  auto conversions = store_->Steps(compiler::kConvertOp);
  ASSERT_TRUE(conversions.ok());
  int half = 0;
  for (const auto& s : *conversions) half += s.row.signature.ends_with("|bfloat16[1, 16, 10, 10]");
  EXPECT_GT(half, 0);
}

TEST_F(Tuning, BodiesAreMeasured) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  auto graph = ParseGraph(R"(graph "g" {
  input %x: float32[N, 16]
  input %flag: bool[]
  %y = If(%flag, %x) "if" body "then_branch" graph "then" {
    input %x: float32[N, 16]
    %y = Exp(%x)
    output %y
  } body "else_branch" graph "else" {
    input %x: float32[N, 16]
    %y = Tanh(%x)
    output %y
  }
  output %y
})");
  auto platform = GetPlatform("x86");
  ASSERT_TRUE(graph && platform.ok());
  auto tuned = TuneAndPlace(*graph, *platform, {}, {.rounds = 3, .round_seconds = 0.002}, false,
                            *store_, {});
  ASSERT_TRUE(tuned.ok()) << tuned.status().ToString();
  auto steps = store_->Steps();
  ASSERT_TRUE(steps.ok());
  std::set<std::string> ops;
  for (const auto& s : *steps) ops.insert(s.row.op);
  EXPECT_EQ(ops.count("Exp"), 1u);
  EXPECT_EQ(ops.count("Tanh"), 1u);
}

TEST_F(Tuning, DynamicExtentsAreTimedAtOne) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  auto graph = ParseGraph(R"(graph "g" {
  input %x: float32[N, 16]
  %y = Relu(%x)
  output %y
})");
  auto platform = GetPlatform("x86");
  ASSERT_TRUE(graph && platform.ok());
  auto report = Tune(*graph, *platform, {}, *store_);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_GT(report->kernels.all, 0);
  EXPECT_EQ(report->kernels.measured, report->kernels.all);
}

TEST_F(Tuning, WhatDataDecideIsLeftToEstimates) {
  if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "no x86";
  auto graph = ParseGraph(R"(graph "g" {
  input %x: float32[16]
  %n = NonZero(%x)
  %y = Cast(%n) {to = 1}
  %z = Relu(%y)
  output %z
})");
  auto platform = GetPlatform("x86");
  ASSERT_TRUE(graph && platform.ok());
  auto report = Tune(*graph, *platform, {}, *store_);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_GT(report->kernels.all, 0);
  EXPECT_EQ(report->kernels.skipped, report->kernels.all);
  ASSERT_EQ(static_cast<int>(report->skipped.size()),
            report->kernels.skipped + report->conversions.skipped);
  for (const std::string& why : report->skipped)
    EXPECT_NE(why.find("data decide an extent"), std::string::npos) << why;
}

TEST_F(Tuning, OnlyWhereItsPackagesRun) {
  auto graph = ParseGraph(kNet);
  auto platform = GetPlatform(ThisCpu().arch == "aarch64" ? "x86" : "arm64-generic");
  ASSERT_TRUE(graph && platform.ok());
  platform->device = "local";
  auto report = Tune(*graph, *platform, {}, *store_);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("does not run on this machine"), std::string::npos);
  auto chip = GetPlatform("rknn-int8");  // simulated: its times are not known
  ASSERT_TRUE(chip.ok());
  EXPECT_FALSE(Tune(*graph, *chip, {}, *store_).ok());
  EXPECT_EQ(store_->Counts()->kernels, 0);
}

TEST_F(Tuning, WhatIsEmulatedIsKeptApart) {
  auto platform = GetPlatform("x86");
  ASSERT_TRUE(platform.ok());
  std::set<std::string> keys{StepKey(*platform, 1).Hash()};
  EXPECT_FALSE(StepKey(*platform, 1).emulated);
  compiler::Platform board = *platform;
  board.device = "ssh:board";
  EXPECT_TRUE(keys.insert(StepKey(board, 1).Hash()).second);
  EXPECT_EQ(StepKey(board, 1).cpu_model, "");  // of this machine, which does not matter there
  board.device = "qemu-aarch64";
  board.emulated = true;
  EXPECT_TRUE(keys.insert(StepKey(board, 1).Hash()).second);
  EXPECT_TRUE(StepKey(board, 1).emulated);
  EXPECT_TRUE(keys.insert(StepKey(*platform, 2).Hash()).second);
}

}  // namespace
}  // namespace slipway::deploy
