#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(CleanupReshape, MergesChains) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3, 1, 4]
      const %two: int64[1] = [2]
      const %zero: int64[1] = [0]
      const %target: int64[2] = [-1, 2]
      %a = Squeeze(%x, %two)
      %b = Unsqueeze(%a, %zero)
      %c = Flatten(%b) {axis = 2}
      %d = Reshape(%c, %target)
      output %d
    })",
                {"cleanup-reshape"}, R"(graph "g" {
      input %x: float32[2, 3, 1, 4]
      const %target: int64[2] = [12, 2]
      %d = Reshape(%x, %target)
      output %d
    })");
}

TEST(CleanupReshape, MakesSymbolicTargetsConstant) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 6, 4]
      const %first: int64[1] = [0]
      const %rest: int64[2] = [-1, 12]
      %s = Shape(%x)
      %n = Gather(%s, %first)
      %t = Concat(%n, %rest) {axis = 0}
      %y = Reshape(%x, %t)
      output %y
    })",
                {"cleanup-reshape"}, R"(graph "g" {
      input %x: float32[N, 6, 4]
      const %t: int64[3] = [-1, 2, 12]
      %y = Reshape(%x, %t)
      output %y
    })");
}

TEST(CleanupReshape, CopiesDimensionsWhenTwoAreSymbolic) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, M, 2, 4]
      %y = Flatten(%x) {axis = 2}
      const %axis: int64[1] = [0]
      %z = Unsqueeze(%x, %axis)
      output %y
      output %z
    })",
                {"cleanup-reshape"}, R"(graph "g" {
      input %x: float32[N, M, 2, 4]
      const %s: int64[2] = [-1, 8]
      const %axis: int64[1] = [0]
      %y = Reshape(%x, %s)
      %z = Unsqueeze(%x, %axis)
      output %y
      output %z
    })");
}

}  // namespace
}  // namespace slipway::passes
