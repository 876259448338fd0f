#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(FusePad, IntoConvAndPools) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[1, 2, 6, 6]
      const %w: float32[2, 2, 3, 3] = random(1)
      const %pads: int64[8] = [0, 0, 1, 2, 0, 0, 0, 1]
      %r = Relu(%x)
      %p = Pad(%r, %pads)
      %a = Conv(%p, %w) {pads = [1, 0, 1, 0]}
      %b = AveragePool(%p) {kernel_shape = [3, 3]}
      %c = MaxPool(%p) {kernel_shape = [3, 3]}
      output %a
      output %b
      output %c
    })",
                {"fuse-pad"}, R"(graph "g" {
      input %x: float32[1, 2, 6, 6]
      const %w: float32[2, 2, 3, 3] = random(1)
      %r = Relu(%x)
      %a = Conv(%r, %w) {pads = [2, 2, 1, 1]}
      %b = AveragePool(%r) {kernel_shape = [3, 3], count_include_pad = 1, pads = [1, 2, 0, 1]}
      %c = MaxPool(%r) {kernel_shape = [3, 3], pads = [1, 2, 0, 1]}
      output %a
      output %b
      output %c
    })");
}

TEST(FusePad, LeavesWhatIsNotTheSame) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[1, 2, 6, 6]
      const %w: float32[2, 4, 3, 3] = random(1)
      const %w2: float32[2, 2, 3, 3] = random(1)
      const %channels: int64[8] = [0, 1, 1, 1, 0, 1, 1, 1]
      const %pads: int64[8] = [0, 0, 1, 1, 0, 0, 1, 1]
      const %one: float32[] = fill(1)
      %p = Pad(%x, %channels)
      %a = Conv(%p, %w)
      %q = Pad(%x, %pads, %one)
      %b = Conv(%q, %w2)
      %r = Pad(%x, %pads)
      %c = MaxPool(%r) {kernel_shape = [3, 3]}
      output %a
      output %b
      output %c
    })",
                  {"fuse-pad"});
}

}  // namespace
}  // namespace slipway::passes
