#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"simplify-logic"};

TEST(SimplifyLogic, WhereOfOneSide) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3]
      input %z: float32[3]
      input %b: bool[2, 3]
      const %c: bool[2, 3] = fill(1)
      const %o: float32[] = fill(1)
      const %n: float32[] = fill(0)
      %r = Relu(%x)
      %w = Where(%c, %r, %z)
      %not = Not(%b)
      %v = Where(%not, %w, %z)
      %mask = Where(%b, %o, %n)
      %s = Where(%b, %v, %v)
      %y = Mul(%s, %mask)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[2, 3]
      input %z: float32[3]
      input %b: bool[2, 3]
      %r = Relu(%x)
      %v = Where(%b, %z, %r)
      %mask = Cast(%b) {to = 1}
      %y = Mul(%v, %mask)
      output %y
    })");
}

TEST(SimplifyLogic, ComparisonsAndConnectives) {
  ExpectBecomes(R"(graph "g" {
      input %i: int64[2, 3]
      input %j: int64[2, 3]
      input %b: bool[2, 3]
      const %t: bool[3] = fill(1)
      const %one: float32[] = fill(1)
      const %zero: float32[] = fill(0)
      %l = Less(%i, %j)
      %n = Not(%l)
      %a = And(%n, %t)
      %f = Cast(%b) {to = 1}
      %e = Equal(%f, %one)
      %z = Equal(%f, %zero)
      %y = Or(%a, %e)
      %w = Xor(%y, %z)
      output %w
    })",
                kPass, R"(graph "g" {
      input %i: int64[2, 3]
      input %j: int64[2, 3]
      input %b: bool[2, 3]
      %n = GreaterOrEqual(%i, %j)
      %z = Not(%b)
      %y = Or(%n, %b)
      %w = Xor(%y, %z)
      output %w
    })");
}

TEST(SimplifyLogic, LeavesWhatNanAndShapesDecide) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 3]
      input %z: float32[3]
      const %c: bool[2, 3] = fill(0)
      %l = Less(%x, %z)
      %n = Not(%l)
      %w = Where(%c, %x, %z)
      output %n
      output %w
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
