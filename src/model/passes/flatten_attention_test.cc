#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"flatten-attention"};

TEST(FlattenAttention, HeadsStayWhereTheyLie) {
  ExpectBecomes(R"(graph "g" {
      input %q: float32[N, 5, 12]
      input %k: float32[N, 7, 6]
      input %m: float32[N, 1, 1, 7]
      const %a: int64[4] = [0, 5, 4, 3]
      const %b: int64[4] = [0, 7, 2, 3]
      const %c: int64[3] = [0, 5, 12]
      %q4 = Reshape(%q, %a)
      %qt = Transpose(%q4) {perm = [0, 2, 1, 3]}
      %k4 = Reshape(%k, %b)
      %kt = Transpose(%k4) {perm = [0, 2, 1, 3]}
      %t = Attention(%qt, %kt, %kt, %m) {scale = 0.5}
      %u = Transpose(%t) {perm = [0, 2, 1, 3]}
      %y = Reshape(%u, %c)
      output %y
    })",
                kPass, R"(graph "g" {
      input %q: float32[N, 5, 12]
      input %k: float32[N, 7, 6]
      input %m: float32[N, 1, 1, 7]
      %y = Attention(%q, %k, %k, %m) {kv_num_heads = 2, q_num_heads = 4, scale = 0.5}
      output %y
    })",
                1e-5);
}

TEST(FlattenAttention, LeavesHeadsThatComeFromElsewhere) {
  ExpectUnchanged(R"(graph "g" {
      input %q: float32[N, 5, 12]
      input %k: float32[N, 4, 7, 3]
      const %a: int64[4] = [0, 5, 4, 3]
      const %c: int64[3] = [0, 5, 12]
      %q4 = Reshape(%q, %a)
      %qt = Transpose(%q4) {perm = [0, 2, 1, 3]}
      %t = Attention(%qt, %k, %k) {scale = 0.5}
      %u = Transpose(%t) {perm = [0, 2, 1, 3]}
      %y = Reshape(%u, %c)
      output %y
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
