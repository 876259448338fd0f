// Conv, ConvTranspose and the fused slipway.Conv. float32 and float64 accumulate in their own type,
// 16-bit floats in float32.

#include "model/ops/activation.h"
#include "model/ops/dispatch.h"
#include "model/ops/pack_window.h"
#include "model/ops/scratch.h"

namespace slipway::ops {
namespace {

// Channel counts that inference has checked already; kernels still refuse what would read out of
// bounds.
Status CheckGroups(const Dims& x, const Dims& w, const Dims& y, int64_t group) {
  if (group < 1 || w[1] * group != x[1] || w[0] % group != 0 || y[1] != w[0]) {
    return InvalidArgument("group " + std::to_string(group) + " does not fit X " + x.ToString() +
                           ", W " + w.ToString() + " and Y " + y.ToString());
  }
  return OkStatus();
}

template <typename T, typename Finish>
void ConvLoops(const OpContext& c, const Window& win, int64_t group, const Finish& finish) {
  using C = Compute<T>;
  const TensorView &x = c.inputs[0], &w = c.inputs[1], &y = c.outputs[0];
  const int64_t cin = w.dims[1], cout = w.dims[0] / group, taps = win.KernelCount();
  const int64_t in_plane = win.InCount(), plane = win.OutCount(), depth = cin * taps;
  const T* px = x.as<const T>();
  const T* pw = w.as<const T>();
  T* py = y.as<T>();
  TiledGemm<C, C>(
      c, x.dims[0] * group, cout, plane, depth,
      [&](int64_t batch, int64_t i, int64_t k, int n, C* to) {
        const T* row = pw + (batch % group * cout + i) * depth + k;
        for (int r = 0; r < n; ++r) to[r] = static_cast<C>(row[r]);
      },
      [&](int64_t batch, int64_t j, int n, int64_t k, int kn, C* to) {
        PackWindow(win, px + batch * cin * in_plane, j, n, k, kn, to,
                   [](T v) { return static_cast<C>(v); });
      },
      [&](int64_t batch, int64_t i, int64_t j, int n, const C* row) {
        const int64_t channel = batch % group * cout + i;
        finish(channel, (batch * cout + i) * plane + j, n, row, py);
      });
}

template <typename T>
void Conv(const OpContext& c, const Window& win, int64_t group, const Activation& act) {
  using C = Compute<T>;
  const T* bias = c.Has(2) ? c.inputs[2].as<const T>() : nullptr;
  const T* residual = c.Has(3) ? c.inputs[3].as<const T>() : nullptr;
  ConvLoops<T>(c, win, group, [&](int64_t channel, int64_t at, int n, const C* row, T* y) {
    const C b = bias ? static_cast<C>(bias[channel]) : C{0};
    for (int i = 0; i < n; ++i) {
      C v = row[i] + b;
      if (residual) v += static_cast<C>(residual[at + i]);
      if (act.kind != ActivationKind::kNone) v = static_cast<C>(act.Apply(static_cast<float>(v)));
      y[at + i] = static_cast<T>(v);
    }
  });
}

Status RunConv(const OpContext& c, const Activation& act, int64_t group) {
  const TensorView &x = c.inputs[0], &w = c.inputs[1], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  if (w.dtype != x.dtype) return InvalidArgument("X and W have different element types");
  SLIPWAY_ASSIGN_OR_RETURN(
      const Window win, ResolveWindow(*c.attributes, x.dims, y.dims, std::span(w.dims).subspan(2)));
  SLIPWAY_RETURN_IF_ERROR(CheckGroups(x.dims, w.dims, y.dims, group));
  if (!DispatchFloat(x.dtype, [&]<typename T>() { Conv<T>(c, win, group, act); }))
    return NoKernel(x.dtype);
  return OkStatus();
}

// Y is filled per output channel by scattering every input position through the taps.
template <typename T>
void ConvTranspose(const OpContext& c, const Window& win, int64_t group) {
  const TensorView &x = c.inputs[0], &w = c.inputs[1], &y = c.outputs[0];
  const int64_t cin = x.dims[1] / group, cout = w.dims[1], taps = win.KernelCount();
  const int64_t x_plane = win.OutCount(), y_plane = win.InCount();
  const T* bias = c.Has(2) ? c.inputs[2].as<const T>() : nullptr;
  For(c, x.dims[0] * group * cout, 1, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      const int64_t n = o / cout / group, g = o / cout % group, oc = o % cout;
      T* py = y.as<T>() + o * y_plane;
      std::fill(py, py + y_plane, bias ? bias[g * cout + oc] : T{0});
      for (int64_t ic = 0; ic < cin; ++ic) {
        const T* px = x.as<const T>() + ((n * group + g) * cin + ic) * x_plane;
        const T* pw = w.as<const T>() + ((g * cin + ic) * cout + oc) * taps;
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t k[3] = {tap / win.kernel[2] / win.kernel[1],
                                tap / win.kernel[2] % win.kernel[1], tap % win.kernel[2]};
          int64_t lo[3], hi[3], shift[3];
          for (int d = 0; d < 3; ++d) {
            win.ValidRange(d, k[d], &lo[d], &hi[d]);
            shift[d] = k[d] * win.dilation[d] - win.pad_begin[d];
          }
          const T weight = pw[tap];
          for (int64_t a = lo[0]; a < hi[0]; ++a) {
            for (int64_t b = lo[1]; b < hi[1]; ++b) {
              const T* line = px + (a * win.out[1] + b) * win.out[2];
              T* to =
                  py + ((a * win.stride[0] + shift[0]) * win.in[1] + b * win.stride[1] + shift[1]) *
                           win.in[2];
              for (int64_t i = lo[2]; i < hi[2]; ++i)
                to[i * win.stride[2] + shift[2]] += line[i] * weight;
            }
          }
        }
      }
    }
  });
}

