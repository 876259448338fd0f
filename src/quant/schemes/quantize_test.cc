#include "quant/schemes/quantize.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"
#include "model/passes/pass.h"
#include "quant/sensitivity/sensitivity.h"

namespace slipway::quant {
namespace {

constexpr char kNet[] = R"(graph "net" {
  input %x: float32[N, 3, 8, 8]
  const %w1: float32[8, 3, 3, 3] = random(1)
  const %b1: float32[8] = random(2)
  const %w2: float32[8, 8, 3, 3] = random(3)
  const %w3: float32[8, 8, 1, 1] = random(4)
  const %fc: float32[8, 5] = random(5)
  const %fb: float32[5] = random(6)
  %a = Conv(%x, %w1, %b1) {pads = [1, 1, 1, 1]} "c1"
  %r = Relu(%a)
  %c = Conv(%r, %w2) {pads = [1, 1, 1, 1]} "c2"
  %s = Add(%c, %r)
  %t = Relu(%s)
  %d = Conv(%t, %w3) "c3"
  %h = HardSwish(%d)
  %p = GlobalAveragePool(%h)
  %f = Flatten(%p)
  %y = Gemm(%f, %fc, %fb) "fc"
  output %y
})";

Scheme TestScheme() {
  Scheme s;
  s.weights = {.narrow = true, .per = compiler::Granularity::kChannel};
  s.activations.sign = compiler::Sign::kAuto;
  s.operators = {"Conv", "Linear", "Add", "GlobalAveragePool"};
  return s;
}

std::unique_ptr<ir::Graph> Fused() {
  auto graph = ir::ParseText(kNet);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  auto reports = passes::RunPasses(**graph, {.level = passes::Level::kFused});
  EXPECT_TRUE(reports.ok()) << reports.status().ToString();
  return std::move(*graph);
}

ir::Tensor Sample(int seed) {
  auto t = ir::Tensor::Allocate(DType::kFloat32, {4, 3, 8, 8});
  for (int64_t i = 0; i < t->count(); ++i) {
    reinterpret_cast<float*>(t->mutable_data())[i] = std::sin(static_cast<float>(i * 7 + seed));
  }
  return std::move(*t);
}

BatchSource Batches(int count) {
  return [count](int64_t i) -> Result<std::vector<ir::Tensor>> {
    if (i >= count) return std::vector<ir::Tensor>{};
    return std::vector<ir::Tensor>{Sample(static_cast<int>(i))};
  };
}

std::function<Result<Evaluator>(const ir::Graph&)> Interpreted() {
  return [](const ir::Graph& g) { return InterpreterEvaluator(g, nullptr); };
}

TEST(Quantize, PutsPairsAtFusedBoundariesAndStaysClose) {
  auto graph = Fused();
  auto original = graph->Clone();
  SplitActivations(*original);
  Status s = Quantize(*graph, TestScheme(), Interpreted(), Batches(3));
  ASSERT_TRUE(s.ok()) << s.ToString();
  ASSERT_TRUE(ir::Verify(*graph).ok()) << ir::Verify(*graph).ToString();
  // No pair between a convolution and its residual or ReLU: x, the two fused outputs, c3's,
  // HardSwish's and the pool's.
  int quantize = 0;
  for (const auto& n : graph->nodes()) quantize += n->IsSlipway("Quantize") ? 1 : 0;
  EXPECT_GE(quantize, 5);
  EXPECT_LE(quantize, 7) << ir::ToText(*graph, {.max_constant_elements = 8});
  auto run = [&](const ir::Graph& g) {
    auto evaluator = InterpreterEvaluator(g, nullptr);
    auto out = (*evaluator)({Sample(9)}, {});
    EXPECT_TRUE(out.ok()) << out.status().ToString();
    return (*out)[0];
  };
  ir::Tensor a = run(*original), b = run(*graph);
  double signal = 0, noise = 0;
  for (int64_t i = 0; i < a.count(); ++i) {
    double d = a.data<float>()[i] - b.data<float>()[i];
    signal += a.data<float>()[i] * a.data<float>()[i];
    noise += d * d;
  }
  EXPECT_GT(10 * std::log10(signal / noise), 25);

  auto errors = LayerErrors(*original, *graph, Batches(1), nullptr);
  ASSERT_TRUE(errors.ok()) << errors.status().ToString();
  EXPECT_GE(errors->size(), 4u);
  ASSERT_NE(WorstLayer(*errors), nullptr);
  EXPECT_GT(WorstLayer(*errors)->alone_db, 15);

  // The integer form: every convolution and the linear layer become integer operators, and its
  // results are those of the pairs up to rounding.
  auto lowered = graph->Clone();
  ASSERT_TRUE(passes::RunPasses(*lowered, {.level = passes::Level::kInteger}).ok());
  int integer = 0;
  for (const auto& n : lowered->nodes())
    integer += n->IsSlipway("QConv") || n->IsSlipway("QLinear") ? 1 : 0;
  EXPECT_EQ(integer, 4) << ir::ToText(*lowered, {.max_constant_elements = 8});
  ir::Tensor c = run(*lowered);
  for (int64_t i = 0; i < b.count(); ++i)
    EXPECT_NEAR(c.data<float>()[i], b.data<float>()[i], 0.05 * std::sqrt(signal / 20));
}

