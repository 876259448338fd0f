// Reconstruction of small blocks: what is learned is better than the nearest rounding, is made of
// neighbours, and is the same for a seed.

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "learn/learn.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::learn {
namespace {

using ir::Graph;
using ir::Tensor;

std::span<float> Floats(Tensor& t) {
  return {reinterpret_cast<float*>(t.mutable_data()), static_cast<size_t>(t.count())};
}
Tensor Random(const Dims& dims, std::mt19937& random, float low, float high) {
  Tensor t = *Tensor::Allocate(DType::kFloat32, dims);
  std::uniform_real_distribution<float> real(low, high);
  for (float& v : Floats(t)) v = real(random);
  return t;
}

// A residual block of two convolutions with weights of `bits` and 4-bit activations; `quantized` or
// as it was.
constexpr int64_t kSamples = 96, kChannels = 6;
std::unique_ptr<Graph> Block(bool quantized, int bits, std::mt19937 random) {
  auto g = std::make_unique<Graph>();
  const SymShape shape = {Dim::Symbol("N"), Dim(kChannels), Dim(6), Dim(6)};
  ir::Value* x = g->AddInput("x", {DType::kFloat32, shape});
  ir::Value* at = x;
  for (int layer = 0; layer < 2; ++layer) {
    const std::string number = std::to_string(layer);
    if (quantized) {
      ir::Value* scale =
          g->AddConstant("a_scale" + number, Tensor::Scalar(layer == 0 ? 0.16f : 0.1f));
      const ops::Attributes a{{"bits", int64_t{4}}, {"signed", int64_t{layer == 0}}};
      at = g->AddNode({"Quantize", {at, scale}, a, ir::kSlipwayDomain, "aq" + number})->output();
      at = g->AddNode({"Dequantize", {at, scale}, a, ir::kSlipwayDomain, "ad" + number})->output();
    }
    ir::Value* w =
        g->AddConstant("w" + number, Random({kChannels, kChannels, 3, 3}, random, -0.4f, 0.4f));
    if (quantized) {
      std::vector<float> s(static_cast<size_t>(kChannels));
      for (size_t i = 0; i < s.size(); ++i)
        s[i] = (1 + 0.05f * static_cast<float>(i)) * 0.4f / static_cast<float>((1 << (bits - 1)));
      ir::Value* scale = g->AddConstant("w_scale" + number, Tensor::Vector(s));
      const ops::Attributes a{{"bits", int64_t{bits}}, {"axis", int64_t{0}}};
      w = g->AddNode({"Quantize", {w, scale}, a, ir::kSlipwayDomain, "wq" + number})->output();
      w = g->AddNode({"Dequantize", {w, scale}, a, ir::kSlipwayDomain, "wd" + number})->output();
    }
    at = g->AddNode(
              {"Conv", {at, w}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}}, "", "conv" + number})
             ->output();
    if (layer == 0) at = g->AddNode({"Relu", {at}})->output();
  }
  g->AddOutput(g->AddNode({"Add", {at, x}})->output());
  EXPECT_TRUE(ir::InferShapes(*g).ok());
  return g;
}

struct Problem {
  std::unique_ptr<Graph> block;
  ReconstructData data;
};
Problem MakeProblem(int bits) {
  std::mt19937 random(5);
  const auto plain = Block(false, bits, random);
  Problem p{Block(true, bits, random), {}};
  std::mt19937 numbers(6);
  p.data.samples = kSamples;
  p.data.inputs = {Random({kSamples, kChannels, 6, 6}, numbers, -1, 1)};
  auto target = interp::Evaluate(*plain, p.data.inputs);
  EXPECT_TRUE(target.ok()) << target.status().message();
  p.data.targets = *target;
  return p;
}
Engine& TheEngine() {
  auto engine = GetEngine();
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return **engine;
}
const std::vector<std::string> kRounding = {"wq0", "wq1"}, kScales = {"aq0", "aq1"};

// The squared error by the interpreter, with the result written into the graph.
double TrueLoss(const Problem& p, const ReconstructResult& result) {
  const auto g = p.block->Clone();
  for (const auto& [name, codes] : result.codes) {
    ir::Node* q = g->FindNode(name);
    g->ReplaceAllUses(q->output(), g->AddConstant("", codes));
  }
  for (const auto& [name, scale] : result.scales)
    g->SetConstant(g->FindNode(name)->input(1), Tensor::Scalar(scale));
  g->RemoveUnused();
  auto y = interp::Evaluate(*g, p.data.inputs);
  EXPECT_TRUE(y.ok()) << y.status().message();
  const auto a = (*y)[0].ToDoubles(), b = p.data.targets[0].ToDoubles();
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum / static_cast<double>(kSamples * 36);
}

