// Operators on integers as such: bitwise logic, shifts, and products of 8-bit codes with zero
// points, exact in int32 (modulo 2^32).

#include <cmath>

#include "model/ops/broadcast.h"
#include "model/ops/dispatch.h"
#include "model/ops/pack_window.h"
#include "model/ops/quantize.h"

namespace slipway::ops {
namespace {

template <typename F>
Status Bitwise(const OpContext& c, F f) {
  const TensorView &a = c.inputs[0], &b = c.inputs[1], &y = c.outputs[0];
  if (a.dtype != b.dtype) return InvalidArgument("inputs have different element types");
  // The signs do not matter: by size.
  if (!IsInteger(a.dtype)) return NoKernel(a.dtype);
  auto run = [&]<typename T>() {
    BroadcastBinary<T, T, T>(c, a, b, y, [f](T x, T z) { return static_cast<T>(f(x, z)); });
  };
  return DispatchSize(a.dtype, run) ? OkStatus() : NoKernel(a.dtype);
}

bool IsCodeType(DType t) { return t == DType::kInt8 || t == DType::kUInt8; }

// Element i of an 8-bit zero point; an absent one is 0.
int16_t ZeroAt(const OpContext& c, size_t input, int64_t i) {
  if (!c.Has(input)) return 0;
  const TensorView& z = c.inputs[input];
  return z.dtype == DType::kInt8 ? z.as<const int8_t>()[i] : z.as<const uint8_t>()[i];
}

Status CheckCodes(const OpContext& c, size_t codes, size_t zero) {
  if (!IsCodeType(c.inputs[codes].dtype)) return NoKernel(c.inputs[codes].dtype);
  if (c.Has(zero) && !IsCodeType(c.inputs[zero].dtype))
    return NoKernel(c.inputs[zero].dtype).With("zero point");
  return OkStatus();
}

template <typename X, typename W>
void ConvCodes(const OpContext& c, const Window& win, int64_t group) {
  const TensorView &x = c.inputs[0], &w = c.inputs[1], &y = c.outputs[0];
  const int64_t cin = w.dims[1], cout = w.dims[0] / group, in_plane = win.InCount(),
                plane = win.OutCount(), depth = cin * win.KernelCount();
  const int16_t x_zero = ZeroAt(c, 2, 0);
  const bool per_channel = c.Has(3) && c.inputs[3].count() > 1;
  TiledGemm<uint32_t, int16_t>(
      c, x.dims[0] * group, cout, plane, depth,
      [&](int64_t batch, int64_t i, int64_t k, int n, int16_t* to) {
        const int64_t channel = batch % group * cout + i;
        const int16_t zero = ZeroAt(c, 3, per_channel ? channel : 0);
        const W* row = w.as<const W>() + channel * depth + k;
        for (int r = 0; r < n; ++r) to[r] = static_cast<int16_t>(row[r] - zero);
      },
      [&](int64_t batch, int64_t j, int n, int64_t k, int kn, int16_t* to) {
        PackWindow(win, x.as<const X>() + batch * cin * in_plane, j, n, k, kn, to,
                   [x_zero](X v) { return static_cast<int16_t>(v - x_zero); });
      },
      [&](int64_t batch, int64_t i, int64_t j, int n, const uint32_t* row) {
        std::copy_n(row, n, y.as<uint32_t>() + (batch * cout + i) * plane + j);
      });
}

template <typename A, typename B>
void MatMulCodes(const OpContext& c) {
  const TensorView &a = c.inputs[0], &b = c.inputs[1], &y = c.outputs[0];
  const int ra = a.dims.rank(), rb = b.dims.rank();
  const int64_t k = a.dims.back(), m = ra > 1 ? a.dims[static_cast<size_t>(ra - 2)] : 1;
  const int64_t n = rb > 1 ? b.dims.back() : 1;
  const Dims batch_a(std::span(a.dims).first(static_cast<size_t>(std::max(ra - 2, 0))));
  const Dims batch_b(std::span(b.dims).first(static_cast<size_t>(std::max(rb - 2, 0))));
  const int matrix_dims = (ra > 1 ? 1 : 0) + (rb > 1 ? 1 : 0);
  const Dims batch_y(std::span(y.dims).first(static_cast<size_t>(y.dims.rank() - matrix_dims)));
  const Dims* const inputs[2] = {&batch_a, &batch_b};
  const auto plan = BroadcastPlan<2>::Make(batch_y, inputs);
  auto offset = [&](int which, int64_t batch) {
    int64_t at = 0;
    for (int d = 0; d < plan.rank; ++d) {
      at += batch % plan.dims[d] * plan.strides[which][d];
      batch /= plan.dims[d];
    }
    return at;
  };
  // One zero point, one a row (column), or one a row of every matrix.
  const int64_t a_zeros = c.Has(2) ? c.inputs[2].count() : 1,
                b_zeros = c.Has(3) ? c.inputs[3].count() : 1;
  TiledGemm<uint32_t, int16_t>(
      c, batch_y.count(), m, n, k,
      [&](int64_t batch, int64_t i, int64_t k0, int kn, int16_t* to) {
        const int64_t at = offset(0, batch) * m + i;
        const int16_t zero = ZeroAt(c, 2, a_zeros == 1 ? 0 : a_zeros == m ? i : at);
        const A* row = a.as<const A>() + at * k + k0;
        for (int r = 0; r < kn; ++r) to[r] = static_cast<int16_t>(row[r] - zero);
      },
      [&](int64_t batch, int64_t j, int nn, int64_t k0, int kn, int16_t* to) {
        const int64_t matrix = offset(1, batch);
        const B* from = b.as<const B>() + (matrix * k + k0) * n + j;
        for (int col = 0; col < nn; ++col) {
          const int16_t zero = ZeroAt(c, 3,
                                      b_zeros == 1   ? 0
                                      : b_zeros == n ? j + col
                                                     : matrix * n + j + col);
          for (int r = 0; r < kn; ++r)
            to[r * kTile + col] = static_cast<int16_t>(from[r * n + col] - zero);
        }
      },
      [&](int64_t batch, int64_t i, int64_t j, int nn, const uint32_t* row) {
        std::copy_n(row, nn, y.as<uint32_t>() + (batch * m + i) * n + j);
      });
}

}  // namespace

Status OnnxBitwiseAnd(const OpContext& c) {
  return Bitwise(c, [](auto a, auto b) { return a & b; });
}
Status OnnxBitwiseOr(const OpContext& c) {
  return Bitwise(c, [](auto a, auto b) { return a | b; });
}
Status OnnxBitwiseXor(const OpContext& c) {
  return Bitwise(c, [](auto a, auto b) { return a ^ b; });
}

Status OnnxBitwiseNot(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  if (!IsInteger(x.dtype) || DTypeBits(x.dtype) < 8) return NoKernel(x.dtype);
  const size_t bytes = DTypeBytes(x.dtype, x.count());
  for (size_t i = 0; i < bytes; ++i)
    c.outputs[0].as<uint8_t>()[i] = static_cast<uint8_t>(~x.as<const uint8_t>()[i]);
  return OkStatus();
}

// A shift by the width or more leaves nothing.
Status OnnxBitShift(const OpContext& c) {
  const TensorView &a = c.inputs[0], &b = c.inputs[1], &y = c.outputs[0];
  const auto direction = c.attributes->String("direction", "");
  if (direction != "LEFT" && direction != "RIGHT") {
    return InvalidArgument("direction '" + std::string(direction) + "' must be LEFT or RIGHT");
  }
  if (a.dtype != b.dtype) return InvalidArgument("inputs have different element types");
  const bool left = direction == "LEFT";
  auto run = [&]<typename T>() {
    BroadcastBinary<T, T, T>(c, a, b, y, [left](T x, T by) {
      const uint64_t wide = x;
      if (by >= sizeof(T) * 8) return T{0};
      return static_cast<T>(left ? wide << by : wide >> by);
    });
  };
  return Dispatch<uint8_t, uint16_t, uint32_t, uint64_t>(a.dtype, run) ? OkStatus()
                                                                       : NoKernel(a.dtype);
}

Status OnnxConvInteger(const OpContext& c) {
  const TensorView &x = c.inputs[0], &w = c.inputs[1], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 0, 2));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 1, 3));
  SLIPWAY_ASSIGN_OR_RETURN(
      const Window win, ResolveWindow(*c.attributes, x.dims, y.dims, std::span(w.dims).subspan(2)));
  const int64_t group = c.attributes->Int("group", 1);
  if (group < 1 || w.dims[1] * group != x.dims[1] || w.dims[0] % group != 0 ||
      y.dims[1] != w.dims[0]) {
    return InvalidArgument("group " + std::to_string(group) + " does not fit X " +
                           x.dims.ToString() + " and W " + w.dims.ToString());
  }
  if ((c.Has(2) && c.inputs[2].count() != 1) ||
      (c.Has(3) && c.inputs[3].count() != 1 && c.inputs[3].count() != w.dims[0])) {
    return InvalidArgument("x_zero_point must have one element, w_zero_point one or " +
                           std::to_string(w.dims[0]));
  }
  Dispatch<uint8_t, int8_t>(x.dtype, [&]<typename X>() {
    Dispatch<uint8_t, int8_t>(w.dtype, [&]<typename W>() { ConvCodes<X, W>(c, win, group); });
  });
  return OkStatus();
}

