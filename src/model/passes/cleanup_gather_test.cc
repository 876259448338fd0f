#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(CleanupGather, ConsecutiveIndicesAreASlice) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 5, 4]
      const %i: int64[3] = [1, 2, 3]
      %y = Gather(%x, %i) {axis = 1}
      output %y
    })",
                {"cleanup-gather"}, R"(graph "g" {
      input %x: float32[N, 5, 4]
      const %a: int64[1] = [1]
      const %b: int64[1] = [4]
      %y = Slice(%x, %a, %b, %a)
      output %y
    })");
}

TEST(CleanupGather, PiecesOfQueriesKeysAndValuesAreOneSplit) {
  auto made = RunAndCheck(*Parse(R"(graph "g" {
      input %x: float32[3, N, 2, 4]
      const %zero: int64[] = fill(0)
      const %one: int64[] = fill(1)
      const %last: int64[] = fill(-1)
      %q = Gather(%x, %zero)
      %k = Gather(%x, %one)
      %v = Gather(%x, %last)
      %a = Add(%q, %k)
      %y = Mul(%a, %v)
      output %y
    })"),
                          Only({"cleanup-gather", "merge-slices", "merge-common"}));
  auto ops = CountOps(*made);
  EXPECT_EQ(ops["Gather"], 0);
  EXPECT_EQ(ops["Slice"], 0);
  EXPECT_EQ(ops["Split"], 1);
}

TEST(CleanupGather, LeavesWhatIsNoRun) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[5, 4]
      const %i: int64[3] = [1, 2, 4]
      %y = Gather(%x, %i)
      output %y
    })",
                  {"cleanup-gather"});
  // The extent is not known: the last element cannot be named without counting.
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 4]
      const %i: int64[] = fill(-1)
      %y = Gather(%x, %i)
      output %y
    })",
                  {"cleanup-gather"});
  // Of a shape: inference follows it as it is.
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 4]
      const %i: int64[] = fill(0)
      %s = Shape(%x)
      %y = Gather(%s, %i)
      output %y
    })",
                  {"cleanup-gather"});
}

}  // namespace
}  // namespace slipway::passes
