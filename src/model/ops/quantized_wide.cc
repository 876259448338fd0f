// QConv and QLinear with codes of 16 bits: sums in double, which holds them exactly below 2^53, so
// that their order does not matter. For simulation, not for speed.

#include <cmath>

#include "model/ops/activation.h"
#include "model/ops/dispatch.h"
#include "model/ops/pack_window.h"
#include "model/ops/quantized.h"

namespace slipway::ops {
namespace {

template <typename F>
bool DispatchCodes(DType t, F&& f) {
  return Dispatch<uint8_t, int8_t, uint16_t, int16_t>(t, f);
}

int32_t CodeAt(const TensorView& t, int64_t i) {
  int32_t code = 0;
  DispatchCodes(t.dtype, [&]<typename T>() { code = t.as<const T>()[i]; });
  return code;
}

// What belongs to one node.
struct Finish {
  const TensorView *bias = nullptr, *residual = nullptr;
  const float* multiplier = nullptr;
  bool per_channel = false;
  int32_t x_zero = 0, z_zero = 0;
  float z_multiplier = 0, y_multiplier = 1;
  Activation activation;
  Requantizer to;
  TensorView y;

  void operator()(int64_t channel, int64_t at, double acc) const {
    if (bias) acc += bias->as<const int32_t>()[channel];
    float v = static_cast<float>(acc) * multiplier[per_channel ? channel : 0];
    if (residual) v = std::fma(static_cast<float>(CodeAt(*residual, at) - z_zero), z_multiplier, v);
    if (activation.kind != ActivationKind::kNone) v = activation.Apply(v) * y_multiplier;
    if (y.dtype == DType::kFloat32) {
      y.as<float>()[at] = v;
    } else {
      DispatchCodes(y.dtype, [&]<typename Y>() { y.as<Y>()[at] = to.Convert<Y>(v); });
    }
  }
};

Result<Finish> ReadFinish(const OpContext& c) {
  const TensorView &x = c.inputs[0], &m = c.inputs[2], &y = c.outputs[0];
  Finish f;
  const Attributes& a = *c.attributes;
  SLIPWAY_ASSIGN_OR_RETURN(f.to, MakeRequantizer(a, y.dtype, true));
  SLIPWAY_ASSIGN_OR_RETURN(f.x_zero, ReadZeroPoint(a, "x_zero_point", x.dtype, true));
  if (c.Has(4)) {
    SLIPWAY_ASSIGN_OR_RETURN(f.z_zero, ReadZeroPoint(a, "z_zero_point", c.inputs[4].dtype, true));
    f.residual = &c.inputs[4];
  }
  if (c.Has(3)) f.bias = &c.inputs[3];
  f.multiplier = m.as<const float>();
  f.per_channel = m.count() > 1;
  f.z_multiplier = a.Float("z_multiplier", 0);
  f.y_multiplier = a.Float("y_multiplier", 1);
  SLIPWAY_ASSIGN_OR_RETURN(f.activation, ParseActivation(a));
  f.y = y;
  return f;
}

double WeightAt(const TensorView& w, int64_t i) {
  return w.dtype == DType::kInt8 ? w.as<const int8_t>()[i] : w.as<const int16_t>()[i];
}

}  // namespace

Status WideQConv(const OpContext& c, const Window& win) {
  const TensorView &x = c.inputs[0], &w = c.inputs[1];
  const int64_t group = c.attributes->Int("group", 1);
  SLIPWAY_ASSIGN_OR_RETURN(const Finish finish, ReadFinish(c));
  const int64_t cin = w.dims[1], cout = w.dims[0] / group, in_plane = win.InCount(),
                plane = win.OutCount(), depth = cin * win.KernelCount();
  const double zero = finish.x_zero;
  TiledGemm<double, double>(
      c, x.dims[0] * group, cout, plane, depth,
      [&](int64_t batch, int64_t i, int64_t k, int n, double* to) {
        const int64_t at = (batch % group * cout + i) * depth + k;
        for (int r = 0; r < n; ++r) to[r] = WeightAt(w, at + r);
      },
      [&](int64_t batch, int64_t j, int n, int64_t k, int kn, double* to) {
        DispatchCodes(x.dtype, [&]<typename X>() {
          PackWindow(win, x.as<const X>() + batch * cin * in_plane, j, n, k, kn, to,
                     [zero](X v) { return v - zero; });
        });
      },
      [&](int64_t batch, int64_t i, int64_t j, int n, const double* row) {
        const int64_t channel = batch % group * cout + i, at = (batch * cout + i) * plane + j;
        for (int r = 0; r < n; ++r) finish(channel, at + r, row[r]);
      });
  return OkStatus();
}

Status WideQLinear(const OpContext& c) {
  const TensorView &x = c.inputs[0], &w = c.inputs[1], &y = c.outputs[0];
  const int64_t k = x.dims.back(), n = y.dims.back(), m = y.count() / n;
  const bool trans = c.attributes->Int("transW", 0) != 0;
  SLIPWAY_ASSIGN_OR_RETURN(const Finish finish, ReadFinish(c));
  TiledGemm<double, double>(
      c, 1, m, n, k,
      [&](int64_t, int64_t i, int64_t k0, int kn, double* to) {
        for (int r = 0; r < kn; ++r) to[r] = CodeAt(x, i * k + k0 + r) - finish.x_zero;
      },
      [&](int64_t, int64_t j, int nn, int64_t k0, int kn, double* to) {
        for (int r = 0; r < kn; ++r) {
          for (int col = 0; col < nn; ++col)
            to[r * kTile + col] =
                WeightAt(w, trans ? (j + col) * k + k0 + r : (k0 + r) * n + j + col);
        }
      },
      [&](int64_t, int64_t i, int64_t j, int nn, const double* row) {
        for (int r = 0; r < nn; ++r) finish(j + r, i * n + j + r, row[r]);
      });
  return OkStatus();
}

}  // namespace slipway::ops
