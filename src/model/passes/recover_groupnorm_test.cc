#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"recover-groupnorm"};

std::string Exported(const char* shape, const char* epilogue) {
  return std::string(R"(graph "g" {
      input %x: float32[N, 6, 5, 4]
      const %ones: float32[3] = fill(1)
      const %zeros: float32[3] = fill(0)
      const %groups: int64[3] = )") +
         shape + R"(
      const %back: int64[4] = [-1, 6, 5, 4]
      const %w: float32[6, 1, 1] = random(1)
      const %b: float32[6, 1, 1] = random(2)
      %r = Reshape(%x, %groups)
      %i = InstanceNormalization(%r, %ones, %zeros) {epsilon = 0.001}
      %y = Reshape(%i, %back)
      )" +
         epilogue + "}";
}

TEST(RecoverGroupNorm, WithScaleAndBias) {
  ExpectBecomes(Exported("[0, 3, -1]", "%m = Mul(%y, %w) %z = Add(%b, %m) output %z"), kPass,
                R"(graph "g" {
      input %x: float32[N, 6, 5, 4]
      const %w: float32[6] = random(1)
      const %b: float32[6] = random(2)
      %y = GroupNormalization(%x, %w, %b) {epsilon = 0.001, num_groups = 3}
      output %y
    })",
                1e-5);
}

TEST(RecoverGroupNorm, Alone) {
  ExpectBecomes(Exported("[0, 3, -1]", "output %y"), kPass, R"(graph "g" {
      input %x: float32[N, 6, 5, 4]
      const %w: float32[6] = fill(1)
      const %b: float32[6] = fill(0)
      %y = GroupNormalization(%x, %w, %b) {epsilon = 0.001, num_groups = 3}
      output %y
    })",
                1e-5);
}

TEST(RecoverGroupNorm, LeavesPartsThatAreOutputs) {
  ExpectUnchanged(Exported("[0, 3, -1]", "output %i output %y"), kPass);
}

}  // namespace
}  // namespace slipway::passes
