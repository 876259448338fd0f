#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

// to: 1 float32, 6 int32, 7 int64, 9 bool, 10 float16, 11 float64.
TEST(CleanupCast, MergesPairsThatLoseNothing) {
  ExpectBecomes(R"(graph "g" {
      input %x: int32[2, 3]
      %a = Cast(%x) {to = 7}
      %y = Cast(%a) {to = 1}
      output %y
    })",
                {"cleanup-cast"}, R"(graph "g" {
      input %x: int32[2, 3]
      %y = Cast(%x) {to = 1}
      output %y
    })");
  // There and back.
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 3]
      %r = Relu(%x)
      %a = Cast(%r) {to = 11}
      %b = Cast(%a) {to = 1}
      %y = Neg(%b)
      output %y
    })",
                {"cleanup-cast"}, R"(graph "g" {
      input %x: float32[2, 3]
      %r = Relu(%x)
      %y = Neg(%r)
      output %y
    })");
}

TEST(CleanupCast, TakesIndicesAsTheyAre) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[3, 4]
      const %i: int32[1] = [2]
      input %j: int32[2]
      %k = Mul(%j, %i)
      %z = Sub(%k, %k)
      %l = Cast(%z) {to = 7}
      %y = Gather(%x, %l)
      output %y
    })",
                {"cleanup-cast"}, R"(graph "g" {
      input %x: float32[3, 4]
      const %i: int32[1] = [2]
      input %j: int32[2]
      %k = Mul(%j, %i)
      %z = Sub(%k, %k)
      %y = Gather(%x, %z)
      output %y
    })");
}

TEST(CleanupCast, LeavesWhatRounds) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 3]
      %a = Cast(%x) {to = 10}
      %y = Cast(%a) {to = 1}
      output %y
    })",
                  {"cleanup-cast"});
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 3]
      %a = Cast(%x) {to = 7}
      %y = Cast(%a) {to = 1}
      output %y
    })",
                  {"cleanup-cast"});
}

}  // namespace
}  // namespace slipway::passes
