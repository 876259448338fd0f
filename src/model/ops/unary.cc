// Elementwise operators of one input. 16-bit floats are computed in float32.

#include <cmath>
#include <cstring>
#include <limits>

#include "model/ops/activation.h"
#include "model/ops/broadcast.h"
#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

template <typename T, typename F>
void Map(const OpContext& c, F f) {
  const T* x = c.inputs[0].as<const T>();
  T* y = c.outputs[0].as<T>();
  For(c, c.inputs[0].count(), kElementGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = static_cast<T>(f(static_cast<Compute<T>>(x[i])));
  });
}

template <typename F>
Status MapFloat(const OpContext& c, F f) {
  const DType t = c.inputs[0].dtype;
  if (!DispatchFloat(t, [&]<typename T>() { Map<T>(c, f); })) return NoKernel(t);
  return OkStatus();
}

template <typename F>
Status MapNumber(const OpContext& c, F f) {
  const DType t = c.inputs[0].dtype;
  if (!DispatchNumber(t, [&]<typename T>() { Map<T>(c, f); })) return NoKernel(t);
  return OkStatus();
}

Status Copy(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const size_t bytes = DTypeBytes(x.dtype, x.count());
  if (bytes > 0 && x.data != y.data) std::memmove(y.data, x.data, bytes);
  return OkStatus();
}

// 0 - x without signed overflow.
template <typename T>
T Negate(T x) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(uint64_t{0} - static_cast<uint64_t>(x));
  } else {
    return -x;
  }
}

}  // namespace

Status OnnxRelu(const OpContext& c) {
  return MapNumber(c, [](auto x) { return Relu(x); });
}
Status OnnxLeakyRelu(const OpContext& c) {
  const float alpha = c.attributes->Float("alpha", 0.01f);
  return MapFloat(c, [=](auto x) { return x < 0 ? decltype(x)(alpha) * x : x; });
}
Status OnnxSigmoid(const OpContext& c) {
  return MapFloat(c, [](auto x) { return Sigmoid(x); });
}
Status OnnxHardSigmoid(const OpContext& c) {
  const float alpha = c.attributes->Float("alpha", 0.2f), beta = c.attributes->Float("beta", 0.5f);
  return MapFloat(c, [=](auto x) { return HardSigmoid(x, decltype(x)(alpha), decltype(x)(beta)); });
}
Status OnnxHardSwish(const OpContext& c) {
  return MapFloat(c, [](auto x) { return HardSwish(x); });
}
Status OnnxSwish(const OpContext& c) {
  const float alpha = c.attributes->Float("alpha", 1);
  return MapFloat(c, [=](auto x) { return x * Sigmoid(decltype(x)(alpha) * x); });
}
Status OnnxGelu(const OpContext& c) {
  const auto mode = c.attributes->String("approximate", "none");
  if (mode == "none") return MapFloat(c, [](auto x) { return GeluErf(x); });
  if (mode == "tanh") return MapFloat(c, [](auto x) { return GeluTanh(x); });
  return InvalidArgument("unknown approximate '" + std::string(mode) + "'; expected none or tanh");
}
Status OnnxTanh(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::tanh(x); });
}
Status OnnxElu(const OpContext& c) {
  const float alpha = c.attributes->Float("alpha", 1);
  return MapFloat(c, [=](auto x) { return Elu(x, decltype(x)(alpha)); });
}
Status OnnxSelu(const OpContext& c) {
  const float alpha = c.attributes->Float("alpha", 1.67326319217681884765625f);
  const float gamma = c.attributes->Float("gamma", 1.05070102214813232421875f);
  return MapFloat(c, [=](auto x) { return decltype(x)(gamma) * Elu(x, decltype(x)(alpha)); });
}
Status OnnxCelu(const OpContext& c) {
  const float alpha = c.attributes->Float("alpha", 1);
  return MapFloat(c, [=](auto x) {
    const decltype(x) a = alpha;
    return x < 0 ? a * std::expm1(x / a) : x;
  });
}
Status OnnxThresholdedRelu(const OpContext& c) {
  const float alpha = c.attributes->Float("alpha", 1);
  return MapFloat(c, [=](auto x) { return x > alpha ? x : decltype(x)(0); });
}
Status OnnxSoftplus(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::log1p(std::exp(-std::fabs(x))) + Relu(x); });
}
Status OnnxSoftsign(const OpContext& c) {
  return MapFloat(c, [](auto x) { return x / (1 + std::fabs(x)); });
}
Status OnnxMish(const OpContext& c) {
  return MapFloat(
      c, [](auto x) { return x * std::tanh(std::log1p(std::exp(-std::fabs(x))) + Relu(x)); });
}
Status OnnxErf(const OpContext& c) {
  return MapNumber(c, [](auto x) {
    if constexpr (std::is_integral_v<decltype(x)>) {
      return static_cast<decltype(x)>(std::erf(static_cast<double>(x)));
    } else {
      return std::erf(x);
    }
  });
}
Status OnnxExp(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::exp(x); });
}
Status OnnxLog(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::log(x); });
}
Status OnnxSqrt(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::sqrt(x); });
}
Status OnnxReciprocal(const OpContext& c) {
  return MapFloat(c, [](auto x) { return decltype(x)(1) / x; });
}
Status OnnxNeg(const OpContext& c) {
  return MapNumber(c, [](auto x) { return Negate(x); });
}
Status OnnxAbs(const OpContext& c) {
  return MapNumber(c, [](auto x) {
    if constexpr (std::is_floating_point_v<decltype(x)>) {
      return std::fabs(x);
    } else {
      return x < 0 ? Negate(x) : x;
    }
  });
}
Status OnnxFloor(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::floor(x); });
}
Status OnnxCeil(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::ceil(x); });
}
Status OnnxRound(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::nearbyint(x); });
}
Status OnnxSign(const OpContext& c) {
  return MapNumber(c, [](auto x) -> decltype(x) {
    if (x > 0) return 1;
    if (x < 0) return static_cast<decltype(x)>(-1);
    return x == 0 ? decltype(x)(0) : x;  // NaN stays NaN
  });
}
Status OnnxSin(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::sin(x); });
}
Status OnnxCos(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::cos(x); });
}

