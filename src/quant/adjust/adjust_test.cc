#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/ir/text.h"
#include "model/passes/pass.h"
#include "quant/adjust/correct.h"
#include "quant/adjust/equalize.h"
#include "quant/adjust/layer.h"
#include "quant/schemes/quantize.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Tensor;

std::unique_ptr<Graph> Fused(const std::string& text) {
  auto graph = ir::ParseText(text);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  const auto reports = passes::RunPasses(**graph, {.level = passes::Level::kFused});
  EXPECT_TRUE(reports.ok()) << reports.status().ToString();
  return std::move(*graph);
}

BatchSource Images(const Dims& dims, int count, float scale = 1) {
  return [=](int64_t i) -> Result<std::vector<Tensor>> {
    if (i >= count) return std::vector<Tensor>{};
    auto t = Tensor::Allocate(DType::kFloat32, dims);
    for (int64_t k = 0; k < t->count(); ++k)
      reinterpret_cast<float*>(t->mutable_data())[k] =
          scale * std::sin(static_cast<float>(k * k % 97) + static_cast<float>(i * 31 + k * 7));
    return std::vector<Tensor>{std::move(*t)};
  };
}

Tensor OutputOf(const Graph& graph, const BatchSource& data) {
  auto run = InterpreterEvaluator(graph, nullptr);
  auto out = (*run)(*data(0), {});
  EXPECT_TRUE(out.ok()) << out.status().ToString();
  return (*out)[0];
}

double Difference(const Tensor& a, const Tensor& b) {
  double difference = 0, largest = 0;
  for (int64_t i = 0; i < a.count(); ++i) {
    difference = std::max(difference, std::fabs(double{a.data<float>()[i]} - b.data<float>()[i]));
    largest = std::max(largest, std::fabs(double{a.data<float>()[i]}));
  }
  return difference / largest;
}

// Scales channels of a layer and undoes it in the next: the function stays, the ranges suffer.
void Unbalance(Graph& graph, const std::string& first, const std::vector<std::string>& second) {
  auto a = Layer::Of(graph.FindNode(first));
  std::vector<double> up, down;
  for (int64_t i = 0; i < a->outputs(); ++i) {
    up.push_back(std::pow(10.0, static_cast<double>(i % 5) - 2));
    down.push_back(1 / up.back());
  }
  std::vector<double> bias = a->Bias();
  for (size_t i = 0; i < bias.size(); ++i) bias[i] *= up[i];
  a->ScaleOutputs(up);
  a->StoreWeights(graph);
  if (a->node()->input(2)) a->StoreBias(graph, bias);
  for (const std::string& name : second) {
    auto b = Layer::Of(graph.FindNode(name));
    b->ScaleInputs(down);
    b->StoreWeights(graph);
  }
}

std::map<std::string, ChannelStatistics> Statistics(const Graph& graph, const BatchSource& data,
                                                    const std::map<std::string, int>& channels) {
  auto run = InterpreterEvaluator(graph, nullptr);
  auto out = ObserveChannels(graph, *run, data, channels);
  EXPECT_TRUE(out.ok()) << out.status().ToString();
  return out.ok() ? *out : std::map<std::string, ChannelStatistics>{};
}

// One scale for all weights: what it costs, relative to the power of each channel.
double TensorError(const Graph& graph, const std::string& name) {
  const Tensor* w = graph.FindNode(name)->constant_input(1);
  const std::span<const float> values(w->data<float>(), static_cast<size_t>(w->count()));
  const CodeRange codes{-127, 127, true};
  const QuantParams q = ParamsFor(Distribution::Of(values).extremes, codes);
  const auto channels = static_cast<size_t>(w->dims()[0]), each = values.size() / channels;
  double sum = 0;
  for (size_t c = 0; c < channels; ++c) {
    const auto part = values.subspan(c * each, each);
    double power = 0;
    for (const float v : part) power += double{v} * v / static_cast<double>(each);
    sum += QuantizationError(Distribution::Of(part), q, codes) / power;
  }
  return sum / static_cast<double>(channels);
}

