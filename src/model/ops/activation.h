#pragma once
// The activation that a fused operator applies to its result, and the scalar functions behind it;
// backends build their own vector code and lookup tables from these.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/status.h"
#include "model/ops/attributes.h"

namespace slipway::ops {

template <typename T>
T Relu(T x) {
  return x < T{0} ? T{0} : x;  // NaN stays NaN
}
template <typename T>
T Sigmoid(T x) {
  return T(1) / (T(1) + std::exp(-x));
}
template <typename T>
T GeluErf(T x) {
  return T(0.5) * x * (T(1) + std::erf(x * T(0.70710678118654752440)));
}
template <typename T>
T GeluTanh(T x) {
  return T(0.5) * x * (T(1) + std::tanh(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x)));
}
template <typename T>
T HardSigmoid(T x, T alpha, T beta) {
  return std::max(T(0), std::min(T(1), alpha * x + beta));
}
template <typename T>
T HardSwish(T x) {
  return x * HardSigmoid(x, T(1) / T(6), T(0.5));
}
template <typename T>
T Elu(T x, T alpha) {
  return x < T(0) ? alpha * std::expm1(x) : x;
}
template <typename T>
T ClipTo(T x, T lo, T hi) {
  x = x < lo ? lo : x;  // hi wins when lo > hi, as ONNX says
  return x > hi ? hi : x;
}

// The values are stored in packages: append only.
enum class ActivationKind : uint8_t {
  kNone = 0,
  kRelu = 1,
  kClip = 2,       // a = min, b = max
  kLeakyRelu = 3,  // a = alpha
  kSigmoid = 4,
  kHardSigmoid = 5,  // a = alpha, b = beta
  kHardSwish = 6,
  kSwish = 7,  // a = alpha
  kGelu = 8,
  kGeluTanh = 9,
  kTanh = 10,
  kElu = 11,  // a = alpha
};

struct Activation {
  ActivationKind kind = ActivationKind::kNone;
  float a = 0, b = 0;

  float Apply(float x) const {
    switch (kind) {
      case ActivationKind::kNone:
        return x;
      case ActivationKind::kRelu:
        return Relu(x);
      case ActivationKind::kClip:
        return ClipTo(x, a, b);
      case ActivationKind::kLeakyRelu:
        return x < 0 ? a * x : x;
      case ActivationKind::kSigmoid:
        return Sigmoid(x);
      case ActivationKind::kHardSigmoid:
        return HardSigmoid(x, a, b);
      case ActivationKind::kHardSwish:
        return HardSwish(x);
      case ActivationKind::kSwish:
        return x * Sigmoid(a * x);
      case ActivationKind::kGelu:
        return GeluErf(x);
      case ActivationKind::kGeluTanh:
        return GeluTanh(x);
      case ActivationKind::kTanh:
        return std::tanh(x);
      case ActivationKind::kElu:
        return Elu(x, a);
    }
    return x;
  }
  friend bool operator==(const Activation&, const Activation&) = default;
};

// Null for values outside the enum.
const char* ActivationName(ActivationKind kind);
// From the attributes `activation` and `activation_params` of a fused operator (operators.inc says
// which parameters), or those of another name; parameters that are left out have the ONNX defaults.
// InvalidArgument: an unknown name, too many parameters.
Result<Activation> ParseActivation(const Attributes& attributes, const char* key = "activation",
                                   const char* params_key = "activation_params",
                                   const char* absent = "none");

}  // namespace slipway::ops
