#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

// The condition is a size: what PyTorch's exporter makes of squeeze(1).
TEST(InlineIf, TakesTheBranchThatShapesChoose) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 1, 3]
      const %i: int64[] = [1]
      const %one: int64[] = [1]
      %s = Shape(%x)
      %d = Gather(%s, %i)
      %c = Equal(%d, %one)
      %y = If(%c, %x) "if" body "then_branch" graph "t" {
        input %a: float32[2, 1, 3]
        const %axes: int64[1] = [1]
        %b = Squeeze(%a, %axes)
        output %b
      } body "else_branch" graph "e" {
        input %a: float32[2, 1, 3]
        %b = Identity(%a)
        output %b
      }
      %z = Neg(%y)
      output %z
    })",
                {"fold-constants", "inline-if", "remove-dead"}, R"(graph "g" {
      input %x: float32[2, 1, 3]
      const %axes: int64[1] = [1]
      %y = Squeeze(%x, %axes)
      %z = Neg(%y)
      output %z
    })");
}

// Outputs of the graph keep their names: one value for two of them, an input, a constant.
TEST(InlineIf, OutputsOfTheGraph) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[3]
      const %c: bool[] = [0]
      %p, %q, %r, %s = If(%c, %x) "if" body "then_branch" graph "t" {
        input %a: float32[3]
        output %a
        output %a
        output %a
        output %a
      } body "else_branch" graph "e" {
        input %a: float32[3]
        const %k: float32[3] = [1, 2, 3]
        %b = Neg(%a)
        output %b
        output %b
        output %a
        output %k
      }
      output %p
      output %q
      output %r
      output %s
    })",
                {"inline-if"}, R"(graph "g" {
      input %x: float32[3]
      const %k: float32[3] = [1, 2, 3]
      %p = Neg(%x)
      %q = Identity(%p)
      %r = Identity(%x)
      %s = Identity(%k)
      output %p
      output %q
      output %r
      output %s
    })");
}

// An If in an If: the outer one is computed, the inner one is not.
TEST(InlineIf, InsideOfBodies) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[3]
      input %c: bool[]
      %y = If(%c, %x) "outer" body "then_branch" graph "t" {
        input %a: float32[3]
        const %always: bool[] = [1]
        %b = If(%always, %a) "inner" body "then_branch" graph "it" {
          input %u: float32[3]
          %v = Neg(%u)
          output %v
        } body "else_branch" graph "ie" {
          input %u: float32[3]
          output %u
        }
        output %b
      } body "else_branch" graph "e" {
        input %a: float32[3]
        output %a
      }
      output %y
    })",
                {"inline-if"}, R"(graph "g" {
      input %x: float32[3]
      input %c: bool[]
      %y = If(%c, %x) "outer" body "then_branch" graph "t" {
        input %a: float32[3]
        %b = Neg(%a)
        output %b
      } body "else_branch" graph "e" {
        input %a: float32[3]
        output %a
      }
      output %y
    })");
}

}  // namespace
}  // namespace slipway::passes