TEST(Reconstruct, IsBetterThanTheNearest) {
  for (const int bits : {2, 3}) {
    for (const double drop : {0.0, 0.5}) {
      SCOPED_TRACE(std::to_string(bits) + " bits, drop " + std::to_string(drop));
      const Problem p = MakeProblem(bits);
      ReconstructOptions options{
          .iterations = 500, .batch = 16, .rounding_rate = 4e-3, .scale_rate = 1e-3, .drop = drop};
      int64_t told = 0;
      auto result =
          TheEngine().Reconstruct(*p.block, kRounding, kScales, p.data, options, [&](int64_t i) {
            told = i;
            return true;
          });
      ASSERT_TRUE(result.ok()) << result.status().message();
      EXPECT_EQ(told, options.iterations);
      EXPECT_LT(result->loss_after, 0.8 * result->loss_before);
      EXPECT_NEAR(TrueLoss(p, *result), result->loss_after, 1e-3 * result->loss_after);
      // Each weight went to one of its neighbours, some not to the nearest.
      int moved = 0;
      ASSERT_EQ(result->codes.size(), 2u);
      for (size_t i = 0; i < 2; ++i) {
        const ir::Node* q = p.block->FindNode(kRounding[i]);
        const auto w = q->constant_input(0)->ToDoubles(), s = q->constant_input(1)->ToDoubles(),
                   codes = result->codes[i].second.ToDoubles();
        EXPECT_EQ(result->codes[i].first, kRounding[i]);
        EXPECT_EQ(result->codes[i].second.dtype(), DType::kInt8);
        const double lo = -(1 << (bits - 1)), hi = (1 << (bits - 1)) - 1;
        for (size_t j = 0; j < w.size(); ++j) {
          const double v = w[j] / s[j / (w.size() / kChannels)];
          ASSERT_GE(codes[j], std::clamp(std::floor(v) - 1e-6, lo, hi));
          ASSERT_LE(codes[j], std::clamp(std::floor(v) + 1 + 1e-6, lo, hi));
          moved += std::fabs(codes[j] - std::clamp(std::nearbyint(v), lo, hi)) > 0.5;
        }
      }
      EXPECT_GT(moved, 10);
      ASSERT_EQ(result->scales.size(), 2u);
      EXPECT_NE(result->scales[0].second, 0.16f);
    }
  }
}

TEST(Reconstruct, IsTheSameForASeed) {
  const Problem p = MakeProblem(2);
  ReconstructOptions options{.iterations = 60, .batch = 16, .drop = 0.5, .seed = 3};
  const auto run = [&] {
    auto result = TheEngine().Reconstruct(*p.block, kRounding, kScales, p.data, options);
    EXPECT_TRUE(result.ok()) << result.status().message();
    return std::move(*result);
  };
  const auto a = run(), b = run();
  EXPECT_EQ(a.scales, b.scales);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_EQ(a.codes[i].second.ToDoubles(), b.codes[i].second.ToDoubles());
  EXPECT_EQ(a.loss_after, b.loss_after);
  options.seed = 4;
  EXPECT_NE(run().scales, a.scales);
}

// Nothing to learn: the loss of what was given. Important elements alone: the others are free.
TEST(Reconstruct, ImportanceCounts) {
  Problem p = MakeProblem(2);
  auto none = TheEngine().Reconstruct(*p.block, {}, {}, p.data, {});
  ASSERT_TRUE(none.ok()) << none.status().message();
  EXPECT_EQ(none->loss_before, none->loss_after);
  EXPECT_GT(none->loss_before, 0);
  Tensor importance = *Tensor::Allocate(DType::kFloat32, p.data.targets[0].dims());
  std::fill(Floats(importance).begin(), Floats(importance).end(), 0.0f);
  p.data.importance = {importance};
  auto free = TheEngine().Reconstruct(*p.block, {}, {}, p.data, {});
  ASSERT_TRUE(free.ok());
  EXPECT_EQ(free->loss_before, 0);
}