// The same for the 16-bit floats, by gathering: each output is summed in float32 and rounded once.
template <typename T>
void GatherTranspose(const OpContext& c, const Window& win, int64_t group) {
  const TensorView &x = c.inputs[0], &w = c.inputs[1], &y = c.outputs[0];
  const int64_t cin = x.dims[1] / group, cout = w.dims[1], taps = win.KernelCount();
  const int64_t x_plane = win.OutCount(), y_plane = win.InCount();
  const T* bias = c.Has(2) ? c.inputs[2].as<const T>() : nullptr;
  For(c, y.count(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      const int64_t at[3] = {o % y_plane / win.in[2] / win.in[1],
                             o % y_plane / win.in[2] % win.in[1], o % win.in[2]};
      const int64_t oc = o / y_plane % cout, g = o / y_plane / cout % group,
                    n = o / y_plane / cout / group;
      float sum = 0;
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t k[3] = {tap / win.kernel[2] / win.kernel[1],
                              tap / win.kernel[2] % win.kernel[1], tap % win.kernel[2]};
        int64_t from[3];
        bool hit = true;
        for (int d = 0; hit && d < 3; ++d) {
          const int64_t offset = at[d] + win.pad_begin[d] - k[d] * win.dilation[d];
          hit = offset >= 0 && offset % win.stride[d] == 0 &&
                (from[d] = offset / win.stride[d]) < win.out[d];
        }
        if (!hit) continue;
        const int64_t place = (from[0] * win.out[1] + from[1]) * win.out[2] + from[2];
        for (int64_t ic = 0; ic < cin; ++ic) {
          sum +=
              static_cast<float>(x.as<const T>()[((n * group + g) * cin + ic) * x_plane + place]) *
              static_cast<float>(w.as<const T>()[((g * cin + ic) * cout + oc) * taps + tap]);
        }
      }
      if (bias) sum += static_cast<float>(bias[g * cout + oc]);
      y.as<T>()[o] = static_cast<T>(sum);
    }
  });
}

}  // namespace

Status OnnxConv(const OpContext& c) {
  return RunConv(c, Activation{}, c.attributes->Int("group", 1));
}

Status SlipwayConv(const OpContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const Activation act, ParseActivation(*c.attributes));
  return RunConv(c, act, c.attributes->Int("group", 1));
}

Status SlipwayConvDepthwise(const OpContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const Activation inner,
                           ParseActivation(*c.attributes, "inner", "inner_params", "none"));
  SLIPWAY_ASSIGN_OR_RETURN(const Activation outer, ParseActivation(*c.attributes));
  if (c.outputs[0].count() == 0) return OkStatus();
  TensorView between = c.inputs[0];
  between.dims[1] = c.inputs[1].dims[0];
  std::unique_ptr<double[]> room;
  SLIPWAY_RETURN_IF_ERROR(
      AllocateScratch((between.count() * DTypeBits(between.dtype) + 63) / 64, &room));
  between.data = room.get();
  const Attributes none;
  const TensorView first[] = {c.inputs[0], c.inputs[1], c.Has(3) ? c.inputs[3] : TensorView{}};
  SLIPWAY_RETURN_IF_ERROR(RunConv(
      {.inputs = first, .outputs = {&between, 1}, .attributes = &none, .pool = c.pool}, inner, 1));
  const TensorView second[] = {between, c.inputs[2], c.Has(4) ? c.inputs[4] : TensorView{}};
  return RunConv(
      {.inputs = second, .outputs = c.outputs, .attributes = c.attributes, .pool = c.pool}, outer,
      between.dims[1]);
}

Status OnnxConvTranspose(const OpContext& c) {
  const TensorView &x = c.inputs[0], &w = c.inputs[1], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  if (w.dtype != x.dtype) return InvalidArgument("X and W have different element types");
  SLIPWAY_ASSIGN_OR_RETURN(const Window win, ResolveTransposedWindow(*c.attributes, x.dims, y.dims,
                                                                     std::span(w.dims).subspan(2)));
  const int64_t group = c.attributes->Int("group", 1);
  if (group < 1 || w.dims[0] != x.dims[1] || x.dims[1] % group != 0 ||
      y.dims[1] != w.dims[1] * group) {
    return InvalidArgument("group " + std::to_string(group) + " does not fit X " +
                           x.dims.ToString() + ", W " + w.dims.ToString() + " and Y " +
                           y.dims.ToString());
  }
  if (!Dispatch<float, double>(x.dtype, [&]<typename T>() { ConvTranspose<T>(c, win, group); }) &&
      !Dispatch<Float16, BFloat16>(x.dtype,
                                   [&]<typename T>() { GatherTranspose<T>(c, win, group); })) {
    return NoKernel(x.dtype);
  }
  return OkStatus();
}

}  // namespace slipway::ops
