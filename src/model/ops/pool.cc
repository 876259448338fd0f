// Pooling over windows and over the whole spatial extent. Averages of 32-bit and shorter floats are
// summed in float32.

#include <cmath>
#include <limits>

#include "model/ops/dispatch.h"
#include "model/ops/window.h"

namespace slipway::ops {
namespace {

template <typename C>
C Lowest() {
  return std::numeric_limits<C>::has_infinity ? -std::numeric_limits<C>::infinity()
                                              : std::numeric_limits<C>::lowest();
}

// Walks the taps of output position (od, oh, ow) that lie inside the input: f(offset into the
// plane).
template <typename F>
void ForTaps(const Window& w, const int64_t (&o)[3], F&& f) {
  int64_t start[3];
  for (int d = 0; d < 3; ++d) start[d] = o[d] * w.stride[d] - w.pad_begin[d];
  for (int64_t a = 0, i = start[0]; a < w.kernel[0]; ++a, i += w.dilation[0]) {
    if (i < 0 || i >= w.in[0]) continue;
    for (int64_t b = 0, j = start[1]; b < w.kernel[1]; ++b, j += w.dilation[1]) {
      if (j < 0 || j >= w.in[1]) continue;
      for (int64_t e = 0, k = start[2]; e < w.kernel[2]; ++e, k += w.dilation[2]) {
        if (k >= 0 && k < w.in[2]) f((i * w.in[1] + j) * w.in[2] + k);
      }
    }
  }
}

// Taps per window that count with count_include_pad: those inside input plus padding (a ceil_mode
// overhang beyond it never counts).
int64_t PaddedTaps(const Window& w, const int64_t (&o)[3]) {
  int64_t count = 1;
  for (int d = 0; d < 3; ++d) {
    const int64_t start = o[d] * w.stride[d] - w.pad_begin[d], end = w.in[d] + w.pad_end[d];
    int64_t taps = 0;
    for (int64_t k = 0; k < w.kernel[d]; ++k) taps += start + k * w.dilation[d] < end;
    count *= taps;
  }
  return count;
}

template <typename F>
void ForOutputs(const OpContext& c, const Window& w, int64_t planes, F&& f) {
  For(c, planes, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      int64_t o[3], at = p * w.OutCount();
      for (o[0] = 0; o[0] < w.out[0]; ++o[0]) {
        for (o[1] = 0; o[1] < w.out[1]; ++o[1]) {
          for (o[2] = 0; o[2] < w.out[2]; ++o[2]) f(p, o, at++);
        }
      }
    }
  });
}

template <typename T>
void MaxPool(const OpContext& c, const Window& w, bool column_major) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const int64_t in_plane = w.InCount();
  int64_t* indices =
      c.outputs.size() > 1 && c.outputs[1].present() ? c.outputs[1].as<int64_t>() : nullptr;
  ForOutputs(c, w, x.dims[0] * x.dims[1], [&](int64_t p, const int64_t(&o)[3], int64_t at) {
    const T* px = x.as<const T>() + p * in_plane;
    T best = static_cast<T>(Lowest<Compute<T>>());
    int64_t where = -1;
    ForTaps(w, o, [&](int64_t i) {
      if (where < 0 || px[i] > best) {
        best = px[i];
        where = i;
      }
    });
    y.as<T>()[at] = best;
    if (!indices) return;
    if (column_major && where >= 0) {
      const int64_t k = where % w.in[2], j = where / w.in[2] % w.in[1],
                    i = where / w.in[2] / w.in[1];
      where = (k * w.in[1] + j) * w.in[0] + i;
    }
    indices[at] = where < 0 ? -1 : p * in_plane + where;
  });
}

template <typename T>
void AveragePool(const OpContext& c, const Window& w, bool include_pad) {
  using C = Compute<T>;
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  ForOutputs(c, w, x.dims[0] * x.dims[1], [&](int64_t p, const int64_t(&o)[3], int64_t at) {
    const T* px = x.as<const T>() + p * w.InCount();
    C sum = 0;
    int64_t count = 0;
    ForTaps(w, o, [&](int64_t i) {
      sum += static_cast<C>(px[i]);
      ++count;
    });
    if (include_pad) count = PaddedTaps(w, o);
    y.as<T>()[at] = static_cast<T>(count > 0 ? sum / static_cast<C>(count) : C{0});
  });
}

