#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"stack-sequences"};

// A loop over the rows of x that appends; `readers` use the sequence %q. Behind it the same with a
// stacked output %q.
std::string Appends(const std::string& readers) {
  return R"(graph "g" {
      input %x: float32[4, 3]
      const %n: int64[] = [3]
      const %zero: int64[1] = [0]
      %e = SequenceEmpty()
      %q, %sum = Loop(%n, _, %e, %x) {carried = 1} body "body" graph "b" {
        input %i: int64[]
        input %c: bool[]
        input %s
        input %x
        %row = Gather(%x, %i) {axis = 0}
        %w = Relu(%row)
        %r = SequenceInsert(%s, %w)
        output %c
        output %r
        output %row
      }
      %z = Neg(%sum)
)" + readers +
         "\noutput %y\noutput %z\n}";
}
std::string Stacks(const std::string& readers) {
  return R"(graph "g" {
      input %x: float32[4, 3]
      const %n: int64[] = [3]
      const %zero: int64[1] = [0]
      %sum, %q = Loop(%n, _, %x) {carried = 0} body "body" graph "b" {
        input %i: int64[]
        input %c: bool[]
        input %x
        %row = Gather(%x, %i) {axis = 0}
        %w = Relu(%row)
        output %c
        output %row
        output %w
      }
      %z = Neg(%sum)
)" + readers +
         "\noutput %y\noutput %z\n}";
}

TEST(StackSequences, JoinedAlongANewAxis) {
  ExpectBecomes(Appends("%j = ConcatFromSequence(%q) {axis = 0, new_axis = 1}\n%y = Abs(%j)"),
                kPass, Stacks("%y = Abs(%q)"));
  ExpectBecomes(Appends("%y = ConcatFromSequence(%q) {axis = -1, new_axis = 1}"), kPass,
                Stacks("%y = Transpose(%q) {perm = [1, 0]}"));
}

TEST(StackSequences, JoinedAlongAnOldAxis) {
  ExpectBecomes(Appends("%y = ConcatFromSequence(%q) {axis = 0}"), kPass,
                Stacks("const %t: int64[1] = [-1]\n%y = Reshape(%q, %t)"));
}

TEST(StackSequences, ReadBehindTheLoop) {
  ExpectBecomes(Appends("%a = SequenceAt(%q, %zero)\n%l = SequenceLength(%q)\n"
                        "%f = Cast(%l) {to = 1}\n%y = Add(%a, %f)"),
                kPass,
                Stacks("const %none: int64[0] = []\n%p = Reshape(%zero, %none)\n"
                       "%a = Gather(%q, %p) {axis = 0}\n%h = Shape(%q) {start = 0, end = 1}\n"
                       "%l = Reshape(%h, %none)\n%f = Cast(%l) {to = 1}\n%y = Add(%a, %f)"));
}

TEST(StackSequences, TensorsThatDifferStay) {
  const std::string differ = R"(graph "g" {
      input %x: float32[4]
      const %n: int64[] = [3]
      const %zero: int64[1] = [0]
      %e = SequenceEmpty()
      %q = Loop(%n, _, %e, %x) {carried = 1} body "body" graph "b" {
        input %i: int64[]
        input %c: bool[]
        input %s
        input %x
        const %z: int64[1] = [0]
        %k = Unsqueeze(%i, %z)
        %w = Slice(%x, %z, %k, %z)
        %r = SequenceInsert(%s, %w)
        output %c
        output %r
      }
      %y = ConcatFromSequence(%q) {axis = 0}
      output %y
    })";
  ExpectUnchanged(differ, kPass);
  // So does a sequence that is a result itself, and one that the body reads.
  auto result = Parse(Appends("%y = Identity(%q)"));
  auto reports = RunPasses(*result, Only(kPass));
  ASSERT_TRUE(reports.ok());
  EXPECT_EQ((*reports)[0].changes, 0);
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[4]
      const %n: int64[] = [3]
      %e = SequenceEmpty()
      %q = Loop(%n, _, %e, %x) {carried = 1} body "body" graph "b" {
        input %i: int64[]
        input %c: bool[]
        input %s
        input %x
        %l = SequenceLength(%s)
        %f = Cast(%l) {to = 1}
        %w = Add(%x, %f)
        %r = SequenceInsert(%s, %w)
        output %c
        output %r
      }
      %y = ConcatFromSequence(%q) {axis = 0, new_axis = 1}
      output %y
    })",
                  kPass);
}

TEST(StackSequences, PiecesCutOutside) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3]
      %s = SplitToSequence(%x) {keepdims = 0}
      %n = SequenceLength(%s)
      %y = Loop(%n, _, %s) {carried = 0} body "body" graph "b" {
        input %i: int64[]
        input %c: bool[]
        input %s
        %a = SequenceAt(%s, %i)
        %l = SequenceLength(%s)
        %f = Cast(%l) {to = 1}
        %w = Mul(%a, %f)
        output %c
        output %w
      }
      output %y
    })",
                {"stack-sequences", "simplify-sequence"}, R"(graph "g" {
      input %x: float32[N, 3]
      const %none: int64[0] = []
      %m = Shape(%x) {start = 0, end = 1}
      %n = Reshape(%m, %none)
      %y = Loop(%n, _, %x) {carried = 0} body "body" graph "b" {
        input %i: int64[]
        input %c: bool[]
        input %x
        const %none: int64[0] = []
        %a = Gather(%x, %i) {axis = 0}
        %m = Shape(%x) {start = 0, end = 1}
        %l = Reshape(%m, %none)
        %f = Cast(%l) {to = 1}
        %w = Mul(%a, %f)
        output %c
        output %w
      }
      output %y
    })");
}

// What an exporter writes for a Python list that a loop fills comes out without sequences.
TEST(StackSequences, AllPassesTogether) {
  auto graph = Parse(Appends("%y = ConcatFromSequence(%q) {axis = 0, new_axis = 1}"));
  PassOptions options;
  options.level = Level::kOnnx;
  auto made = RunAndCheck(*graph, options);
  for (const auto& [op, count] : CountOps(*made))
    EXPECT_EQ(op.find("Sequence"), std::string::npos) << op;
}

}  // namespace
}  // namespace slipway::passes
