#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

std::string Graph3(const std::string& body) {
  return R"(graph "g" {
      input %x: float32[3, 7]
      const %root2: float32[] = fill(1.4142135381698608)
      const %inv: float32[] = fill(0.70710678)
      const %one: float32[] = fill(1)
      const %half: float32[] = fill(0.5)
      const %two: float32[] = fill(2)
      const %three: float32[] = fill(3)
      const %cube: float32[] = fill(0.044715)
      const %pi: float32[] = fill(0.7978845834732056)
)" + body +
         "      output %y\n    }";
}

TEST(RecoverGelu, ErfForms) {
  const std::string wanted = Graph3("      %y = Gelu(%x)\n");
  for (
      const char* body : {
          // torch
          "%a = Div(%x, %root2) %e = Erf(%a) %p = Add(%e, %one) %m = Mul(%x, %p) %y = Mul(%m, "
          "%half)",
          // tf2onnx
          "%a = Mul(%x, %inv) %e = Erf(%a) %p = Add(%one, %e) %m = Mul(%p, %half) %y = Mul(%x, %m)",
          "%a = Mul(%x, %inv) %e = Erf(%a) %p = Add(%one, %e) %m = Mul(%half, %x) %y = Mul(%p, %m)",
          "%a = Div(%x, %root2) %e = Erf(%a) %p = Add(%e, %one) %m = Mul(%x, %p) %y = Div(%m, "
          "%two)",
      }) {
    ExpectBecomes(Graph3(body), {"recover-gelu"}, wanted, 1e-5);
  }
}

TEST(RecoverGelu, TanhForms) {
  const std::string wanted = Graph3("      %y = Gelu(%x) {approximate = \"tanh\"}\n");
  for (const char* body : {
           // torch
           "%h = Mul(%half, %x) %c = Pow(%x, %three) %k = Mul(%c, %cube) %s = Add(%x, %k) %t = "
           "Mul(%s, %pi)"
           " %e = Tanh(%t) %p = Add(%e, %one) %y = Mul(%h, %p)",
           // x * x * x
           "%h = Mul(%half, %x) %q = Mul(%x, %x) %c = Mul(%q, %x) %k = Mul(%cube, %c) %s = Add(%x, "
           "%k) %t = Mul(%pi, %s)"
           " %e = Tanh(%t) %p = Add(%e, %one) %y = Mul(%h, %p)",
           // 0.79788 x (1 + 0.044715 x x)
           "%u = Mul(%x, %pi) %v = Mul(%x, %cube) %w = Mul(%v, %x) %s = Add(%w, %one) %t = Mul(%u, "
           "%s)"
           " %e = Tanh(%t) %p = Add(%e, %one) %m = Mul(%x, %half) %y = Mul(%m, %p)",
       }) {
    ExpectBecomes(Graph3(body), {"recover-gelu"}, wanted, 1e-5);
  }
}

TEST(RecoverGelu, LeavesOtherConstants) {
  ExpectUnchanged(Graph3("%a = Mul(%x, %half) %e = Erf(%a) %p = Add(%e, %one) %m = Mul(%x, %p) %y "
                         "= Mul(%m, %half)\n"),
                  {"recover-gelu"});
  ExpectUnchanged(Graph3("%a = Mul(%x, %inv) %e = Erf(%a) %p = Add(%e, %one) %m = Mul(%x, %p) %y = "
                         "Mul(%m, %two)\n"),
                  {"recover-gelu"});
}

}  // namespace
}  // namespace slipway::passes
