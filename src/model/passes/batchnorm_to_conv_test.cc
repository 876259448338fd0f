#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(BatchNormToConv, MakesADepthwiseConvolutionThatTakesTheActivation) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3, 4, 4]
      const %p: float32[3] = [1, 2, 3]
      const %mean: float32[3] = [0, 1, 2]
      const %var: float32[3] = [0.25, 1, 4]
      %n = BatchNormalization(%x, %p, %p, %mean, %var) {epsilon = 0.0}
      %y = Relu(%n)
      output %y
    })",
                {"batchnorm-to-conv", "fuse-conv"}, R"(graph "g" {
      input %x: float32[2, 3, 4, 4]
      const %w: float32[3, 1, 1, 1] = [2, 2, 1.5]
      const %b: float32[3] = [1, 0, 0]
      %y = slipway.Conv(%x, %w, %b) {group = 3, activation = "Relu"}
      output %y
    })",
                1e-5);
}

}  // namespace
}  // namespace slipway::passes
