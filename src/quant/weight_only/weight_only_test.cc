#include "quant/weight_only/weight_only.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"
#include "model/passes/pass.h"
#include "quant/weight_only/hessian.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Tensor;

// Rows of correlated inputs, some channels much larger than others, as behind a normalisation.
std::vector<float> Rows(int64_t rows, int64_t width, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> mix(static_cast<size_t>(width * width)), x(static_cast<size_t>(rows * width));
  for (float& v : mix) v = normal(random);
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<float> z(static_cast<size_t>(width / 2));
    for (float& v : z) v = normal(random);
    for (int64_t i = 0; i < width; ++i) {
      float v = 0.3f * normal(random);
      for (size_t j = 0; j < z.size(); ++j)
        v += z[j] * mix[static_cast<size_t>(i * width) + j] * 0.2f;
      x[static_cast<size_t>(r * width + i)] = v * (i % 16 == 3 ? 20.0f : 1.0f);
    }
  }
  return x;
}
std::vector<float> Weights(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> w(static_cast<size_t>(count));
  for (float& v : w) v = normal(random);
  return w;
}
InputStatistics Statistics(const std::vector<float>& x, int64_t width) {
  InputStatistics s(width);
  const size_t half = x.size() / static_cast<size_t>(2 * width) * static_cast<size_t>(width);
  EXPECT_TRUE(s.Add(std::span(x).first(half), nullptr).ok());
  EXPECT_TRUE(s.Add(std::span(x).subspan(half), nullptr).ok());
  return s;
}
double OutputError(const std::vector<float>& x, const std::vector<float>& w, int64_t k,
                   const GroupedCodes& c, const std::vector<double>& factors = {}) {
  double sum = 0;
  for (int64_t r = 0; r < static_cast<int64_t>(x.size()) / k; ++r) {
    for (int64_t o = 0; o < c.n; ++o) {
      double y = 0;
      for (int64_t i = 0; i < k; ++i)
        y += double{x[static_cast<size_t>(r * k + i)]} *
             (double{w[static_cast<size_t>(o * k + i)]} -
              double{c.Value(o, i)} / (factors.empty() ? 1 : factors[static_cast<size_t>(i)]));
      sum += y * y;
    }
  }
  return sum;
}

TEST(Hessian, StatisticsAreThoseOfTheRows) {
  constexpr int64_t kWidth = 24, kRows = 1100;
  const auto x = Rows(kRows, kWidth, 1);
  const InputStatistics s = Statistics(x, kWidth);
  EXPECT_EQ(s.rows(), kRows);
  EXPECT_LE(static_cast<int64_t>(s.sample().size()), InputStatistics::kRows * kWidth);
  EXPECT_GE(static_cast<int64_t>(s.sample().size()), InputStatistics::kRows / 4 * kWidth);
  EXPECT_EQ(s.sample()[kWidth], x[4 * kWidth]);  // every fourth
  for (const auto& [i, j] : {std::pair{0, 0}, {3, 7}, {7, 3}, {23, 19}}) {
    double want = 0;
    for (int64_t r = 0; r < kRows; ++r)
      want += double{x[static_cast<size_t>(r * kWidth + i)]} *
              double{x[static_cast<size_t>(r * kWidth + j)]};
    EXPECT_NEAR(s.products()[static_cast<size_t>(i * kWidth + j)], want, 1e-9 * kRows * 400);
  }
  const auto d = Weights(3 * kWidth, 2);
  GroupedCodes zero{.n = 3, .k = kWidth, .group = kWidth, .codes = {}, .scales = {}, .zeros = {}};
  zero.codes.resize(3 * kWidth), zero.scales.resize(3, 1.0f), zero.zeros.resize(3);
  EXPECT_NEAR(s.SquaredError(d, nullptr), OutputError(x, d, kWidth, zero),
              1e-6 * OutputError(x, d, kWidth, zero));
  InputStatistics bad(2);
  EXPECT_FALSE(bad.Add(std::vector<float>{1, NAN}, nullptr).ok());
}

