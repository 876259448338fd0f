#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

constexpr char kHead[] = R"(graph "g" {
      input %p: int8[N, 2, 4, 4]
      input %q: int8[N, 1, 4, 4]
      const %s: float32[] = fill(0.5)
      const %t: float32[] = fill(0.25)
      const %z: uint8[] = fill(7)
      const %w: float32[3, 1, 1, 1] = [0.5, 1, -0.25]
      const %b: float32[3] = [1, -2, 0.5]
      const %c: float32[3, 1, 1] = [1, 2, 0.5]
)";

// Batch normalisation between a concatenation and the next convolution, as DenseNets have it.
TEST(LowerAffine, NormalisedConcatenation) {
  ExpectBecomes(std::string(kHead) + R"(
      %j = Concat(%p, %q) {axis = 1}
      %x = slipway.Dequantize(%j, %s)
      %v = slipway.Conv(%x, %w, %b) {group = 3, activation = "Relu"}
      %y = slipway.Quantize(%v, %t, %z) {signed = 0}
      output %y
    })",
                {"lower-affine"}, R"(graph "g" {
      input %p: int8[N, 2, 4, 4]
      input %q: int8[N, 1, 4, 4]
      const %m: float32[3] = [1, 2, -0.5]
      const %o: float32[3] = [4, -8, 2]
      %y = slipway.QAffine(%m, %o, %p, %q) {axis = 1, to = 2, y_zero_point = 7, q_min = 7, q_max = 255}
      output %y
    })",
                0.01);
}

TEST(LowerAffine, ChainsOfConstantsAndZeroPoints) {
  ExpectBecomes(std::string(kHead) + R"(
      const %three: int8[] = fill(3)
      %j = Concat(%p, %q) {axis = 1}
      %x = slipway.Dequantize(%j, %s, %three)
      %v = Mul(%x, %c)
      %u = Add(%v, %c)
      %y = slipway.Quantize(%u, %t)
      output %j
      output %y
    })",
                {"lower-affine"}, R"(graph "g" {
      input %p: int8[N, 2, 4, 4]
      input %q: int8[N, 1, 4, 4]
      const %m: float32[3] = [2, 4, 1]
      const %o: float32[3] = [-2, -4, -1]
      %j = Concat(%p, %q) {axis = 1}
      %y = slipway.QAffine(%m, %o, %j) {axis = 1, to = 3, y_zero_point = 0, q_min = -128, q_max = 127}
      output %j
      output %y
    })",
                0.01);
}

TEST(LowerAffine, BiasAlongTheLastAxis) {
  ExpectBecomes(R"(graph "g" {
      input %p: int8[2, 5, 3]
      const %s: float32[] = fill(0.5)
      const %b: float32[3] = [1, -2, 0.5]
      %x = slipway.Dequantize(%p, %s)
      %v = Add(%x, %b)
      %y = slipway.Quantize(%v, %s)
      output %y
    })",
                {"lower-affine"}, R"(graph "g" {
      input %p: int8[2, 5, 3]
      const %m: float32[3] = [1, 1, 1]
      const %o: float32[3] = [2, -4, 1]
      %y = slipway.QAffine(%m, %o, %p) {axis = 2, to = 3, y_zero_point = 0, q_min = -128, q_max = 127}
      output %y
    })",
                0.01);
}

TEST(LowerAffine, LeavesWindowsOneScaleAndOtherUsers) {
  ExpectUnchanged(std::string(kHead) + R"(
      const %k: float32[2, 1, 3, 3] = iota
      const %half: float32[] = fill(0.5)
      %x = slipway.Dequantize(%p, %s)
      %v = Conv(%x, %k) {group = 2, pads = [1, 1, 1, 1]}
      %a = slipway.Quantize(%v, %t)
      %h = Mul(%x, %half)
      %b2 = slipway.Quantize(%h, %t)
      %j = Concat(%p, %q) {axis = 1}
      %xj = slipway.Dequantize(%j, %s)
      %f = Mul(%xj, %c)
      %e = slipway.Quantize(%f, %t)
      output %a
      output %b2
      output %f
      output %e
    })",
                  {"lower-affine"});
}

}  // namespace
}  // namespace slipway::passes
