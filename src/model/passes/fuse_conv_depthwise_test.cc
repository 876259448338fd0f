#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

constexpr char kPair[] = R"(graph "g" {
  input %x: float32[N, 4, 96, 128]
  const %w: float32[64, 4, 1, 1] = random(1)
  const %b: float32[64] = random(2)
  const %v: float32[64, 1, 3, 3] = random(3)
  const %a: float32[64] = random(4)
  %p = Conv(%x, %w, %b)
  %q = Swish(%p)
  %d = Conv(%q, %v, %a) {group = 64, strides = [2, 2], pads = [1, 1, 0, 1]}
  %y = Clip(%d)
  output %y
})";

// The pair with one place changed.
std::string Pair(const std::string& from = "", const std::string& to = "") {
  std::string text = kPair;
  if (!from.empty()) text.replace(text.find(from), from.size(), to);
  return text;
}

// The operators behind the pass, which must not change what the graph computes.
std::string Fused(const std::string& text, bool supported = true) {
  return OpsBehind(
      text, {}, [&](const Node& node) { return supported && node.IsSlipway("ConvDepthwise"); },
      kTolerance);
}

TEST(FuseConvDepthwise, WithWhatTheTwoHave) {
  EXPECT_EQ(Fused(Pair()), "ConvDepthwise");
  EXPECT_EQ(Fused(Pair("%q = Swish(%p)", "%q = HardSigmoid(%p) {alpha = 0.3}")), "ConvDepthwise");
  EXPECT_EQ(Fused(Pair("%x, %w, %b", "%x, %w")), "ConvDepthwise");
  EXPECT_EQ(Fused(Pair("%q, %v, %a", "%q, %v")), "ConvDepthwise");
}

TEST(FuseConvDepthwise, LeavesOtherThings) {
  EXPECT_EQ(Fused(Pair(), /*supported=*/false), "Conv Conv");
  // What lies between is small, or no larger than the result.
  EXPECT_EQ(Fused(Pair("96, 128]", "48, 128]")), "Conv Conv");
  EXPECT_EQ(Fused(Pair("strides = [2, 2], ", "")), "Conv Conv");
  // Somebody else wants it.
  EXPECT_EQ(Fused(Pair("output %y", "output %y\n  output %q")), "Conv Conv");
  // No 1x1 window, or one that leaves pixels out.
  EXPECT_EQ(Fused(Pair("[64, 4, 1, 1]", "[64, 4, 1, 2]")), "Conv Conv");
  EXPECT_EQ(Fused(Pair("%x, %w, %b)", "%x, %w, %b) {pads = [1, 0, 0, 0]}")), "Conv Conv");
  // Two channels a group.
  std::string grouped = Pair("[64, 1, 3, 3]", "[64, 2, 3, 3]");
  grouped.replace(grouped.find("group = 64"), 10, "group = 32");
  EXPECT_EQ(Fused(grouped), "Conv Conv");
}

}  // namespace
}  // namespace slipway::passes
