// QConv and QLinear: the integer contract of operators.inc, bit-exact. Accumulators are int32
// (modulo 2^32).

#include "model/ops/quantized.h"

#include <cmath>

#include "model/ops/activation.h"
#include "model/ops/dispatch.h"
#include "model/ops/pack_window.h"

namespace slipway::ops {
namespace {

// acc -> output element, with everything that belongs to one node.
template <typename Y, typename Z>
struct Finish {
  const int32_t* bias;
  const float* multiplier;
  bool per_channel;
  const Z* residual;
  float z_multiplier;
  int32_t z_zero;
  Activation activation;
  float y_multiplier;
  Requantizer to;
  Y* y;

  void operator()(int64_t channel, int64_t at, uint32_t acc) const {
    if (bias) acc += static_cast<uint32_t>(bias[channel]);
    float v = static_cast<float>(static_cast<int32_t>(acc)) * multiplier[per_channel ? channel : 0];
    if (residual) v = std::fma(static_cast<float>(residual[at] - z_zero), z_multiplier, v);
    if (activation.kind != ActivationKind::kNone) v = activation.Apply(v) * y_multiplier;
    y[at] = to.Convert<Y>(v);
  }
};

// W, multiplier, bias and residual of a product with so many outputs.
Status CheckOperands(const OpContext& c, int64_t channels) {
  const TensorView &w = c.inputs[1], &m = c.inputs[2], &y = c.outputs[0];
  if (w.dtype != DType::kInt8 && w.dtype != DType::kInt16)
    return InvalidArgument(std::string("W must be int8 or int16, not ") + DTypeName(w.dtype));
  if (m.dtype != DType::kFloat32 || (m.count() != 1 && m.count() != channels)) {
    return InvalidArgument("multiplier must be float32 with 1 or " + std::to_string(channels) +
                           " elements");
  }
  if (c.Has(3) && (c.inputs[3].dtype != DType::kInt32 || c.inputs[3].count() != channels)) {
    return InvalidArgument("bias must be int32 with " + std::to_string(channels) + " elements");
  }
  if (c.Has(4) && c.inputs[4].count() != y.count())
    return InvalidArgument("the residual must have Y's extent");
  return OkStatus();
}

// Calls body(x type, finish) with the concrete types.
template <typename Body>
Status WithTypes(const OpContext& c, Body&& body) {
  const TensorView &x = c.inputs[0], &m = c.inputs[2], &y = c.outputs[0];
  SLIPWAY_ASSIGN_OR_RETURN(const Requantizer to, MakeRequantizer(*c.attributes, y.dtype));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t x_zero,
                           ReadZeroPoint(*c.attributes, "x_zero_point", x.dtype));
  const DType z_type = c.Has(4) ? c.inputs[4].dtype : DType::kInt8;
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t z_zero,
                           ReadZeroPoint(*c.attributes, "z_zero_point", z_type));
  const float z_multiplier = c.attributes->Float("z_multiplier", 0),
              y_multiplier = c.attributes->Float("y_multiplier", 1);
  SLIPWAY_ASSIGN_OR_RETURN(const Activation activation, ParseActivation(*c.attributes));
  bool done = false;
  Dispatch<uint8_t, int8_t>(x.dtype, [&]<typename X>() {
    Dispatch<uint8_t, int8_t>(z_type, [&]<typename Z>() {
      done = Dispatch<uint8_t, int8_t, float>(y.dtype, [&]<typename Y>() {
        const Finish<Y, Z> finish{c.Has(3) ? c.inputs[3].as<const int32_t>() : nullptr,
                                  m.as<const float>(),
                                  m.count() > 1,
                                  c.Has(4) ? c.inputs[4].as<const Z>() : nullptr,
                                  z_multiplier,
                                  z_zero,
                                  activation,
                                  y_multiplier,
                                  to,
                                  y.as<Y>()};
        body(x.as<const X>(), static_cast<int16_t>(x_zero), finish);
      });
    });
  });
  return done ? OkStatus() : NoKernel(x.dtype);
}

// Some operand has codes of 16 bits.
bool IsWide(const OpContext& c) {
  return IsWideCode(c.inputs[0].dtype) || IsWideCode(c.outputs[0].dtype) ||
         (c.Has(4) && IsWideCode(c.inputs[4].dtype));
}

}  // namespace

std::optional<CodeLimits> LimitsOf(DType codes, bool wide) {
  if (codes == DType::kInt8) return CodeLimits{-128, 127};
  if (codes == DType::kUInt8) return CodeLimits{0, 255};
  if (wide && codes == DType::kInt16) return CodeLimits{-32768, 32767};
  if (wide && codes == DType::kUInt16) return CodeLimits{0, 65535};
  return std::nullopt;
}

Result<int32_t> ReadZeroPoint(const Attributes& attributes, std::string_view name, DType codes,
                              bool wide) {
  const int64_t z = attributes.Int(name, 0);
  const auto limits = LimitsOf(codes, wide);
  if (!limits) {
    return Unsupported(std::string("codes must be int8 or uint8") +
                       (wide ? ", int16 or uint16" : "") + ", not " + DTypeName(codes));
  }
  if (z < limits->lo || z > limits->hi) {
    return InvalidArgument(std::string(name) + " = " + std::to_string(z) + " is no " +
                           DTypeName(codes) + " code");
  }
  return static_cast<int32_t>(z);
}

