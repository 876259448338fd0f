#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

// As MatMulNBits is imported: codes [N, K] in groups along K behind a Transpose, and a bias.
TEST(KeepWeightCodes, GroupsAndBias) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[M, 8]
      const %c: uint8[3, 8] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8]
      const %s: float32[3, 2] = [1, 2, 3, 4, 5, 6]
      const %z: uint8[3, 2] = [8, 8, 7, 7, 6, 6]
      const %b: float32[1, 3] = [1, 2, 3]
      %w = slipway.Dequantize(%c, %s, %z) {axis = 1, bits = 4, group = 4, signed = 0}
      %t = Transpose(%w) {perm = [1, 0]}
      %p = MatMul(%x, %t)
      %y = Add(%b, %p)
      output %y
    })",
                {"keep-weight-codes"}, R"(graph "g" {
      input %x: float32[M, 8]
      const %c: uint8[3, 8] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8]
      const %s: float32[3, 2] = [1, 2, 3, 4, 5, 6]
      const %z: uint8[3, 2] = [8, 8, 7, 7, 6, 6]
      const %b: float32[3] = [1, 2, 3]
      %y = slipway.LinearNBits(%x, %c, %s, %z, %b) {bits = 4, group = 4}
      output %y
    })");
}

// Codes [K, N]: one scale for all, one an output, groups along K whose last is short.
TEST(KeepWeightCodes, OtherScales) {
  for (const char* scale : {"const %s: float32[] = [0.5]", "const %s: float32[2] = [0.5, 0.25]"}) {
    const std::string text = std::string(R"(graph "g" {
      input %x: float32[2, 5, 3]
      const %c: int8[3, 2] = [1, -2, 3, 4, -5, 6]
      )") + scale + R"(
      %w = slipway.Dequantize(%c, %s) {axis = 1}
      %y = MatMul(%x, %w)
      output %y
    })";
    auto after = RunAndCheck(*Parse(text), {.only = {"keep-weight-codes"}});
    EXPECT_EQ(CountOps(*after), (std::map<std::string, int>{{"slipway.LinearNBits", 1}}));
    EXPECT_EQ(after->nodes().front()->attributes.Int("group", 0), 3);
  }
  auto after = RunAndCheck(*Parse(R"(graph "g" {
      input %x: float32[4, 3]
      const %c: int8[3, 2] = [1, -2, 3, 4, -5, 6]
      const %s: float32[2, 2] = [0.5, 0.25, 2, 4]
      const %z: int8[2, 2] = [0, 1, 2, 3]
      const %b: float32[2] = [1, 2]
      %w = slipway.Dequantize(%c, %s, %z) {axis = 0, group = 2}
      %y = Gemm(%x, %w, %b)
      output %y
    })"),
                           {.only = {"keep-weight-codes"}});
  EXPECT_EQ(CountOps(*after), (std::map<std::string, int>{{"slipway.LinearNBits", 1}}));
}

// Files hold three bits in eight.
TEST(KeepWeightCodes, NoMoreBitsThanNeeded) {
  const auto bits_of = [](const std::string& codes, const std::string& zeros, int bits) {
    auto after = RunAndCheck(*Parse(R"(graph "g" {
      input %x: float32[4, 3]
      const %c: uint8[3, 2] = )" + codes + R"(
      const %s: float32[2] = [0.5, 0.25]
      const %z: uint8[2] = )" + zeros + R"(
      %w = slipway.Dequantize(%c, %s, %z) {axis = 1, signed = 0, bits = )" +
                                    std::to_string(bits) + R"(}
      %y = MatMul(%x, %w)
      output %y
    })"),
                             {.only = {"keep-weight-codes"}});
    return after->nodes().front()->attributes.Int("bits", 0);
  };
  EXPECT_EQ(bits_of("[0, 1, 2, 3, 0, 1]", "[1, 2]", 8), 2);
  EXPECT_EQ(bits_of("[0, 7, 2, 3, 0, 1]", "[1, 2]", 8), 3);
  EXPECT_EQ(bits_of("[0, 1, 2, 3, 0, 1]", "[1, 5]", 4), 3);
  EXPECT_EQ(bits_of("[0, 17, 2, 3, 0, 1]", "[1, 2]", 8), 8);
}

// Activations that are codes too belong to the integer operators, where those follow.
TEST(KeepWeightCodes, LeavesQuantizedActivations) {
  const std::string text = R"(graph "g" {
      input %x: int8[4, 3]
      const %c: int8[3, 2] = [1, -2, 3, 4, -5, 6]
      const %s: float32[] = [0.5]
      %f = slipway.Dequantize(%x, %s)
      %r = Transpose(%f) {perm = [0, 1]}
      %w = slipway.Dequantize(%c, %s)
      %y = MatMul(%r, %w)
      output %y
    })";
  auto graph = Parse(text);
  PassOptions options{.level = Level::kInteger, .only = {"keep-weight-codes"}};
  EXPECT_EQ(CountOps(*RunAndCheck(*graph, options))["MatMul"], 1);
  options.level = Level::kFused;
  EXPECT_EQ(CountOps(*RunAndCheck(*graph, options))["slipway.LinearNBits"], 1);
}

// A scale for each input, groups along the outputs, codes of 16 bits, codes beyond their width,
// transposed activations.
TEST(KeepWeightCodes, LeavesOtherForms) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[4, 2]
      input %t: float32[2, 4]
      const %c: int8[2, 2] = [1, -2, 3, 4]
      const %wide: int16[2, 2] = [1, -2, 3, 4]
      const %s: float32[2] = [0.5, 0.25]
      const %g: float32[2, 1] = [0.5, 0.25]
      %a = slipway.Dequantize(%c, %s) {axis = 0}
      %b = slipway.Dequantize(%c, %g) {axis = 1, group = 2}
      %d = slipway.Dequantize(%wide, %s) {bits = 16}
      %e = slipway.Dequantize(%c, %s)
      const %big: int8[2, 2] = [1, 9, 3, 4]
      %h = slipway.Dequantize(%big, %s) {bits = 4}
      %v = MatMul(%x, %h)
      output %v
      %p = MatMul(%x, %a)
      %q = MatMul(%x, %b)
      %r = MatMul(%x, %d)
      %u = Gemm(%t, %e) {transA = 1}
      output %p
      output %q
      output %r
      output %u
    })",
                  {"keep-weight-codes"});
}

}  // namespace
}  // namespace slipway::passes
