#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(ResolveAutoPad, SaysThePads) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[1, 2, 7, 8]
      const %w: float32[4, 2, 3, 3] = random(1)
      %a = Conv(%x, %w) {auto_pad = "SAME_UPPER", strides = [2, 2]}
      %b = Conv(%x, %w) {auto_pad = "SAME_LOWER", strides = [2, 2]}
      %c = MaxPool(%x) {auto_pad = "VALID", kernel_shape = [2, 2]}
      output %a
      output %b
      output %c
    })",
                {"resolve-auto-pad"}, R"(graph "g" {
      input %x: float32[1, 2, 7, 8]
      const %w: float32[4, 2, 3, 3] = random(1)
      %a = Conv(%x, %w) {pads = [1, 0, 1, 1], strides = [2, 2]}
      %b = Conv(%x, %w) {pads = [1, 1, 1, 0], strides = [2, 2]}
      %c = MaxPool(%x) {kernel_shape = [2, 2]}
      output %a
      output %b
      output %c
    })");
}

TEST(ResolveAutoPad, NeedsAKnownExtentOnlyForStrides) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[1, 2, H, 8]
      const %w: float32[4, 2, 3, 3] = random(1)
      %a = Conv(%x, %w) {auto_pad = "SAME_UPPER"}
      %b = Conv(%x, %w) {auto_pad = "SAME_UPPER", strides = [2, 2]}
      output %a
      output %b
    })",
                {"resolve-auto-pad"}, R"(graph "g" {
      input %x: float32[1, 2, H, 8]
      const %w: float32[4, 2, 3, 3] = random(1)
      %a = Conv(%x, %w) {pads = [1, 1, 1, 1]}
      %b = Conv(%x, %w) {auto_pad = "SAME_UPPER", strides = [2, 2]}
      output %a
      output %b
    })");
}

}  // namespace
}  // namespace slipway::passes
