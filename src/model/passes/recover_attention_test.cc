#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(RecoverAttention, FourDimensionsWithScaleBehindTheProduct) {
  ExpectBecomes(R"(graph "g" {
      input %q: float32[N, 3, 5, 8]
      input %k: float32[N, 3, 6, 8]
      input %v: float32[N, 3, 6, 4]
      const %root: float32[] = fill(2.8284)
      %kt = Transpose(%k) {perm = [0, 1, 3, 2]}
      %s = MatMul(%q, %kt)
      %d = Div(%s, %root)
      %p = Softmax(%d)
      %y = MatMul(%p, %v)
      output %y
    })",
                {"recover-attention", "remove-identity"}, R"(graph "g" {
      input %q: float32[N, 3, 5, 8]
      input %k: float32[N, 3, 6, 8]
      input %v: float32[N, 3, 6, 4]
      %y = Attention(%q, %k, %v) {scale = 0.35355677}
      output %y
    })",
                1e-5);
}

TEST(RecoverAttention, ThreeDimensionsAsTorchWritesThem) {
  auto made = RunAndCheck(*Parse(R"(graph "g" {
      input %x: float32[10, 3, 8]
      const %c: float32[] = fill(0.125)
      %q = Transpose(%x) {perm = [1, 0, 2]}
      %kt = Transpose(%x) {perm = [1, 2, 0]}
      %v = Transpose(%x) {perm = [1, 0, 2]}
      %qs = Mul(%q, %c)
      %s = MatMul(%qs, %kt)
      %p = Softmax(%s) {axis = 2}
      %y = MatMul(%p, %v)
      output %y
    })"),
                          {.level = Level::kOnnx}, 1e-5);
  auto ops = CountOps(*made);
  EXPECT_EQ(ops["Attention"], 1);
  EXPECT_EQ(ops["Softmax"], 0);
  EXPECT_EQ(ops["Transpose"], 1);  // all three are the same in the end
}

TEST(RecoverAttention, TakesConstantMasksAlsoThroughReshapes) {
  auto made = RunAndCheck(*Parse(R"(graph "g" {
      input %q: float32[4, 3, 6, 8]
      input %k: float32[4, 3, 6, 8]
      input %v: float32[4, 3, 6, 8]
      const %bias: float32[1, 3, 6, 6] = random(1)
      const %window: float32[1, 2, 1, 6, 6] = random(2)
      const %c: float32[] = fill(0.35)
      const %five: int64[5] = [2, 2, 3, 6, 6]
      const %four: int64[4] = [4, 3, 6, 6]
      %qs = Mul(%q, %c)
      %kt = Transpose(%k) {perm = [0, 1, 3, 2]}
      %s = MatMul(%qs, %kt)
      %b = Add(%s, %bias)
      %r = Reshape(%b, %five)
      %m = Add(%r, %window)
      %f = Reshape(%m, %four)
      %p = Softmax(%f)
      %y = MatMul(%p, %v)
      output %y
    })"),
                          Only({"recover-attention", "remove-identity"}), 1e-5);
  ASSERT_EQ(made->nodes().size(), 1u);
  EXPECT_EQ(made->nodes().front()->input(3)->type().ToString(), "float32[4, 3, 6, 6]");
}

TEST(RecoverAttention, TakesOneComputedMask) {
  auto made = RunAndCheck(*Parse(R"(graph "g" {
      input %q: float32[2, 3, 6, 8]
      input %k: float32[2, 3, 6, 8]
      input %m: float32[2, 1, 1, 6]
      %kt = Transpose(%k) {perm = [0, 1, 3, 2]}
      %s = MatMul(%q, %kt)
      %b = Add(%m, %s)
      %p = Softmax(%b)
      %y = MatMul(%p, %k)
      output %y
    })"),
                          Only({"recover-attention", "remove-identity"}), 1e-5);
  EXPECT_EQ(made->nodes().size(), 1u);
}

TEST(RecoverAttention, LeavesWhatDoesNotFit) {
  // The probabilities are an output.
  ExpectUnchanged(R"(graph "g" {
      input %q: float32[2, 3, 5, 8]
      %kt = Transpose(%q) {perm = [0, 1, 3, 2]}
      %s = MatMul(%q, %kt)
      %p = Softmax(%s)
      %y = MatMul(%p, %q)
      output %p
      output %y
    })",
                  {"recover-attention"});
  // The mask is scaled too.
  ExpectUnchanged(R"(graph "g" {
      input %q: float32[2, 3, 5, 8]
      input %m: float32[2, 1, 5, 5]
      const %c: float32[] = fill(0.5)
      %kt = Transpose(%q) {perm = [0, 1, 3, 2]}
      %s = MatMul(%q, %kt)
      %a = Add(%s, %m)
      %h = Mul(%a, %c)
      %p = Softmax(%h)
      %y = MatMul(%p, %q)
      output %y
    })",
                  {"recover-attention"});
  // The scores are an output.
  ExpectUnchanged(R"(graph "g" {
      input %q: float32[2, 3, 5, 8]
      input %k: float32[2, 1, 5, 8]
      %kt = Transpose(%k) {perm = [0, 1, 3, 2]}
      %s = MatMul(%q, %kt)
      %p = Softmax(%s)
      %y = MatMul(%p, %k)
      output %y
      output %s
    })",
                  {"recover-attention"});
  // Values chosen in place of scores that a softmax would still see.
  ExpectUnchanged(R"(graph "g" {
      input %q: float32[2, 3, 5, 8]
      input %c: bool[1, 1, 5, 5]
      const %v: float32[] = fill(-10000)
      %kt = Transpose(%q) {perm = [0, 1, 3, 2]}
      %s = MatMul(%q, %kt)
      %w = Where(%c, %s, %v)
      %p = Softmax(%w)
      %y = MatMul(%p, %q)
      output %y
    })",
                  {"recover-attention"});
}