constexpr char kTriple[] = R"(graph "triple" {
  input %x: float32[N, 3, 8, 8]
  const %w1: float32[10, 3, 3, 3] = random(1)
  const %b1: float32[10] = random(2)
  const %w2: float32[10, 1, 3, 3] = random(3)
  const %b2: float32[10] = random(4)
  const %w3: float32[6, 10, 1, 1] = random(5)
  const %w4: float32[6, 3, 3, 3] = random(6)
  const %fc: float32[6, 5] = random(7)
  %a = Conv(%x, %w1, %b1) {pads = [1, 1, 1, 1]} "c1"
  %r = Relu(%a)
  %m = MaxPool(%r) {kernel_shape = [2, 2]}
  %d = Conv(%m, %w2, %b2) {group = 10, pads = [1, 1, 1, 1]} "dw"
  %l = LeakyRelu(%d) {alpha = 0.1}
  %e = Conv(%l, %w3) "c3"
  %g = Conv(%e, %w4) {group = 2} "grouped"
  %p = GlobalAveragePool(%g)
  %f = Flatten(%p)
  %y = MatMul(%f, %fc) "fc"
  output %y
})";

TEST(Equalize, BalancesChainsThroughDepthwiseAndKeepsTheFunction) {
  auto graph = Fused(kTriple);
  Unbalance(*graph, "c1", {"dw"});
  Unbalance(*graph, "dw", {"c3"});
  const BatchSource data = Images({2, 3, 8, 8}, 2);
  const Tensor before = OutputOf(*graph, data);
  const double worst = TensorError(*graph, "c1");
  const auto groups = Equalize(*graph, {});
  ASSERT_TRUE(groups.ok()) << groups.status().ToString();
  ASSERT_EQ(groups->size(), 4u);  // c1 -> dw -> c3 -> grouped -> fc
  EXPECT_EQ((*groups)[0].layer, "c1");
  EXPECT_EQ((*groups)[0].consumers, std::vector<std::string>{"dw"});
  EXPECT_EQ((*groups)[3].consumers, std::vector<std::string>{"fc"});
  EXPECT_GT((*groups)[0].largest, 10);
  EXPECT_LT(Difference(before, OutputOf(*graph, data)), 1e-5);
  for (const auto& group : *groups) {
    const auto a = Layer::Of(graph->FindNode(group.layer));
    const auto b = Layer::Of(graph->FindNode(group.consumers[0]));
    const auto first = a->OutputMagnitudes(), second = b->InputMagnitudes();
    for (size_t i = 0; i < first.size(); ++i) EXPECT_NEAR(first[i] / second[i], 1, 0.02);
  }
  EXPECT_LT(TensorError(*graph, "c1"), worst / 5);
}

TEST(Equalize, ClippedChannelsThatReachTheLimitStay) {
  auto graph = Fused(R"(graph "clip" {
    input %x: float32[N, 3, 6, 6]
    const %w1: float32[6, 3, 3, 3] = random(1)
    const %b1: float32[6] = [5, -0.5, 0.1, 0.2, 0, 4]
    const %w2: float32[4, 6, 1, 1] = random(2)
    const %lo: float32[] = [0]
    const %hi: float32[] = [6]
    %a = Conv(%x, %w1, %b1) "c1"
    %r = Clip(%a, %lo, %hi)
    %y = Conv(%r, %w2) "c2"
    output %y
  })");
  Unbalance(*graph, "c1", {"c2"});  // some channels now always end at 6
  const BatchSource data = Images({2, 3, 6, 6}, 3);
  const Tensor before = OutputOf(*graph, data);
  const auto first = Layer::Of(graph->FindNode("c1"))->OutputMagnitudes();
  const auto channels = ClippedValues(*graph);
  ASSERT_EQ(channels.size(), 1u);
  const auto statistics = Statistics(*graph, data, channels);
  ASSERT_TRUE(Equalize(*graph, statistics).ok());
  EXPECT_LT(Difference(before, OutputOf(*graph, data)), 1e-5);
  const auto second = Layer::Of(graph->FindNode("c1"))->OutputMagnitudes();
  int stayed = 0, moved = 0;
  for (size_t i = 0; i < first.size(); ++i) {
    const bool full = statistics.begin()->second.hi[i] >= 6;
    if (full) {
      EXPECT_EQ(first[i], second[i]) << i;
    }
    (std::fabs(first[i] / second[i] - 1) < 1e-6 ? stayed : moved) += 1;
  }
  EXPECT_GT(stayed, 0);
  EXPECT_GT(moved, 0);
  // Without statistics nothing moves through a clip.
  const auto again = Equalize(*graph, {});
  EXPECT_EQ((*again)[0].largest, 1);
}

