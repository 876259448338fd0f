#include "perfdb/cost_model.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::perfdb {
namespace {

TEST(MeasuredCost, AnswersFromTheStoreAndElseAnalytically) {
  std::string path = testing::TempDir() + "slipway_cost_test.db";
  for (const char* end : {"", "-wal", "-shm"}) std::remove((path + end).c_str());
  auto store = Store::Open(path);
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  auto graph =
      ir::ParseText("graph \"g\" {\n input %x: float32[1, 1000]\n %y = Relu(%x)\n output %y\n}");
  ASSERT_TRUE(graph.ok());
  ASSERT_TRUE(ir::InferShapes(**graph).ok());
  const ir::Node& node = *(*graph)->nodes().front();
  PlatformKey key = KernelKey(device::HostFacts{}, 1);
  KernelRow row{"y",  "Relu", "x86", "relu", compiler::KernelSignature(node, "x86", "relu"),
                12.5, 0};
  ASSERT_TRUE((*store)->InsertKernels(key, {row}).ok());

  MeasuredCost cost(**store, key);
  backends::Candidate candidate;
  candidate.kernel = "relu";
  backends::Target target;
  EXPECT_DOUBLE_EQ(cost.StepMs(node, "x86", candidate, target), 12.5);
  compiler::AnalyticCost analytic;
  EXPECT_DOUBLE_EQ(cost.StepMs(node, "onednn", candidate, target),
                   analytic.StepMs(node, "onednn", candidate, target));
  // Another number of threads is another machine.
  MeasuredCost other(**store, KernelKey(device::HostFacts{}, 2));
  EXPECT_LT(other.StepMs(node, "x86", candidate, target), 1);
}

}  // namespace
}  // namespace slipway::perfdb