TEST(RecoverAttention, TakesSelectionsAsMasks) {
  ExpectBecomes(R"(graph "g" {
      input %q: float32[N, 3, 2, 8]
      input %c: bool[N, 1, 1, 2]
      const %causal: bool[2, 2] = [1, 0, 1, 1]
      const %v: float32[] = fill(-3e38)
      %kt = Transpose(%q) {perm = [0, 1, 3, 2]}
      %s = MatMul(%q, %kt)
      %w = Where(%causal, %s, %v)
      %u = Where(%c, %v, %w)
      %p = Softmax(%u)
      %y = MatMul(%p, %q)
      output %y
    })",
                {"recover-attention", "remove-identity", "merge-common"}, R"(graph "g" {
      input %q: float32[N, 3, 2, 8]
      input %c: bool[N, 1, 1, 2]
      const %out: float32[] = fill(-1e30)
      const %in: float32[] = fill(0)
      const %causal: float32[2, 2] = [0, -1e30, 0, 0]
      %w = Where(%c, %out, %in)
      %m = Min(%w, %causal)
      %y = Attention(%q, %q, %q, %m) {scale = 1.0}
      output %y
    })",
                1e-5);
}

TEST(RecoverAttention, KeysAndValuesForGroupsOfQueries) {
  ExpectBecomes(R"(graph "g" {
      input %q: float32[N, 6, 5, 8]
      input %k: float32[N, 2, 4, 8]
      input %v: float32[N, 2, 4, 3]
      const %ka: int64[5] = [-1, 2, 1, 4, 8]
      const %ke: int64[5] = [1, 2, 3, 4, 8]
      const %kb: int64[4] = [-1, 6, 4, 8]
      const %va: int64[1] = [2]
      const %ve: int64[5] = [1, 2, 3, 4, 3]
      const %vb: int64[4] = [-1, 6, 4, 3]
      %k1 = Reshape(%k, %ka)
      %k2 = Expand(%k1, %ke)
      %k3 = Reshape(%k2, %kb)
      %v1 = Unsqueeze(%v, %va)
      %v2 = Expand(%v1, %ve)
      %v3 = Reshape(%v2, %vb)
      %kt = Transpose(%k3) {perm = [0, 1, 3, 2]}
      %s = MatMul(%q, %kt)
      %p = Softmax(%s)
      %y = MatMul(%p, %v3)
      output %y
    })",
                {"recover-attention", "remove-identity"}, R"(graph "g" {
      input %q: float32[N, 6, 5, 8]
      input %k: float32[N, 2, 4, 8]
      input %v: float32[N, 2, 4, 3]
      %y = Attention(%q, %k, %v) {scale = 1.0}
      output %y
    })",
                1e-5);
  // One head for all, by broadcasting; the keys lie transposed.
  ExpectBecomes(R"(graph "g" {
      input %q: float32[2, 3, 5, 8]
      input %k: float32[2, 1, 8, 5]
      input %v: float32[2, 1, 5, 8]
      %s = MatMul(%q, %k)
      %p = Softmax(%s)
      %y = MatMul(%p, %v)
      output %y
    })",
                {"recover-attention"}, R"(graph "g" {
      input %q: float32[2, 3, 5, 8]
      input %k: float32[2, 1, 8, 5]
      input %v: float32[2, 1, 5, 8]
      %kt = Transpose(%k) {perm = [0, 1, 3, 2]}
      %y = Attention(%q, %kt, %v) {scale = 1.0}
      output %y
    })",
                1e-5);
}

// Keys of fewer dimensions than the queries broadcast; Attention does not. (They were read beyond
// their shape once.)
TEST(RecoverAttention, LeavesKeysOfFewerDimensions) {
  auto made = RunAndCheck(*Parse(R"(graph "g" {
      input %q: float32[2, 3, 5, 8]
      input %k: float32[8, 5]
      input %v: float32[2, 3, 5, 8]
      %s = MatMul(%q, %k)
      %p = Softmax(%s)
      %y = MatMul(%p, %v)
      output %y
    })"),
                          Only({"recover-attention"}), 1e-6);
  ASSERT_NE(made, nullptr);
  EXPECT_EQ(made->nodes().size(), 3u);
}

}  // namespace
}  // namespace slipway::passes
