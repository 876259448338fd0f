// QONNX operators against the arithmetic of their specification, written out in float32; and the
// form they take in the IR.

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <random>

#include "model/frontends/onnx/export.h"
#include "model/frontends/onnx/test_model.h"
#include "model/interp/interpreter.h"

namespace slipway::onnx {
namespace {

using ir::Tensor;

constexpr char kQonnx[] = "qonnx.custom_op.general";

float RoundLike(const std::string& mode, float v) {
  const float sign = v > 0 ? 1.0f : v < 0 ? -1.0f : 0.0f, size = std::fabs(v);
  if (mode == "ROUND" || mode == "HALF_EVEN") return std::nearbyint(v);
  if (mode == "CEIL") return std::ceil(v);
  if (mode == "FLOOR") return std::floor(v);
  if (mode == "UP") return sign * std::ceil(size);
  if (mode == "DOWN") return std::trunc(v);
  if (mode == "HALF_UP") return sign * std::floor(size + 0.5f);
  return sign * std::ceil(size - 0.5f);  // HALF_DOWN
}

struct QuantCase {
  float scale, zero;
  int bits;
  bool is_signed, narrow;
  std::string mode;

  float operator()(float x) const {
    float y = x / scale;
    y = y + zero;
    if (bits == 1 && is_signed) {
      y = y >= 0 ? 1.0f : -1.0f;
    } else {
      const double half = std::exp2(bits - 1);
      const auto low = static_cast<float>(!is_signed ? 0 : narrow ? 1 - half : -half);
      const auto high = static_cast<float>(is_signed ? half - 1 : 2 * half - (narrow ? 2 : 1));
      y = y > high ? high : y;
      y = y < low ? low : y;
      y = RoundLike(mode, y);
    }
    return (y - zero) * scale;
  }
  TestModel Model(const char* domain = kQonnx, const char* op = "Quant") const {
    TestModel m(13);
    m.Input("x", {"?"}).Output("y").Floats("s", {}, {scale}).Floats("z", {}, {zero});
    m.Floats("b", {}, {static_cast<float>(bits)});
    m.Node(op, {"x", "s", "z", "b"}, {"y"},
           {TestModel::Int("signed", is_signed), TestModel::Int("narrow", narrow),
            TestModel::Text("rounding_mode", mode)},
           "q", domain);
    return m;
  }
};

Result<std::vector<Tensor>> Evaluate(const ir::Graph& graph, const Tensor& x) {
  const std::vector<Tensor> inputs{x};
  return interp::Evaluate(graph, inputs);
}

std::vector<float> Compute(const TestModel& model, const std::vector<float>& x) {
  auto graph = model.Import();
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  if (!graph.ok()) return {};
  auto out = Evaluate(**graph, Tensor::Vector<float>(x));
  EXPECT_TRUE(out.ok()) << out.status().ToString();
  if (!out.ok()) return {};
  const auto v = (*out)[0].ToDoubles();
  return {v.begin(), v.end()};
}

TEST(Qonnx, QuantIsBitExact) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  const char* modes[] = {"ROUND", "CEIL",    "FLOOR",     "UP",
                         "DOWN",  "HALF_UP", "HALF_DOWN", "HALF_EVEN"};
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  for (int round = 0; round < 400 && std::chrono::steady_clock::now() < end; ++round) {
    QuantCase c;
    c.bits = 1 + static_cast<int>(rng() % 20);
    c.is_signed = rng() % 2 == 0;
    c.narrow = rng() % 2 == 0;
    c.mode = modes[rng() % 8];
    c.scale = rng() % 2 == 0 ? std::exp2(static_cast<float>(rng() % 9) - 6)
                             : 0.001f * static_cast<float>(1 + rng() % 2000);
    c.zero = rng() % 2 == 0 ? 0 : static_cast<float>(static_cast<int>(rng() % 40) - 10);
    std::vector<float> x;
    const float reach = c.scale * std::exp2(static_cast<float>(std::min(c.bits, 12)));
    std::uniform_real_distribution<float> u(-reach, reach);
    for (int i = 0; i < 200; ++i) {  // half of them on ties
      x.push_back(i % 2 == 0 ? u(rng) : (static_cast<float>(rng() % 64) - 31.5f) * c.scale);
    }
    const auto got = Compute(c.Model(), x);
    ASSERT_EQ(got.size(), x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(got[i], c(x[i])) << x[i] << " scale " << c.scale << " zero " << c.zero << " bits "
                                 << c.bits << " signed " << c.is_signed << " narrow " << c.narrow
                                 << " " << c.mode;
    }
  }
}

TEST(Qonnx, QuantBecomesQuantizeAndDequantize) {
  const QuantCase c{0.25f, 0, 4, true, true, "ROUND"};
  auto graph = c.Model().Import();
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  ASSERT_EQ((*graph)->nodes().size(), 2u);
  const ir::Node& q = *(*graph)->nodes().front();
  EXPECT_TRUE(q.IsSlipway("Quantize"));
  EXPECT_EQ(q.attributes.Int("bits", 8), 4);
  EXPECT_EQ(q.attributes.Int("narrow", 0), 1);
  EXPECT_TRUE(c.Model("onnx.brevitas").Import().ok());
  EXPECT_TRUE(c.Model("finn.custom_op.general", "IntQuant").Import().ok());
}

TEST(Qonnx, QuantPerChannel) {
  TestModel m(13);
  m.Input("x", {"1", "2", "2", "1"}).Output("y").Floats("s", {1, 2, 1, 1}, {0.5f, 2});
  m.Floats("z", {}, {0}).Floats("b", {}, {3});
  m.Node("Quant", {"x", "s", "z", "b"}, {"y"}, {}, "q", kQonnx);
  auto graph = m.Import();
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  EXPECT_EQ((*graph)->nodes().size(), 2u);
  const std::vector<float> x{0.7f, 100, 3.1f, -100};
  auto out = Evaluate(**graph, Tensor::Of<float>({1, 2, 2, 1}, x));
  ASSERT_TRUE(out.ok()) << out.status().ToString();
  EXPECT_EQ((*out)[0].ToDoubles(), (std::vector<double>{0.5, 1.5, 4, -8}));
}

TEST(Qonnx, WhatQuantRefuses) {
  QuantCase c{0.25f, 0, 4, true, false, "STOCHASTIC"};
  auto graph = c.Model().Import();
  ASSERT_FALSE(graph.ok());
  EXPECT_NE(graph.status().message().find("STOCHASTIC"), std::string::npos);
  TestModel m(13);  // a bit width that is computed
  m.Input("x", {"2"}).Input("b", {}).Output("y").Floats("s", {}, {1}).Floats("z", {}, {0});
  m.Node("Quant", {"x", "s", "z", "b"}, {"y"}, {}, "q", kQonnx);
  graph = m.Import();
  ASSERT_FALSE(graph.ok());
  EXPECT_NE(graph.status().message().find("bit width"), std::string::npos);
}

TEST(Qonnx, BipolarQuant) {
  TestModel m(13);
  m.Input("x", {"4"}).Output("y").Floats("s", {}, {0.5f});
  m.Node("BipolarQuant", {"x", "s"}, {"y"}, {}, "q", kQonnx);
  EXPECT_EQ(Compute(m, {-2, -0.0f, 0, 3}), (std::vector<float>{-0.5f, 0.5f, 0.5f, 0.5f}));
  auto graph = m.Import();
  ASSERT_TRUE(graph.ok());
  EXPECT_TRUE((*graph)->nodes().front()->IsSlipway("Quantize"));
  EXPECT_EQ((*graph)->nodes().front()->attributes.String("kind", ""), "bipolar");
  // Out and in again, in both forms.
  for (const bool qonnx : {false, true}) {
    for (int opset : {11, 17, 23}) {
      auto bytes = ExportOnnxBytes(**graph, {.opset = opset, .qonnx = qonnx});
      ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
      auto owner = std::make_shared<std::vector<uint8_t>>(std::move(*bytes));
      auto again = ImportOnnxBytes(*owner, owner, {});
      ASSERT_TRUE(again.ok()) << again.status().ToString();
      auto out = Evaluate(**again, Tensor::Vector<float>({-2, -0.0f, 0, NAN}));
      ASSERT_TRUE(out.ok()) << out.status().ToString();
      EXPECT_EQ((*out)[0].ToDoubles(), (std::vector<double>{-0.5, 0.5, 0.5, -0.5}));
    }
  }
}

// A scale that is computed, or not positive: by its definition.
TEST(Qonnx, BipolarQuantByItsDefinition) {
  TestModel m(13);
  m.Input("x", {"4"}).Output("y").Floats("s", {}, {-0.5f});
  m.Node("BipolarQuant", {"x", "s"}, {"y"}, {}, "q", kQonnx);
  EXPECT_EQ(Compute(m, {-2, -0.0f, 0, 3}), (std::vector<float>{0.5f, -0.5f, -0.5f, -0.5f}));
}

// Out as QONNX and in again: the same graph, whatever the form.
TEST(Qonnx, Export) {
  for (const QuantCase& c :
       {QuantCase{0.25f, 0, 4, true, true, "ROUND"}, QuantCase{0.1f, 3, 8, false, false, "CEIL"},
        QuantCase{0.3f, -2, 12, true, false, "HALF_DOWN"}}) {
    auto graph = c.Model().Import();
    ASSERT_TRUE(graph.ok());
    auto bytes = ExportOnnxBytes(**graph, {.opset = 13, .qonnx = true});
    ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
    const std::string text(bytes->begin(), bytes->end());
    EXPECT_NE(text.find("qonnx.custom_op.general"), std::string::npos);
    EXPECT_EQ(text.find("QuantizeLinear"), std::string::npos);
    auto owner = std::make_shared<std::vector<uint8_t>>(std::move(*bytes));
    auto again = ImportOnnxBytes(*owner, owner, {});
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    std::vector<float> x;
    for (int i = -300; i < 300; ++i) x.push_back(static_cast<float>(i) * c.scale / 4);
    auto out = Evaluate(**again, Tensor::Vector<float>(x));
    ASSERT_TRUE(out.ok()) << out.status().ToString();
    const auto got = (*out)[0].ToDoubles();
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(static_cast<float>(got[i]), c(x[i])) << x[i];
  }
}

TEST(Qonnx, ExportOfWeightsPerChannelAndOfCodes) {
  TestModel m(13);
  m.Input("x", {"1", "2"}).Output("y").Floats("s", {2}, {0.5f, 2});
  m.Init("w", Tensor::Of<int8_t>({2, 2}, std::vector<int8_t>{1, -2, 3, 127}));
  m.Node("DequantizeLinear", {"w", "s"}, {"d"}, {TestModel::Int("axis", 0)});
  m.Node("MatMul", {"x", "d"}, {"y"});
  auto graph = m.Import();
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  auto bytes = ExportOnnxBytes(**graph, {.opset = 13, .qonnx = true});
  ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
  auto owner = std::make_shared<std::vector<uint8_t>>(std::move(*bytes));
  auto again = ImportOnnxBytes(*owner, owner, {});
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  auto out = Evaluate(**again, Tensor::Of<float>({1, 2}, std::vector<float>{1, 10}));
  ASSERT_TRUE(out.ok()) << out.status().ToString();
  EXPECT_EQ((*out)[0].ToDoubles(), (std::vector<double>{60.5, 2539}));
  TestModel codes(13);
  codes.Input("x", {"2"}).Output("y").Floats("s", {}, {0.5f});
  codes.Node("QuantizeLinear", {"x", "s"}, {"y"});
  graph = codes.Import();
  ASSERT_TRUE(graph.ok());
  auto refused = ExportOnnxBytes(**graph, {.opset = 13, .qonnx = true});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("QONNX"), std::string::npos);
}

