#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(FoldDequantize, MakesFloatConstants) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3]
      const %w: int8[3, 2] = [1, 2, 3, 4, 5, 6]
      const %s: float32[2] = [0.5, 0.25]
      %d = slipway.Dequantize(%w, %s) {axis = 1}
      %y = MatMul(%x, %d)
      output %y
    })",
                {"fold-dequantize"}, R"(graph "g" {
      input %x: float32[2, 3]
      const %d: float32[3, 2] = [0.5, 0.5, 1.5, 1, 2.5, 1.5]
      %y = MatMul(%x, %d)
      output %y
    })");
}

}  // namespace
}  // namespace slipway::passes