// Float weights of a pruned block: zeros stay, the error falls, and never rises.
TEST(Reconstruct, TrainsWhatPruningLeft) {
  Problem p = MakeProblem(2);
  p.block = Block(false, 2, std::mt19937(5));
  for (const char* name : {"w0", "w1"}) {
    Tensor w = p.block->FindValue(name)->constant()->Aligned();
    Tensor pruned = Tensor::Of<float>(
        w.dims(), std::vector<float>(w.data<float>(), w.data<float>() + w.count()));
    for (size_t i = 0; i < Floats(pruned).size(); i += 2) Floats(pruned)[i] = 0;
    p.block->SetConstant(p.block->FindValue(name), pruned);
  }
  ReconstructOptions options{.iterations = 200, .batch = 16, .weights = {"w0", "w1"}};
  auto result = TheEngine().Reconstruct(*p.block, {}, {}, p.data, options);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_LT(result->loss_after, 0.8 * result->loss_before);
  ASSERT_EQ(result->weights.size(), 2u);
  for (auto& [name, weights] : result->weights) {
    const auto before = p.block->FindValue(name)->constant()->ToDoubles();
    const auto after = weights.ToDoubles();
    for (size_t i = 0; i < after.size(); ++i) ASSERT_EQ(before[i] == 0, after[i] == 0) << name;
    p.block->SetConstant(p.block->FindValue(name), weights);
  }
  auto again = TheEngine().Reconstruct(*p.block, {}, {}, p.data, {});
  ASSERT_TRUE(again.ok());
  EXPECT_NEAR(again->loss_before, result->loss_after, 1e-4 * result->loss_after);
  // A rate that ruins it: as given.
  options.weight_rate = 50;
  auto ruined = TheEngine().Reconstruct(*p.block, {}, {}, p.data, options);
  ASSERT_TRUE(ruined.ok());
  EXPECT_EQ(ruined->loss_after, ruined->loss_before);
  EXPECT_EQ(ruined->weights[0].second.ToDoubles(),
            p.block->FindValue("w0")->constant()->ToDoubles());
  options.weights = {"x"};
  EXPECT_NE(
      TheEngine().Reconstruct(*p.block, {}, {}, p.data, options).status().message().find("'x'"),
      std::string::npos);
}

TEST(Reconstruct, ZerosStayWhereThatIsAskedFor) {
  Problem p = MakeProblem(2);
  ir::Node* q = p.block->FindNode("wq0");
  Tensor w = q->constant_input(0)->Aligned();
  Tensor pruned =
      Tensor::Of<float>(w.dims(), std::vector<float>(w.data<float>(), w.data<float>() + w.count()));
  for (size_t i = 0; i < Floats(pruned).size(); i += 2) Floats(pruned)[i] = 0;
  p.block->SetConstant(q->input(0), pruned);
  for (const bool keep : {true, false}) {
    ReconstructOptions options{
        .iterations = 300, .batch = 16, .rounding_rate = 1e-2, .keep_zeros = keep};
    auto result = TheEngine().Reconstruct(*p.block, kRounding, {}, p.data, options);
    ASSERT_TRUE(result.ok()) << result.status().message();
    const auto codes = result->codes[0].second.ToDoubles();
    int moved = 0;
    for (size_t i = 0; i < codes.size(); i += 2) moved += codes[i] != 0;
    EXPECT_EQ(moved == 0, keep);
  }
}

TEST(Reconstruct, ErrorsNameWhatIsWrong) {
  Problem p = MakeProblem(2);
  const auto error = [&](std::vector<std::string> rounding, std::vector<std::string> scales,
                         const std::function<bool(int64_t)>& progress = {}) {
    auto result =
        TheEngine().Reconstruct(*p.block, rounding, scales, p.data, {.iterations = 2}, progress);
    return result.ok() ? std::string("none") : result.status().message();
  };
  EXPECT_NE(error({"nobody"}, {}).find("nobody"), std::string::npos);
  EXPECT_NE(error({"conv0"}, {}).find("conv0"), std::string::npos);
  EXPECT_NE(error({"aq0"}, {}).find("aq0"), std::string::npos);  // no constant
  EXPECT_NE(error({}, {"wq0"}).find("wq0"), std::string::npos);  // a scale for each channel
  EXPECT_NE(error({"wq0"}, {}, [](int64_t) { return false; }).find("stopped"), std::string::npos);
  p.data.importance = {Tensor::Of<float>({kSamples, 1}, std::vector<float>(kSamples, 1.0f))};
  EXPECT_NE(error({"wq0"}, {}).find("importance"), std::string::npos);
  p.data.importance.clear();
  const Tensor given = p.data.inputs[0];
  std::mt19937 random(1);
  p.data.inputs = {Random({kSamples, kChannels + 1, 6, 6}, random, -1, 1)};
  EXPECT_NE(error({"wq0"}, {}).find("conv0"), std::string::npos) << error({"wq0"}, {});
  p.data.inputs.clear();
  EXPECT_NE(error({"wq0"}, {}).find("0 inputs for 1"), std::string::npos);
  p.data.inputs = {given};
  p.data.samples = 5;
  EXPECT_NE(error({"wq0"}, {}).find("for 5 samples"), std::string::npos);
}

}  // namespace
}  // namespace slipway::learn
