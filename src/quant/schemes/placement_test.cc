// What each key of a scheme does to a graph.

#include "quant/schemes/placement.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"
#include "model/ops/quantize.h"
#include "model/passes/pass.h"
#include "quant/schemes/quantize.h"

namespace slipway::quant {
namespace {

using compiler::Granularity;
using compiler::Sign;

constexpr char kNet[] = R"(graph "net" {
  input %x: float32[N, 3, 8, 8]
  const %w1: float32[8, 3, 3, 3] = random(1)
  const %b1: float32[8] = random(2)
  const %w2: float32[4, 8, 1, 1] = random(3)
  const %w3: float32[12, 6, 2, 2] = random(4)
  const %fc: float32[6, 5] = random(5)
  const %fb: float32[5] = random(6)
  %a = Conv(%x, %w1, %b1) {pads = [1, 1, 1, 1]} "c1"
  %r = Relu(%a)
  %c = Conv(%r, %w2) "c2"
  %k = Concat(%r, %c) {axis = 1} "join"
  %u = ConvTranspose(%k, %w3) {strides = [2, 2]} "up"
  %p = GlobalAveragePool(%u)
  %f = Flatten(%p)
  %y = Gemm(%f, %fc, %fb) "fc"
  output %y
})";

Scheme TestScheme() {
  Scheme s;
  s.weights = {.narrow = true, .per = Granularity::kChannel};
  s.activations.sign = Sign::kAuto;
  s.operators = {"Conv", "ConvTranspose", "Linear", "Concat", "GlobalAveragePool"};
  return s;
}

BatchSource Batches() {
  return [](int64_t i) -> Result<std::vector<ir::Tensor>> {
    if (i >= 2) return std::vector<ir::Tensor>{};
    auto t = ir::Tensor::Allocate(DType::kFloat32, {4, 3, 8, 8});
    for (int64_t j = 0; j < t->count(); ++j)
      reinterpret_cast<float*>(t->mutable_data())[j] = std::sin(static_cast<float>(j * 7 + i));
    return std::vector<ir::Tensor>{std::move(*t)};
  };
}

struct Quantized {
  std::unique_ptr<ir::Graph> graph, original;
  Status status;
};

Quantized Make(const Scheme& scheme, const QuantizeOptions& options = {}) {
  Quantized q;
  auto graph = ir::ParseText(kNet);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  // Only the fusions: this is about placement, not about what a compiler makes of it.
  EXPECT_TRUE(passes::RunPasses(
                  **graph, {.level = passes::Level::kFused, .disabled = {"lower-conv-transpose"}})
                  .ok());
  q.original = (*graph)->Clone();
  q.graph = std::move(*graph);
  q.status = Quantize(
      *q.graph, scheme, [](const ir::Graph& g) { return InterpreterEvaluator(g, nullptr); },
      Batches(), options);
  EXPECT_TRUE(q.status.ok()) << q.status.ToString();
  EXPECT_TRUE(ir::Verify(*q.graph).ok()) << ir::Verify(*q.graph).ToString();
  return q;
}

const ir::Node& PairOf(const Quantized& q, const std::string& value) {
  const ir::Node* n = q.graph->FindNode(value + "/quantize");
  EXPECT_NE(n, nullptr) << value;
  return *n;
}
bool HasPair(const Quantized& q, const std::string& value) {
  return q.graph->FindNode(value + "/quantize") != nullptr;
}
double ScaleOf(const Quantized& q, const std::string& value) {
  return PairOf(q, value).constant_input(1)->ToDoubles()[0];
}
double ZeroOf(const Quantized& q, const std::string& value) {
  return PairOf(q, value).constant_input(2)->ToDoubles()[0];
}

double Difference(const Quantized& q) {
  const auto x = (*Batches()(0));
  auto run = [&](const ir::Graph& g) {
    auto e = InterpreterEvaluator(g, nullptr);
    EXPECT_TRUE(e.ok()) << e.status().ToString();
    auto y = (*e)(x, {});
    EXPECT_TRUE(y.ok()) << y.status().ToString();
    return (*y)[0].ToDoubles();
  };
  const auto a = run(*q.original), b = run(*q.graph);
  double error = 0, power = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (a[i] - b[i]) * (a[i] - b[i]);
    power += a[i] * a[i];
  }
  return std::sqrt(error / power);
}