TEST(Equalize, LeavesWhatIsNotHomogeneous) {
  auto graph = Fused(R"(graph "no" {
    input %x: float32[N, 4, 6, 6]
    const %w1: float32[4, 4, 1, 1] = random(1)
    const %w2: float32[4, 4, 1, 1] = random(2)
    const %w3: float32[4, 4, 1, 1] = random(3)
    %a = Conv(%x, %w1) "c1"
    %s = Sigmoid(%a)
    %b = Conv(%s, %w2) "c2"
    %r = Add(%b, %x)
    %c = Conv(%r, %w3) "c3"
    output %c
    output %r
  })");
  const auto groups = Equalize(*graph, {});
  ASSERT_TRUE(groups.ok());
  EXPECT_TRUE(groups->empty());
}

TEST(Equalize, AbsorbsHighBiases) {
  auto graph = Fused(R"(graph "high" {
    input %x: float32[N, 3, 6, 6]
    const %w1: float32[4, 3, 1, 1] = random(1)
    const %b1: float32[4] = [30, 0, 20, -1]
    const %w2: float32[4, 4, 1, 1] = random(2)
    %a = Conv(%x, %w1, %b1) "c1"
    %r = Relu(%a)
    %y = Conv(%r, %w2) "c2"
    output %y
  })");
  const BatchSource data = Images({2, 3, 6, 6}, 3);
  const Tensor before = OutputOf(*graph, data);
  const auto channels = RectifiedValues(*graph);
  ASSERT_EQ(channels.size(), 1u);
  const auto moved = AbsorbBiases(*graph, Statistics(*graph, data, channels));
  ASSERT_TRUE(moved.ok());
  EXPECT_EQ(*moved, 2);
  EXPECT_LT(Difference(before, OutputOf(*graph, data)), 1e-5);
  EXPECT_LT(Layer::Of(graph->FindNode("c1"))->Bias()[0], 10);
}

constexpr char kNorm[] = R"(graph "norm" {
  input %x: float32[N, 7, 16]
  const %g: float32[16] = [1, 1, 1, 40, 1, 1, 1, 1, 1, 1, 90, 1, 1, 1, 1, 1]
  const %b: float32[16] = random(1)
  const %w1: float32[16, 8] = random(2)
  const %w2: float32[16, 12] = random(3)
  const %w3: float32[20, 1] = random(4)
  %n = LayerNormalization(%x, %g, %b) "ln"
  %p = MatMul(%n, %w1) "q"
  %q = MatMul(%n, %w2) "k"
  %c = Concat(%p, %q) {axis = 2}
  %y = MatMul(%c, %w3) "o"
  output %y
})";

TEST(Smooth, MovesOutliersToWeightsAndKeepsTheFunction) {
  const BatchSource data = Images({2, 7, 16}, 2);
  for (const double alpha : {-1.0, 0.5}) {
    auto graph = Fused(kNorm);
    const Tensor before = OutputOf(*graph, data);
    auto run = InterpreterEvaluator(*graph, nullptr);
    const auto original = graph->Clone();
    const auto old = Statistics(*original, data, {{"n", -1}});
    SmoothOptions options;
    options.alpha = alpha;
    const auto groups = Smooth(*graph, *run, data, options, nullptr);
    ASSERT_TRUE(groups.ok()) << groups.status().ToString();
    ASSERT_EQ(groups->size(), 1u);
    EXPECT_EQ((*groups)[0].consumers.size(), 2u);
    EXPECT_LT(Difference(before, OutputOf(*graph, data)), 1e-5);
    if (alpha < 0) {
      EXPECT_GT((*groups)[0].alpha, 0);
      EXPECT_LT((*groups)[0].error_after, 0.5 * (*groups)[0].error_before);
      continue;
    }
    // s_j is max|X_j|^0.5 / max|W_j|^0.5 up to one factor for all.
    const auto now = Statistics(*graph, data, {{"n", -1}});
    const auto magnitude = [](const ChannelStatistics& s, size_t j) {
      return std::max(std::fabs(s.lo[j]), std::fabs(s.hi[j]));
    };
    const auto w1 = Layer::Of(original->FindNode("q"))->InputMagnitudes();
    const auto w2 = Layer::Of(original->FindNode("k"))->InputMagnitudes();
    std::vector<double> factor;
    for (size_t j = 0; j < 16; ++j) {
      const double s = magnitude(old.at("n"), j) / magnitude(now.at("n"), j);
      factor.push_back(s / std::sqrt(magnitude(old.at("n"), j) / std::max(w1[j], w2[j])));
    }
    for (const double f : factor) EXPECT_NEAR(f / factor[0], 1, 1e-3);
  }
}

