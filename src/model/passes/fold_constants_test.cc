#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(FoldConstants, EvaluatesAndFollowsShapes) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 6]
      const %a: float32[6] = iota
      const %b: float32[] = fill(2)
      const %one: int64[1] = [1]
      const %zero: int64[1] = [0]
      const %three: int64[1] = [3]
      %ab: float32[6] = Mul(%a, %b)
      %s = Shape(%x)
      %d = Gather(%s, %one) {axis = 0}
      %h = Div(%d, %three)
      %t = Concat(%h, %h, %three) {axis = 0}
      %y = Add(%x, %ab)
      %z = Reshape(%y, %t)
      output %z
    })",
                {"fold-constants"}, R"(graph "g" {
      input %x: float32[2, 6]
      const %ab: float32[6] = [0, 2, 4, 6, 8, 10]
      const %t: int64[3] = [2, 2, 3]
      %y = Add(%x, %ab)
      %z = Reshape(%y, %t)
      output %z
    })");
}

TEST(FoldConstants, TakesTheKnownDimensionsOfASymbolicShape) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 6, 4]
      const %from: int64[1] = [1]
      const %to: int64[1] = [3]
      const %minus: int64[1] = [-1]
      %s = Shape(%x)
      %rest = Slice(%s, %from, %to)
      %t = Concat(%minus, %rest) {axis = 0}
      %y = Reshape(%x, %t)
      output %y
    })",
                {"fold-constants"}, R"(graph "g" {
      input %x: float32[N, 6, 4]
      const %t: int64[3] = [-1, 6, 4]
      %y = Reshape(%x, %t)
      output %y
    })");
}

TEST(FoldConstants, LeavesLargeExpansionsAndDequantizedWeights) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[1024, 1024]
      const %v: float32[1] = [3]
      const %s: int64[2] = [1024, 1024]
      const %q: int8[4, 1024] = iota
      const %scale: float32[] = fill(0.5)
      %e = Expand(%v, %s)
      %w = slipway.Dequantize(%q, %scale)
      %y = Add(%x, %e)
      %z = MatMul(%w, %y)
      output %z
    })",
                  {"fold-constants"});
}

}  // namespace
}  // namespace slipway::passes