TEST(Schemes, InputsOnlyByDefault) {
  const Quantized q = Make(TestScheme());
  for (const char* v : {"x", "r", "c", "k", "u"}) EXPECT_TRUE(HasPair(q, v)) << v;
  EXPECT_FALSE(HasPair(q, "y"));
  EXPECT_NE(ScaleOf(q, "r"), ScaleOf(q, "k"));
  // A transposed convolution counts its output channels along dimension 1.
  const ir::Node* up = q.graph->FindNode("up");
  ASSERT_NE(up, nullptr);
  const ir::Node* dq = up->input(1)->producer();
  ASSERT_TRUE(dq && dq->IsSlipway("Dequantize"));
  EXPECT_EQ(dq->attributes.Int("axis", -9), 1);
  EXPECT_EQ(dq->constant_input(1)->count(), 6);
  EXPECT_LT(Difference(q), 0.03);
}

TEST(Schemes, FunctionsOfALayersSumsAreNotRoundedBefore) {
  // The sums reach down to -30, what LeakyRelu leaves of them to -0.3.
  constexpr char kLeaky[] = R"(graph "leaky" {
    input %x: float32[N, 3, 8, 8]
    const %w1: float32[8, 3, 3, 3] = random(1)
    const %b1: float32[8] = fill(-10)
    const %w2: float32[4, 8, 1, 1] = random(3)
    %a = Conv(%x, %w1, %b1) {pads = [1, 1, 1, 1]} "c1"
    %r = LeakyRelu(%a) {alpha = 0.01}
    %y = Conv(%r, %w2) "c2"
    output %y
  })";
  auto graph = ir::ParseText(kLeaky);
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  ASSERT_TRUE(passes::RunPasses(**graph, {.level = passes::Level::kFused}).ok());
  Quantized q;
  q.original = (*graph)->Clone();
  q.graph = std::move(*graph);
  ASSERT_TRUE(Quantize(
                  *q.graph, TestScheme(),
                  [](const ir::Graph& g) { return InterpreterEvaluator(g, nullptr); }, Batches())
                  .ok());
  EXPECT_EQ(q.graph->FindNode("c1")->output()->OnlyUser()->op(), "LeakyRelu");
  EXPECT_LT(Difference(q), 0.02);
  // Nor those of a float layer: a budget chooses layers by what was observed of all of them.
  auto split = q.original->Clone();
  SplitActivations(*split);
  const auto all = ValuesToObserve(*split, TestScheme(), {});
  for (const char* kept : {"c1", "c2"}) {
    for (const std::string& name : ValuesToObserve(*split, TestScheme(), {.keep_float = {kept}}))
      EXPECT_TRUE(all.contains(name)) << name << " without " << kept;
  }
  // It is one integer step all the same.
  ASSERT_TRUE(passes::RunPasses(*q.graph, {.level = passes::Level::kInteger}).ok());
  for (const auto& n : q.graph->nodes()) EXPECT_NE(n->op(), "LeakyRelu");
}

TEST(Schemes, OutputsAreCodesWithTheirNamesKept) {
  Scheme s = TestScheme();
  s.outputs = true;
  const Quantized q = Make(s);
  EXPECT_TRUE(HasPair(q, "y"));
  ASSERT_EQ(q.graph->outputs().size(), 1u);
  EXPECT_EQ(q.graph->outputs()[0]->name(), "y");
  ASSERT_TRUE(q.graph->outputs()[0]->producer());
  EXPECT_TRUE(q.graph->outputs()[0]->producer()->IsSlipway("Dequantize"));
  EXPECT_TRUE(HasPair(q, "p"));
  EXPECT_LT(Difference(q), 0.03);
}

