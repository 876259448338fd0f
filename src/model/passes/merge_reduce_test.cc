#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"merge-reduce"};

TEST(MergeReduce, OneAfterTheOther) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %a: int64[1] = [-1]
      const %b: int64[1] = [-2]
      %r = ReduceMean(%x, %a)
      %y = ReduceMean(%r, %b)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %a: int64[2] = [2, 3]
      %y = ReduceMean(%x, %a) {keepdims = 1}
      output %y
    })");
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %a: int64[1] = [1]
      %r = ReduceMax(%x, %a) {keepdims = 0}
      %y = ReduceMax(%r, %a) {keepdims = 0}
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %a: int64[2] = [1, 2]
      %y = ReduceMax(%x, %a) {keepdims = 0}
      output %y
    })");
}

TEST(MergeReduce, WindowsAsLargeAsTheImage) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %a: int64[2] = [2, 3]
      %p = AveragePool(%x) {kernel_shape = [4, 5]}
      %q = MaxPool(%x) {kernel_shape = [4, 5], strides = [4, 5]}
      %r = ReduceMax(%x, %a)
      %s = Add(%p, %q)
      %y = Mul(%s, %r)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      %p = GlobalAveragePool(%x)
      %q = GlobalMaxPool(%x)
      %r = GlobalMaxPool(%x)
      %s = Add(%p, %q)
      %y = Mul(%s, %r)
      output %y
    })");
}

TEST(MergeReduce, LeavesDifferentOnes) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %a: int64[1] = [1]
      %r = ReduceMax(%x, %a)
      %s = ReduceSum(%r, %a)
      %t = ReduceSum(%x, %a) {keepdims = 0}
      %u = ReduceSum(%t, %a)
      %p = AveragePool(%x) {kernel_shape = [4, 4]}
      output %s
      output %u
      output %p
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
