#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(MergeSlices, JoinsChains) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3, 8, 8]
      const %zero: int64[1] = [0]
      const %end: int64[1] = [9223372036854775807]
      const %two: int64[1] = [2]
      const %three: int64[1] = [3]
      %a = Slice(%x, %zero, %end, %two, %two)
      %b = Slice(%a, %zero, %end, %three, %two)
      %c = Slice(%x, %two, %end, %two)
      %d = Slice(%c, %two, %end, %two)
      output %b
      output %d
    })",
                {"merge-slices"}, R"(graph "g" {
      input %x: float32[2, 3, 8, 8]
      const %s: int64[2] = [0, 0]
      const %e: int64[2] = [8, 8]
      const %a: int64[2] = [2, 3]
      const %t: int64[2] = [2, 2]
      const %s2: int64[1] = [4]
      const %e2: int64[1] = [8]
      const %a2: int64[1] = [2]
      const %t2: int64[1] = [1]
      %b = Slice(%x, %s, %e, %a, %t)
      %d = Slice(%x, %s2, %e2, %a2, %t2)
      output %b
      output %d
    })");
}

TEST(MergeSlices, MakesASplitOfWhatCoversATensor) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 12]
      const %zero: int64[1] = [0]
      const %four: int64[1] = [4]
      const %six: int64[1] = [6]
      const %end: int64[1] = [99]
      const %axis: int64[1] = [-1]
      %b = Slice(%x, %four, %six, %axis)
      %a = Slice(%x, %zero, %four, %axis)
      %c = Slice(%x, %six, %end, %axis)
      %ra = Relu(%a)
      %rb = Relu(%b)
      %rc = Relu(%c)
      %y = Concat(%rc, %rb, %ra) {axis = 1}
      output %y
    })",
                {"merge-slices"}, R"(graph "g" {
      input %x: float32[2, 12]
      const %sizes: int64[3] = [4, 2, 6]
      %a, %b, %c = Split(%x, %sizes) {axis = 1}
      %ra = Relu(%a)
      %rb = Relu(%b)
      %rc = Relu(%c)
      %y = Concat(%rc, %rb, %ra) {axis = 1}
      output %y
    })");
}

TEST(MergeSlices, LeavesOverlaps) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 6]
      const %zero: int64[1] = [0]
      const %three: int64[1] = [3]
      const %four: int64[1] = [4]
      const %six: int64[1] = [6]
      const %axis: int64[1] = [1]
      %a = Slice(%x, %zero, %four, %axis)
      %b = Slice(%x, %three, %six, %axis)
      %ra = Relu(%a)
      %rb = Relu(%b)
      output %ra
      output %rb
    })",
                  {"merge-slices"});
}

}  // namespace
}  // namespace slipway::passes
