#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"merge-affine"};

TEST(MergeAffine, ChainsOfConstants) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3]
      const %a: float32[3] = [1, 2, 3]
      const %b: float32[] = fill(0.5)
      const %c: float32[1, 3] = [1, 1, 2]
      %p = Mul(%a, %x)
      %q = Mul(%p, %b)
      %r = Add(%q, %a)
      %y = Add(%c, %r)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 3]
      const %b: float32[3] = [0.5, 1, 1.5]
      const %c: float32[1, 3] = [2, 3, 5]
      %q = Mul(%x, %b)
      %y = Add(%q, %c)
      output %y
    })");
}

TEST(MergeAffine, Signs) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3]
      input %z: float32[N, 3]
      const %m: float32[] = fill(-1)
      %a = Neg(%x)
      %b = Neg(%z)
      %p = Mul(%a, %b)
      %q = Add(%p, %b)
      %r = Sub(%q, %a)
      %y = Mul(%r, %m)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 3]
      input %z: float32[N, 3]
      %p = Mul(%x, %z)
      %q = Sub(%p, %z)
      %r = Add(%q, %x)
      %y = Neg(%r)
      output %y
    })");
}

TEST(MergeAffine, LeavesWhatUnderflowsOrGrows) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 3]
      const %a: float32[3] = fill(1e-30)
      const %b: float32[3] = fill(1e-20)
      %p = Mul(%x, %a)
      %y = Mul(%p, %b)
      output %y
    })",
                  kPass);
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 3]
      const %a: float32[1, 3] = random(1)
      const %b: float32[2, 1] = random(2)
      %p = Mul(%x, %a)
      %y = Mul(%p, %b)
      output %y
    })",
                  kPass);
  // Somebody else uses the inner result.
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 3]
      const %a: float32[] = fill(2)
      %p = Add(%x, %a)
      %y = Add(%p, %a)
      output %y
      output %p
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
