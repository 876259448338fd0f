#include "deploy/tune.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/cpu.h"
#include "deploy/graph_test_util.h"
#include "device/host_facts.h"
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
  EXPECT_GT(first->measured, 5);
  EXPECT_EQ(first->known, 0);
  EXPECT_EQ(first->kernels, first->measured + first->skipped);
  EXPECT_EQ(last, all);
  auto second = Tune(*graph, *platform, {}, *store_);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->measured, 0);
  EXPECT_EQ(second->known, first->measured);
  // Every chosen kernel has its measured price.
  const perfdb::MeasuredCost cost(*store_, perfdb::KernelKey(device::ReadHostFacts(), 1));
  compiler::CompileOptions options;
  options.cost = &cost;
  auto compiled = CompileModel(*graph, *platform, options);
  ASSERT_TRUE(compiled.ok()) << compiled.status().ToString();
  const std::string key = perfdb::KernelKey(device::ReadHostFacts(), 1).Hash();
  int priced = 0;
  for (const auto& row : compiled->result.placement) {
    const auto ms = store_->KernelMs(key, row.signature);
    if (!ms) continue;  // a view
    ++priced;
    EXPECT_EQ(row.cost_ms, *ms) << row.node;
  }
  EXPECT_GE(priced, 4);
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
  EXPECT_GT(report->kernels, 0);
  EXPECT_EQ(report->measured, report->kernels);
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
  EXPECT_GT(report->kernels, 0);
  EXPECT_EQ(report->skipped, report->kernels);
}

TEST_F(Tuning, OnlyThisMachine) {
  auto graph = ParseGraph(kNet);
  auto platform = GetPlatform(ThisCpu().arch == "aarch64" ? "x86" : "arm64-generic");
  ASSERT_TRUE(graph && platform.ok());
  auto report = Tune(*graph, *platform, {}, *store_);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("does not run on this machine"), std::string::npos);
}

}  // namespace
}  // namespace slipway::deploy
