#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

// Carried value, iteration number, a captured value and a stacked result.
std::string Loop(int trips, const std::string& condition = "cond") {
  return R"(graph "g" {
      input %x: float32[3]
      input %w: float32[3]
      const %n: int64[] = [)" +
         std::to_string(trips) + R"(]
      const %true: bool[] = [1]
      %last, %all = Loop(%n, %true, %x, %w) {carried = 1} "loop" body "body" graph "b" {
        input %i: int64[]
        input %cond: bool[]
        input %v: float32[3]
        input %k: float32[3]
        const %one: bool[] = [1]
        const %zero: bool[] = [0]
        %f = Cast(%i) {to = 1}
        %p = Mul(%v, %k)
        %next = Add(%p, %f)
        %n = Neg(%next)
        output %)" +
         condition + R"(
        output %next
        output %n
      }
      output %last
      output %all
    })";
}

TEST(UnrollLoop, KnownTripCount) {
  ExpectBecomes(Loop(2), {"unroll-loop"}, R"(graph "g" {
      input %x: float32[3]
      input %w: float32[3]
      const %i0: int64[] = [0]
      const %i1: int64[] = [1]
      const %axes: int64[1] = [0]
      %f0 = Cast(%i0) {to = 1}
      %p0 = Mul(%x, %w)
      %next0 = Add(%p0, %f0)
      %n0 = Neg(%next0)
      %f1 = Cast(%i1) {to = 1}
      %p1 = Mul(%next0, %w)
      %last = Add(%p1, %f1)
      %n1 = Neg(%last)
      %u0 = Unsqueeze(%n0, %axes)
      %u1 = Unsqueeze(%n1, %axes)
      %all = Concat(%u0, %u1) {axis = 0}
      output %last
      output %all
    })");
  EXPECT_EQ(CountOps(*RunAndCheck(*Parse(Loop(1)), {.only = {"unroll-loop"}}))["Loop"], 0);
  EXPECT_EQ(CountOps(*RunAndCheck(*Parse(Loop(40)), {.only = {"unroll-loop"}}))["Add"], 40);
}

// No iteration: what went in, and an empty tensor.
TEST(UnrollLoop, NoIteration) {
  for (int trips : {0, -3}) {
    auto after = RunAndCheck(*Parse(Loop(trips)), {.only = {"unroll-loop"}});
    EXPECT_EQ(CountOps(*after), (std::map<std::string, int>{{"Identity", 2}}));
    EXPECT_EQ(after->FindValue("all")->type().ToString(), "float32[0, 3]");
  }
}

TEST(UnrollLoop, LeavesLongAndUndecidedOnes) {
  ExpectUnchanged(Loop(70), {"unroll-loop"});
  ExpectUnchanged(Loop(2, "zero"), {"unroll-loop"});
  std::string open = Loop(2);
  open.replace(open.find("const %n: int64[] = [2]"), 23, "input %n: int64[]      ");
  ExpectUnchanged(open, {"unroll-loop"});
}

// Extents that grow from iteration to iteration become known.
TEST(UnrollLoop, ExtentsBecomeKnown) {
  auto after = RunAndCheck(*Parse(R"(graph "g" {
      input %x: float32[1, 2]
      const %n: int64[] = [3]
      %y = Loop(%n, _, %x) {carried = 1} "loop" body "body" graph "b" {
        input %i: int64[]
        input %cond: bool[]
        input %v: float32[R, 2]
        %next = Concat(%v, %v) {axis = 0}
        output %cond
        output %next
      }
      output %y
    })"),
                           {.only = {"unroll-loop"}});
  EXPECT_EQ(after->outputs()[0]->type().ToString(), "float32[8, 2]");
}

// Backwards, along other axes, with two scanned inputs.
TEST(UnrollLoop, Scan) {
  auto after = RunAndCheck(*Parse(R"(graph "g" {
      input %s: float32[2]
      input %x: float32[2, 3]
      input %z: float32[3, 2]
      %last, %all, %back = Scan(%s, %x, %z) {carried = 1, num_scan_inputs = 2, scan_input_axes = [1, 0], scan_input_directions = [0, 1],
          scan_output_axes = [-1, 0], scan_output_directions = [0, 1]} "scan" body "body" graph "b" {
        input %v: float32[2]
        input %a: float32[2]
        input %b: float32[2]
        %m = Mul(%a, %b)
        %next = Add(%v, %m)
        %n = Neg(%a)
        output %next
        output %m
        output %n
      }
      output %last
      output %all
      output %back
    })"),
                           {.only = {"unroll-loop"}});
  EXPECT_EQ(CountOps(*after)["Scan"], 0);
  EXPECT_EQ(CountOps(*after)["Gather"], 6);
  EXPECT_EQ(after->FindValue("all")->type().ToString(), "float32[2, 3]");
  EXPECT_EQ(after->FindValue("back")->type().ToString(), "float32[3, 2]");
}

}  // namespace
}  // namespace slipway::passes
