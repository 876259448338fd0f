// slipway.LinearNBits: float32 rows times weights of 1 to 8 bits in groups along K.

#include "model/ops/dispatch.h"
#include "model/ops/tiled_gemm.h"

namespace slipway::ops {
namespace {

template <typename C>
void LinearNBits(const OpContext& c, int64_t group) {
  const TensorView &x = c.inputs[0], &codes = c.inputs[1], &y = c.outputs[0];
  const int64_t n = codes.dims[0], k = codes.dims[1], groups = c.inputs[2].dims[1];
  const int64_t m = y.count() / n;
  const float* px = x.as<const float>();
  const float* scales = c.inputs[2].as<const float>();
  const float* bias = c.Has(4) ? c.inputs[4].as<const float>() : nullptr;
  const C* zeros = c.Has(3) ? c.inputs[3].as<const C>() : nullptr;
  TiledGemm<float, float>(
      c, 1, m, n, k,
      [&](int64_t, int64_t i, int64_t k0, int kn, float* to) {
        for (int r = 0; r < kn; ++r) to[r] = px[i * k + k0 + r];
      },
      [&](int64_t, int64_t j, int nn, int64_t k0, int kn, float* to) {
        for (int col = 0; col < nn; ++col) {
          const C* from = codes.as<const C>() + (j + col) * k + k0;
          for (int r = 0; r < kn; ++r) {
            const int64_t g = (j + col) * groups + (k0 + r) / group;
            to[r * kTile + col] = static_cast<float>(from[r] - (zeros ? zeros[g] : 0)) * scales[g];
          }
        }
      },
      [&](int64_t, int64_t i, int64_t j, int nn, const float* row) {
        float* to = y.as<float>() + i * n + j;
        for (int r = 0; r < nn; ++r) to[r] = row[r] + (bias ? bias[j + r] : 0.0f);
      });
}

}  // namespace

Status SlipwayLinearNBits(const OpContext& c) {
  if (c.outputs[0].count() == 0) return OkStatus();
  if (c.inputs[0].dtype != DType::kFloat32) return NoKernel(c.inputs[0].dtype);
  const int64_t group = c.attributes->Int("group", 0);
  if (!Dispatch<int8_t, uint8_t>(c.inputs[1].dtype,
                                 [&]<typename C>() { LinearNBits<C>(c, group); }))
    return NoKernel(c.inputs[1].dtype);
  return OkStatus();
}

}  // namespace slipway::ops
