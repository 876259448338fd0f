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
  auto before = Parse(kHead + body + "}"), after = Parse(kHead + body + "}");
  PassOptions options = Only({"fuse-qlayernorm"});
  options.supported = [&](const Node&) { return supported; };
  options.verify_each = true;
  auto reports = RunPasses(*after, options);
  EXPECT_TRUE(reports.ok()) << reports.status().ToString();
  ExpectSameResults(*before, *after, 0);
  std::string ops;
  for (const auto& n : after->nodes()) ops += (ops.empty() ? "" : " ") + n->op();
  return ops;
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
