#include "model/passes/fuse_mul_quantize.h"

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
  auto before = Parse(text), after = Parse(text);
  auto changed = FuseMulQuantize(*after, [&](const Node&) { return supported; });
  EXPECT_TRUE(changed.ok()) << changed.status().message();
  EXPECT_TRUE(ir::Verify(*after).ok());
  ExpectSameResults(*before, *after, 0);
  std::string ops;
  for (const auto& n : after->nodes()) ops += (ops.empty() ? "" : " ") + n->op();
  return ops;
}

TEST(FuseMulQuantize, BitForBit) {
  EXPECT_EQ(Fused("  %m = Mul(%x, %f)\n  %q = slipway.Quantize(%m, %s, %z) {signed = 0}\n"
                  "  output %q\n"),
            "MulQuantize");
  EXPECT_EQ(Fused("  %m = Mul(%f, %x)\n  %q = slipway.Quantize(%m, %s)\n  output %q\n"),
            "MulQuantize");
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
