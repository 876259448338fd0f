#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"recover-prelu"};

const char* kLeaky = R"(graph "g" {
      input %x: float32[N, 3]
      %y = LeakyRelu(%x) {alpha = 0.25}
      output %y
    })";

TEST(RecoverPRelu, LeakyReluFromMaximumAndWhere) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3]
      const %a: float32[] = fill(0.25)
      %m = Mul(%a, %x)
      %y = Max(%m, %x)
      output %y
    })",
                kPass, kLeaky);
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3]
      const %a: float32[] = fill(0.25)
      const %z: float32[] = fill(0)
      %c = Less(%x, %z)
      %m = Mul(%x, %a)
      %y = Where(%c, %m, %x)
      output %y
    })",
                kPass, kLeaky);
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3]
      const %a: float32[3] = fill(0.25)
      %y = PRelu(%x, %a)
      output %y
    })",
                kPass, kLeaky);
}

TEST(RecoverPRelu, FromTwoRelus) {
  const char* wanted = R"(graph "g" {
      input %x: float32[N, 3, 4]
      const %a: float32[3, 1] = [0.5, -0.25, 2]
      %y = PRelu(%x, %a)
      output %y
    })";
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 4]
      const %a: float32[3, 1] = [0.5, -0.25, 2]
      %p = Relu(%x)
      %n = Neg(%x)
      %q = Relu(%n)
      %m = Mul(%a, %q)
      %y = Sub(%p, %m)
      output %y
    })",
                kPass, wanted);
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 4]
      const %a: float32[3, 1] = [-0.5, 0.25, -2]
      %p = Relu(%x)
      %n = Neg(%x)
      %q = Relu(%n)
      %m = Mul(%a, %q)
      %y = Add(%m, %p)
      output %y
    })",
                kPass, wanted);
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 4]
      const %a: float32[3, 1] = [0.5, -0.25, 2]
      %p = Relu(%x)
      %n = Neg(%x)
      %q = Relu(%n)
      %r = Neg(%q)
      %m = Mul(%a, %r)
      %y = Add(%m, %p)
      output %y
    })",
                kPass, wanted);
}

TEST(RecoverPRelu, LeavesOtherFactors) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 3]
      const %a: float32[] = fill(1.5)
      %m = Mul(%a, %x)
      %y = Max(%m, %x)
      output %y
    })",
                  kPass);
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 3]
      const %a: float32[] = fill(0.5)
      const %z: float32[] = fill(0.1)
      %c = Less(%x, %z)
      %m = Mul(%x, %a)
      %y = Where(%c, %m, %x)
      output %y
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
