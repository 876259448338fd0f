#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(SimplifyArithmetic, FindsTheCheapestForm) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3]
      const %two: float32[] = fill(2)
      const %half: float32[1] = [0.5]
      const %eight: float32[3] = [8, 2, 0.25]
      const %three: float32[] = fill(3)
      const %one: float32[] = fill(1)
      %a = Pow(%x, %two)
      %b = Pow(%a, %half)
      %c = Div(%b, %eight)
      %d = Div(%c, %three)
      %e = Sub(%d, %three)
      %f = Sum(%e, %x)
      %g = Div(%one, %f)
      output %g
    })",
                {"simplify-arithmetic"}, R"(graph "g" {
      input %x: float32[2, 3]
      const %eight: float32[3] = [0.125, 0.5, 4]
      const %three: float32[] = fill(3)
      const %minus: float32[] = fill(-3)
      %a = Mul(%x, %x)
      %b = Sqrt(%a)
      %c = Mul(%b, %eight)
      %d = Div(%c, %three)
      %e = Add(%d, %minus)
      %f = Add(%e, %x)
      %g = Reciprocal(%f)
      output %g
    })");
}

TEST(SimplifyArithmetic, JoinsClamps) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3]
      const %zero: float32[] = fill(0)
      const %six: float32[] = fill(6)
      const %one: float32[] = fill(1)
      %a = Max(%x, %zero)
      %b = Min(%six, %a)
      %c = Clip(%x, %zero)
      %d = Relu(%x)
      %e = Clip(%d, %one, %six)
      output %b
      output %c
      output %e
    })",
                {"simplify-arithmetic"}, R"(graph "g" {
      input %x: float32[2, 3]
      const %zero: float32[] = fill(0)
      const %six: float32[] = fill(6)
      const %one: float32[] = fill(1)
      %b = Clip(%x, %zero, %six)
      %c = Relu(%x)
      %e = Clip(%x, %one, %six)
      output %b
      output %c
      output %e
    })");
}

TEST(SimplifyArithmetic, DividesExactlyUnlessAllowed) {
  auto graph = Parse(R"(graph "g" {
      input %x: float32[2, 3]
      const %three: float32[] = fill(3)
      %y = Div(%x, %three)
      output %y
    })");
  PassOptions options = Only({"simplify-arithmetic"});
  EXPECT_EQ(CountOps(*RunAndCheck(*graph, options))["Div"], 1);
  options.allow_rounding = true;
  EXPECT_EQ(CountOps(*RunAndCheck(*graph, options))["Mul"], 1);
}

}  // namespace
}  // namespace slipway::passes