TEST(Schemes, SharedOperatorsHaveOneScale) {
  Scheme s = TestScheme();
  s.activations = {.sign = Sign::kSigned, .symmetric = false};
  s.shared = {"Concat"};
  const Quantized q = Make(s);
  EXPECT_EQ(ScaleOf(q, "r"), ScaleOf(q, "k"));
  EXPECT_EQ(ScaleOf(q, "c"), ScaleOf(q, "k"));
  EXPECT_EQ(ZeroOf(q, "r"), ZeroOf(q, "c"));
  EXPECT_NE(ScaleOf(q, "x"), ScaleOf(q, "k"));
}

TEST(Schemes, AsymmetricEverythingAndSixteenBits) {
  Scheme s = TestScheme();
  s.weights = {.sign = Sign::kUnsigned, .symmetric = false};
  s.activations = {.bits = 16, .sign = Sign::kUnsigned, .symmetric = false};
  const Quantized q = Make(s);
  EXPECT_EQ(PairOf(q, "x").output()->dtype(), DType::kUInt16);
  EXPECT_GT(ZeroOf(q, "x"), 20000);
  EXPECT_LT(Difference(q), 0.03);
  s.weights.bits = 16;
  EXPECT_LT(Difference(Make(s)), 1e-3);
}

TEST(Schemes, BiasesOfTheirOwnScaleOrFloat) {
  Scheme s = TestScheme();
  s.weights = {.kind = compiler::ScaleKind::kPowerOfTwo};
  s.activations.kind = compiler::ScaleKind::kPowerOfTwo;
  s.bias = compiler::BiasKind::kPowerOfTwo;
  s.bias_bits = 8;
  const Quantized q = Make(s);
  const ir::Node* dq = q.graph->FindNode("fc")->input(2)->producer();
  ASSERT_TRUE(dq && dq->IsSlipway("Dequantize"));
  EXPECT_EQ(dq->constant_input(0)->dtype(), DType::kInt8);
  int exponent;
  EXPECT_EQ(std::frexp(dq->constant_input(1)->ToDoubles()[0], &exponent), 0.5);
  EXPECT_LT(Difference(q), 0.06);
  s.bias = compiler::BiasKind::kFloat;
  EXPECT_TRUE(Make(s).graph->FindNode("fc")->constant_input(2));
}

TEST(Schemes, LogarithmicAndWeightOnly) {
  Scheme s = TestScheme();
  s.weights = {.kind = compiler::ScaleKind::kLogarithmic};
  s.activations = {.kind = compiler::ScaleKind::kLogarithmic};
  s.bias = compiler::BiasKind::kFloat;
  EXPECT_LT(Difference(Make(s)), 0.08);  // a sixteenth of an octave is 2.2 % of a value
  s.weights = {.bits = 4, .per = Granularity::kGroup, .group = 4};
  s.weight_only = true;
  const Quantized q = Make(s);
  EXPECT_FALSE(HasPair(q, "x"));
  const ir::Node* dq = q.graph->FindNode("fc")->input(1)->producer();
  ASSERT_TRUE(dq && dq->IsSlipway("Dequantize"));
  EXPECT_EQ(dq->attributes.Int("group", 0), 4);
  EXPECT_LT(Difference(q), 0.25);
  s.weights.per = Granularity::kTensor;
  EXPECT_GT(Difference(Make(s)), Difference(q));
}

TEST(Schemes, IntegerFormIsWhatTheInterpreterGives) {
  // What is lowered to integer operators gives the codes of the pairs.
  for (const bool asymmetric : {false, true}) {
    Scheme s = TestScheme();
    s.operators = {"Conv", "Linear", "GlobalAveragePool"};
    if (asymmetric) s.weights = {.bits = 2, .symmetric = false, .per = Granularity::kChannel};
    Quantized q = Make(s);
    auto lowered = q.graph->Clone();
    ASSERT_TRUE(passes::RunPasses(*lowered, {.level = passes::Level::kInteger}).ok());
    int convolutions = 0;
    for (const auto& n : lowered->nodes()) convolutions += n->IsSlipway("QConv");
    EXPECT_GE(convolutions, 2);
    q.original = q.graph->Clone();
    q.graph = std::move(lowered);
    EXPECT_LT(Difference(q), 1e-3);
  }
}

}  // namespace
}  // namespace slipway::quant
