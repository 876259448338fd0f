#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

constexpr char kHead[] = R"(graph "g" {
  input %q: int8[2, 40, 6]
  input %p: uint8[2, 6, 5, 7]
  const %s: float32[] = [0.043]
  const %t: float32[] = [0.017]
  const %z: int8[] = [-5]
  const %u: uint8[] = [131]
  const %half: float32[] = [0.5]
  const %one: float32[] = [1]
  const %root: float32[] = [1.4142135]
  const %b: float32[6] = [0.5, -0.25, 1, 0.1, -0.7, 0.31]
  const %bq: uint8[1, 1, 6] = [128, 3, 200, 131, 17, 90]
  const %c: float32[1, 6, 1, 1] = [0.5, -0.25, 1, 0.1, -0.7, 0.31]
  %x = slipway.Dequantize(%q, %s, %z)
  %y = slipway.Dequantize(%p, %t, %u) {signed = 0}
)";

// The operators behind the pass, which must not change a code.
std::string Lowered(const std::string& body, bool supported = true) {
  return OpsBehind(kHead + body + "}", Only({"lower-lookup", "remove-dead"}),
                   [&](const Node&) { return supported; });
}

// Gelu as it is quantized: the error function rounded to codes, which join the input again.
std::string Gelu(const std::string& x) {
  return "  %d = Div(%" + x + R"(, %root)
  %e = Erf(%d)
  %eq = slipway.Quantize(%e, %t, %z)
  %ed = slipway.Dequantize(%eq, %t, %z)
  %a = Add(%ed, %one)
  %m = Mul(%)" +
         x + R"(, %a)
  %h = Mul(%m, %half)
  %o = slipway.Quantize(%h, %s, %z)
  output %o
)";
}

TEST(LowerLookup, OneFunction) {
  EXPECT_EQ(Lowered("  %v = Gelu(%x)\n  %o = slipway.Quantize(%v, %t, %u) {signed = 0}\n"
                    "  output %o\n"),
            "QLookup");
  EXPECT_EQ(Lowered("  %e = Tanh(%y)\n  %k = Mul(%e, %half)\n  %v = Sigmoid(%k)\n"
                    "  %o = slipway.Quantize(%v, %t, %z)\n  output %o\n"),
            "QLookup");
  EXPECT_EQ(Lowered(Gelu("x")), "QLookup");
}

TEST(LowerLookup, WithAConstantOfEachChannel) {
  EXPECT_EQ(Lowered("  %f = Add(%b, %x)\n" + Gelu("f")), "QLookup");
  EXPECT_EQ(Lowered("  %bd = slipway.Dequantize(%bq, %s, %u) {signed = 0}\n  %f = Add(%x, %bd)\n" +
                    Gelu("f")),
            "QLookup");
  EXPECT_EQ(Lowered("  %f = slipway.QAdd(%bq, %q) {a_multiplier = 0.05, a_zero_point = 128, "
                    "b_multiplier = 0.04, to = 1}\n" +
                    Gelu("f")),
            "QLookup");
  EXPECT_EQ(Lowered("  %f = Mul(%y, %c)\n  %g = Sigmoid(%f)\n  %m = Mul(%g, %f)\n"
                    "  %o = slipway.Quantize(%m, %t, %u) {signed = 0}\n  output %o\n"),
            "QLookup");
  // Nobody has such tables.
  EXPECT_EQ(Lowered("  %f = Mul(%y, %c)\n  %g = Sigmoid(%f)\n"
                    "  %o = slipway.Quantize(%g, %t, %z)\n  output %o\n",
                    /*supported=*/false),
            "Dequantize Mul Sigmoid Quantize");
}

TEST(LowerLookup, TablesBehindEachOther) {
  const std::string first =
      "  %v = Gelu(%x)\n  %i = slipway.Quantize(%v, %t, %z)\n  %w = slipway.Dequantize(%i, %t, "
      "%z)\n";
  EXPECT_EQ(Lowered(first + "  %k = Exp(%w)\n  %o = slipway.Quantize(%k, %s, %z)\n  output %o\n"),
            "QLookup");
  // A change of scale too; both codes are wanted.
  EXPECT_EQ(Lowered(first + "  %o = slipway.Quantize(%w, %s, %z)\n  output %o\n  output %i\n"),
            "QLookup QLookup");
}

TEST(LowerLookup, LeavesOtherThings) {
  const std::string quantize = "  %o = slipway.Quantize(%v, %t, %z)\n  output %o\n";
  // Two tensors of codes; a change of scale alone; something that is not elementwise.
  EXPECT_EQ(Lowered("  input %r: int8[2, 40, 6]\n  %k = slipway.Dequantize(%r, %s)\n"
                    "  %v = Mul(%x, %k)\n" +
                    quantize),
            "Dequantize Dequantize Mul Quantize");
  EXPECT_EQ(Lowered("  %o = slipway.Quantize(%x, %t, %z)\n  output %o\n"), "Dequantize Quantize");
  EXPECT_EQ(Lowered("  %v = Softmax(%x)\n" + quantize), "Dequantize Softmax Quantize");
  // A constant of each channel alone, which QAffine does; one of each position; another shape.
  EXPECT_EQ(Lowered("  %v = Add(%x, %b)\n" + quantize), "Dequantize Add Quantize");
  EXPECT_EQ(
      Lowered("  const %g: float32[40, 6] = iota\n  %k = Mul(%x, %g)\n  %v = Sin(%k)\n" + quantize),
      "Dequantize Mul Sin Quantize");
  EXPECT_EQ(Lowered("  const %g: float32[3, 1, 1, 1] = [1, 2, 3]\n  %k = Mul(%x, %g)\n"
                    "  %v = Sin(%k)\n" +
                    quantize),
            "Dequantize Mul Sin Quantize");
  // Values of the region that somebody else reads would be computed twice.
  EXPECT_EQ(Lowered("  %k = Add(%x, %b)\n  %v = Sigmoid(%k)\n" + quantize + "  output %k\n"),
            "Dequantize Add Sigmoid Quantize");
}

}  // namespace
}  // namespace slipway::passes
