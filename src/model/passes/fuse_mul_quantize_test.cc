#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

// The operators behind the pass, which must not change a code.
std::string Fused(const std::string& body, bool supported = true) {
  const std::string text =
      "graph \"g\" {\n  input %x: float32[2, 6, 5, 4]\n"
      "  input %f: float32[2, 6, 1, 1]\n  const %s: float32[] = [0.03]\n"
      "  const %z: uint8[] = [7]\n  const %v: float32[6] = [1, 2, 3, 4, 5, 6]\n" +
      body + "}";
  return OpsBehind(text, Only({"fuse-mul-quantize"}), [&](const Node&) { return supported; });
}

TEST(FuseMulQuantize, BitForBit) {
  EXPECT_EQ(Fused("  %m = Mul(%x, %f)\n  %q = slipway.Quantize(%m, %s, %z) {signed = 0}\n"
                  "  output %q\n"),
            "MulQuantize");
  EXPECT_EQ(Fused("  %m = Mul(%f, %x)\n  %q = slipway.Quantize(%m, %s)\n  output %q\n"),
            "MulQuantize");
}

// Operators that only a backend wants are made for nobody else.
TEST(FuseMulQuantize, NeedsABackend) {
  auto graph = Parse(
      "graph \"g\" {\ninput %x: float32[2]\nconst %s: float32[] = [0.03]\n%m = Mul(%x, %x)\n"
      "%q = slipway.Quantize(%m, %s)\noutput %q\n}");
  ASSERT_TRUE(RunPasses(*graph, {.level = Level::kInteger}).ok());
  EXPECT_EQ(CountOps(*graph).count("slipway.MulQuantize"), 0u);
  ASSERT_TRUE(
      RunPasses(*graph, {.level = Level::kInteger, .supported = [](const Node&) { return true; }})
          .ok());
  EXPECT_EQ(CountOps(*graph).count("slipway.MulQuantize"), 1u);
}

TEST(FuseMulQuantize, LeavesOtherThings) {
  const std::string mul = "  %m = Mul(%x, %f)\n";
  EXPECT_EQ(Fused(mul + "  %q = slipway.Quantize(%m, %s)\n  output %q\n", /*supported=*/false),
            "Mul Quantize");
  // Somebody else reads the product; scales a channel; another rounding; a sum.
  EXPECT_EQ(Fused(mul + "  %q = slipway.Quantize(%m, %s)\n  output %q\n  output %m\n"),
            "Mul Quantize");
  EXPECT_EQ(Fused(mul + "  %q = slipway.Quantize(%m, %v)\n  output %q\n"), "Mul Quantize");
  EXPECT_EQ(Fused(mul + "  %q = slipway.Quantize(%m, %s) {rounding = \"floor\"}\n  output %q\n"),
            "Mul Quantize");
  EXPECT_EQ(Fused("  %m = Add(%x, %f)\n  %q = slipway.Quantize(%m, %s)\n  output %q\n"),
            "Add Quantize");
}

}  // namespace
}  // namespace slipway::passes
