// QMatMul: the integer contract of operators.inc, bit-exact. Sums are int32 (modulo 2^32).

#include "model/ops/broadcast.h"
#include "model/ops/dispatch.h"
#include "model/ops/quantized.h"
#include "model/ops/tiled_gemm.h"

namespace slipway::ops {

Status SlipwayQMatMul(const OpContext& c) {
  const TensorView &a = c.inputs[0], &b = c.inputs[1], &y = c.outputs[0];
  SLIPWAY_ASSIGN_OR_RETURN(const Requantizer to, MakeRequantizer(*c.attributes, y.dtype));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t za, ReadZeroPoint(*c.attributes, "a_zero_point", a.dtype));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t zb, ReadZeroPoint(*c.attributes, "b_zero_point", b.dtype));
  const float multiplier = c.attributes->Float("multiplier", 1);
  const int ra = a.dims.rank(), rb = b.dims.rank();
  if (ra < 2 || rb < 2) return InvalidArgument("operands must be matrices");
  if (y.count() == 0) return OkStatus();
  const int64_t k = a.dims.back(), m = a.dims[static_cast<size_t>(ra - 2)], n = b.dims.back();
  const Dims batch_a(std::span(a.dims).first(static_cast<size_t>(ra - 2))),
      batch_b(std::span(b.dims).first(static_cast<size_t>(rb - 2))),
      batch_y(std::span(y.dims).first(static_cast<size_t>(y.dims.rank() - 2)));
  const Dims* const inputs[2] = {&batch_a, &batch_b};
  const auto plan = BroadcastPlan<2>::Make(batch_y, inputs);
  auto matrix = [&](int which, int64_t batch) {
    int64_t at = 0;
    for (int d = 0; d < plan.rank; ++d) {
      at += batch % plan.dims[d] * plan.strides[which][d];
      batch /= plan.dims[d];
    }
    return at;
  };
  bool done = false;
  Dispatch<uint8_t, int8_t>(a.dtype, [&]<typename A>() {
    Dispatch<uint8_t, int8_t>(b.dtype, [&]<typename B>() {
      done = Dispatch<uint8_t, int8_t, float>(y.dtype, [&]<typename Y>() {
        TiledGemm<uint32_t, int16_t>(
            c, batch_y.count(), m, n, k,
            [&](int64_t batch, int64_t i, int64_t k0, int kn, int16_t* row) {
              const A* from = a.as<const A>() + (matrix(0, batch) * m + i) * k + k0;
              for (int r = 0; r < kn; ++r) row[r] = static_cast<int16_t>(from[r] - za);
            },
            [&](int64_t batch, int64_t j, int nn, int64_t k0, int kn, int16_t* tile) {
              const B* from = b.as<const B>() + (matrix(1, batch) * k + k0) * n + j;
              for (int r = 0; r < kn; ++r) {
                for (int col = 0; col < nn; ++col)
                  tile[r * kTile + col] = static_cast<int16_t>(from[r * n + col] - zb);
              }
            },
            [&](int64_t batch, int64_t i, int64_t j, int nn, const uint32_t* row) {
              Y* out = y.as<Y>() + (batch * m + i) * n + j;
              for (int r = 0; r < nn; ++r)
                out[r] =
                    to.Convert<Y>(static_cast<float>(static_cast<int32_t>(row[r])) * multiplier);
            });
      });
    });
  });
  return done ? OkStatus() : NoKernel(y.dtype);
}

}  // namespace slipway::ops