Result<Requantizer> MakeRequantizer(const Attributes& attributes, DType y, bool wide) {
  Requantizer r;
  const int64_t to = attributes.Int("to", 3);
  if (to != static_cast<int64_t>(y)) {
    return InvalidArgument("to = " + std::to_string(to) + " but the output is " + DTypeName(y));
  }
  if (y == DType::kFloat32) return r;
  SLIPWAY_ASSIGN_OR_RETURN(r.zero_point, ReadZeroPoint(attributes, "y_zero_point", y, wide));
  const CodeLimits limits = *LimitsOf(y, wide);
  const int64_t lo = attributes.Int("q_min", -128), hi = attributes.Int("q_max", 127);
  if (lo < limits.lo || hi > limits.hi || lo > hi) {
    return InvalidArgument("q_min " + std::to_string(lo) + " and q_max " + std::to_string(hi) +
                           " do not fit " + DTypeName(y));
  }
  r.lo = static_cast<int32_t>(lo);
  r.hi = static_cast<int32_t>(hi);
  return r;
}

Result<InputRounding> ReadInputRounding(const Attributes& attributes) {
  InputRounding r;
  r.scale = attributes.Float("x_scale", 0);
  if (!(r.scale > 0) || std::isinf(r.scale))
    return InvalidArgument("x_scale of a float32 input must be positive and finite");
  const int64_t zero = attributes.Int("x_zero_point", 0), lo = attributes.Int("x_q_min", -128),
                hi = attributes.Int("x_q_max", 127);
  if (lo < -128 || hi > 255 || lo > hi || zero < -128 || zero > 255) {
    return InvalidArgument("x_zero_point " + std::to_string(zero) + ", x_q_min " +
                           std::to_string(lo) + " and x_q_max " + std::to_string(hi) +
                           " are no codes of 8 bits");
  }
  r.to = {static_cast<int32_t>(zero), static_cast<int32_t>(lo), static_cast<int32_t>(hi)};
  return r;
}

Status SlipwayQConv(const OpContext& c) {
  const TensorView &x = c.inputs[0], &w = c.inputs[1], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(
      const Window win, ResolveWindow(*c.attributes, x.dims, y.dims, std::span(w.dims).subspan(2)));
  const int64_t group = c.attributes->Int("group", 1);
  if (group < 1 || w.dims[1] * group != x.dims[1] || w.dims[0] % group != 0 ||
      y.dims[1] != w.dims[0]) {
    return InvalidArgument("group " + std::to_string(group) + " does not fit X " +
                           x.dims.ToString() + " and W " + w.dims.ToString());
  }
  SLIPWAY_RETURN_IF_ERROR(CheckOperands(c, w.dims[0]));
  if (IsWide(c)) return WideQConv(c, win);
  const int64_t cin = w.dims[1], cout = w.dims[0] / group, in_plane = win.InCount(),
                plane = win.OutCount();
  const int64_t depth = cin * win.KernelCount();
  const bool wide = w.dtype == DType::kInt16;
  return WithTypes(c, [&](auto* px, int16_t zero, const auto& finish) {
    TiledGemm<uint32_t, int16_t>(
        c, x.dims[0] * group, cout, plane, depth,
        [&](int64_t batch, int64_t i, int64_t k, int n, int16_t* to) {
          const int64_t at = (batch % group * cout + i) * depth + k;
          if (wide) {
            std::copy_n(w.as<const int16_t>() + at, n, to);
          } else {
            std::copy_n(w.as<const int8_t>() + at, n, to);
          }
        },
        [&](int64_t batch, int64_t j, int n, int64_t k, int kn, int16_t* to) {
          PackWindow(win, px + batch * cin * in_plane, j, n, k, kn, to,
                     [zero](auto v) { return static_cast<int16_t>(v - zero); });
        },
        [&](int64_t batch, int64_t i, int64_t j, int n, const uint32_t* row) {
          const int64_t channel = batch % group * cout + i, at = (batch * cout + i) * plane + j;
          for (int r = 0; r < n; ++r) finish(channel, at + r, row[r]);
        });
  });
}

Status SlipwayQLinear(const OpContext& c) {
  const TensorView &x = c.inputs[0], &w = c.inputs[1], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  const int64_t k = x.dims.back(), n = y.dims.back(), m = y.count() / n;
  const bool trans = c.attributes->Int("transW", 0) != 0;
  if (w.count() != k * n || x.count() != m * k) {
    return InvalidArgument("W " + w.dims.ToString() + " does not fit X " + x.dims.ToString() +
                           " and Y " + y.dims.ToString());
  }
  SLIPWAY_RETURN_IF_ERROR(CheckOperands(c, n));
  if (IsWide(c)) return WideQLinear(c);
  const auto weight = [&, narrow = w.dtype == DType::kInt8](int64_t i) {
    return narrow ? w.as<const int8_t>()[i] : w.as<const int16_t>()[i];
  };
  return WithTypes(c, [&](auto* px, int16_t zero, const auto& finish) {
    TiledGemm<uint32_t, int16_t>(
        c, 1, m, n, k,
        [&](int64_t, int64_t i, int64_t k0, int kn, int16_t* to) {
          for (int r = 0; r < kn; ++r) to[r] = static_cast<int16_t>(px[i * k + k0 + r] - zero);
        },
        [&](int64_t, int64_t j, int nn, int64_t k0, int kn, int16_t* to) {
          for (int r = 0; r < kn; ++r) {
            for (int col = 0; col < nn; ++col) {
              to[r * kTile + col] = weight(trans ? (j + col) * k + k0 + r : (k0 + r) * n + j + col);
            }
          }
        },
        [&](int64_t, int64_t i, int64_t j, int nn, const uint32_t* row) {
          for (int r = 0; r < nn; ++r) finish(j + r, i * n + j + r, row[r]);
        });
  });
}

}  // namespace slipway::ops