TEST(Qonnx, Trunc) {
  // 8 to 5 bits: codes 37, -37, 20 of scale 0.5 by 2^3 downwards, then by the old scale.
  TestModel one(13);
  one.Input("x", {"3"}).Output("y").Floats("s", {}, {0.5f}).Floats("z", {}, {0});
  one.Floats("i", {}, {8}).Floats("o", {}, {5});
  one.Node("Trunc", {"x", "s", "z", "i", "o"}, {"y"}, {}, "q", kQonnx);
  EXPECT_EQ(Compute(one, {18.5f, -18.5f, 10}), (std::vector<float>{2, -2.5f, 1}));
  // Version 2: the step is the ratio of the scales, the codes are clamped to the output's range.
  TestModel two(13);
  two.Input("x", {"4"}).Output("y").Floats("s", {}, {0.5f}).Floats("z", {}, {0});
  two.Floats("i", {}, {8}).Floats("t", {}, {4}).Floats("o", {}, {3});
  two.Node("Trunc", {"x", "s", "z", "i", "t", "o"}, {"y"},
           {TestModel::Text("rounding_mode", "ROUND")}, "q", kQonnx);
  EXPECT_EQ(Compute(two, {18.5f, -18.5f, 10, 6}), (std::vector<float>{12, -16, 8, 8}));
}

}  // namespace
}  // namespace slipway::onnx
