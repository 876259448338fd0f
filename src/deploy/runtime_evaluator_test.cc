#include "deploy/runtime_evaluator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "base/thread_pool.h"
#include "data/archive.h"
#include "data/npy.h"
#include "deploy/model_io.h"
#include "deploy/quantize_model.h"
#include "deploy/toolchain.h"
#include "model/ir/text.h"
#include "model/passes/pass.h"

namespace slipway::deploy {
namespace {

constexpr char kNet[] = R"(graph "net" {
  input %x: float32[N, 3, 24, 24]
  const %w1: float32[24, 3, 3, 3] = random(1)
  const %b1: float32[24] = random(2)
  const %w2: float32[24, 1, 3, 3] = random(3)
  const %w3: float32[24, 24, 1, 1] = random(4)
  const %fc: float32[24, 5] = random(5)
  %a = Conv(%x, %w1, %b1) {pads = [1, 1, 1, 1]} "c1"
  %r = Relu(%a)
  %d = Conv(%r, %w2) {group = 24, pads = [1, 1, 1, 1]} "dw"
  %e = Conv(%d, %w3) "c3"
  %s = Add(%e, %r)
  %h = HardSwish(%s)
  %p = GlobalAveragePool(%h)
  %f = Flatten(%p)
  %y = MatMul(%f, %fc) "fc"
  output %y
})";

std::unique_ptr<ir::Graph> Fused(const char* text) {
  auto graph = ir::ParseText(text);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  EXPECT_TRUE(passes::RunPasses(**graph, {.level = passes::Level::kFused}).ok());
  return std::move(*graph);
}

quant::BatchSource Batches(int64_t rows, int64_t count) {
  return [=](int64_t i) -> Result<std::vector<ir::Tensor>> {
    if (i >= count) return std::vector<ir::Tensor>{};
    auto t = ir::Tensor::Allocate(DType::kFloat32, {rows, 3, 24, 24});
    for (int64_t k = 0; k < t->count(); ++k)
      reinterpret_cast<float*>(t->mutable_data())[k] =
          std::sin(static_cast<float>(k * k % 97 + i * 31 + k * 7));
    return std::vector<ir::Tensor>{std::move(*t)};
  };
}

TEST(RuntimeEvaluator, GivesTheInterpretersObserversForAnyNumberOfThreads) {
  const auto graph = Fused(kNet);
  std::set<std::string> names = {"x", "y"};  // an input and the graph's own output too
  for (const auto& node : graph->nodes()) {
    if (node->output()->dtype() == DType::kFloat32) names.insert(node->output()->name());
  }
  // More samples than are run at a time.
  const quant::BatchSource data = Batches(150, 2);
  std::vector<quant::Observers> seen;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool({.threads = threads});
    auto run = RuntimeEvaluator(*graph, names, threads);
    ASSERT_TRUE(run.ok()) << run.status().ToString();
    auto observers = quant::Calibrate(*graph, *run, data, names, {}, &pool);
    ASSERT_TRUE(observers.ok()) << observers.status().ToString();
    seen.push_back(std::move(*observers));
  }
  auto interpreter = quant::InterpreterEvaluator(*graph, nullptr);
  auto expected = quant::Calibrate(*graph, *interpreter, data, names);
  ASSERT_TRUE(expected.ok());
  const quant::CodeRange codes{-127, 127, true};
  for (const std::string& name : names) {
    const quant::Observer &a = seen[0].at(name), &e = expected->at(name);
    EXPECT_EQ(a.count(), e.count()) << name;
    for (const char* observer : {"minmax", "ema", "mse", "percentile", "kl"}) {
      const quant::Range x = *a.Choose(observer, codes), y = *e.Choose(observer, codes);
      const float wide = e.MinMax().hi - e.MinMax().lo;
      EXPECT_NEAR(x.hi, y.hi, 0.01 * wide) << name << ' ' << observer;
      for (size_t i = 1; i < seen.size(); ++i) {
        const quant::Range z = *seen[i].at(name).Choose(observer, codes);
        EXPECT_EQ(x.lo, z.lo) << name << ' ' << observer;
        EXPECT_EQ(x.hi, z.hi) << name << ' ' << observer;
      }
    }
    EXPECT_NEAR(a.MinMax().hi, e.MinMax().hi, 1e-4 * std::fabs(e.MinMax().hi) + 1e-6) << name;
    EXPECT_NEAR(a.MinMax().lo, e.MinMax().lo, 1e-4 * std::fabs(e.MinMax().lo) + 1e-6) << name;
  }
}

