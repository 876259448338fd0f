#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

constexpr char kTorch[] = R"(graph "g" {
      input %x: float32[2, 5, 8]
      const %axes: int64[1] = [-1]
      const %two: float32[] = fill(2)
      const %eps: float32[] = fill(1e-5)
      const %w: float32[8] = random(1)
      const %b: float32[8] = random(2)
      %mean = ReduceMean(%x, %axes)
      %d = Sub(%x, %mean)
      %sq = Pow(%d, %two)
      %var = ReduceMean(%sq, %axes)
      %ve = Add(%var, %eps)
      %std = Sqrt(%ve)
      %n = Div(%d, %std)
      %s = Mul(%n, %w)
      %y = Add(%s, %b)
      output %y
    })";

TEST(RecoverLayerNorm, FromTorch) {
  const char* wanted = R"(graph "g" {
      input %x: float32[2, 5, 8]
      const %w: float32[8] = random(1)
      const %b: float32[8] = random(2)
      %y = LayerNormalization(%x, %w, %b) {axis = -1, epsilon = 1e-5}
      output %y
    })";
  ExpectBecomes(kTorch, {"recover-layernorm"}, wanted, 1e-5);
  // Also behind the other passes, which rewrite Pow.
  EXPECT_EQ(CountOps(*RunAndCheck(*Parse(kTorch), {}, 1e-5))["LayerNormalization"], 1);
}

TEST(RecoverLayerNorm, FromReciprocalOverTwoAxesWithoutBias) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 4]
      const %axes: int64[2] = [1, 2]
      const %eps: float32[] = fill(0.001)
      const %w: float32[3, 4] = random(1)
      %mean = ReduceMean(%x, %axes)
      %d = Sub(%x, %mean)
      %sq = Mul(%d, %d)
      %var = ReduceMean(%sq, %axes)
      %ve = Add(%eps, %var)
      %std = Sqrt(%ve)
      %inv = Reciprocal(%std)
      %n = Mul(%inv, %d)
      %y = Mul(%w, %n)
      output %y
    })",
                {"recover-layernorm"}, R"(graph "g" {
      input %x: float32[N, 3, 4]
      const %w: float32[3, 4] = random(1)
      %y = LayerNormalization(%x, %w) {axis = -2, epsilon = 0.001}
      output %y
    })",
                1e-5);
}

TEST(RecoverLayerNorm, LeavesWhatOthersUse) {
  std::string text = kTorch;
  text.insert(text.rfind("output"), "output %var\n      ");
  ExpectUnchanged(text, {"recover-layernorm"});
}

TEST(RecoverLayerNorm, LeavesTheLeadingAxis) {
  std::string text = kTorch;
  text.replace(text.find("[-1]"), 4, "[1]");
  ExpectUnchanged(text, {"recover-layernorm"});
}

}  // namespace
}  // namespace slipway::passes
