#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

TEST(MeanToPool, RecognisesImages) {
  ExpectBecomes(R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %axes: int64[2] = [-1, 2]
      const %last: int64[1] = [3]
      %a = ReduceMean(%x, %axes)
      %b = ReduceMean(%x, %axes) {keepdims = 0}
      %c = ReduceMean(%x, %last)
      output %a
      output %b
      output %c
    })",
                {"mean-to-pool"}, R"(graph "g" {
      input %x: float32[N, 3, 4, 5]
      const %last: int64[1] = [3]
      const %shape: int64[2] = [-1, 3]
      %a = GlobalAveragePool(%x)
      %p = GlobalAveragePool(%x)
      %b = Reshape(%p, %shape)
      %c = ReduceMean(%x, %last)
      output %a
      output %b
      output %c
    })");
}

}  // namespace
}  // namespace slipway::passes
