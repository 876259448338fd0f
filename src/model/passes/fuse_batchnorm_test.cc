#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(FuseBatchNorm, IntoConv) {
  auto made = RunAndCheck(*Parse(R"(graph "g" {
      input %x: float32[2, 4, 5, 5]
      const %w: float32[6, 2, 3, 3] = random(1)
      const %b: float32[6] = random(2)
      const %gamma: float32[6] = random(3)
      const %beta: float32[6] = random(4)
      const %mean: float32[6] = random(5)
      const %var: float32[6] = [0.5, 1, 2, 0.25, 1, 1.5]
      const %scale: float32[6, 1, 1] = random(6)
      const %shift: float32[1, 6, 1, 1] = random(7)
      const %third: float32[] = fill(3)
      %c = Conv(%x, %w, %b) {group = 2, pads = [1, 1, 1, 1]}
      %n = BatchNormalization(%c, %gamma, %beta, %mean, %var) {epsilon = 0.001}
      %m = Mul(%n, %scale)
      %a = Add(%shift, %m)
      %y = Div(%a, %third)
      output %y
    })"),
                          Only({"fuse-batchnorm"}), 1e-5);
  ASSERT_EQ(made->nodes().size(), 1u);
  EXPECT_EQ(made->nodes().front()->attributes.Int("group", 1), 2);
}

TEST(FuseBatchNorm, IntoConvTransposeAndGemm) {
  for (const char* text : {R"(graph "g" {
      input %x: float32[2, 4, 5, 5]
      const %w: float32[4, 3, 3, 3] = random(1)
      const %p: float32[6] = random(3)
      const %var: float32[6] = [0.5, 1, 2, 0.25, 1, 1.5]
      %c = ConvTranspose(%x, %w) {group = 2, strides = [2, 2]}
      %y = BatchNormalization(%c, %p, %p, %p, %var)
      output %y
    })",
                           R"(graph "g" {
      input %x: float32[2, 4]
      const %w: float32[6, 4] = random(1)
      const %c: float32[1, 6] = random(2)
      const %p: float32[6] = random(3)
      const %var: float32[6] = [0.5, 1, 2, 0.25, 1, 1.5]
      %g = Gemm(%x, %w, %c) {transB = 1, alpha = 0.5, beta = 2}
      %y = BatchNormalization(%g, %p, %p, %p, %var)
      output %y
    })",
                           R"(graph "g" {
      input %x: float32[2, 4]
      const %w: float32[4, 6] = random(1)
      const %p: float32[6] = random(3)
      %g = Gemm(%x, %w)
      %y = Mul(%g, %p)
      output %y
    })"}) {
    auto made = RunAndCheck(*Parse(text), Only({"fuse-batchnorm"}), 1e-5);
    EXPECT_EQ(made->nodes().size(), 1u);
  }
}

TEST(FuseBatchNorm, LeavesSharedOutputsAndOtherAxes) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 4, 6, 6]
      const %w: float32[6, 4, 1, 1] = random(1)
      const %row: float32[6] = random(3)
      %c = Conv(%x, %w)
      %y = Mul(%c, %row)
      const %scale: float32[6, 1, 1] = random(3)
      %d = Conv(%x, %w) {pads = [1, 1, 1, 1]}
      %z = Mul(%d, %scale)
      output %y
      output %d
      output %z
    })",
                  {"fuse-batchnorm"});
}

}  // namespace
}  // namespace slipway::passes
