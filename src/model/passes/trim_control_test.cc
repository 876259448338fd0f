#include "model/ir/control.h"
#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

// Of an If: a result nobody reads, a captured value that only that one read, one that comes twice,
// and a constant.
TEST(TrimControl, If) {
  ExpectBecomes(R"(graph "g" {
      input %c: bool[]
      input %x: float32[3]
      input %w: float32[3]
      const %k: float32[1] = [2]
      %y, %gone = If(%c, %x, %w, %x, %k) "if" body "then_branch" graph "t" {
        input %a: float32[3]
        input %b: float32[3]
        input %d: float32[3]
        input %m: float32[1]
        %p = Mul(%d, %m)
        %q = Neg(%b)
        output %p
        output %q
      } body "else_branch" graph "e" {
        input %a: float32[3]
        input %b: float32[3]
        input %d: float32[3]
        input %m: float32[1]
        %p = Abs(%a)
        output %p
        output %b
      }
      output %y
    })",
                {"trim-control"}, R"(graph "g" {
      input %c: bool[]
      input %x: float32[3]
      input %w: float32[3]
      %y = If(%c, %x) "if" body "then_branch" graph "t" {
        input %a: float32[3]
        const %m: float32[1] = [2]
        %p = Mul(%a, %m)
        output %p
      } body "else_branch" graph "e" {
        input %a: float32[3]
        %p = Abs(%a)
        output %p
      }
      output %y
    })");
}

// %w goes around unchanged (and out again), %u and %v feed each other only, %s is a stacked result
// nobody reads.
TEST(TrimControl, Loop) {
  ExpectBecomes(R"(graph "g" {
      input %n: int64[]
      input %x: float32[3]
      input %w: float32[3]
      %y, %same, %u, %v, %s = Loop(%n, _, %x, %w, %x, %w) {carried = 4} "loop" body "body" graph "b" {
        input %i: int64[]
        input %cond: bool[]
        input %a: float32[3]
        input %k: float32[3]
        input %p: float32[3]
        input %q: float32[3]
        %k1 = Identity(%k)
        %k2 = Identity(%k1)
        %next = Add(%a, %k)
        %p1 = Add(%p, %q)
        %q1 = Mul(%p, %q)
        output %cond
        output %next
        output %k2
        output %p1
        output %q1
        output %next
      }
      %z = Add(%y, %same)
      output %z
      output %y
    })",
                {"trim-control", "remove-dead"}, R"(graph "g" {
      input %n: int64[]
      input %x: float32[3]
      input %w: float32[3]
      %y = Loop(%n, _, %x, %w) {carried = 1} "loop" body "body" graph "b" {
        input %i: int64[]
        input %cond: bool[]
        input %a: float32[3]
        input %k: float32[3]
        %next = Add(%a, %k)
        output %cond
        output %next
      }
      %z = Add(%y, %w)
      output %z
      output %y
    })");
}

// What decides when the loop ends stays, whoever reads it outside.
TEST(TrimControl, KeepsWhatTheConditionNeeds) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[3]
      const %n: int64[] = [100]
      const %zero: float32[] = [0]
      %last, %y = Loop(%n, _, %zero, %x) {carried = 2} "loop" body "body" graph "b" {
        input %i: int64[]
        input %cond: bool[]
        input %count: float32[]
        input %a: float32[3]
        const %one: float32[] = [1]
        const %most: float32[] = [5]
        %more = Add(%count, %one)
        %go = Less(%more, %most)
        %b = Mul(%a, %more)
        output %go
        output %more
        output %b
      }
      output %y
    })",
                  {"trim-control"});
}

TEST(TrimControl, ScanKeepsItsAxes) {
  auto after = RunAndCheck(*Parse(R"(graph "g" {
      input %s: float32[2]
      input %x: float32[2, N]
      %last, %gone, %all = Scan(%s, %x) {carried = 1, num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [0, 1],
          scan_output_directions = [0, 1]} "scan" body "body" graph "b" {
        input %v: float32[2]
        input %a: float32[2]
        %next = Add(%v, %a)
        %n = Neg(%next)
        output %next
        output %a
        output %n
      }
      output %all
    })"),
                           {.only = {"trim-control"}});
  const Node* scan = after->nodes().front().get();
  EXPECT_EQ(scan->outputs().size(), 2u);
  EXPECT_EQ(ir::ScanAxis(*scan, "scan_output_axes", 0), 1);
  EXPECT_EQ(scan->attributes.Ints("scan_output_axes").size(), 1u);
  EXPECT_EQ(ir::ScanAxis(*scan, "scan_output_directions", 0), 1);
  EXPECT_EQ(scan->attributes.Ints("scan_output_directions").size(), 1u);
  EXPECT_EQ(scan->attributes.Int("carried", 0), 1);
}

// Any pass works on bodies as it does on the graph.
TEST(Bodies, PassesRunInside) {
  auto after = RunAndCheck(*Parse(R"(graph "g" {
      input %c: bool[]
      input %x: float32[1, 3, 8, 8]
      const %w: float32[4, 3, 3, 3] = random(7)
      const %b: float32[4] = random(8)
      %y = If(%c, %x) "if" body "then_branch" graph "t" {
        input %a: float32[1, 3, 8, 8]
        const %w: float32[4, 3, 3, 3] = random(7)
        const %s: float32[4] = fill(1.5)
        const %o: float32[4] = fill(0.5)
        %p = Conv(%a, %w) {pads = [1, 1, 1, 1]}
        %q = BatchNormalization(%p, %s, %o, %o, %s)
        %r = Relu(%q)
        output %r
      } body "else_branch" graph "e" {
        input %a: float32[1, 3, 8, 8]
        const %w: float32[4, 3, 3, 3] = random(9)
        %p = Conv(%a, %w) {pads = [1, 1, 1, 1]}
        %q = Sigmoid(%p)
        %r = Mul(%p, %q)
        output %r
      }
      output %y
    })"),
                           {});
  ASSERT_EQ(after->nodes().size(), 1u);
  const Node* node = after->nodes().front().get();
  for (const char* branch : {"then_branch", "else_branch"}) {
    EXPECT_EQ(CountOps(*node->subgraphs.at(branch)),
              (std::map<std::string, int>{{"slipway.Conv", 1}}))
        << branch;
  }
}

}  // namespace
}  // namespace slipway::passes
