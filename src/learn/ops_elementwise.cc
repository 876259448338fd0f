// Operators on elements.

#include <cmath>

#include "learn/call.h"
#include "model/ops/activation.h"

namespace slipway::learn {
namespace {

template <at::Tensor (*kFunction)(const at::Tensor&)>
Outputs Unary(const Call& c) {
  return {kFunction(c.Array(0))};
}

at::Tensor HardSwishOf(const at::Tensor& x) { return x * (x / 6 + 0.5).clamp(0, 1); }
at::Tensor MishOf(const at::Tensor& x) { return x * at::tanh(at::softplus(x)); }
at::Tensor SoftsignOf(const at::Tensor& x) { return x / (1 + x.abs()); }
// (The derivative of at::clamp at its bounds is 1, that of a rectifier at 0 is 0.)
at::Tensor ReluOf(const at::Tensor& x) { return at::relu(x); }
at::Tensor Same(const at::Tensor& x) { return x; }

Outputs LeakyRelu(const Call& c) { return {at::leaky_relu(c.Array(0), c.Float("alpha", 0.01f))}; }
Outputs HardSigmoid(const Call& c) {
  return {(c.Array(0) * c.Float("alpha", 0.2f) + c.Float("beta", 0.5f)).clamp(0, 1)};
}
at::Tensor EluOf(const at::Tensor& x, double alpha) {
  return at::where(x > 0, x, alpha * at::expm1(at::minimum(x, at::zeros_like(x))));
}
Outputs Elu(const Call& c) { return {EluOf(c.Array(0), c.Float("alpha", 1))}; }
Outputs Selu(const Call& c) {
  return {c.Float("gamma", 1.05070102214813232421875f) *
          EluOf(c.Array(0), c.Float("alpha", 1.67326319217681884765625f))};
}
Outputs Celu(const Call& c) {
  const double alpha = c.Float("alpha", 1);
  return {EluOf(c.Array(0) / alpha, 1) * alpha};
}
Outputs Gelu(const Call& c) {
  return {at::gelu(c.Array(0), std::string(c.node.attributes.String("approximate", "none")))};
}
Outputs Swish(const Call& c) {
  const at::Tensor x = c.Array(0);
  return {x * at::sigmoid(x * c.Float("alpha", 1))};
}
Outputs Clip(const Call& c) {
  at::Tensor y = c.Array(0);
  if (c.Has(1)) y = at::maximum(y, c.Array(1));
  if (c.Has(2)) y = at::minimum(y, c.Array(2));
  return {y};
}
Outputs ThresholdedRelu(const Call& c) {
  const at::Tensor x = c.Array(0);
  return {at::where(x > c.Float("alpha", 1), x, at::zeros_like(x))};
}
Outputs PRelu(const Call& c) {
  const at::Tensor x = c.Array(0);
  return {at::where(x > 0, x, x * c.Array(1))};
}

Outputs Add(const Call& c) { return {c.Array(0) + c.Array(1)}; }
Outputs Sub(const Call& c) { return {c.Array(0) - c.Array(1)}; }
Outputs Mul(const Call& c) { return {c.Array(0) * c.Array(1)}; }
Outputs Div(const Call& c) { return {c.Array(0) / c.Array(1)}; }
Outputs Pow(const Call& c) {
  // A constant exponent of one element has a better derivative (of 0 to the 2nd, for one).
  if (c.in[1].host.present() || c.Array(1).numel() != 1 || c.Array(1).requires_grad())
    return {at::pow(c.Array(0), c.Array(1))};
  const at::Tensor y = at::pow(c.Array(0), c.Array(1).item<double>());
  return {y.dim() < c.Array(1).dim() ? y.reshape(c.Array(1).sizes()) : y};
}
Outputs FusedAdd(const Call& c) { return {Activate(c, c.Array(0) + c.Array(1))}; }

template <at::Tensor (*kFunction)(const at::Tensor&, const at::Tensor&)>
at::Tensor Fold(const Call& c) {
  at::Tensor y = c.Array(0);
  for (size_t i = 1; i < c.in.size(); ++i) y = kFunction(y, c.Array(i));
  return y;
}
at::Tensor Plus(const at::Tensor& a, const at::Tensor& b) { return a + b; }
Outputs Sum(const Call& c) { return {Fold<Plus>(c)}; }
Outputs Mean(const Call& c) { return {Fold<Plus>(c) / static_cast<double>(c.in.size())}; }
Outputs Max(const Call& c) { return {Fold<at::maximum>(c)}; }
Outputs Min(const Call& c) { return {Fold<at::minimum>(c)}; }

Outputs Where(const Call& c) { return {at::where(c.Indices(0) != 0, c.Array(1), c.Array(2))}; }
// Between floating-point types: rounded to the narrow one and on.
Outputs Cast(const Call& c) {
  const at::Tensor x = c.Array(0);
  switch (static_cast<DType>(c.Int("to", 1))) {
    case DType::kFloat16:
      return {x.to(at::kHalf).to(c.options)};
    case DType::kBFloat16:
      return {x.to(at::kBFloat16).to(c.options)};
    case DType::kFloat32:
      return {x};
    case DType::kFloat64:
      return {x};
    default:
      return {};
  }
}

constexpr Operator kOperators[] = {
    {"", "Relu", Unary<ReluOf>},
    {"", "Sigmoid", Unary<at::sigmoid>},
    {"", "HardSwish", Unary<HardSwishOf>},
    {"", "Mish", Unary<MishOf>},
    {"", "Softsign", Unary<SoftsignOf>},
    {"", "Tanh", Unary<at::tanh>},
    {"", "Erf", Unary<at::erf>},
    {"", "Exp", Unary<at::exp>},
    {"", "Log", Unary<at::log>},
    {"", "Sqrt", Unary<at::sqrt>},
    {"", "Abs", Unary<at::abs>},
    {"", "Neg", Unary<at::neg>},
    {"", "Reciprocal", Unary<at::reciprocal>},
    {"", "Sin", Unary<at::sin>},
    {"", "Cos", Unary<at::cos>},
    {"", "Floor", Unary<at::floor>},
    {"", "Ceil", Unary<at::ceil>},
    {"", "Sign", Unary<at::sign>},
    {"", "Identity", Unary<Same>},
    {"", "Softplus", Unary<[](const at::Tensor& x) -> at::Tensor { return at::softplus(x); }>},
    {"", "Round", Unary<[](const at::Tensor& x) -> at::Tensor { return at::round(x); }>},
    {"", "LeakyRelu", LeakyRelu},
    {"", "HardSigmoid", HardSigmoid},
    {"", "Elu", Elu},
    {"", "Selu", Selu},
    {"", "Celu", Celu},
    {"", "Gelu", Gelu},
    {"", "Swish", Swish},
    {"", "Clip", Clip},
    {"", "ThresholdedRelu", ThresholdedRelu},
    {"", "PRelu", PRelu},
    {"", "Add", Add},
    {"", "Sub", Sub},
    {"", "Mul", Mul},
    {"", "Div", Div},
    {"", "Pow", Pow},
    {"", "Sum", Sum},
    {"", "Mean", Mean},
    {"", "Max", Max},
    {"", "Min", Min},
    {"", "Where", Where},
    {"", "Cast", Cast},
    {"slipway", "Add", FusedAdd},
};

}  // namespace

at::Tensor Activate(const Call& call, at::Tensor y) {
  using ops::ActivationKind;
  const auto parsed = ops::ParseActivation(call.node.attributes);
  TORCH_CHECK(parsed.ok(), parsed.status().message());
  const double a = static_cast<double>(parsed->a), b = static_cast<double>(parsed->b);
  switch (parsed->kind) {
    case ActivationKind::kNone:
      return y;
    case ActivationKind::kRelu:
      return at::relu(y);
    case ActivationKind::kClip:
      return at::clamp(y, a, b);
    case ActivationKind::kLeakyRelu:
      return at::leaky_relu(y, a);
    case ActivationKind::kSigmoid:
      return at::sigmoid(y);
    case ActivationKind::kHardSigmoid:
      return (y * a + b).clamp(0, 1);
    case ActivationKind::kHardSwish:
      return HardSwishOf(y);
    case ActivationKind::kSwish:
      return y * at::sigmoid(y * a);
    case ActivationKind::kGelu:
      return at::gelu(y, "none");
    case ActivationKind::kGeluTanh:
      return at::gelu(y, "tanh");
    case ActivationKind::kTanh:
      return at::tanh(y);
    case ActivationKind::kElu:
      return EluOf(y, a);
  }
  TORCH_CHECK(false, "an unknown activation");
}

std::span<const Operator> ElementwiseOperators() { return kOperators; }

}  // namespace slipway::learn
