// What the profile says of products whose shapes are given late: counts at those shapes.

#include "engine/compiler/compiled_test_util.h"

namespace slipway::compiler {
namespace {

std::vector<int64_t> MacsOf(Compiled& compiled) {
  std::vector<int64_t> macs;
  for (const auto& row : compiled.session().rows()) {
    if (*row.macs != 0) macs.push_back(*row.macs);
  }
  return macs;
}

TEST(CompileMacs, FollowTheBatch) {
  auto graph = Parse(R"(graph "g" {
input %x: float32[N, 3, H, 8]
const %w: float32[16, 3, 3, 3] = random(1)
%c = Conv(%x, %w) {pads = [1, 1, 1, 1]}
%g = GlobalAveragePool(%c)
%f = Flatten(%g)
const %v: float32[16, 10] = random(2)
%y = MatMul(%f, %v)
output %y
})");
  ASSERT_TRUE(graph);
  for (const Platform& platform : Platforms()) {
    SCOPED_TRACE(platform.name);
    auto compiled = Compiled::Make(*graph, platform, true);
    ASSERT_TRUE(compiled.ok()) << compiled.status().ToString();
    EXPECT_EQ(MacsOf(**compiled), std::vector<int64_t>{});  // not known yet
    for (const auto& [n, h] : {std::pair<int64_t, int64_t>{1, 5}, {3, 9}, {2, 5}}) {
      auto got = (*compiled)->Run({Floats(Dims{n, 3, h, 8}, -1)});
      ASSERT_TRUE(got.ok()) << got.status().ToString();
      EXPECT_EQ(MacsOf(**compiled), (std::vector<int64_t>{n * h * 8 * 16 * 27, n * 16 * 10}))
          << n << ", " << h;
    }
  }
}

}  // namespace
}  // namespace slipway::compiler
