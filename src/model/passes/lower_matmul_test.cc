#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(LowerMatMul, AttentionScoresToCodesOrFloats) {
  const std::string head = R"(graph "g" {
      input %a: uint8[2, 3, 5, 8]
      input %b: int8[2, 3, 8, 6]
      const %s: float32[] = fill(0.25)
      const %t: float32[] = fill(0.5)
      const %z: uint8[] = fill(120)
      const %n: int8[] = fill(3)
)";
  ExpectBecomes(head + R"(
      %x = slipway.Dequantize(%a, %s, %z) {signed = 0}
      %w = slipway.Dequantize(%b, %t)
      %m = MatMul(%x, %w)
      %y = slipway.Quantize(%m, %t, %n)
      %f = MatMul(%x, %w)
      %e = Softmax(%f)
      output %y
      output %e
    })",
                {"lower-matmul"}, R"(graph "g" {
      input %a: uint8[2, 3, 5, 8]
      input %b: int8[2, 3, 8, 6]
      %y = slipway.QMatMul(%a, %b) {a_zero_point = 120, b_zero_point = 0, multiplier = 0.25, to = 3, y_zero_point = 3, q_min = -128, q_max = 127}
      %f = slipway.QMatMul(%a, %b) {a_zero_point = 120, b_zero_point = 0, multiplier = 0.125, to = 1}
      %e = Softmax(%f)
      output %y
      output %e
    })");
}

TEST(LowerMatMul, LeavesFloatsAndConstants) {
  ExpectUnchanged(R"(graph "g" {
      input %a: uint8[5, 8]
      input %f: float32[8, 6]
      const %c: int8[8, 6] = iota
      const %s: float32[] = fill(0.25)
      const %z: uint8[] = fill(120)
      %x = slipway.Dequantize(%a, %s, %z) {signed = 0}
      %w = slipway.Dequantize(%c, %s)
      %y = MatMul(%x, %f)
      %v = MatMul(%x, %w)
      output %y
      output %v
    })",
                  {"lower-matmul"});
}

// Sums that might leave int32.
TEST(LowerMatMul, LeavesVeryLongSums) {
  ExpectUnchanged(R"(graph "g" {
      input %a: uint8[1, 40000]
      input %b: uint8[40000, 1]
      const %s: float32[] = fill(0.25)
      %x = slipway.Dequantize(%a, %s) {signed = 0}
      %w = slipway.Dequantize(%b, %s) {signed = 0}
      %y = MatMul(%x, %w)
      output %y
    })",
                  {"lower-matmul"});
}

}  // namespace
}  // namespace slipway::passes
