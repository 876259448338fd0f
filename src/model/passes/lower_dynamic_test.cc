#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

constexpr char kDynamic[] = R"(graph "g" {
      input %x: float32[2, 5, 6]
      const %w: int8[6, 3] = [1, -2, 3, 127, -128, 5, 7, 8, -9, 10, 11, 12, 0, 0, 1, -100, 50, 60]
      const %wz: int8[3] = [0, -1, 0]
      const %ws: float32[3] = [0.01, 0.02, 0.005]
      %q, %s, %z = DynamicQuantizeLinear(%x)
      %m = MatMulInteger(%q, %w, %z, %wz)
      %f = Cast(%m) {to = 1}
      %t = Mul(%s, %ws)
      %y = Mul(%f, %t)
      output %y
    })";

// The graph after the passes of a level, which computes what it did before.
std::map<std::string, int> After(const std::string& text, Level level) {
  auto before = Parse(text);
  auto after = before->Clone();
  PassOptions options;
  options.level = level;
  options.verify_each = true;
  auto reports = RunPasses(*after, options);
  EXPECT_TRUE(reports.ok()) << reports.status().ToString();
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Tensors inputs = RandomInputs(*before, seed);
  auto want = Run(*before, inputs), got = Run(*after, inputs);
  EXPECT_TRUE(want.ok() && got.ok()) << got.status().ToString() << ir::ToText(*after);
  if (want.ok() && got.ok()) {
    EXPECT_LE(MaxRelativeError(*want, *got), 1e-6);
  }
  auto ops = CountOps(*after);
  return {ops.begin(), ops.end()};
}

TEST(LowerDynamic, FloatPlatformsMultiplyFloats) {
  auto ops = After(kDynamic, Level::kFused);
  EXPECT_EQ(ops["MatMulInteger"], 0);
  EXPECT_EQ(ops["slipway.Linear"] + ops["MatMul"], 1);
}

TEST(LowerDynamic, IntegerPlatformsMultiplyCodes) {
  auto ops = After(kDynamic, Level::kInteger);
  EXPECT_EQ(ops["MatMulInteger"], 0);
  EXPECT_EQ(ops["slipway.QLinear"], 1);
  std::string fixed = kDynamic;  // a zero point that is known goes into the operator
  fixed.replace(fixed.find("%q, %s, %z ="), 12, "%q, %s, %n =");
  fixed.insert(fixed.find("      %m ="), "      const %z: uint8[] = fill(120)\n");
  ops = After(fixed, Level::kInteger);
  EXPECT_EQ(ops["slipway.QLinear"], 1);
  EXPECT_EQ(ops["Sub"], 0);
}

TEST(LowerDynamic, LeavesWhatItCannotSay) {
  std::string used = kDynamic;  // the integers themselves are wanted
  used.insert(used.find("      output"), "      output %m\n");
  EXPECT_EQ(After(used, Level::kInteger)["MatMulInteger"], 1);
}

}  // namespace
}  // namespace slipway::passes
