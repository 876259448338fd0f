#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

// The operators behind the pass, which must not change a code.
std::string Fused(const std::string& body, bool supported = true) {
  const std::string text =
      "graph \"g\" {\n  input %x: float32[2, 6, 5, 4]\n  const %s: float32[] = [0.03]\n"
      "  const %z: uint8[] = [7]\n  const %v: float32[6] = [1, 2, 3, 4, 5, 6]\n" +
      body + "}";
  return OpsBehind(text, Only({"fuse-quantize-pool"}), [&](const Node&) { return supported; });
}

TEST(FuseQuantizePool, BitForBit) {
  EXPECT_EQ(Fused("  %q = slipway.Quantize(%x, %s, %z) {signed = 0}\n"
                  "  %p = slipway.QAveragePool(%q) {global = 1, multiplier = 0.7, to = 2, q_min = "
                  "0, q_max = 255, x_zero_point = 7, y_zero_point = 3}\n  output %p\n"),
            "QAveragePool");
  EXPECT_EQ(Fused("  %q = slipway.Quantize(%x, %s)\n"
                  "  %p = slipway.QAveragePool(%q) {global = 1, multiplier = 0.5, to = 1}\n"
                  "  output %p\n"),
            "QAveragePool");
}

TEST(FuseQuantizePool, LeavesOtherThings) {
  const std::string pool =
      "  %p = slipway.QAveragePool(%q) {global = 1, multiplier = 0.7}\n  output %p\n";
  EXPECT_EQ(Fused("  %q = slipway.Quantize(%x, %s)\n" + pool, /*supported=*/false),
            "Quantize QAveragePool");
  // Somebody else reads the codes; scales a channel; a window.
  EXPECT_EQ(Fused("  %q = slipway.Quantize(%x, %s)\n" + pool + "  output %q\n"),
            "Quantize QAveragePool");
  EXPECT_EQ(Fused("  %q = slipway.Quantize(%x, %v)\n" + pool), "Quantize QAveragePool");
  EXPECT_EQ(Fused("  %q = slipway.Quantize(%x, %s)\n"
                  "  %p = slipway.QAveragePool(%q) {kernel_shape = [2, 2], multiplier = 0.7}\n"
                  "  output %p\n"),
            "Quantize QAveragePool");
}

}  // namespace
}  // namespace slipway::passes
