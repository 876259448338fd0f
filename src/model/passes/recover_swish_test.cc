#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(RecoverSwish, WithAndWithoutAlpha) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[3, 7]
      const %c: float32[] = fill(1.702)
      %s = Sigmoid(%x)
      %a = Mul(%x, %s)
      %m = Mul(%c, %a)
      %t = Sigmoid(%m)
      %b = Mul(%t, %a)
      output %b
    })",
                {"recover-swish"}, R"(graph "g" {
      input %x: float32[3, 7]
      const %c: float32[] = fill(1.702)
      %a = Swish(%x)
      %b = Swish(%a) {alpha = 1.702}
      output %b
    })");
}

TEST(RecoverSwish, LeavesSqueezeAndExcite) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[1, 3, 2, 2]
      input %f: float32[1, 3, 1, 1]
      %s = Sigmoid(%f)
      %y = Mul(%s, %x)
      output %y
    })",
                  {"recover-swish"});
}

}  // namespace
}  // namespace slipway::passes
