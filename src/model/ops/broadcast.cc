#include "model/ops/broadcast.h"

namespace slipway::ops {

void ForBinaryRows(const OpContext& c, const Dims& a, const Dims& b, const Dims& y,
                   void (*row)(const void*, const BinaryRow&), const void* context) {
  const int64_t count = y.count();
  if (count == 0) return;
  const Dims* const inputs[2] = {&a, &b};
  const auto plan = BroadcastPlan<2>::Make(y, inputs);
  For(c, count, kElementGrain, [&](int64_t begin, int64_t end) {
    plan.Rows(begin, end, [&](int64_t at, int64_t n, const int64_t* offsets) {
      row(context,
          {at, n, {offsets[0], offsets[1]}, {plan.strides[0][0] != 0, plan.strides[1][0] != 0}});
    });
  });
}

}  // namespace slipway::ops
