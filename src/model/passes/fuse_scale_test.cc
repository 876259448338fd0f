#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"fuse-scale"};

// The weights are other ones: only the operators are compared, and the results.
void ExpectOps(const std::string& text, const std::map<std::string, int>& wanted) {
  EXPECT_EQ(CountOps(*RunAndCheck(*Parse(text), Only(kPass), 1e-5)), wanted);
}

TEST(FuseScale, NormalisedPicturesIntoAConvolution) {
  ExpectOps(R"(graph "g" {
      input %x: float32[N, 4, 5, 5]
      const %s: float32[4, 1, 1] = random(1)
      const %b: float32[1, 4, 1, 1] = random(2)
      const %w: float32[6, 2, 3, 3] = random(3)
      %m = Mul(%x, %s)
      %a = Add(%b, %m)
      %y = Conv(%a, %w) {group = 2}
      output %y
    })",
            {{"Conv", 1}});
}

TEST(FuseScale, PaddingHoldsAShiftBackButNotAScale) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 4, 5, 5]
      const %s: float32[] = fill(0.3)
      const %w: float32[6, 4, 3, 3] = random(3)
      %m = Mul(%x, %s)
      %y = Conv(%m, %w) {pads = [1, 1, 1, 1]}
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 4, 5, 5]
      const %w: float32[6, 4, 3, 3] = random(3)
      %y = Conv(%x, %w) {pads = [1, 1, 1, 1]}
      output %y
    })",
                1e-5);
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 4, 5, 5]
      const %s: float32[] = fill(0.3)
      const %w: float32[6, 4, 3, 3] = random(3)
      %m = Add(%x, %s)
      %y = Conv(%m, %w) {pads = [1, 1, 1, 1]}
      output %y
    })",
                  kPass);
}

TEST(FuseScale, IntoAndBehindAMatrix) {
  ExpectOps(R"(graph "g" {
      input %x: float32[N, 5, 4]
      const %s: float32[4] = random(1)
      const %w: float32[4, 6] = random(2)
      const %b: float32[6] = random(3)
      const %g: float32[1, 6] = random(4)
      %m = Mul(%x, %s)
      %p = MatMul(%m, %w)
      %a = Add(%b, %p)
      %y = Mul(%g, %a)
      output %y
    })",
            {{"Add", 1}, {"MatMul", 1}});
}

TEST(FuseScale, LeavesSharedWeightsAndOtherAxes) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 4, 4]
      const %s: float32[4, 1] = random(1)
      const %t: float32[4] = random(1)
      const %w: float32[4, 6] = random(2)
      %m = Mul(%x, %s)
      %p = MatMul(%m, %w)
      %q = Mul(%x, %t)
      %r = MatMul(%q, %w)
      %y = Add(%p, %r)
      output %y
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
