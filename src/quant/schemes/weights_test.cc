#include "quant/schemes/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "quant/schemes/quantize.h"

namespace slipway::quant {
namespace {

using compiler::Granularity;
using compiler::ScaleKind;
using compiler::Sign;
using ir::Tensor;

Tensor Weights(const Dims& dims, uint32_t seed, float shift = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(shift, 1);
  auto t = Tensor::Allocate(DType::kFloat32, dims);
  for (int64_t i = 0; i < t->count(); ++i)
    reinterpret_cast<float*>(t->mutable_data())[i] = normal(random);
  return std::move(*t);
}

Tensor Floats(const Dims& dims, const std::vector<float>& values) {
  return Tensor::Of<float>(dims, values);
}

// What a Dequantize of the codes gives, by the interpreter.
std::vector<float> Decoded(const WeightCodes& w) {
  ir::Graph graph;
  std::vector<ir::Value*> operands = {graph.AddConstant("codes", w.codes),
                                      graph.AddConstant("scales", w.scales)};
  if (w.has_zero_points) operands.push_back(graph.AddConstant("zeros", w.zero_points));
  ir::Node* dq = graph.AddNode({"Dequantize", operands, w.attributes, ir::kSlipwayDomain, "d"});
  graph.AddOutput(dq->output());
  EXPECT_TRUE(ir::InferShapes(graph).ok());
  auto evaluator = InterpreterEvaluator(graph, nullptr);
  EXPECT_TRUE(evaluator.ok()) << evaluator.status().ToString();
  auto out = (*evaluator)({}, {});
  EXPECT_TRUE(out.ok()) << out.status().ToString();
  if (!out.ok()) return {};
  const float* data = (*out)[0].data<float>();
  return {data, data + (*out)[0].count()};
}

double Worst(const Tensor& w, const std::vector<float>& decoded) {
  double worst = 0;
  for (size_t i = 0; i < decoded.size(); ++i)
    worst = std::max(worst, std::fabs(double{w.data<float>()[i]} - decoded[i]));
  return worst;
}

TEST(Weights, AsymmetricCodesHaveAZeroPointAChannelAndLessError) {
  // Most weights are positive: symmetric codes waste the negative half.
  const Tensor w = Weights({6, 5, 3, 3}, 11, 2);
  TensorScheme scheme{.bits = 4, .per = Granularity::kChannel};
  auto symmetric = CodesForWeights(w, scheme, "half_even", 0, -1);
  ASSERT_TRUE(symmetric.ok());
  EXPECT_FALSE(symmetric->has_zero_points);
  scheme.symmetric = false;
  for (const Sign sign : {Sign::kSigned, Sign::kUnsigned}) {
    scheme.sign = sign;
    auto codes = CodesForWeights(w, scheme, "half_even", 0, -1);
    ASSERT_TRUE(codes.ok()) << codes.status().ToString();
    EXPECT_TRUE(codes->has_zero_points);
    EXPECT_EQ(codes->scales.dims(), Dims({6}));
    EXPECT_EQ(codes->codes.dtype(), sign == Sign::kSigned ? DType::kInt8 : DType::kUInt8);
    EXPECT_LT(Worst(w, Decoded(*codes)), 0.75 * Worst(w, Decoded(*symmetric)));
  }
}

TEST(Weights, GroupsLieAlongTheInputsAndTheLastMayBeShort) {
  Tensor w = Weights({10, 3}, 12);                     // [K, N]
  reinterpret_cast<float*>(w.mutable_data())[0] = 50;  // an outlier spoils only its own group
  TensorScheme scheme{.bits = 4, .per = Granularity::kGroup, .group = 4};
  auto codes = CodesForWeights(w, scheme, "half_even", 1, 0);
  ASSERT_TRUE(codes.ok()) << codes.status().ToString();
  EXPECT_EQ(codes->scales.dims(), Dims({3, 3}));
  const auto decoded = Decoded(*codes);
  ASSERT_EQ(decoded.size(), 30u);
  for (size_t i = 0; i < 30; ++i) {
    if (i % 3 == 0 && i < 12) continue;  // the outlier's group
    EXPECT_NEAR(decoded[i], w.data<float>()[i], 4.0 / 14) << i;
  }
  // A convolution has no groups: a scale a channel.
  auto conv = CodesForWeights(Weights({4, 8, 1, 1}, 13), scheme, "half_even", 0, -1);
  ASSERT_TRUE(conv.ok());
  EXPECT_EQ(conv->scales.dims(), Dims({4}));
}

TEST(Weights, LogarithmicCodesKeepTheRatio) {
  const Tensor w = Weights({4, 6, 3, 3}, 14);
  const TensorScheme scheme{.bits = 8, .kind = ScaleKind::kLogarithmic};
  auto codes = CodesForWeights(w, scheme, "half_even", 0, -1);
  ASSERT_TRUE(codes.ok()) << codes.status().ToString();
  EXPECT_FALSE(codes->has_zero_points);
  const auto decoded = Decoded(*codes);
  double top = 0;
  for (int64_t i = 0; i < w.count(); ++i)
    top = std::max(top, std::fabs(double{w.data<float>()[i]}));
  for (size_t i = 0; i < decoded.size(); ++i) {
    const double x = w.data<float>()[i];
    if (std::fabs(x) < top / 200) continue;  // 127 sixteenths of an octave reach down to top / 246
    EXPECT_NEAR(decoded[i] / x, 1, std::exp2(1.0 / 32) - 1 + 1e-6) << x;
  }
}

TEST(Weights, OneBitIsTheSignTimesTheMeanMagnitude) {
  const Tensor w = Floats({2, 4}, {1, -2, 3, -2, 0.5f, 0.5f, -0.5f, 0.5f});
  const TensorScheme scheme{.bits = 1, .per = Granularity::kChannel};
  auto codes = CodesForWeights(w, scheme, "half_even", 0, 1);
  ASSERT_TRUE(codes.ok()) << codes.status().ToString();
  EXPECT_EQ(Decoded(*codes), (std::vector<float>{2, -2, 2, -2, 0.5f, 0.5f, -0.5f, 0.5f}));
}

TEST(Weights, PowersOfTwoAndWhatIsNotFinite) {
  Tensor w = Weights({3, 7}, 15);
  const TensorScheme scheme{
      .bits = 8, .per = Granularity::kChannel, .kind = ScaleKind::kPowerOfTwo};
  auto codes = CodesForWeights(w, scheme, "half_away", 0, 1);
  ASSERT_TRUE(codes.ok());
  for (int64_t i = 0; i < 3; ++i) {
    int exponent;
    EXPECT_EQ(std::frexp(codes->scales.data<float>()[i], &exponent), 0.5f);
  }
  EXPECT_LE(Worst(w, Decoded(*codes)), 0.5 * codes->scales.data<float>()[0] +
                                           codes->scales.data<float>()[1] +
                                           codes->scales.data<float>()[2]);
  reinterpret_cast<float*>(w.mutable_data())[4] = NAN;
  EXPECT_FALSE(CodesForWeights(w, scheme, "half_away", 0, 1).ok());
  // All zero: one scale, all codes zero.
  auto zero = CodesForWeights(Floats({1, 3}, {0, 0, 0}), scheme, "half_even", 0, 1);
  ASSERT_TRUE(zero.ok());
  EXPECT_EQ(Decoded(*zero), (std::vector<float>{0, 0, 0}));
}

}  // namespace
}  // namespace slipway::quant
