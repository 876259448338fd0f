#include "deploy/inspect.h"

#include <gtest/gtest.h>

#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::deploy {
namespace {

std::unique_ptr<ir::Graph> Graph(const std::string& text) {
  auto g = ir::ParseText("graph \"g\" {\n" + text + "\n}");
  EXPECT_TRUE(g.ok()) << g.status().ToString();
  EXPECT_TRUE(ir::InferShapes(**g).ok());
  return std::move(*g);
}

TEST(Inspect, CountsLayersAtTheSizesGiven) {
  auto g = Graph(
      "range N = [2, 8]\ninput %x: float32[N, 3, 8, 8]\nconst %w: float32[4, 3, 3, 3] = zeros\n"
      "%c = Conv(%x, %w) {pads = [1, 1, 1, 1]} \"conv\"\n%r = Relu(%c) \"relu\"\n"
      "%a = Add(%r, %c) \"add\"\noutput %a");
  const Inspection in = Inspect(*g);
  ASSERT_EQ(in.layers.size(), 3u);
  EXPECT_EQ(in.parameters, 108);
  EXPECT_EQ(in.layers[0].parameters, 108);
  EXPECT_EQ(in.layers[0].macs.ToString(), "6912*N");
  EXPECT_EQ(in.layers[0].macs_here, 2 * 6912);  // the least of the range
  EXPECT_EQ(in.layers[0].output_bytes, 2 * 4 * 64 * 4);
  ASSERT_EQ(in.symbols.size(), 1u);
  EXPECT_EQ(in.symbols[0].name, "N");
  EXPECT_EQ(in.symbols[0].most, 8);
  EXPECT_TRUE(in.symbols[0].bounded);
  EXPECT_EQ(in.symbols[0].inputs, std::vector<std::string>{"x"});
  // The input, the convolution's result; both and Relu's; without the input three results.
  constexpr int64_t kInput = 2 * 3 * 64 * 4, kResult = 2 * 4 * 64 * 4;
  EXPECT_EQ(in.layers[0].live_bytes, kInput + kResult);
  EXPECT_EQ(in.layers[1].live_bytes, 2 * kResult);
  EXPECT_EQ(in.layers[2].live_bytes, 3 * kResult);
  EXPECT_EQ(in.peak_live_bytes, 3 * kResult);
  EXPECT_EQ(in.peak_layer, "add");
  EXPECT_EQ(in.operators.at("Conv").macs, 2 * 6912);
  EXPECT_EQ(in.weights.at("float32").elements, 108);
  EXPECT_EQ(Inspect(*g, {{"N", 5}}).macs_here, 5 * 6912);
}

TEST(Inspect, SumsUpQuantization) {
  auto g = Graph(
      "input %x: float32[1, 4]\nconst %s: float32[] = [0.5]\nconst %z: uint8[] = [3]\n"
      "const %codes: int8[2, 4] = zeros\nconst %ws: float32[2] = [1, 2]\n"
      "%q = slipway.Quantize(%x, %s, %z) {signed = 0}\n%d = slipway.Dequantize(%q, %s, %z) {signed "
      "= 0}\n"
      "%w = slipway.Dequantize(%codes, %ws) {axis = 0}\n%y = Gemm(%d, %w) {transB = 1}\noutput %y");
  const Inspection in = Inspect(*g);
  ASSERT_EQ(in.quantization.size(), 2u);
  const auto& acts = in.quantization.at("uint8 affine per tensor");
  EXPECT_EQ(acts.quantize, 1);
  EXPECT_EQ(acts.dequantize, 1);
  EXPECT_EQ(acts.weights, 0);
  const auto& weights = in.quantization.at("int8 affine per channel");
  EXPECT_EQ(weights.weights, 1);
  EXPECT_EQ(weights.weight_elements, 8);
}

TEST(Inspect, HugeShapesDoNotOverflow) {
  auto g = Graph("input %x: float32[1099511627776]\n%y = Relu(%x)\n%z = Neg(%y)\noutput %z");
  const Inspection in = Inspect(*g);
  EXPECT_EQ(in.layers[0].output_bytes, int64_t{1} << 42);
  EXPECT_EQ(in.peak_live_bytes, int64_t{2} << 42);
}

TEST(Inspect, AttributesAreCut) {
  ir::Attributes a;
  a.Set("list", std::vector<int64_t>(100, 7));
  a.Set("text", std::string(500, 'x'));
  a.Set("f", 0.5f);
  const std::string text = AttributeText(a);
  EXPECT_NE(text.find("f 0.5, list [7, 7"), std::string::npos) << text;
  EXPECT_NE(text.find("… 100]"), std::string::npos);
  EXPECT_LT(text.size(), 300u);
}

}  // namespace
}  // namespace slipway::deploy