Scheme LowBits() {
  Scheme s;
  s.weights = {.bits = 3, .narrow = true, .per = compiler::Granularity::kChannel};
  s.activations.sign = compiler::Sign::kAuto;
  s.operators = {"Conv", "Linear", "Add", "GlobalAveragePool"};
  return s;
}

constexpr char kResidual[] = R"(graph "net" {
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
  %u, %v = Split(%t) {axis = 1, num_outputs = 2}
  %k = Concat(%v, %u) {axis = 1}
  %d = Conv(%k, %w3) "c3"
  %h = HardSwish(%d)
  %p = GlobalAveragePool(%h)
  %f = Flatten(%p)
  %y = Gemm(%f, %fc, %fb) "fc"
  output %y
})";

struct Quantized {
  std::unique_ptr<Graph> original, quantized;
};
Quantized QuantizedNet(const BatchSource& data) {
  Quantized q;
  q.original = Fused(kResidual);
  SplitActivations(*q.original);
  AddBiases(*q.original);
  q.quantized = q.original->Clone();
  const Status s = Quantize(
      *q.quantized, LowBits(), [](const Graph& g) { return InterpreterEvaluator(g, nullptr); },
      data);
  EXPECT_TRUE(s.ok()) << s.ToString();
  return q;
}

// The channels' means (and deviations) of every layer's sums, measured anew on the result.
double Off(const Quantized& q, const BatchSource& data, bool deviations) {
  const auto a = StripActivations(*q.original), b = StripActivations(*q.quantized);
  const auto values = StrippedValues(*a);
  const auto x = Statistics(*a, data, values), y = Statistics(*b, data, values);
  double off = 0, n = 0;
  for (const auto& [name, s] : x) {
    for (size_t c = 0; c < s.mean.size(); ++c, ++n)
      off += deviations ? std::fabs(std::log(s.deviation[c] / y.at(name).deviation[c]))
                        : std::fabs(s.mean[c] - y.at(name).mean[c]) / s.deviation[c];
  }
  return off / n;
}

TEST(CorrectMoments, BringsMeansAndDeviationsBack) {
  const BatchSource data = Images({4, 3, 8, 8}, 4, 2);
  for (const bool deviations : {false, true}) {
    const Quantized q = QuantizedNet(data);
    const double mean = Off(q, data, false), deviation = Off(q, data, true);
    EXPECT_GT(mean, 0.02);
    const auto stripped = StripActivations(*q.original);
    auto run = InterpreterEvaluator(*stripped, nullptr);
    CorrectOptions options;
    options.deviations = deviations;
    const auto rows = CorrectMoments(*stripped, *q.quantized, *run, data, options, nullptr);
    ASSERT_TRUE(rows.ok()) << rows.status().ToString();
    EXPECT_EQ(rows->size(), 4u);
    for (const auto& row : *rows) EXPECT_LE(row.after, row.before + 1e-6) << row.node;
    EXPECT_LT(Off(q, data, false), 0.1 * mean);
    if (deviations) {
      EXPECT_LT(Off(q, data, true), 0.3 * deviation);
    }
    // Still integers.
    auto lowered = q.quantized->Clone();
    ASSERT_TRUE(passes::RunPasses(*lowered, {.level = passes::Level::kInteger}).ok());
    int integer = 0;
    for (const auto& n : lowered->nodes())
      integer += n->IsSlipway("QConv") || n->IsSlipway("QLinear") ? 1 : 0;
    EXPECT_EQ(integer, 4);
  }
}

