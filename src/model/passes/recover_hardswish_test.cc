#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

std::string G(const std::string& body) {
  return R"(graph "g" {
      input %x: float32[3, 7]
      const %three: float32[] = fill(3)
      const %six: float32[] = fill(6)
      const %sixth: float32[] = fill(0.16666667)
      const %zero: float32[] = fill(0)
)" + body +
         "      output %y\n    }";
}

TEST(RecoverHardSwish, FromClips) {
  for (const char* body :
       {"%a = Add(%x, %three) %c = Clip(%a, %zero, %six) %m = Mul(%x, %c) %y = Div(%m, %six)",
        "%a = Add(%three, %x) %c = Clip(%a, %zero, %six) %d = Div(%c, %six) %y = Mul(%x, %d)",
        "%a = Add(%x, %three) %c = Clip(%a, %zero, %six) %m = Mul(%c, %sixth) %y = Mul(%m, %x)",
        "%h = HardSigmoid(%x) {alpha = 0.16666667163372} %y = Mul(%x, %h)"}) {
    ExpectBecomes(G(body), {"recover-hardswish"}, G("%y = HardSwish(%x)\n"));
  }
}

TEST(RecoverHardSwish, HardSigmoidAlone) {
  ExpectBecomes(G("%a = Add(%x, %three) %c = Clip(%a, %zero, %six) %y = Div(%c, %six)\n"),
                {"recover-hardswish"},
                G("%y = HardSigmoid(%x) {alpha = 0.16666667163372, beta = 0.5}\n"));
}

TEST(RecoverHardSwish, LeavesOthers) {
  ExpectUnchanged(G("%h = HardSigmoid(%x) %y = Mul(%x, %h)\n"), {"recover-hardswish"});
}

}  // namespace
}  // namespace slipway::passes
