#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"sink-transpose"};

TEST(SinkTranspose, BehindReductions) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 4, 5, 3]
      const %axes: int64[2] = [2, -1]
      %t = Transpose(%x) {perm = [0, 3, 1, 2]}
      %r = ReduceMax(%t, %axes)
      %y = Relu(%r)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 4, 5, 3]
      const %axes: int64[2] = [1, 2]
      %r = ReduceMax(%x, %axes)
      %t = Transpose(%r) {perm = [0, 3, 1, 2]}
      %y = Relu(%t)
      output %y
    })");
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 4, 5, 3]
      const %axes: int64[1] = [0]
      %t = Transpose(%x) {perm = [2, 0, 3, 1]}
      %r = ReduceSum(%t, %axes) {keepdims = 0}
      %y = Relu(%r)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 4, 5, 3]
      const %axes: int64[1] = [2]
      %r = ReduceSum(%x, %axes) {keepdims = 0}
      %t = Transpose(%r) {perm = [0, 2, 1]}
      %y = Relu(%t)
      output %y
    })");
}

TEST(SinkTranspose, BehindConcatAndSlice) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 4, 3]
      input %z: float32[N, 5, 3]
      const %one: int64[2] = [0, 1]
      const %three: int64[2] = [9, 3]
      %s = Transpose(%x) {perm = [0, 2, 1]}
      %t = Transpose(%z) {perm = [0, 2, 1]}
      %c = Concat(%s, %t) {axis = -1}
      %i = Slice(%c, %one, %three)
      %y = Relu(%i)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 4, 3]
      input %z: float32[N, 5, 3]
      const %one: int64[2] = [0, 1]
      const %three: int64[2] = [9, 3]
      const %axes: int64[2] = [0, 2]
      %c = Concat(%x, %z) {axis = 1}
      %i = Slice(%c, %one, %three, %axes)
      %t = Transpose(%i) {perm = [0, 2, 1]}
      %y = Relu(%t)
      output %y
    })");
}

TEST(SinkTranspose, ThroughPadAndSoftmaxToAnotherTranspose) {
  auto made = RunAndCheck(*Parse(R"(graph "g" {
      input %x: float32[N, 4, 5, 3]
      const %pads: int64[8] = [0, 1, 2, 3, 0, 0, 1, 0]
      %t = Transpose(%x) {perm = [0, 3, 1, 2]}
      %p = Pad(%t, %pads)
      %r = Relu(%p)
      %s = Softmax(%r) {axis = 1}
      %u = Transpose(%s) {perm = [0, 2, 3, 1]}
      output %u
    })"),
                          Only({"sink-transpose", "cleanup-transpose", "remove-identity"}));
  EXPECT_EQ(CountOps(*made)["Transpose"], 0);
}

TEST(SinkTranspose, StaysWhereItWouldNotPay) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 4, 3]
      input %z: float32[N, 3, 5]
      const %axes: int64[1] = [1]
      %s = Transpose(%x) {perm = [0, 2, 1]}
      %c = Concat(%s, %z) {axis = -1}
      %p = Softmax(%s) {axis = 1}
      %t = Transpose(%x) {perm = [1, 0, 2]}
      %r = ReduceMax(%t, %axes)
      output %c
      output %p
      output %t
      output %r
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