Status OnnxMatMulInteger(const OpContext& c) {
  const TensorView &a = c.inputs[0], &b = c.inputs[1], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 0, 2));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 1, 3));
  const int ra = a.dims.rank(), rb = b.dims.rank();
  if (ra < 1 || rb < 1) return InvalidArgument("operands must have at least one dimension");
  auto fits = [&](size_t input, int64_t lines, int64_t all) {
    if (!c.Has(input)) return true;
    const int64_t n = c.inputs[input].count();
    return n == 1 || n == lines || n == all;
  };
  const int64_t k = a.dims.back(), m = ra > 1 ? a.dims[static_cast<size_t>(ra - 2)] : 1;
  const int64_t n = rb > 1 ? b.dims.back() : 1;
  if (!fits(2, m, k == 0 ? m : a.count() / k) || !fits(3, n, k == 0 ? n : b.count() / k)) {
    return InvalidArgument(
        "a zero point has neither one element nor one for each row of A or "
        "column of B");
  }
  Dispatch<uint8_t, int8_t>(a.dtype, [&]<typename A>() {
    Dispatch<uint8_t, int8_t>(b.dtype, [&]<typename B>() { MatMulCodes<A, B>(c); });
  });
  return OkStatus();
}

// y_scale = (max(x, 0) - min(x, 0)) / 255, y_zero_point = round(-min / scale); all zeros have scale
// 1, as in ONNX Runtime (the specification divides by zero there).
Status OnnxDynamicQuantizeLinear(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  if (x.dtype != DType::kFloat32) return NoKernel(x.dtype);
  float low = 0, high = 0;
  for (int64_t i = 0, n = x.count(); i < n; ++i) {
    const float v = x.as<const float>()[i];
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  const float scale = high == low ? 1.0f : (high - low) / 255.0f;
  const float middle = std::nearbyint(0.0f - low / scale);
  const auto zero = static_cast<uint8_t>(!(middle > 0) ? 0 : middle > 255 ? 255 : middle);
  if (c.outputs[0].present()) {
    uint8_t* y = c.outputs[0].as<uint8_t>();
    For(c, x.count(), kElementGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        y[i] = static_cast<uint8_t>(Requantize(x.as<const float>()[i] / scale, zero, 0, 255));
    });
  }
  if (c.outputs.size() > 1 && c.outputs[1].present()) *c.outputs[1].as<float>() = scale;
  if (c.outputs.size() > 2 && c.outputs[2].present()) *c.outputs[2].as<uint8_t>() = zero;
  return OkStatus();
}

}  // namespace slipway::ops
