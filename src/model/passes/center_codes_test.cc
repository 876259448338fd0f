#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

constexpr char kGraph[] = R"(graph "g" {
  input %x: float32[2, 5]
  const %s: float32[] = [0.05]
  const %z: uint8[] = [ZERO]
  %q = slipway.Quantize(%x, %s, %z) {bits = 8, signed = 0}
  %d = slipway.Dequantize(%q, %s, %z) {bits = 8, signed = 0}
  %e = slipway.Dequantize(%q, %s, %z) {bits = 8, signed = 0}
  %y = Add(%d, %e)
  output %y
})";

std::string WithZero(const char* zero) {
  std::string text = kGraph;
  return text.replace(text.find("ZERO"), 4, zero);
}

TEST(CenterCodes, UnsignedAroundTheMiddleBecomesSignedAroundZero) {
  auto graph = Parse(WithZero("128"));
  auto before = graph->Clone();
  auto changes = RunPasses(*graph, {.only = {"center-codes"}});
  ASSERT_TRUE(changes.ok()) << changes.status().ToString();
  for (const auto& node : graph->nodes()) {
    if (node->domain().empty()) continue;
    EXPECT_EQ(node->attributes.Int("signed", 0), 1);
    EXPECT_EQ(node->input(2)->dtype(), DType::kInt8);
  }
  // Bit for bit, far outside the range too.
  std::vector<float> x = {-100, -6.4f, -6.37f, -0.025f, 0, 0.025f, 0.076f, 6.34f, 6.4f, 100};
  const Tensor input = Tensor::Of<float>({2, 5}, x);
  auto a = interp::Evaluate(*before, std::span(&input, 1)),
       b = interp::Evaluate(*graph, std::span(&input, 1));
  ASSERT_TRUE(a.ok() && b.ok());
  for (int i = 0; i < 10; ++i) EXPECT_EQ((*a)[0].data<float>()[i], (*b)[0].data<float>()[i]) << i;
}

TEST(CenterCodes, OtherZeroPointsStay) {
  auto graph = Parse(WithZero("127"));
  ASSERT_TRUE(RunPasses(*graph, {.only = {"center-codes"}}).ok());
  EXPECT_EQ(graph->nodes().front()->attributes.Int("signed", 1), 0);
}

}  // namespace
}  // namespace slipway::passes
