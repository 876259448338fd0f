#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(FuseAdd, TakesTheActivation) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[2, 4]
      input %z: float32[4]
      %a = Add(%x, %z)
      %r = Relu(%a)
      %b = Add(%r, %z)
      output %b
    })",
                {"fuse-add"}, R"(graph "g" {
      input %x: float32[2, 4]
      input %z: float32[4]
      %r = slipway.Add(%x, %z) {activation = "Relu"}
      %b = Add(%r, %z)
      output %b
    })");
}

}  // namespace
}  // namespace slipway::passes