TEST(Quantize, WhereOutputsAreCodesTheAddendsOfAResidualAreToo) {
  auto graph = Fused();
  Scheme scheme = TestScheme();
  scheme.outputs = true;
  Status s = Quantize(*graph, scheme, Interpreted(), Batches(3));
  ASSERT_TRUE(s.ok()) << s.ToString();
  ASSERT_TRUE(ir::Verify(*graph).ok()) << ir::Verify(*graph).ToString();
  int layers = 0, sums = 0;
  for (const auto& n : graph->nodes()) {
    const bool layer = n->op() == "Conv" || n->op() == "Linear";
    if (!layer && n->op() != "Add") continue;
    layers += layer;
    sums += n->op() == "Add";
    EXPECT_LE(n->inputs().size(), 3u) << n->Describe();
    for (const ir::Use& use : n->output()->uses())
      EXPECT_TRUE(use.node->IsSlipway("Quantize")) << n->Describe() << " " << use.node->Describe();
  }
  EXPECT_EQ(layers, 4);
  EXPECT_EQ(sums, 1);
  // The same function as before: the sums of the float graph are those of the fused one.
  auto fused = Fused(), split = Fused();
  SplitActivations(*fused);
  SplitActivations(*split);
  ASSERT_EQ(SplitResiduals(*split), 1);
  auto a = interp::Evaluate(*fused, std::vector<ir::Tensor>{Sample(3)});
  auto b = interp::Evaluate(*split, std::vector<ir::Tensor>{Sample(3)});
  ASSERT_TRUE(a.ok() && b.ok()) << b.status().ToString();
  for (int64_t i = 0; i < (*a)[0].count(); ++i)
    EXPECT_NEAR((*a)[0].data<float>()[i], (*b)[0].data<float>()[i], 1e-5);
}

TEST(Quantize, KeepsNamedNodesFloat) {
  auto graph = Fused();
  QuantizeOptions options;
  options.keep_float = {"c2"};
  ASSERT_TRUE(Quantize(*graph, TestScheme(), Interpreted(), Batches(1), options).ok());
  const ir::Node* c2 = graph->FindNode("c2");
  ASSERT_NE(c2, nullptr);
  EXPECT_NE(c2->constant_input(1), nullptr);
}

TEST(Quantize, NamesMissingDataAndBadValues) {
  auto graph = Fused();
  Status none = Quantize(*graph, TestScheme(), Interpreted(), Batches(0));
  EXPECT_EQ(none.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(none.message().find("calibration data"), std::string::npos);
  graph = Fused();
  BatchSource nan = [](int64_t i) -> Result<std::vector<ir::Tensor>> {
    if (i > 0) return std::vector<ir::Tensor>{};
    ir::Tensor t = Sample(0);
    reinterpret_cast<float*>(t.mutable_data())[3] = NAN;
    return std::vector<ir::Tensor>{t};
  };
  Status bad = Quantize(*graph, TestScheme(), Interpreted(), nan);
  EXPECT_EQ(bad.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(bad.message().find("not finite"), std::string::npos);
}

TEST(Quantize, RefusesSchemesItCannotMake) {
  auto graph = Fused();
  Scheme grouped = TestScheme(), unsized = TestScheme();
  grouped.activations.per = compiler::Granularity::kGroup;
  unsized.weights.per = compiler::Granularity::kGroup;
  for (const Scheme& s : {grouped, unsized}) {
    EXPECT_EQ(Quantize(*graph, s, Interpreted(), Batches(1)).code(), StatusCode::kUnsupported);
  }
}

TEST(Quantize, AllZeroWeightsAndConstantChannelsAreFine) {
  auto graph = ir::ParseText(R"(graph "zero" {
    input %x: float32[1, 2, 4, 4]
    const %w: float32[2, 2, 1, 1] = zeros
    %a = Conv(%x, %w) "c"
    %b = Conv(%a, %w) "d"
    output %b
  })");
  ASSERT_TRUE(graph.ok());
  ASSERT_TRUE(passes::RunPasses(**graph, {.level = passes::Level::kFused}).ok());
  BatchSource data = [](int64_t i) -> Result<std::vector<ir::Tensor>> {
    if (i > 0) return std::vector<ir::Tensor>{};
    return std::vector<ir::Tensor>{
        ir::Tensor::Of<float>({1, 2, 4, 4}, std::vector<float>(32, 1.0f))};
  };
  Status s = Quantize(**graph, TestScheme(), Interpreted(), data);
  EXPECT_TRUE(s.ok()) << s.ToString();
}

}  // namespace
}  // namespace slipway::quant
