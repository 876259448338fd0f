#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(CleanupTranspose, MergesAndCancels) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3, 4]
      %a = Transpose(%x) {perm = [0, 2, 1]}
      %b = Relu(%a)
      %c = Sigmoid(%b)
      %d = Transpose(%c) {perm = [0, 2, 1]}
      %e = Transpose(%d) {perm = [1, 2, 0]}
      output %e
    })",
                {"cleanup-transpose", "remove-identity"}, R"(graph "g" {
      input %x: float32[2, 3, 4]
      %b = Relu(%x)
      %c = Sigmoid(%b)
      %e = Transpose(%c) {perm = [1, 2, 0]}
      output %e
    })");
}

TEST(CleanupTranspose, MovesUnitDimensionsAsReshape) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[1, 5, 4]
      %y = Transpose(%x) {perm = [1, 0, 2]}
      %z = Transpose(%x) {perm = [0, 2, 1]}
      output %y
      output %z
    })",
                {"cleanup-transpose"}, R"(graph "g" {
      input %x: float32[1, 5, 4]
      const %s: int64[3] = [5, 1, 4]
      %y = Reshape(%x, %s)
      %z = Transpose(%x) {perm = [0, 2, 1]}
      output %y
      output %z
    })");
}

TEST(CleanupTranspose, SinksThroughBinaryOperators) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3, 4]
      input %y: float32[2, 3, 4]
      const %c: float32[3] = [1, 2, 3]
      %a = Transpose(%x) {perm = [0, 2, 1]}
      %b = Transpose(%y) {perm = [0, 2, 1]}
      %s = Add(%a, %b)
      %t = Mul(%s, %c)
      %z = Transpose(%t) {perm = [0, 2, 1]}
      output %z
    })",
                {"cleanup-transpose", "remove-identity"}, R"(graph "g" {
      input %x: float32[2, 3, 4]
      input %y: float32[2, 3, 4]
      const %c: float32[1, 3, 1] = [1, 2, 3]
      %s = Add(%x, %y)
      %z = Mul(%s, %c)
      output %z
    })");
}

TEST(CleanupTranspose, LeavesChannelShuffleAlone) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[1, 6, 4, 4]
      const %five: int64[5] = [1, 2, 3, 4, 4]
      const %four: int64[4] = [1, 6, 4, 4]
      %a = Reshape(%x, %five)
      %b = Transpose(%a) {perm = [0, 2, 1, 3, 4]}
      %c = Reshape(%b, %four)
      output %c
    })",
                  {"cleanup-transpose", "cleanup-reshape", "remove-identity"});
}

}  // namespace
}  // namespace slipway::passes
