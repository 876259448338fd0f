#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

constexpr char kHead[] = R"(graph "g" {
  input %x: float32[2, 5, 24]
  const %axis: int64[1] = [-1]
  const %other: int64[1] = [1]
  const %e: float32[] = [0.00001]
  const %s: float32[] = [0.031]
  const %t: float32[] = [0.008]
  const %z: uint8[] = [7]
  const %w: float32[24] = random(3)
  %m = ReduceMean(%x, %axis)
  %d = Sub(%x, %m)
  %q = Mul(%d, %d)
)";

// The operators behind the pass, which must not change a code.
std::string Fused(const std::string& body, bool supported = true) {
  return OpsBehind(kHead + body + "}", Only({"fuse-qlayernorm"}),
                   [&](const Node&) { return supported; });
}

const std::string kRounded = R"(  %v = ReduceMean(%q, %axis)
  %vq = slipway.Quantize(%v, %t, %z) {signed = 0}
  %vd = slipway.Dequantize(%vq, %t, %z) {signed = 0}
)";
const std::string kEnd = R"(  %a = Add(%vd, %e)
  %r = Sqrt(%a)
  %n = Div(%d, %r)
)";
constexpr char kCodes[] = "  %o = slipway.Quantize(%n, %s)\n  output %o\n";

TEST(FuseQLayerNorm, KeepsEveryCode) {
  EXPECT_EQ(Fused(kRounded + kEnd + kCodes), "QLayerNorm");
  EXPECT_EQ(Fused("  %vd = ReduceMean(%q, %axis)\n" + kEnd + kCodes), "QLayerNorm");
  EXPECT_EQ(Fused(kRounded + kEnd +
                  "  %g = Mul(%w, %n)\n  %o = slipway.Quantize(%g, %s, %z) "
                  "{signed = 0}\n  output %o\n"),
            "QLayerNorm");
}

// Sums of codes are made where they are read, and rounded to codes where codes are wanted.
TEST(FuseQLayerNorm, TakesSumsOfCodes) {
  const std::string head = R"(graph "g" {
  input %g: int8[2, 5, 24]
  input %h: uint8[2, 5, 24]
  const %axis: int64[1] = [-1]
  const %e: float32[] = [0.00001]
  const %s: float32[] = [0.031]
  const %t: float32[] = [0.008]
  const %u: float32[] = [0.125]
  const %z: uint8[] = [7]
  %x = slipway.QAdd(%g, %h) {a_multiplier = 0.5, a_zero_point = 3, b_multiplier = 0.25, b_zero_point = 100, to = 1}
  %m = ReduceMean(%x, %axis)
  %d = Sub(%x, %m)
  %q = Mul(%d, %d)
)";
  const std::string more = "  %c = slipway.Quantize(%x, %u, %z) {signed = 0}\n  output %c\n";
  const auto fused = [&](const std::string& body) {
    auto before = Parse(head + body + "}"), after = Parse(head + body + "}");
    PassOptions options = Only({"fuse-qlayernorm"});
    options.supported = [](const Node&) { return true; };
    EXPECT_TRUE(RunPasses(*after, options).ok());
    ExpectSameResults(*before, *after, 0);  // scales are powers of two
    auto counts = CountOps(*after);
    EXPECT_EQ(counts["slipway.QLayerNorm"], 1);
    for (const auto& n : after->nodes()) {
      if (n->IsSlipway("QLayerNorm")) {
        EXPECT_EQ(n->input(0)->dtype(), DType::kInt8);
      }
    }
    return after->nodes().size();
  };
  EXPECT_EQ(fused(kRounded + kEnd + kCodes), 1u);
  EXPECT_EQ(fused(kRounded + kEnd + kCodes + more), 2u);
  EXPECT_EQ(fused(kRounded + kEnd + kCodes + more + "  output %x\n"), 3u);
}

TEST(FuseQLayerNorm, LeavesOtherThings) {
  const std::string pieces =
      "ReduceMean Sub Mul ReduceMean Quantize Dequantize Add Sqrt Div Quantize";
  EXPECT_EQ(Fused(kRounded + kEnd + kCodes, /*supported=*/false), pieces);
  // Somebody reads the difference; a mean over another dimension.
  EXPECT_EQ(Fused(kRounded + kEnd + kCodes + "  output %d\n"), pieces);
  EXPECT_EQ(Fused("  %vd = ReduceMean(%q, %other)\n" + kEnd + kCodes),
            "ReduceMean Sub Mul ReduceMean Add Sqrt Div Quantize");
}

}  // namespace
}  // namespace slipway::passes
