#include "quant/sensitivity/diagnose.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "model/ir/text.h"
#include "model/passes/pass.h"
#include "quant/schemes/quantize.h"

namespace slipway::quant {
namespace {

using ir::Tensor;

constexpr char kNet[] = R"(graph "net" {
  input %x: float32[N, 4, 8, 8]
  const %w1: float32[8, 4, 3, 3] = random(1)
  const %w2: float32[6, 8, 1, 1] = random(3)
  %a = Conv(%x, %w1) "c1"
  %r = Relu(%a)
  %y = Conv(%r, %w2) "c2"
  output %y
})";

struct Case {
  std::unique_ptr<ir::Graph> original, quantized;
  std::vector<LayerDiagnosis> rows;
};

Case Diagnosed(const Scheme& scheme, float outlier, bool unbalanced = false) {
  Case c;
  auto graph = ir::ParseText(kNet);
  EXPECT_TRUE(graph.ok());
  if (unbalanced) {
    ir::Value* w = (*graph)->FindNode("c2")->input(1);
    std::vector<float> values(w->constant()->data<float>(), w->constant()->data<float>() + 48);
    for (int i = 0; i < 8; ++i) values[static_cast<size_t>(i)] *= 300;  // one output channel
    (*graph)->SetConstant(w, Tensor::Of<float>({6, 8, 1, 1}, values));
  }
  c.original = std::move(*graph);
  EXPECT_TRUE(passes::RunPasses(*c.original, {.level = passes::Level::kFused}).ok());
  c.quantized = c.original->Clone();
  const BatchSource data = [=](int64_t i) -> Result<std::vector<Tensor>> {
    if (i > 0) return std::vector<Tensor>{};
    std::vector<float> v(4 * 4 * 64);
    for (size_t k = 0; k < v.size(); ++k) v[k] = std::sin(static_cast<float>(k * k % 1009));
    if (outlier != 0) v[77] = outlier;
    return std::vector<Tensor>{Tensor::Of<float>({4, 4, 8, 8}, v)};
  };
  const Status s = Quantize(
      *c.quantized, scheme, [](const ir::Graph& g) { return InterpreterEvaluator(g, nullptr); },
      data);
  EXPECT_TRUE(s.ok()) << s.ToString();
  auto rows = Diagnose(*c.original, *c.quantized, data, {}, nullptr);
  EXPECT_TRUE(rows.ok()) << rows.status().ToString();
  if (rows.ok()) c.rows = std::move(*rows);
  return c;
}

Scheme Bits(int weights, int activations) {
  Scheme s;
  s.weights = {.bits = weights, .narrow = true, .per = compiler::Granularity::kChannel};
  s.activations = {.bits = activations, .sign = compiler::Sign::kAuto};
  s.operators = {"Conv"};
  return s;
}

const Remedy& Chosen(const LayerDiagnosis& d) { return d.tried.at(static_cast<size_t>(d.chosen)); }

TEST(Diagnose, AnOutlierCallsForAnObserverThatClips) {
  const Case c = Diagnosed(Bits(8, 4), 9);
  ASSERT_EQ(c.rows.size(), 2u);
  const LayerDiagnosis& first = c.rows[0];
  EXPECT_EQ(first.error.node, "c1");
  EXPECT_LT(first.input_db + 5, first.weights_db);
  ASSERT_TRUE(first.input && first.weights);
  EXPECT_EQ(first.input->bits, 4);
  EXPECT_EQ(first.input->seen.hi, 9);
  EXPECT_NEAR(first.input->range.hi, 9, 1e-5);
  EXPECT_EQ(first.input->clipped, 0);
  EXPECT_EQ(std::accumulate(first.input->bins.begin(), first.input->bins.end(), int64_t{0}), 1024);
  ASSERT_GE(first.chosen, 0);
  EXPECT_EQ(Chosen(first).option.rfind("--observer ", 0), 0u) << Chosen(first).option;
  EXPECT_NE(Chosen(first).option, "--observer minmax");
  // Doing it gives what was promised.
  Scheme better = Bits(8, 4);
  better.activations.observer = Chosen(first).option.substr(11);
  const Case after = Diagnosed(better, 9);
  EXPECT_NEAR(after.rows[0].error.alone_db, Chosen(first).db, 1);
  EXPECT_GT(after.rows[0].error.alone_db, first.error.alone_db + 1);
}

TEST(Diagnose, OneScaleForUnlikeChannelsCallsForEqualisation) {
  Scheme tensor = Bits(8, 8);
  tensor.weights.per = compiler::Granularity::kTensor;
  const Case c = Diagnosed(tensor, 0, true);
  ASSERT_EQ(c.rows.size(), 2u);
  const LayerDiagnosis& second = c.rows[1];
  EXPECT_GT(second.weights->imbalance, 50);
  const auto equalize = std::find_if(second.tried.begin(), second.tried.end(), [](const Remedy& r) {
    return r.option == "--adjust equalize";
  });
  ASSERT_NE(equalize, second.tried.end());
  EXPECT_TRUE(equalize->bound);
}

TEST(Diagnose, FewBitsCallForMoreAndGoodLayersForNothingFree) {
  const Case few = Diagnosed(Bits(2, 8), 0);
  EXPECT_LT(few.rows[0].weights_db, few.rows[0].input_db);
  bool bits = false;
  for (const Remedy& r : few.rows[0].tried) {
    if (r.option != "--bits with W8") continue;
    bits = true;
    EXPECT_GT(r.db, few.rows[0].error.alone_db + 10);
  }
  EXPECT_TRUE(bits);
  Scheme fine = Bits(8, 8);
  fine.activations.observer = fine.weights.observer = "mse";
  const Case good = Diagnosed(fine, 0);
  for (const LayerDiagnosis& d : good.rows) {
    EXPECT_GT(d.error.alone_db, 30);
    EXPECT_EQ(Chosen(d).option, "--keep-float " + d.error.node);
  }
}

}  // namespace
}  // namespace slipway::quant