Status OnnxTan(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::tan(x); });
}
Status OnnxAcos(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::acos(x); });
}
Status OnnxAsin(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::asin(x); });
}
Status OnnxAtan(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::atan(x); });
}
Status OnnxCosh(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::cosh(x); });
}
Status OnnxSinh(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::sinh(x); });
}
Status OnnxAcosh(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::acosh(x); });
}
Status OnnxAsinh(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::asinh(x); });
}
Status OnnxAtanh(const OpContext& c) {
  return MapFloat(c, [](auto x) { return std::atanh(x); });
}

// Integers go through float64 and are cut towards zero.
Status OnnxShrink(const OpContext& c) {
  const double bias = static_cast<double>(c.attributes->Float("bias", 0));
  const double lambda = static_cast<double>(c.attributes->Float("lambd", 0.5f));
  return MapNumber(c, [=](auto x) -> decltype(x) {
    const double v = static_cast<double>(x);
    const double y = v < -lambda ? v + bias : v > lambda ? v - bias : 0;
    if constexpr (std::is_integral_v<decltype(x)>) {
      constexpr double low = static_cast<double>(std::numeric_limits<decltype(x)>::min());
      constexpr double high = static_cast<double>(std::numeric_limits<decltype(x)>::max());
      if (!(y > low)) return std::numeric_limits<decltype(x)>::min();
      if (!(y < high)) return std::numeric_limits<decltype(x)>::max();
    }
    return static_cast<decltype(x)>(y);
  });
}

Status OnnxNot(const OpContext& c) {
  if (c.inputs[0].dtype != DType::kBool) return NoKernel(c.inputs[0].dtype);
  const uint8_t* x = c.inputs[0].as<const uint8_t>();
  uint8_t* y = c.outputs[0].as<uint8_t>();
  for (int64_t i = 0, n = c.inputs[0].count(); i < n; ++i) y[i] = x[i] ? 0 : 1;
  return OkStatus();
}

Status OnnxIdentity(const OpContext& c) { return Copy(c); }

// Inference only: the identity, and a mask of ones.
Status OnnxDropout(const OpContext& c) {
  if (c.Has(2) && c.inputs[2].count() > 0 && ScalarAt(c.inputs[2]) != 0) {
    const double ratio = c.Has(1) && c.inputs[1].count() > 0 ? ScalarAt(c.inputs[1]) : 0.5;
    if (ratio != 0) {
      return Unsupported(
          "training_mode with a ratio other than 0: this is an inference engine; export the "
          "model in evaluation mode");
    }
  }
  if (c.outputs.size() > 1 && c.outputs[1].present() && c.outputs[1].count() > 0) {
    std::memset(c.outputs[1].data, 1, static_cast<size_t>(c.outputs[1].count()));
  }
  return Copy(c);
}

Status OnnxClip(const OpContext& c) {
  const DType t = c.inputs[0].dtype;
  for (size_t i = 1; i < 3; ++i) {
    if (!c.Has(i)) continue;
    if (c.inputs[i].dtype != t || c.inputs[i].count() != 1) {
      return InvalidArgument(std::string(i == 1 ? "min" : "max") + " must be one element of type " +
                             DTypeName(t));
    }
  }
  auto run = [&]<typename T>() {
    using C = Compute<T>;
    C lo = kIsFloat<T> ? -std::numeric_limits<C>::infinity() : std::numeric_limits<C>::lowest();
    C hi = kIsFloat<T> ? std::numeric_limits<C>::infinity() : std::numeric_limits<C>::max();
    if (c.Has(1)) lo = static_cast<C>(*c.inputs[1].as<const T>());
    if (c.Has(2)) hi = static_cast<C>(*c.inputs[2].as<const T>());
    Map<T>(c, [=](C x) { return ClipTo(x, lo, hi); });
  };
  if (!DispatchNumber(t, run)) return NoKernel(t);
  return OkStatus();
}

}  // namespace slipway::ops
