#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"recover-instancenorm"};

const char* kWanted = R"(graph "g" {
      input %x: float32[N, 4, H, W]
      const %w: float32[4] = random(1)
      const %b: float32[4] = random(2)
      %y = InstanceNormalization(%x, %w, %b) {epsilon = 0.001}
      output %y
    })";

TEST(RecoverInstanceNorm, ScaledBehindOrBetween) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 4, H, W]
      const %axes: int64[2] = [2, 3]
      const %e: float32[] = fill(0.001)
      const %w: float32[4, 1, 1] = random(1)
      const %b: float32[1, 4, 1, 1] = random(2)
      %m = ReduceMean(%x, %axes)
      %c = Sub(%x, %m)
      %q = Mul(%c, %c)
      %v = ReduceMean(%q, %axes)
      %a = Add(%v, %e)
      %r = Sqrt(%a)
      %n = Div(%c, %r)
      %s = Mul(%n, %w)
      %y = Add(%s, %b)
      output %y
    })",
                kPass, kWanted, 1e-5);
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 4, H, W]
      const %e: float32[] = fill(0.001)
      const %w: float32[4, 1, 1] = random(1)
      const %b: float32[1, 4, 1, 1] = random(2)
      %m = GlobalAveragePool(%x)
      %c = Sub(%x, %m)
      %k = Mul(%w, %c)
      %q = Mul(%c, %c)
      %v = GlobalAveragePool(%q)
      %a = Add(%v, %e)
      %r = Sqrt(%a)
      %n = Div(%k, %r)
      %y = Add(%b, %n)
      output %y
    })",
                kPass, kWanted, 1e-5);
}

TEST(RecoverInstanceNorm, LeavesOtherAxes) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 4, 5, 6]
      const %axes: int64[1] = [3]
      const %e: float32[] = fill(0.001)
      %m = ReduceMean(%x, %axes)
      %c = Sub(%x, %m)
      %q = Mul(%c, %c)
      %v = ReduceMean(%q, %axes)
      %a = Add(%v, %e)
      %r = Sqrt(%a)
      %y = Div(%c, %r)
      output %y
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
