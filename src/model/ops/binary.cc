// Arithmetic of two or more inputs with broadcasting. Integers wrap on overflow; integer division
// by zero is an error.

#include <algorithm>
#include <cmath>

#include "model/ops/activation.h"
#include "model/ops/broadcast.h"
#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

Status SameTypes(const OpContext& c) {
  for (const TensorView& in : c.inputs) {
    if (in.dtype != c.inputs[0].dtype) {
      return InvalidArgument(std::string("inputs have different element types: ") +
                             DTypeName(c.inputs[0].dtype) + " and " + DTypeName(in.dtype) +
                             "; insert a Cast");
    }
  }
  return OkStatus();
}

// Unsigned arithmetic for integers so that overflow wraps; 16-bit operands would be promoted to
// int.
template <typename T>
using Wrap =
    typename std::conditional_t<std::is_integral_v<T>, std::conditional<true, uint64_t, void>,
                                std::type_identity<T>>::type;

struct AddOp {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wrap<T>>(a) + static_cast<Wrap<T>>(b));
  }
};
struct SubOp {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wrap<T>>(a) - static_cast<Wrap<T>>(b));
  }
};
struct MulOp {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wrap<T>>(a) * static_cast<Wrap<T>>(b));
  }
};
struct MinOp {
  template <typename T>
  T operator()(T a, T b) const {
    return b < a || b != b ? b : a;
  }  // NaN wins
};
struct MaxOp {
  template <typename T>
  T operator()(T a, T b) const {
    return b > a || b != b ? b : a;
  }
};

template <typename T, typename Op>
void RunBinary(const OpContext& c, const TensorView& a, const TensorView& b, Op op) {
  BroadcastBinary<T, T, T>(c, a, b, c.outputs[0], [op](T x, T y) {
    return static_cast<T>(op(static_cast<Compute<T>>(x), static_cast<Compute<T>>(y)));
  });
}

template <typename Op>
Status Binary(const OpContext& c, Op op) {
  SLIPWAY_RETURN_IF_ERROR(SameTypes(c));
  const DType t = c.inputs[0].dtype;
  if (!DispatchNumber(t, [&]<typename T>() { RunBinary<T>(c, c.inputs[0], c.inputs[1], op); }))
    return NoKernel(t);
  return OkStatus();
}

// y = in0 op in1 op in2 ...; 16-bit floats round after each step as a chain of binary operators
// would.
template <typename Op>
Status Variadic(const OpContext& c, Op op) {
  SLIPWAY_RETURN_IF_ERROR(SameTypes(c));
  const DType t = c.inputs[0].dtype;
  auto run = [&]<typename T>() {
    BroadcastBinary<T, T, T>(c, c.inputs[0], c.inputs[0], c.outputs[0], [](T x, T) { return x; });
    for (size_t i = 1; i < c.inputs.size(); ++i) RunBinary<T>(c, c.outputs[0], c.inputs[i], op);
  };
  if (!DispatchNumber(t, run)) return NoKernel(t);
  return OkStatus();
}

Status DivisionByZero() {
  return InvalidArgument("integer division by zero: the divisor (input 1) holds a 0");
}

template <typename T>
bool HasZero(const TensorView& t) {
  const T* p = t.as<const T>();
  return std::find(p, p + t.count(), T{0}) != p + t.count();
}

template <typename T>
T DivideTruncated(T a, T b) {
  if constexpr (std::is_signed_v<T>) {
    if (b == T(-1)) return static_cast<T>(uint64_t{0} - static_cast<uint64_t>(a));
  }
  return static_cast<T>(a / b);
}

// The sign of the divisor (fmod = 0) or of the dividend (fmod = 1).
template <typename T>
T Remainder(T a, T b, bool fmod) {
  if constexpr (std::is_signed_v<T>) {
    if (b == T(-1)) return 0;
    const T r = static_cast<T>(a % b);
    return !fmod && r != 0 && (r < 0) != (b < 0) ? static_cast<T>(r + b) : r;
  } else {
    return static_cast<T>(a % b);
  }
}

template <typename T, typename E>
T Power(T base, E exponent) {
  if constexpr (std::is_integral_v<T> && std::is_integral_v<E>) {
    if constexpr (std::is_signed_v<E>) {
      if (exponent < 0) {  // the truncated reciprocal
        if (base == T(1)) return 1;
        if constexpr (std::is_signed_v<T>) {
          if (base == T(-1)) return exponent % 2 == 0 ? T(1) : T(-1);
        }
        return 0;
      }
    }
    uint64_t result = 1, factor = static_cast<uint64_t>(base);
    for (uint64_t e = static_cast<uint64_t>(exponent); e != 0; e >>= 1) {
      if (e & 1) result *= factor;
      factor *= factor;
    }
    return static_cast<T>(result);
  } else if constexpr (std::is_integral_v<T>) {
    const double v = std::pow(static_cast<double>(base), static_cast<double>(exponent));
    if (std::isnan(v)) return 0;
    return static_cast<T>(static_cast<int64_t>(std::clamp(v, -0x1p63, 0x1.fffffffffffffp62)));
  } else {
    if (exponent == E(2)) return base * base;
    return static_cast<T>(std::pow(base, static_cast<T>(exponent)));
  }
}

}  // namespace

