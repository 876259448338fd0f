#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(RemoveDead, RemovesNodesAndConstantsBehindNoOutput) {
  auto made = ExpectBecomes(R"(graph "g" {
      input %x: float32[2]
      const %c: float32[2] = [1, 2]
      %a = Add(%x, %c)
      %b = Relu(%a)
      %y = Neg(%x)
      output %y
    })",
                            {"remove-dead"}, R"(graph "g" {
      input %x: float32[2]
      %y = Neg(%x)
      output %y
    })");
  EXPECT_EQ(made->FindValue("c"), nullptr);
}

}  // namespace
}  // namespace slipway::passes