TEST(CorrectMoments, ReestimatesBatchNormalization) {
  auto graph = ir::ParseText(R"(graph "bn" {
    input %x: float32[N, 4, 5, 5]
    const %s: float32[4] = [1, 2, 0.5, 1]
    const %b: float32[4] = [0, 1, 2, 3]
    const %m: float32[4] = [9, 9, 9, 9]
    const %v: float32[4] = [5, 5, 5, 5]
    %r = Relu(%x)
    %y = BatchNormalization(%r, %s, %b, %m, %v) "bn"
    output %y
  })");
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  const BatchSource data = Images({4, 4, 5, 5}, 2);
  auto run = InterpreterEvaluator(**graph, nullptr);
  CorrectOptions options;
  options.deviations = true;
  const auto stripped = StripActivations(**graph);
  ASSERT_TRUE(CorrectMoments(*stripped, **graph, *run, data, options, nullptr).ok());
  const auto y = Statistics(**graph, data, {{"y", 1}}).at("y");
  const double scale[] = {1, 2, 0.5, 1};
  for (size_t c = 0; c < 4; ++c) {
    EXPECT_NEAR(y.mean[c], static_cast<double>(c), 1e-4);
    EXPECT_NEAR(y.deviation[c], scale[c], 1e-3);
  }
}

TEST(Adjust, OneImageConstantChannelsAndDeadWeightsAreFine) {
  const BatchSource one = [](int64_t i) -> Result<std::vector<Tensor>> {
    if (i > 0) return std::vector<Tensor>{};
    return std::vector<Tensor>{Tensor::Of<float>({1, 3, 8, 8}, std::vector<float>(192, 0.5f))};
  };
  const Quantized q = QuantizedNet(one);
  auto dead = Layer::Of(q.original->FindNode("c2"));
  dead->ScaleOutputs(std::vector<double>(8, 0));
  dead->StoreWeights(*q.original);
  const auto groups = Equalize(*q.original, {});
  ASSERT_TRUE(groups.ok());
  for (const auto& g : *groups) EXPECT_TRUE(std::isfinite(g.largest));
  const auto stripped = StripActivations(*q.original);
  auto run = InterpreterEvaluator(*stripped, nullptr);
  CorrectOptions options;
  options.deviations = true;
  const auto rows = CorrectMoments(*stripped, *q.quantized, *run, one, options, nullptr);
  ASSERT_TRUE(rows.ok()) << rows.status().ToString();
  const Tensor out = OutputOf(*q.quantized, one);
  for (int64_t i = 0; i < out.count(); ++i) EXPECT_TRUE(std::isfinite(out.data<float>()[i]));
}

TEST(Calibrate, ValuesThatAreNeverComputedOrNotFiniteAreNamed) {
  auto graph = Fused(kResidual);
  auto run = InterpreterEvaluator(*graph, nullptr);
  const BatchSource empty = [](int64_t i) -> Result<std::vector<Tensor>> {
    if (i > 0) return std::vector<Tensor>{};
    return std::vector<Tensor>{Tensor::Of<float>({0, 3, 8, 8}, std::vector<float>{})};
  };
  const auto never = Calibrate(*graph, *run, empty, {"x"});
  ASSERT_FALSE(never.ok());
  EXPECT_NE(never.status().message().find("'x' was never computed"), std::string::npos)
      << never.status().message();
  const auto channels = ObserveChannels(*graph, *run, empty, {{"x", 1}});
  ASSERT_FALSE(channels.ok());
  const BatchSource infinite = [](int64_t i) -> Result<std::vector<Tensor>> {
    if (i > 0) return std::vector<Tensor>{};
    std::vector<float> v(192, 1);
    v[100] = INFINITY;
    return std::vector<Tensor>{Tensor::Of<float>({1, 3, 8, 8}, v)};
  };
  for (const Status& s : {Calibrate(*graph, *run, infinite, {"x"}).status(),
                          ObserveChannels(*graph, *run, infinite, {{"x", 1}}).status()}) {
    EXPECT_EQ(s.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(s.message().find("'x' is not finite"), std::string::npos) << s.message();
  }
  const BatchSource none = [](int64_t) -> Result<std::vector<Tensor>> {
    return std::vector<Tensor>{};
  };
  EXPECT_NE(Calibrate(*graph, *run, none, {"x"}).status().message().find("--calib"),
            std::string::npos);
  EXPECT_FALSE(ObserveChannels(*graph, *run, Images({1, 3, 8, 8}, 1), {{"x", 7}}).ok());
}

}  // namespace
}  // namespace slipway::quant
