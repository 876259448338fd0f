#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"cleanup-concat"};

TEST(CleanupConcat, FlattensNestedOnes) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 2]
      input %y: float32[N, 3]
      %a = Concat(%x, %y) {axis = 1}
      %b = Concat(%y, %a, %x) {axis = -1}
      output %b
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 2]
      input %y: float32[N, 3]
      %b = Concat(%y, %x, %y, %x) {axis = 1}
      output %b
    })");
}

TEST(CleanupConcat, JoinsPiecesOfOneTensor) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 6]
      const %sizes: int64[3] = [1, 2, 3]
      %a, %b, %c = Split(%x, %sizes) {axis = 1}
      %j = Concat(%a, %b, %c) {axis = 1}
      %y = Relu(%j)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 6]
      %y = Relu(%x)
      output %y
    })");
  // Some of it, in front of something else.
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 6]
      const %sizes: int64[3] = [1, 2, 3]
      %a, %b, %c = Split(%x, %sizes) {axis = 1}
      %y = Concat(%b, %c, %a) {axis = 1}
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 6]
      const %sizes: int64[3] = [1, 2, 3]
      const %one: int64[1] = [1]
      const %six: int64[1] = [6]
      %a, %b, %c = Split(%x, %sizes) {axis = 1}
      %s = Slice(%x, %one, %six, %one)
      %y = Concat(%s, %a) {axis = 1}
      output %y
    })");
}

TEST(CleanupConcat, SlicesAndSplitsFindTheirPart) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 2]
      input %y: float32[N, 3]
      const %three: int64[1] = [3]
      const %five: int64[1] = [5]
      const %one: int64[1] = [1]
      %a = Concat(%x, %y) {axis = 1}
      %s = Slice(%a, %three, %five, %one)
      output %s
      output %a
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 2]
      input %y: float32[N, 3]
      const %one: int64[1] = [1]
      const %three: int64[1] = [3]
      %a = Concat(%x, %y) {axis = 1}
      %s = Slice(%y, %one, %three, %one, %one)
      output %s
      output %a
    })");
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 2]
      input %y: float32[N, 3]
      const %sizes: int64[2] = [2, 3]
      %a = Concat(%x, %y) {axis = 1}
      %b, %c = Split(%a, %sizes) {axis = 1}
      %d = Relu(%b)
      %e = Neg(%c)
      output %d
      output %e
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 2]
      input %y: float32[N, 3]
      %d = Relu(%x)
      %e = Neg(%y)
      output %d
      output %e
    })");
}

TEST(CleanupConcat, LeavesOtherAxesOrdersAndSharedParts) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[4, 6]
      const %sizes: int64[2] = [2, 4]
      %a, %b = Split(%x, %sizes) {axis = 1}
      %y = Concat(%b, %a) {axis = 1}
      output %y
    })",
                  kPass);
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 2]
      %a = Concat(%x, %x) {axis = 1}
      %y = Concat(%a, %a) {axis = 1}
      output %y
    })",
                  kPass);
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 2]
      input %y: float32[N, 3]
      const %one: int64[1] = [1]
      const %four: int64[1] = [4]
      %a = Concat(%x, %y) {axis = 1}
      %s = Slice(%a, %one, %four, %one)
      output %s
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
