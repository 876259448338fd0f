#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"recover-depth-to-space"};

TEST(RecoverDepthToSpace, BothOrders) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 12, 3, 4]
      const %a: int64[6] = [-1, 3, 2, 2, 3, 4]
      const %b: int64[4] = [-1, 3, 6, 8]
      %r = Reshape(%x, %a)
      %t = Transpose(%r) {perm = [0, 1, 4, 2, 5, 3]}
      %y = Reshape(%t, %b)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 12, 3, 4]
      %y = DepthToSpace(%x) {blocksize = 2, mode = "CRD"}
      output %y
    })");
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 12, 3, 4]
      const %a: int64[6] = [-1, 2, 2, 3, 3, 4]
      const %b: int64[4] = [-1, 3, 6, 8]
      %r = Reshape(%x, %a)
      %t = Transpose(%r) {perm = [0, 3, 4, 1, 5, 2]}
      %y = Reshape(%t, %b)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 12, 3, 4]
      %y = DepthToSpace(%x) {blocksize = 2, mode = "DCR"}
      output %y
    })");
}

TEST(RecoverDepthToSpace, AndBack) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 6, 8]
      const %a: int64[6] = [-1, 3, 3, 2, 4, 2]
      const %b: int64[4] = [-1, 12, 3, 4]
      %r = Reshape(%x, %a)
      %t = Transpose(%r) {perm = [0, 3, 5, 1, 2, 4]}
      %y = Reshape(%t, %b)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 3, 6, 8]
      %y = SpaceToDepth(%x) {blocksize = 2}
      output %y
    })");
  // torch.pixel_unshuffle: the weights follow.
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 6, 8]
      const %a: int64[6] = [-1, 3, 3, 2, 4, 2]
      const %b: int64[4] = [-1, 12, 3, 4]
      const %w: float32[2, 12, 3, 3] = random(1)
      %r = Reshape(%x, %a)
      %t = Transpose(%r) {perm = [0, 1, 3, 5, 2, 4]}
      %p = Reshape(%t, %b)
      %y = Conv(%p, %w)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 3, 6, 8]
      const %w: float32[2, 12, 3, 3] = random(1)
      %p = SpaceToDepth(%x) {blocksize = 2}
      %y = Conv(%p, %w)
      output %y
    })",
                1e-5);
}

TEST(RecoverDepthToSpace, LeavesOtherShuffles) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 12, 3, 4]
      const %a: int64[5] = [-1, 3, 4, 3, 4]
      const %b: int64[4] = [-1, 12, 3, 4]
      %r = Reshape(%x, %a)
      %t = Transpose(%r) {perm = [0, 2, 1, 3, 4]}
      %y = Reshape(%t, %b)
      output %y
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
