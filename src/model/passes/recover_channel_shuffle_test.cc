#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"recover-channel-shuffle"};

TEST(RecoverChannelShuffle, TwoGroupsAndThree) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 6, 3, 4]
      const %a: int64[5] = [-1, 2, 3, 3, 4]
      const %b: int64[4] = [-1, 6, 3, 4]
      %r = Reshape(%x, %a)
      %t = Transpose(%r) {perm = [0, 2, 1, 3, 4]}
      %y = Reshape(%t, %b)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 6, 3, 4]
      const %c: int64[6] = [0, 3, 1, 4, 2, 5]
      %y = Gather(%x, %c) {axis = 1}
      output %y
    })");
  ExpectBecomes(R"(graph "g" {
      input %x: uint8[2, 6, 5]
      const %a: int64[4] = [2, 3, 2, 5]
      const %b: int64[3] = [2, 6, 5]
      %r = Reshape(%x, %a)
      %t = Transpose(%r) {perm = [0, 2, 1, 3]}
      %y = Reshape(%t, %b)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: uint8[2, 6, 5]
      const %c: int64[6] = [0, 2, 4, 1, 3, 5]
      %y = Gather(%x, %c) {axis = 1}
      output %y
    })");
}

// Other orders, other shapes, and pieces that something else needs.
TEST(RecoverChannelShuffle, LeavesTheRest) {
  for (const char* text : {
           R"(graph "g" {
      input %x: float32[N, 6, 3, 4]
      const %a: int64[5] = [-1, 2, 3, 3, 4]
      const %b: int64[4] = [-1, 6, 3, 4]
      %r = Reshape(%x, %a)
      %t = Transpose(%r) {perm = [0, 1, 2, 4, 3]}
      %y = Reshape(%t, %b)
      output %y
    })",
           R"(graph "g" {
      input %x: float32[N, 6, 3, 4]
      const %a: int64[5] = [-1, 2, 3, 3, 4]
      const %b: int64[3] = [-1, 6, 12]
      %r = Reshape(%x, %a)
      %t = Transpose(%r) {perm = [0, 2, 1, 3, 4]}
      %y = Reshape(%t, %b)
      output %y
    })",
           R"(graph "g" {
      input %x: float32[N, 6, 3, 4]
      const %a: int64[5] = [-1, 2, 3, 3, 4]
      const %b: int64[4] = [-1, 6, 3, 4]
      %r = Reshape(%x, %a)
      %t = Transpose(%r) {perm = [0, 2, 1, 3, 4]}
      %y = Reshape(%t, %b)
      output %y
      output %t
    })"}) {
    ExpectUnchanged(text, kPass);
  }
}

}  // namespace
}  // namespace slipway::passes
