#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(FuseLinear, MatMulWithBiasResidualAndActivation) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 5, 4]
      const %w: float32[4, 4] = random(1)
      const %b: float32[4] = random(2)
      %m = MatMul(%x, %w)
      %a = Add(%b, %m)
      %r = Gelu(%a)
      %n = MatMul(%r, %w)
      %c = Add(%n, %b)
      %s = Add(%x, %c)
      output %s
    })",
                {"fuse-linear"}, R"(graph "g" {
      input %x: float32[N, 5, 4]
      const %w: float32[4, 4] = random(1)
      const %b: float32[4] = random(2)
      %r = slipway.Linear(%x, %w, %b) {activation = "Gelu"}
      %s = slipway.Linear(%r, %w, %b, %x)
      output %s
    })");
}

TEST(FuseLinear, GemmWithItsFactors) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[3, 4]
      const %w: float32[2, 4] = [1, 2, 3, 4, 5, 6, 7, 8]
      const %c: float32[1, 2] = [1, 2]
      %y = Gemm(%x, %w, %c) {alpha = 0.5, beta = 3.0, transB = 1}
      output %y
    })",
                {"fuse-linear"}, R"(graph "g" {
      input %x: float32[3, 4]
      const %w: float32[2, 4] = [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
      const %c: float32[2] = [3, 6]
      %y = slipway.Linear(%x, %w, %c) {transW = 1}
      output %y
    })");
}

TEST(FuseLinear, MovesAReshapeOutOfTheWay) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[5, 1, 4]
      input %z: float32[1, 5, 6]
      const %w: float32[4, 6] = random(1)
      const %b: float32[6] = random(1)
      const %flat: int64[2] = [5, 4]
      const %full: int64[3] = [1, 5, 6]
      %f = Reshape(%x, %flat)
      %m = Gemm(%f, %w, %b)
      %r = Reshape(%m, %full)
      %y = Add(%r, %z)
      output %y
    })",
                {"fuse-linear", "cleanup-reshape"}, R"(graph "g" {
      input %x: float32[5, 1, 4]
      input %z: float32[1, 5, 6]
      const %w: float32[4, 6] = random(1)
      const %b: float32[6] = random(1)
      const %full: int64[3] = [1, 5, 4]
      %f = Reshape(%x, %full)
      %y = slipway.Linear(%f, %w, %b, %z)
      output %y
    })");
}

TEST(FuseLinear, LeavesTransposedInputsAndComputedWeights) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[4, 3]
      input %v: float32[3, 2]
      const %w: float32[4, 2] = random(1)
      %y = Gemm(%x, %w) {transA = 1}
      %z = MatMul(%x, %v)
      output %y
      output %z
    })",
                  {"fuse-linear"});
}

}  // namespace
}  // namespace slipway::passes
