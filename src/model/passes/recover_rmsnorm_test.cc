#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(RecoverRmsNorm, InBothForms) {
  const char* wanted = R"(graph "g" {
      input %x: float32[2, 5, 8]
      const %w: float32[8] = random(1)
      %y = RMSNormalization(%x, %w) {axis = -1, epsilon = 1e-6}
      output %y
    })";
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 5, 8]
      const %axes: int64[1] = [-1]
      const %two: float32[] = fill(2)
      const %one: float32[] = fill(1)
      const %eps: float32[] = fill(1e-6)
      const %w: float32[8] = random(1)
      %sq = Pow(%x, %two)
      %var = ReduceMean(%sq, %axes)
      %ve = Add(%var, %eps)
      %std = Sqrt(%ve)
      %inv = Div(%one, %std)
      %n = Mul(%x, %inv)
      %y = Mul(%w, %n)
      output %y
    })",
                {"recover-rmsnorm"}, wanted, 1e-5);
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 5, 8]
      const %axes: int64[1] = [2]
      const %eps: float32[] = fill(1e-6)
      const %w: float32[8] = random(1)
      %sq = Mul(%x, %x)
      %var = ReduceMean(%sq, %axes)
      %ve = Add(%var, %eps)
      %std = Sqrt(%ve)
      %n = Div(%x, %std)
      %y = Mul(%n, %w)
      output %y
    })",
                {"recover-rmsnorm"}, wanted, 1e-5);
}

TEST(RecoverRmsNorm, LeavesTheDeviationOfSomethingElse) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 5, 8]
      input %z: float32[2, 5, 8]
      const %axes: int64[1] = [2]
      const %eps: float32[] = fill(1e-6)
      %sq = Mul(%x, %x)
      %var = ReduceMean(%sq, %axes)
      %ve = Add(%var, %eps)
      %std = Sqrt(%ve)
      %n = Div(%z, %std)
      output %n
    })",
                  {"recover-rmsnorm"});
}

}  // namespace
}  // namespace slipway::passes
