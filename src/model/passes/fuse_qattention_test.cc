#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

constexpr char kHead[] = R"(graph "g" {
  input %q: int8[2, 3, 5, 8]
  input %k: int8[2, 3, 8, 7]
  input %v: uint8[2, 3, 7, 4]
  input %qs: int8[2, 5, 3, 8]
  input %ks: int8[2, 7, 3, 8]
  input %vs: uint8[2, 7, 3, 4]
  const %s: float32[] = [0.05]
  const %p: float32[] = [0.008]
  const %z: int8[] = [-3]
  const %b: float32[1, 3, 5, 7] = random(1)
  const %m: uint8[1, 2, 1, 5, 7] = random(2)
  const %up: int64[5] = [1, 2, 3, 5, 7]
  const %down: int64[4] = [2, 3, 5, 7]
)";
constexpr char kScores[] =
    "slipway.QMatMul(%q, %k) {a_zero_point = 4, multiplier = 0.0003, to = 1}\n";
constexpr char kCodes[] =
    "slipway.QMatMul(%q, %k) {a_zero_point = 4, multiplier = 0.004, q_min = -100, y_zero_point = "
    "-3}\n  %d = slipway.Dequantize(%c, %s, %z)\n";
constexpr char kEnd[] =
    "  %pq = slipway.Quantize(%soft, %p, %z)\n"
    "  %y = slipway.QMatMul(%pq, %v) {a_zero_point = -3, b_zero_point = 120, multiplier = 0.01, "
    "y_zero_point = 2}\n";

// The operators behind the pass, which must not change a code.
std::string Fused(const std::string& body, bool supported = true) {
  return OpsBehind(kHead + body + "}", Only({"fuse-qattention", "remove-dead"}),
                   [&](const Node&) { return supported; });
}

TEST(FuseQAttention, KeepsEveryCode) {
  const std::string softmax = "  %soft = Softmax(%s0)\n", out = "  output %y\n";
  EXPECT_EQ(Fused("  %s0 = " + std::string(kScores) + softmax + kEnd + out), "QAttention");
  EXPECT_EQ(Fused("  %c = " + std::string(kCodes) + "  %s0 = Add(%d, %b)\n" + softmax + kEnd + out),
            "QAttention");
  EXPECT_EQ(Fused("  %c = " + std::string(kCodes) + R"(  %a = Add(%b, %d)
  %t = slipway.Quantize(%a, %s, %z)
  %r = Reshape(%t, %up)
  %w = slipway.QAdd(%r, %m) {a_multiplier = 0.05, a_zero_point = -3, b_multiplier = 0.02, b_zero_point = 128, to = 1}
  %s0 = Reshape(%w, %down)
)" + softmax + kEnd +
                  out),
            "QAttention");
}

TEST(FuseQAttention, ReadsOperandsWhereTheyLie) {
  const std::string body = R"(  %qt = Transpose(%qs) {perm = [0, 2, 1, 3]}
  %kt = Transpose(%ks) {perm = [0, 2, 3, 1]}
  %vt = Transpose(%vs) {perm = [0, 2, 1, 3]}
  %s0 = slipway.QMatMul(%qt, %kt) {multiplier = 0.0003, to = 1}
  %soft = Softmax(%s0) {axis = 3}
  %pq = slipway.Quantize(%soft, %p)
  %y = slipway.QMatMul(%pq, %vt) {b_zero_point = 120, multiplier = 0.01}
)";
  EXPECT_EQ(Fused(body + "  %o = Transpose(%y) {perm = [0, 2, 1, 3]}\n  output %o\n"),
            "QAttention");
  EXPECT_EQ(Fused(body + "  output %y\n  output %vt\n"), "Transpose QAttention");
}

TEST(FuseQAttention, LeavesOtherThings) {
  const std::string head = "  %s0 = " + std::string(kScores);
  EXPECT_EQ(Fused(head + "  %soft = Softmax(%s0)\n" + kEnd + "  output %y\n", /*supported=*/false),
            "QMatMul Softmax Quantize QMatMul");
  // Another axis; somebody who reads the scores; a zero point that the product does not mean.
  EXPECT_EQ(Fused(head + "  %soft = Softmax(%s0) {axis = 2}\n" + kEnd + "  output %y\n"),
            "QMatMul Softmax Quantize QMatMul");
  EXPECT_EQ(Fused(head + "  %soft = Softmax(%s0)\n" + kEnd + "  output %y\n  output %s0\n"),
            "QMatMul Softmax Quantize QMatMul");
  EXPECT_EQ(Fused(head + "  %soft = Softmax(%s0)\n  %pq = slipway.Quantize(%soft, %p)\n"
                         "  %y = slipway.QMatMul(%pq, %v) {a_zero_point = 1, multiplier = 0.01}\n"
                         "  output %y\n"),
            "QMatMul Softmax Quantize QMatMul");
}

}  // namespace
}  // namespace slipway::passes