TEST(Hessian, FactorOfTheInverse) {
  for (const int64_t n : {1, 5, 32, 33, 97}) {
    const auto x = Rows(3 * n + 8, n, 3);
    InputStatistics s(n);
    ASSERT_TRUE(s.Add(x, nullptr).ok());
    auto u = InverseFactor(s.products(), n, 0.01, nullptr);
    ASSERT_TRUE(u.ok()) << u.status().message();
    double mean = 0;
    for (int64_t i = 0; i < n; ++i)
      mean += s.products()[static_cast<size_t>(i * n + i)] / static_cast<double>(n);
    // (U^T U) (A + damping) = I
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < i; ++j) EXPECT_EQ((*u)[static_cast<size_t>(i * n + j)], 0);
      std::vector<double> row(static_cast<size_t>(n));
      for (int64_t k = 0; k < n; ++k) {
        for (int64_t m = 0; m <= std::min(i, k); ++m)
          row[static_cast<size_t>(k)] +=
              (*u)[static_cast<size_t>(m * n + i)] * (*u)[static_cast<size_t>(m * n + k)];
      }
      for (int64_t j = 0; j < n; ++j) {
        double one = 0;
        for (int64_t k = 0; k < n; ++k)
          one += row[static_cast<size_t>(k)] *
                 (s.products()[static_cast<size_t>(k * n + j)] + (k == j ? 0.01 * mean : 0));
        EXPECT_NEAR(one, i == j ? 1 : 0, 1e-6) << n;
      }
    }
  }
  // A column that is always zero, and nothing at all.
  EXPECT_TRUE(InverseFactor(std::vector<double>{4, 0, 0, 0}, 2, 0.01, nullptr).ok());
  EXPECT_TRUE(InverseFactor(std::vector<double>{0, 0, 0, 0}, 2, 0.01, nullptr).ok());
  EXPECT_FALSE(InverseFactor(std::vector<double>{1, 9, 9, 1}, 2, 0.01, nullptr).ok());
}

TEST(WeightOnly, BetterThanTheNearest) {
  constexpr int64_t kWidth = 80, kOutputs = 37;  // the last group of 32 is short
  const auto x = Rows(600, kWidth, 4), w = Weights(kOutputs * kWidth, 5);
  const InputStatistics s = Statistics(x, kWidth);
  for (const int bits : {2, 3, 4}) {
    for (const int64_t group : {int64_t{0}, int64_t{32}}) {
      SCOPED_TRACE(std::to_string(bits) + " bits, groups of " + std::to_string(group));
      const GroupedCodes nearest = RoundToNearest(w, kWidth, bits, group, nullptr, {}, nullptr);
      EXPECT_EQ(nearest.groups(), group == 0 ? 1 : 3);
      for (const uint8_t code : nearest.codes) ASSERT_LT(code, 1 << bits);
      const double plain = OutputError(x, w, kWidth, nearest);
      EXPECT_NEAR(
          OutputError(x, w, kWidth, RoundToNearest(w, kWidth, 8, group, nullptr, {}, nullptr)) /
              plain,
          0, 0.02);
      const GroupedCodes clipped = RoundToNearest(w, kWidth, bits, group, &s, {}, nullptr);
      EXPECT_LT(OutputError(x, w, kWidth, clipped), plain);
      for (const bool order : {false, true}) {
        auto gptq = Gptq(w, bits, group, s, {.act_order = order});
        ASSERT_TRUE(gptq.ok()) << gptq.status().message();
        for (const uint8_t code : gptq->codes) ASSERT_LT(code, 1 << bits);
        EXPECT_LT(OutputError(x, w, kWidth, *gptq), 0.5 * plain) << order;
      }
      const auto factors = AwqFactors({w}, bits, group, s, nullptr);
      ASSERT_EQ(factors.size(), static_cast<size_t>(kWidth));
      EXPECT_GT(factors[3], 2 * factors[4]);  // larger inputs keep finer weights
      std::vector<float> scaled = w;
      for (size_t i = 0; i < scaled.size(); ++i)
        scaled[i] *= static_cast<float>(factors[i % factors.size()]);
      EXPECT_LT(
          OutputError(x, w, kWidth,
                      RoundToNearest(scaled, kWidth, bits, group, &s, factors, nullptr), factors),
          0.8 * plain);
    }
  }
}

TEST(WeightOnly, ZeroWeightsAndConstantColumns) {
  std::vector<float> x = Rows(64, 16, 6), w(4 * 16, 0.0f);
  for (size_t r = 0; r < 64; ++r) x[r * 16 + 5] = 0;
  for (size_t i = 0; i < 16; ++i) w[i] = 0.25f;
  const InputStatistics s = Statistics(x, 16);
  auto gptq = Gptq(w, 3, 8, s, {});
  ASSERT_TRUE(gptq.ok()) << gptq.status().message();
  for (int64_t i = 0; i < 16; ++i) {
    EXPECT_NEAR(gptq->Value(0, i), 0.25f, 1e-6f);
    EXPECT_EQ(gptq->Value(1, i), 0.0f);
  }
}

