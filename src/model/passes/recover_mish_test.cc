#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(RecoverMish, InEitherOrder) {
  for (const char* product : {"Mul(%x, %t)", "Mul(%t, %x)"}) {
    ExpectBecomes(std::string(R"(graph "g" {
      input %x: float32[2, 3]
      %s = Softplus(%x)
      %t = Tanh(%s)
      %y = )") + product +
                      "\n output %y }",
                  {"recover-mish"}, R"(graph "g" {
      input %x: float32[2, 3]
      %y = Mish(%x)
      output %y
    })");
  }
}

TEST(RecoverMish, LeavesWhatOthersUse) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 3]
      %s = Softplus(%x)
      %t = Tanh(%s)
      %y = Mul(%x, %t)
      output %y
      output %s
    })",
                  {"recover-mish"});
}

}  // namespace
}  // namespace slipway::passes