Status OnnxAdd(const OpContext& c) { return Binary(c, AddOp{}); }
Status OnnxSub(const OpContext& c) { return Binary(c, SubOp{}); }
Status OnnxMul(const OpContext& c) { return Binary(c, MulOp{}); }
Status OnnxMin(const OpContext& c) { return Variadic(c, MinOp{}); }
Status OnnxMax(const OpContext& c) { return Variadic(c, MaxOp{}); }
Status OnnxSum(const OpContext& c) { return Variadic(c, AddOp{}); }

Status OnnxMean(const OpContext& c) {
  if (!IsFloating(c.inputs[0].dtype)) return NoKernel(c.inputs[0].dtype);
  SLIPWAY_RETURN_IF_ERROR(Variadic(c, AddOp{}));
  const TensorView& y = c.outputs[0];
  DispatchFloat(y.dtype, [&]<typename T>() {
    using C = Compute<T>;
    const C n = static_cast<C>(c.inputs.size());
    T* p = y.as<T>();
    for (int64_t i = 0, count = y.count(); i < count; ++i)
      p[i] = static_cast<T>(static_cast<C>(p[i]) / n);
  });
  return OkStatus();
}

Status SlipwayAdd(const OpContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameTypes(c));
  SLIPWAY_ASSIGN_OR_RETURN(const Activation act, ParseActivation(*c.attributes));
  if (act.kind == ActivationKind::kNone) return Binary(c, AddOp{});
  const DType t = c.inputs[0].dtype;
  auto run = [&]<typename T>() {
    RunBinary<T>(c, c.inputs[0], c.inputs[1], [&](Compute<T> a, Compute<T> b) {
      return static_cast<Compute<T>>(act.Apply(static_cast<float>(a + b)));
    });
  };
  if (!DispatchFloat(t, run)) return NoKernel(t);
  return OkStatus();
}

Status OnnxDiv(const OpContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameTypes(c));
  const DType t = c.inputs[0].dtype;
  const TensorView &a = c.inputs[0], &b = c.inputs[1];
  if (DispatchFloat(
          t, [&]<typename T>() { RunBinary<T>(c, a, b, [](auto x, auto y) { return x / y; }); })) {
    return OkStatus();
  }
  bool zero = false;
  auto run = [&]<typename T>() {
    zero = c.outputs[0].count() > 0 && HasZero<T>(b);
    if (!zero) RunBinary<T>(c, a, b, [](T x, T y) { return DivideTruncated(x, y); });
  };
  if (!DispatchInteger(t, run)) return NoKernel(t);
  return zero ? DivisionByZero() : OkStatus();
}

Status OnnxMod(const OpContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameTypes(c));
  const DType t = c.inputs[0].dtype;
  const TensorView &a = c.inputs[0], &b = c.inputs[1];
  const bool fmod = c.attributes->Int("fmod", 0) != 0;
  auto floats = [&]<typename T>() {
    RunBinary<T>(c, a, b, [](auto x, auto y) { return std::fmod(x, y); });
  };
  if (IsFloating(t)) {
    if (!fmod) return InvalidArgument("floating-point inputs need fmod = 1");
    return DispatchFloat(t, floats) ? OkStatus() : NoKernel(t);
  }
  bool zero = false;
  auto run = [&]<typename T>() {
    zero = c.outputs[0].count() > 0 && HasZero<T>(b);
    if (!zero) RunBinary<T>(c, a, b, [fmod](T x, T y) { return Remainder(x, y, fmod); });
  };
  if (!DispatchInteger(t, run)) return NoKernel(t);
  return zero ? DivisionByZero() : OkStatus();
}

// The exponent may have another element type than the base; the result has the base's.
Status OnnxPow(const OpContext& c) {
  const TensorView &a = c.inputs[0], &b = c.inputs[1], &y = c.outputs[0];
  bool done = false;
  auto base = [&]<typename T>() {
    auto run = [&]<typename E>() {
      BroadcastBinary<T, E, T>(c, a, b, y, [](T x, E e) {
        return static_cast<T>(Power(static_cast<Compute<T>>(x), static_cast<Compute<E>>(e)));
      });
    };
    done = Dispatch<float, double, int32_t, int64_t, uint32_t, uint64_t>(b.dtype, run) ||
           Dispatch<Float16, BFloat16, int8_t, uint8_t, int16_t, uint16_t>(b.dtype, run);
  };
  const bool known = Dispatch<float, double, Float16, BFloat16, int32_t, int64_t>(a.dtype, base);
  if (!known) return NoKernel(a.dtype);
  return done ? OkStatus() : NoKernel(b.dtype).With("exponent");
}

Status OnnxPRelu(const OpContext& c) {
  return Binary(c, [](auto x, auto slope) {
    return x < 0 ? static_cast<decltype(x)>(MulOp{}(x, slope)) : x;
  });
}

}  // namespace slipway::ops
