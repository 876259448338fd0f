#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"simplify-expand"};

TEST(SimplifyExpand, BroadcastingOperatorsNeedNone) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 4, 5]
      input %b: float32[4, 1]
      const %shape: int64[2] = [4, 5]
      %e = Expand(%b, %shape)
      %y = Add(%x, %e)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 4, 5]
      input %b: float32[4, 1]
      %y = Add(%x, %b)
      output %y
    })");
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 4]
      %s = Shape(%x)
      %c = ConstantOfShape(%s) {value_float = 2.0}
      %y = Mul(%c, %x)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[N, 4]
      const %c: float32[] = fill(2)
      %y = Mul(%c, %x)
      output %y
    })");
}

TEST(SimplifyExpand, TilesOfOneAndPairs) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 1, 3]
      const %r: int64[3] = [1, 4, 1]
      const %shape: int64[4] = [2, 1, 1, 1]
      %t = Tile(%x, %r)
      %y = Expand(%t, %shape)
      output %y
    })",
                kPass, R"(graph "g" {
      input %x: float32[2, 1, 3]
      const %shape: int64[4] = [2, 2, 4, 3]
      %y = Expand(%x, %shape)
      output %y
    })");
}

TEST(SimplifyExpand, KeepsWhatMakesTheShape) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[1, 4]
      input %b: float32[1, 4]
      const %shape: int64[2] = [3, 4]
      %e = Expand(%b, %shape)
      %y = Add(%x, %e)
      output %y
    })",
                  kPass);
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[2, 3]
      const %r: int64[2] = [1, 2]
      %y = Tile(%x, %r)
      output %y
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
