#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(MoveQuantize, ThroughMovementUntilPairsCancel) {
  ExpectBecomes(R"(graph "g" {
      input %q: uint8[1, 4, 6, 6]
      const %s: float32[] = fill(0.05)
      const %z: uint8[] = fill(100)
      const %pads: int64[8] = [0, 0, 1, 1, 0, 0, 1, 1]
      const %five: int64[5] = [1, 2, 2, 4, 4]
      %x = slipway.Dequantize(%q, %s, %z) {signed = 0}
      %p = Pad(%x, %pads)
      %m = MaxPool(%p) {kernel_shape = [2, 2], strides = [2, 2]}
      %r = Reshape(%m, %five)
      %t = Transpose(%r) {perm = [0, 2, 1, 3, 4]}
      %y = slipway.Quantize(%t, %s, %z) {signed = 0}
      output %y
    })",
                {"move-quantize"}, R"(graph "g" {
      input %q: uint8[1, 4, 6, 6]
      const %z: uint8[] = fill(100)
      const %pads: int64[8] = [0, 0, 1, 1, 0, 0, 1, 1]
      const %five: int64[5] = [1, 2, 2, 4, 4]
      %p = Pad(%q, %pads, %z)
      %m = MaxPool(%p) {kernel_shape = [2, 2], strides = [2, 2]}
      %r = Reshape(%m, %five)
      %y = Transpose(%r) {perm = [0, 2, 1, 3, 4]}
      output %y
    })");
}

TEST(MoveQuantize, ThroughConcatWithOtherScales) {
  ExpectBecomes(R"(graph "g" {
      input %a: int8[1, 4]
      input %b: int8[1, 4]
      const %s: float32[] = fill(0.05)
      const %t: float32[] = fill(0.1)
      %x = slipway.Dequantize(%a, %s)
      %y = slipway.Dequantize(%b, %t)
      %c = Concat(%x, %y) {axis = 1}
      %z = slipway.Quantize(%c, %t)
      output %z
    })",
                {"move-quantize"}, R"(graph "g" {
      input %a: int8[1, 4]
      input %b: int8[1, 4]
      const %s: float32[] = fill(0.05)
      const %t: float32[] = fill(0.1)
      %x = slipway.Dequantize(%a, %s)
      %q = slipway.Quantize(%x, %t)
      %z = Concat(%q, %b) {axis = 1}
      output %z
    })");
}

TEST(MoveQuantize, DownThroughSplitToEveryReader) {
  ExpectBecomes(R"(graph "g" {
      input %q: int8[2, 8]
      const %s: float32[] = fill(0.05)
      const %sizes: int64[2] = [4, 4]
      %x = slipway.Dequantize(%q, %s)
      %a, %b = Split(%x, %sizes) {axis = 1}
      %y = Sigmoid(%a)
      %z = slipway.Quantize(%b, %s)
      output %y
      output %z
    })",
                {"move-quantize"}, R"(graph "g" {
      input %q: int8[2, 8]
      const %s: float32[] = fill(0.05)
      const %sizes: int64[2] = [4, 4]
      %a, %z = Split(%q, %sizes) {axis = 1}
      %x = slipway.Dequantize(%a, %s)
      %y = Sigmoid(%x)
      output %y
      output %z
    })");
}

TEST(MoveQuantize, UpThroughASplitOfEqualParts) {
  const std::string text = R"(graph "g" {
      input %x: float32[2, 8]
      const %s: float32[] = fill(0.05)
      const %t: float32[] = fill(0.06)
      const %sizes: int64[2] = [4, 4]
      %r = Relu(%x)
      %a, %b = Split(%r, %sizes) {axis = 1}
      %qa = slipway.Quantize(%a, %s)
      %qb = slipway.Quantize(%b, %s)
      %y = Concat(%qb, %qa) {axis = 1}
      output %y
    })";
  ExpectBecomes(text, {"move-quantize"}, R"(graph "g" {
      input %x: float32[2, 8]
      const %s: float32[] = fill(0.05)
      const %sizes: int64[2] = [4, 4]
      %r = Relu(%x)
      %q = slipway.Quantize(%r, %s)
      %a, %b = Split(%q, %sizes) {axis = 1}
      %y = Concat(%b, %a) {axis = 1}
      output %y
    })");
  std::string other = text;
  other.replace(other.find("Quantize(%b, %s)"), 16, "Quantize(%b, %t)");
  ExpectUnchanged(other, {"move-quantize"});
}

TEST(MoveQuantize, TransposesPerChannelWeights) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3]
      const %w: int8[2, 3] = [1, 2, 3, 4, 5, 6]
      const %s: float32[2] = [0.5, 0.25]
      %d = slipway.Dequantize(%w, %s) {axis = 0}
      %t = Transpose(%d) {perm = [1, 0]}
      %y = MatMul(%x, %t)
      output %y
    })",
                {"move-quantize"}, R"(graph "g" {
      input %x: float32[2, 3]
      const %w: int8[3, 2] = [1, 4, 2, 5, 3, 6]
      const %s: float32[2] = [0.5, 0.25]
      %d = slipway.Dequantize(%w, %s) {axis = 1}
      %y = MatMul(%x, %d)
      output %y
    })");
}

TEST(MoveQuantize, LeavesPaddingThatIsNoCode) {
  ExpectUnchanged(R"(graph "g" {
      input %q: int8[2, 8]
      const %s: float32[] = fill(0.05)
      const %pads: int64[4] = [0, 1, 0, 1]
      const %v: float32[] = fill(0.33)
      %x = slipway.Dequantize(%q, %s)
      %y = Pad(%x, %pads, %v)
      output %y
    })",
                  {"move-quantize"});
}

}  // namespace
}  // namespace slipway::passes