// (sum of |x|^p) ^ (1 / p) over the window, in float64.
template <typename T>
void LpPool(const OpContext& c, const Window& w, double p) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  ForOutputs(c, w, x.dims[0] * x.dims[1], [&](int64_t plane, const int64_t(&o)[3], int64_t at) {
    const T* px = x.as<const T>() + plane * w.InCount();
    double sum = 0;
    ForTaps(w, o, [&](int64_t i) {
      const double v = std::fabs(static_cast<double>(static_cast<Compute<T>>(px[i])));
      sum += p == 1 ? v : p == 2 ? v * v : std::pow(v, p);
    });
    y.as<T>()[at] = static_cast<T>(p == 1 ? sum : p == 2 ? std::sqrt(sum) : std::pow(sum, 1 / p));
  });
}

Status CheckP(int64_t p) {
  return p > 0 ? OkStatus() : InvalidArgument("p must be positive, is " + std::to_string(p));
}

template <typename T>
void GlobalPool(const OpContext& c, bool max) {
  using C = Compute<T>;
  const TensorView& x = c.inputs[0];
  const int64_t planes = x.dims[0] * x.dims[1], n = x.dims.count(2, x.dims.rank());
  For(c, planes, 16, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const T* px = x.as<const T>() + p * n;
      C r = max ? Lowest<C>() : C{0};
      for (int64_t i = 0; i < n; ++i) {
        const C v = static_cast<C>(px[i]);
        r = max ? (v > r || v != v ? v : r) : r + v;
      }
      c.outputs[0].as<T>()[p] = static_cast<T>(max ? r : r / static_cast<C>(n));
    }
  });
}

Status RunGlobal(const OpContext& c, bool max) {
  const TensorView& x = c.inputs[0];
  if (x.dims.rank() < 2)
    return InvalidArgument("expects X of rank 2 or more, got " + x.dims.ToString());
  if (!DispatchFloat(x.dtype, [&]<typename T>() { GlobalPool<T>(c, max); }))
    return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace

Status OnnxMaxPool(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  if (c.outputs[0].count() == 0) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const Window w, ResolveWindow(*c.attributes, x.dims, c.outputs[0].dims));
  const bool column_major = c.attributes->Int("storage_order", 0) != 0;
  auto run = [&]<typename T>() { MaxPool<T>(c, w, column_major); };
  if (!DispatchFloat(x.dtype, run) && !Dispatch<int8_t, uint8_t>(x.dtype, run))
    return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxAveragePool(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  if (c.outputs[0].count() == 0) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const Window w, ResolveWindow(*c.attributes, x.dims, c.outputs[0].dims));
  const bool include_pad = c.attributes->Int("count_include_pad", 0) != 0;
  if (!DispatchFloat(x.dtype, [&]<typename T>() { AveragePool<T>(c, w, include_pad); }))
    return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxLpPool(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  const int64_t p = c.attributes->Int("p", 2);
  SLIPWAY_RETURN_IF_ERROR(CheckP(p));
  if (c.outputs[0].count() == 0) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const Window w, ResolveWindow(*c.attributes, x.dims, c.outputs[0].dims));
  if (!DispatchFloat(x.dtype, [&]<typename T>() { LpPool<T>(c, w, static_cast<double>(p)); }))
    return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxGlobalLpPool(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  const int64_t power = c.attributes->Int("p", 2);
  SLIPWAY_RETURN_IF_ERROR(CheckP(power));
  if (x.dims.rank() < 2)
    return InvalidArgument("expects X of rank 2 or more, got " + x.dims.ToString());
  const double p = static_cast<double>(power);
  const int64_t planes = x.dims[0] * x.dims[1], n = x.dims.count(2, x.dims.rank());
  auto run = [&]<typename T>() {
    For(c, planes, 16, [&](int64_t begin, int64_t end) {
      for (int64_t at = begin; at < end; ++at) {
        const T* px = x.as<const T>() + at * n;
        double sum = 0;
        for (int64_t i = 0; i < n; ++i)
          sum += std::pow(std::fabs(static_cast<double>(static_cast<Compute<T>>(px[i]))), p);
        c.outputs[0].as<T>()[at] = static_cast<T>(std::pow(sum, 1 / p));
      }
    });
  };
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxGlobalAveragePool(const OpContext& c) { return RunGlobal(c, false); }
Status OnnxGlobalMaxPool(const OpContext& c) { return RunGlobal(c, true); }

}  // namespace slipway::ops