TEST(RuntimeEvaluator, ShowsPartsOfABatchInOrderAndWholeOutputsOfASmallOne) {
  const auto graph = Fused(kNet);
  auto run = RuntimeEvaluator(*graph, {"r"}, 1);
  ASSERT_TRUE(run.ok());
  auto interpreter = quant::InterpreterEvaluator(*graph, nullptr);
  auto inputs = *Batches(3, 1)(0);
  auto a = (*run)(inputs, {}), b = (*interpreter)(inputs, {});
  ASSERT_TRUE(a.ok() && b.ok());
  ASSERT_EQ(a->size(), 1u);
  for (int64_t i = 0; i < (*b)[0].count(); ++i)
    EXPECT_NEAR((*a)[0].data<float>()[i], (*b)[0].data<float>()[i], 1e-3);
  EXPECT_EQ(RuntimeEvaluator(*graph, {"nothing"}, 1).status().code(), StatusCode::kUnsupported);
}

class QuantizeModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::move(data::TemporaryFolder::Create()).value();
    std::vector<float> values(12 * 3 * 24 * 24);
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = std::sin(static_cast<float>(i * i % 97 + i * 7));
    const std::string path = folder_->path() + "/x.npy";
    const int64_t dims[] = {12, 3, 24, 24};
    ASSERT_TRUE(data::WriteNpy(path, DType::kFloat32, dims,
                               {reinterpret_cast<const uint8_t*>(values.data()),
                                values.size() * sizeof(float)})
                    .ok());
    auto set = data::Dataset::Open(path, {});
    ASSERT_TRUE(set.ok()) << set.status().ToString();
    set_ = std::move(*set);
  }
  std::unique_ptr<data::TemporaryFolder> folder_;
  std::unique_ptr<data::Dataset> set_;
};

TEST_F(QuantizeModelTest, AdjustsAroundQuantizationAndNamesLayersInBranches) {
  auto graph = ir::ParseText(R"(graph "branch" {
    input %x: float32[N, 3, 24, 24]
    const %w1: float32[8, 3, 3, 3] = random(1)
    const %w2: float32[6, 8, 3, 3] = random(2)
    const %flag: bool[1] = [1]
    const %k: float32[] = [1e9]
    %a = Conv(%x, %w1) "c1"
    %r = Relu(%a)
    %b = Conv(%r, %w2) "c2"
    %m = ReduceMax(%b) {keepdims = 0}
    %c = Less(%k, %m)
    %y = If(%c, %b) "if" body "then_branch" graph "then" {
      input %u: float32[N, 6, 20, 20]
      const %w: float32[6, 6, 1, 1] = random(3)
      %v = Conv(%u, %w) "never"
      output %v
    } body "else_branch" graph "else" {
      input %u: float32[N, 6, 20, 20]
      %v = Relu(%u)
      output %v
    }
    output %y
  })");
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  auto platform = GetPlatform("x86-int8");
  ASSERT_TRUE(platform.ok());
  ThreadPool pool({.threads = 2});
  QuantizeModelOptions options;
  options.pool = &pool;
  options.adjust.equalize = true;
  auto model = QuantizeModel(**graph, platform->scheme, *set_, options);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  ASSERT_EQ(model->notes.size(), 1u) << model->notes[0];
  EXPECT_NE(model->notes[0].find("'never'"), std::string::npos) << model->notes[0];
  ASSERT_EQ(model->adjusted.equalized.size(), 1u);
  EXPECT_LT(model->adjusted.change, 1e-5);
}

TEST(Adjustments, AreParsedAndRefused) {
  auto a = ParseAdjustments({"equalize", "smooth:0.5", "bias-correction", "bn"});
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(a->alpha, 0.5);
  EXPECT_TRUE(a->equalize && a->smooth && a->bias_correction && a->batch_statistics);
  for (const char* wrong : {"", "nothing", "smooth:", "smooth:2", "smooth:x", "equalize:1"})
    EXPECT_FALSE(ParseAdjustments({wrong}).ok()) << wrong;
}

}  // namespace
}  // namespace slipway::deploy
