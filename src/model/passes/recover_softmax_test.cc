#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"recover-softmax"};

const char* kSoftmax = R"(graph "g" {
      input %x: float32[N, 3, 5]
      %y = Softmax(%x) {axis = 1}
      output %y
    })";

TEST(RecoverSoftmax, WithTheMaximumTakenOff) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 5]
      const %axis: int64[1] = [-2]
      %m = ReduceMax(%x, %axis)
      %s = Sub(%x, %m)
      %e = Exp(%s)
      %t = ReduceSum(%e, %axis)
      %y = Div(%e, %t)
      output %y
    })",
                kPass, kSoftmax);
}

TEST(RecoverSoftmax, WithoutAndWithAReciprocal) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 5]
      const %axis: int64[1] = [1]
      %e = Exp(%x)
      %t = ReduceSum(%e, %axis)
      %r = Reciprocal(%t)
      %y = Mul(%r, %e)
      output %y
    })",
                kPass, kSoftmax);
}

TEST(RecoverSoftmax, Logarithms) {
  const char* wanted = R"(graph "g" {
      input %x: float32[N, 3, 5]
      %y = LogSoftmax(%x) {axis = 1}
      output %y
    })";
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 5]
      %s = Softmax(%x) {axis = 1}
      %y = Log(%s)
      output %y
    })",
                kPass, wanted);
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 5]
      const %axis: int64[1] = [1]
      %m = ReduceMax(%x, %axis)
      %s = Sub(%x, %m)
      %e = Exp(%s)
      %t = ReduceSum(%e, %axis)
      %l = Log(%t)
      %y = Sub(%s, %l)
      output %y
    })",
                kPass, wanted);
}

TEST(RecoverSoftmax, LeavesOtherSums) {
  // Two axes; and a sum of something else.
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 3, 5]
      const %axes: int64[2] = [1, 2]
      %e = Exp(%x)
      %t = ReduceSum(%e, %axes)
      %y = Div(%e, %t)
      output %y
    })",
                  kPass);
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 3, 5]
      const %axis: int64[1] = [1]
      %e = Exp(%x)
      %t = ReduceSum(%e, %axis)
      %y = Div(%e, %t)
      output %y
      output %e
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