// Two products that share a normalised input, an MLP, a residual, a classifier.
constexpr char kNet[] = R"(graph "net" {
  input %x: float32[N, 6, 32]
  const %g: float32[32] = random(1)
  const %h: float32[32] = random(2)
  const %wq: float32[32, 32] = random(3)
  const %wk: float32[32, 32] = random(4)
  const %w1: float32[32, 64] = random(5)
  const %b1: float32[64] = random(6)
  const %w2: float32[64, 32] = random(7)
  const %wc: float32[10, 32] = random(8)
  const %bc: float32[10] = random(9)
  %n = LayerNormalization(%x, %g, %h) "norm"
  %q = MatMul(%n, %wq) "q"
  %k = MatMul(%n, %wk) "k"
  %qk = Mul(%q, %k)
  %t = Tanh(%qk)
  %m = MatMul(%t, %w1) "up"
  %mb = Add(%m, %b1)
  %r = Relu(%mb)
  %d = MatMul(%r, %w2) "down"
  %s = Add(%d, %x)
  %p = ReduceMean(%s) {axes = [1], keepdims = 0} "pool"
  %y = Gemm(%p, %wc, %bc) {transB = 1} "classify"
  output %y
})";

std::unique_ptr<Graph> Net() {
  std::string text = kNet;
  // ReduceMean takes its axes as an input.
  const std::string old = "  %p = ReduceMean(%s) {axes = [1], keepdims = 0} \"pool\"\n";
  text.replace(text.find(old), old.size(),
               "  %p = ReduceMean(%s, %axes) {keepdims = 0} \"pool\"\n");
  text.insert(text.find("  %n ="), "  const %axes: int64[1] = [1]\n");
  auto graph = ir::ParseText(text);
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  EXPECT_TRUE(ir::InferShapes(**graph).ok());
  return std::move(*graph);
}
Result<GraphRunner> Interpret(const Graph& graph) {
  std::shared_ptr<Graph> copy = graph.Clone();
  return GraphRunner([copy](const std::vector<Tensor>& in) { return interp::Evaluate(*copy, in); });
}
std::vector<Tensor> Input(int64_t i, int64_t samples = 24) {
  Tensor x = *Tensor::Allocate(DType::kFloat32, {samples, 6, 32});
  const auto rows = Rows(samples * 6, 32, static_cast<unsigned>(100 + i));
  std::copy(rows.begin(), rows.end(), reinterpret_cast<float*>(x.mutable_data()));
  return {x};
}
const BatchSource kData = [](int64_t i) -> Result<std::vector<Tensor>> {
  return i < 4 ? Input(i) : std::vector<Tensor>();
};
double Difference(const Graph& a, const Graph& b) {
  auto y = interp::Evaluate(a, Input(9)), z = interp::Evaluate(b, Input(9));
  EXPECT_TRUE(y.ok() && z.ok()) << y.status().message() << z.status().message();
  const auto u = (*y)[0].ToDoubles(), v = (*z)[0].ToDoubles();
  double sum = 0, all = 0;
  for (size_t i = 0; i < u.size(); ++i) sum += (u[i] - v[i]) * (u[i] - v[i]), all += v[i] * v[i];
  return sum / all;
}

TEST(WeightOnly, WholeGraphs) {
  const auto original = Net();
  std::map<WeightOnlyMethod, double> error;
  for (const auto method :
       {WeightOnlyMethod::kNearest, WeightOnlyMethod::kAwq, WeightOnlyMethod::kGptq}) {
    SCOPED_TRACE(static_cast<int>(method));
    const auto graph = Net();
    std::vector<std::string> told;
    WeightOnlyOptions options{.method = method, .bits = 3, .group = 16};
    options.progress = [&](const std::string& layer, size_t, size_t count) {
      EXPECT_EQ(count, 5u);
      told.push_back(layer);
      return true;
    };
    auto layers = QuantizeWeightsOnly(*graph, Interpret, kData, options);
    ASSERT_TRUE(layers.ok()) << layers.status().message();
    ASSERT_TRUE(ir::Verify(*graph).ok());
    ASSERT_TRUE(ir::InferShapes(*graph).ok());
    EXPECT_EQ(told.size(), 5u);
    ASSERT_EQ(layers->size(), 5u);
    std::vector<std::string> names;
    for (const WeightOnlyLayer& l : *layers) {
      names.push_back(l.name);
      // q and k are first in the graph, so they are an end of it, as the classifier is.
      const bool end = l.name == "q" || l.name == "k" || l.name == "classify";
      EXPECT_EQ(l.bits, end ? 8 : 3) << l.name;
      EXPECT_GT(l.nearest, 0) << l.name;
      if (method == WeightOnlyMethod::kNearest) {
        EXPECT_EQ(l.chosen, l.nearest);
      } else if (end) {
        EXPECT_LE(l.chosen, l.nearest) << l.name;
      } else {
        EXPECT_LT(l.chosen, l.nearest) << l.name;
      }
    }
    EXPECT_EQ(names, (std::vector<std::string>{"q", "k", "up", "down", "classify"}));
    error[method] = Difference(*graph, *original);
    // The backends' form: codes stay codes.
    ASSERT_TRUE(passes::RunPasses(*graph, {.level = passes::Level::kFused}).ok());
    std::map<int64_t, int> widths;
    for (const auto& node : graph->nodes()) {
      if (node->IsSlipway("LinearNBits")) ++widths[node->attributes.Int("bits", 0)];
    }
    EXPECT_EQ(widths, (std::map<int64_t, int>{{3, 2}, {8, 3}}));
    EXPECT_NEAR(Difference(*graph, *original), error[method], 1e-6);
  }
  EXPECT_LT(error[WeightOnlyMethod::kAwq], 0.9 * error[WeightOnlyMethod::kNearest]);
  EXPECT_LT(error[WeightOnlyMethod::kGptq], 0.9 * error[WeightOnlyMethod::kNearest]);
}

