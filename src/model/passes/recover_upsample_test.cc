#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

const std::vector<std::string> kPass = {"recover-upsample"};

TEST(RecoverUpsample, FromExpandAndTile) {
  const char* wanted = R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %s: float32[4] = [1, 1, 2, 3]
      %y = Resize(%x, _, %s) {coordinate_transformation_mode = "asymmetric", mode = "nearest", nearest_mode = "floor"}
      output %y
    })";
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %a: int64[6] = [-1, 3, 4, 1, 5, 1]
      const %e: int64[6] = [1, 3, 4, 2, 5, 3]
      const %b: int64[4] = [-1, 3, 8, 15]
      %r = Reshape(%x, %a)
      %t = Expand(%r, %e)
      %y = Reshape(%t, %b)
      output %y
    })",
                kPass, wanted);
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %a: int64[2] = [3, 5]
      const %e: int64[6] = [1, 1, 1, 2, 1, 3]
      const %b: int64[4] = [-1, 3, 8, 15]
      %r = Unsqueeze(%x, %a)
      %t = Tile(%r, %e)
      %y = Reshape(%t, %b)
      output %y
    })",
                kPass, wanted);
}

TEST(RecoverUpsample, LeavesRepetitionOfTheWhole) {
  ExpectUnchanged(R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %a: int64[6] = [-1, 3, 1, 4, 1, 5]
      const %e: int64[6] = [1, 3, 2, 4, 2, 5]
      const %b: int64[4] = [-1, 3, 8, 10]
      %r = Reshape(%x, %a)
      %t = Expand(%r, %e)
      %y = Reshape(%t, %b)
      output %y
    })",
                  kPass);
}

}  // namespace
}  // namespace slipway::passes
