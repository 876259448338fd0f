#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(MergeCommon, ComputesEqualExpressionsOnce) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2]
      const %c: float32[2] = [1, 2]
      const %d: float32[2] = [1, 2]
      %a = Add(%x, %c)
      %b = Add(%x, %d)
      %p = LeakyRelu(%a) {alpha = 0.5}
      %q = LeakyRelu(%b) {alpha = 0.25}
      %y = Mul(%p, %q)
      output %y
    })",
                {"merge-common"}, R"(graph "g" {
      input %x: float32[2]
      const %c: float32[2] = [1, 2]
      %a = Add(%x, %c)
      %p = LeakyRelu(%a) {alpha = 0.5}
      %q = LeakyRelu(%a) {alpha = 0.25}
      %y = Mul(%p, %q)
      output %y
    })");
}

TEST(MergeCommon, KeepsTwoOutputs) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2]
      %a = Relu(%x)
      %b = Relu(%x)
      output %a
      output %b
    })",
                  {"merge-common"});
}

}  // namespace
}  // namespace slipway::passes
