#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"simplify-sequence"};

TEST(SimplifySequence, EditsAtKnownPlaces) {
  ExpectBecomes(R"(graph "g" {
      input %a: float32[2]
      input %b: float32[3]
      const %zero: int64[] = [0]
      const %two: int64[] = [2]
      const %last: int64[] = [-1]
      %e = SequenceEmpty()
      %s = SequenceInsert(%e, %a)
      %t = SequenceInsert(%s, %b, %zero)
      %u = SequenceInsert(%t, %b, %two)
      %v = SequenceErase(%u, %last)
      %p = SequenceAt(%v, %zero)
      %q = SequenceAt(%v, %last)
      %n = SequenceLength(%v)
      %y = Concat(%p, %q) {axis = 0}
      %f = Cast(%n) {to = 1}
      output %y
      output %f
    })",
                kPass, R"(graph "g" {
      input %a: float32[2]
      input %b: float32[3]
      const %n: int64[] = [2]
      %y = Concat(%b, %a) {axis = 0}
      %f = Cast(%n) {to = 1}
      output %y
      output %f
    })");
}

TEST(SimplifySequence, Joined) {
  ExpectBecomes(R"(graph "g" {
      input %a: float32[2, 3]
      input %b: float32[2, 3]
      %s = SequenceConstruct(%a, %b)
      %t = SequenceInsert(%s, %a)
      %y = ConcatFromSequence(%t) {axis = -1}
      %z = ConcatFromSequence(%s) {axis = -1, new_axis = 1}
      output %y
      output %z
    })",
                kPass, R"(graph "g" {
      input %a: float32[2, 3]
      input %b: float32[2, 3]
      const %axes: int64[1] = [-1]
      %y = Concat(%a, %b, %a) {axis = -1}
      %u = Unsqueeze(%a, %axes)
      %v = Unsqueeze(%b, %axes)
      %z = Concat(%u, %v) {axis = -1}
      output %y
      output %z
    })");
}

TEST(SimplifySequence, PiecesOfOneTensor) {
  // Without sizes, also at places that are computed.
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 4]
      input %i: int64[1]
      const %k: int64[] = [-2]
      %s = SplitToSequence(%x) {axis = 1}
      %t = SplitToSequence(%x) {axis = 0, keepdims = 0}
      %p = SequenceAt(%s, %i)
      %q = SequenceAt(%t, %k)
      %n = SequenceLength(%t)
      output %p
      output %q
      output %n
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 4]
      input %i: int64[1]
      const %k: int64[] = [-2]
      const %none: int64[0] = []
      %p = Gather(%x, %i) {axis = 1}
      %q = Gather(%x, %k) {axis = 0}
      %m = Shape(%x) {start = 0, end = 1}
      %n = Reshape(%m, %none)
      output %p
      output %q
      output %n
    })");
  // With sizes.
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 5]
      const %sizes: int64[2] = [2, 3]
      const %each: int64[] = [2]
      const %last: int64[] = [-1]
      const %first: int64[] = [0]
      %s = SplitToSequence(%x, %sizes) {axis = 1}
      %t = SplitToSequence(%x, %each) {axis = 1}
      %p = SequenceAt(%s, %last)
      %q = SequenceAt(%t, %last)
      %r = SequenceAt(%t, %first)
      %y = Concat(%p, %q, %r) {axis = 1}
      %n = SequenceLength(%t)
      %f = Cast(%n) {to = 1}
      output %y
      output %f
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 5]
      const %axis: int64[1] = [1]
      const %zero: int64[1] = [0]
      const %two: int64[1] = [2]
      const %four: int64[1] = [4]
      const %five: int64[1] = [5]
      const %three: int64[] = [3]
      %p = Slice(%x, %two, %five, %axis)
      %q = Slice(%x, %four, %five, %axis)
      %r = Slice(%x, %zero, %two, %axis)
      %y = Concat(%p, %q, %r) {axis = 1}
      %f = Cast(%three) {to = 1}
      output %y
      output %f
    })");
}

TEST(SimplifySequence, CutAndJoinedAgain) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 4]
      const %sizes: int64[2] = [1, 3]
      %s = SplitToSequence(%x, %sizes) {axis = 1}
      %t = ConcatFromSequence(%s) {axis = -1}
      %r = Relu(%t)
      %u = SplitToSequence(%r) {axis = 1, keepdims = 0}
      %v = ConcatFromSequence(%u) {axis = 1, new_axis = 1}
      %y = Neg(%v)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 4]
      %r = Relu(%x)
      %y = Neg(%r)
      output %y
    })");
}

TEST(SimplifySequence, UnknownPlacesStay) {
  ExpectUnchanged(R"(graph "g" {
      input %a: float32[2]
      input %b: float32[3]
      input %i: int64[1]
      const %k: int64[1] = [0]
      const %one: int64[1] = [1]
      %m = Min(%i, %one)
      %s = SequenceConstruct(%a, %b)
      %t = SequenceErase(%s, %m)
      %y = SequenceAt(%t, %k)
      %z = SequenceAt(%s, %m)
      output %y
      output %z
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