// Factors go where they cost nothing: a normalisation, the columns of a product behind a ReLU.
TEST(WeightOnly, FactorsAreFolded) {
  const auto original = Net(), graph = Net();
  WeightOnlyOptions options{
      .method = WeightOnlyMethod::kAwq, .bits = 2, .group = 16, .end_bits = 2};
  auto layers = QuantizeWeightsOnly(*graph, Interpret, kData, options);
  ASSERT_TRUE(layers.ok()) << layers.status().message();
  std::map<std::string, std::string> scaled;
  for (const auto& l : *layers) scaled[l.name] = l.scaled;
  EXPECT_EQ(scaled["q"], "folded");
  EXPECT_EQ(scaled["k"], "folded");
  EXPECT_NE(graph->FindNode("norm")->constant_input(1)->ToDoubles(),
            original->FindNode("norm")->constant_input(1)->ToDoubles());
  EXPECT_NE(scaled["down"], "multiplied");  // behind a ReLU
  for (const auto& node : graph->nodes()) {
    if (node->Is("Mul")) {
      EXPECT_TRUE(node->output()->name() == "qk" || node->name() == "up/awq") << node->name();
    }
  }
  // With eight bits what is computed is what was: the factors cancel.
  const auto fine = Net();
  options.bits = options.end_bits = 8;
  ASSERT_TRUE(QuantizeWeightsOnly(*fine, Interpret, kData, options).ok());
  EXPECT_LT(Difference(*fine, *original), 1e-3);
}

TEST(WeightOnly, ErrorsNameWhatIsWrong) {
  const auto error = [](const WeightOnlyOptions& options, const BatchSource& data = kData,
                        float bad = 0) {
    auto graph = Net();
    if (bad != 0) {
      Tensor w = *Tensor::Allocate(DType::kFloat32, {32, 64});
      std::fill_n(reinterpret_cast<float*>(w.mutable_data()), w.count(), bad);
      graph->SetConstant(graph->FindValue("w1"), w);
    }
    return QuantizeWeightsOnly(*graph, Interpret, data, options).status().message();
  };
  EXPECT_NE(error({.bits = 1}).find("2 to 8 bits, not 1"), std::string::npos);
  EXPECT_NE(error({.group = 4}).find("not 4"), std::string::npos);
  EXPECT_NE(error({}, [](int64_t) { return std::vector<Tensor>(); }).find("no calibration"),
            std::string::npos);
  EXPECT_NE(error({}, kData, NAN).find("'up'"), std::string::npos) << error({}, kData, NAN);
  EXPECT_NE(error({.keep_float = {"q", "k", "up", "down", "classify"}}).find("no product"),
            std::string::npos);
  const BatchSource nan = [](int64_t i) -> Result<std::vector<Tensor>> {
    auto in = Input(0);
    reinterpret_cast<float*>(in[0].mutable_data())[7] = NAN;
    return i == 0 ? in : std::vector<Tensor>();
  };
  EXPECT_NE(error({}, nan).find("not finite"), std::string::npos) << error({}, nan);
  WeightOnlyOptions stop;
  stop.progress = [](const std::string&, size_t, size_t) { return false; };
  EXPECT_NE(error(stop).find("stopped"), std::string::npos);
}

}  // namespace
}  // namespace slipway::quant
