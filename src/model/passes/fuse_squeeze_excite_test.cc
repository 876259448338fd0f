#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

constexpr char kBlock[] = R"(graph "g" {
  input %x: float32[2, 6, 5, 4]
  const %w1: float32[3, 6, 1, 1] = random(1)
  const %b1: float32[3] = random(2)
  const %w2: float32[6, 3, 1, 1] = random(3)
  const %b2: float32[6] = random(4)
  %p = GlobalAveragePool(%x)
  %a = Conv(%p, %w1, %b1)
  %r = Relu(%a)
  %c = Conv(%r, %w2, %b2)
  %s = Sigmoid(%c)
  %y = Mul(ORDER)
  output %y
MORE})";

std::string Block(const std::string& order, const std::string& more = "") {
  std::string text = kBlock;
  text.replace(text.find("ORDER"), 5, order);
  text.replace(text.find("MORE"), 4, more);
  return text;
}

// The operators behind the pass, which must not change what the graph computes.
std::string Fused(const std::string& text, bool supported = true) {
  return OpsBehind(
      text, {}, [&](const Node& node) { return supported && node.IsSlipway("SqueezeExcite"); },
      kTolerance);
}

TEST(FuseSqueezeExcite, EitherOrderAndAnyGate) {
  EXPECT_EQ(Fused(Block("%x, %s")), "SqueezeExcite");
  EXPECT_EQ(Fused(Block("%s, %x")), "SqueezeExcite");
  std::string hard = Block("%x, %s");
  hard.replace(hard.find("Sigmoid(%c)"), 11, "HardSigmoid(%c) {alpha = 0.3}");
  EXPECT_EQ(Fused(hard), "SqueezeExcite");
  std::string swish = Block("%x, %s");
  swish.replace(swish.find("Relu"), 4, "Swish");
  EXPECT_EQ(Fused(swish), "SqueezeExcite");
}

TEST(FuseSqueezeExcite, LeavesOtherThings) {
  EXPECT_EQ(Fused(Block("%x, %s"), /*supported=*/false), "GlobalAveragePool Conv Conv Mul");
  // Somebody else wants the gates, or the means.
  EXPECT_EQ(Fused(Block("%x, %s", "  output %s\n")), "GlobalAveragePool Conv Conv Mul");
  EXPECT_EQ(Fused(Block("%x, %s", "  output %p\n")), "GlobalAveragePool Conv Conv Mul");
  // Not what was squeezed.
  std::string other = Block("%q, %s");
  other.insert(other.find("  %y"), "  %q = Neg(%x)\n");
  EXPECT_EQ(Fused(other), "GlobalAveragePool Conv Conv Neg Mul");
  // A window of more than a pixel, though it sees one only.
  std::string wide = Block("%x, %s");
  wide.replace(wide.find("[3, 6, 1, 1]"), 12, "[3, 6, 3, 3]");
  wide.replace(wide.find("%b1)\n"), 5, "%b1) {pads = [1, 1, 1, 1]}\n");
  EXPECT_EQ(Fused(wide), "GlobalAveragePool Conv Conv Mul");
}

}  // namespace
}  // namespace slipway::passes
