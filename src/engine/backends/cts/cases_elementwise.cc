// Elementwise operators with one, two and more inputs.

#include <algorithm>
#include <cmath>

#include "engine/backends/cts/cases.h"

namespace slipway::cts {
namespace {

SymShape Shape(Random& r) {
  SymShape s{r.Chance(0.6) ? BatchSymbol() : Dim(r.Int(1, 3))};
  if (r.Chance(0.5)) {
    s.push_back(r.Chance(0.5) ? 16 * r.Int(1, 3) : r.Int(1, 21));
    for (int64_t i = r.Int(1, 2); i > 0; --i) s.push_back(r.Int(1, 12));
    return s;
  }
  for (int64_t i = r.Int(0, 3); i > 0; --i) s.push_back(r.Int(1, 40));
  return s;
}

// A shape that broadcasts to `s`.
SymShape Partner(Random& r, const SymShape& s) {
  SymShape t = s;
  switch (r.Int(0, 4)) {
    case 0:
      return t;
    case 1:
      return r.Chance(0.5) ? SymShape{} : SymShape{Dim(1)};
    case 2:  // one a channel
      for (size_t i = 0; i < t.size(); ++i) {
        if (i != 1) t[i] = 1;
      }
      return t;
    case 3:
      t.erase(t.begin(), t.begin() + r.Int(0, static_cast<int64_t>(t.size())));
      return t;  // trailing dimensions
    default:
      for (Dim& d : t) {
        if (r.Chance(0.5)) d = 1;
      }
      return t;
  }
}

void Operand(Maker& m, DType t, const SymShape& s) {
  const bool is_static = std::all_of(s.begin(), s.end(), [](const Dim& d) { return d.known(); });
  if (is_static && (t == DType::kFloat32 || t == DType::kBFloat16) && m.random().Chance(0.4)) {
    Dims dims;
    for (const Dim& d : s) dims.push_back(d.value());
    if (t == DType::kBFloat16) m.Half();
    m.Floats(dims, 0.5, 2);
  } else {
    m.Input(t, s);
  }
}

Case Unary(Random& r) {
  Maker m(r);
  const std::string op =
      r.Pick({"Relu",     "LeakyRelu",  "Sigmoid", "HardSigmoid", "HardSwish", "Swish",
              "Gelu",     "Tanh",       "Elu",     "Selu",        "Celu",      "ThresholdedRelu",
              "Softplus", "Softsign",   "Mish",    "Erf",         "Exp",       "Log",
              "Sqrt",     "Reciprocal", "Neg",     "Abs",         "Floor",     "Ceil",
              "Round",    "Sign",       "Sin",     "Cos"});
  m.options().low = r.Pick({-2.0, -12.0, -90.0});
  m.options().high = -m.options().low;
  if (op == "Exp") m.options().high = 10;
  if (op == "Log" || op == "Sqrt" || op == "Reciprocal") m.options().low = 0.01;
  m.Input(FloatType(r), Shape(r));
  if (op == "Gelu" && r.Chance(0.5)) m.Set("approximate", std::string("tanh"));
  return m.Node(op);
}

Case Clip(Random& r) {
  Maker m(r);
  m.Input(DType::kFloat32, Shape(r));
  if (r.Chance(0.8)) {
    m.Constant(ir::Tensor::Scalar<float>(static_cast<float>(r.Real(-1, 0))));
  } else {
    m.Absent();
  }
  if (r.Chance(0.8)) m.Constant(ir::Tensor::Scalar<float>(static_cast<float>(r.Real(0, 1))));
  return m.Node("Clip");
}

Case Binary(Random& r) {
  Maker m(r);
  const std::string op =
      r.Pick({"Add", "Add", "Sub", "Mul", "Mul", "Div", "Min", "Max", "Pow", "PRelu"});
  SymShape a = Shape(r), b = Partner(r, a);
  if (op != "PRelu" && r.Chance(0.2)) std::swap(a, b);
  if (op == "Div" || op == "Pow") m.options().low = 0.3;
  const DType type = op == "Pow" ? DType::kFloat32 : FloatType(r);
  m.Input(type, a);
  Operand(m, type, b);
  return m.Node(op);
}

Case FusedAdd(Random& r) {
  Maker m(r);
  SymShape a = Shape(r), b = r.Chance(0.6) ? a : Partner(r, a);
  const DType type = FloatType(r);
  m.Input(type, a);
  Operand(m, type, b);
  SetActivation(m);
  return m.Node("Add", "slipway");
}

Case MulQuantize(Random& r) {
  Maker m(r);
  SymShape a = Shape(r), b = r.Chance(0.3) ? a : Partner(r, a);
  if (r.Chance(0.2)) std::swap(a, b);
  m.Input(DType::kFloat32, a);
  Operand(m, DType::kFloat32, b);
  const bool is_signed = r.Chance(0.5);
  m.Set("scale", static_cast<float>(r.Real(0.005, 0.1)));
  m.Set("to", static_cast<int64_t>(is_signed ? DType::kInt8 : DType::kUInt8));
  m.Set("q_min", int64_t{is_signed ? -128 : 0}).Set("q_max", int64_t{is_signed ? 127 : 255});
  m.Set("y_zero_point", is_signed ? r.Int(-20, 20) : r.Int(0, 200));
  return m.Node("MulQuantize", "slipway");
}

Case IntBinary(Random& r) {
  Maker m(r);
  const SymShape a = Shape(r), b = Partner(r, a);
  const DType t = r.Pick({DType::kInt64, DType::kInt32});
  m.Input(t, a).Input(t, b);
  return m.Node(r.Pick({"Add", "Sub", "Mul", "Min", "Max"}));
}

Case Comparison(Random& r) {
  Maker m(r);
  const SymShape a = Shape(r), b = Partner(r, a);
  const std::string op =
      r.Pick({"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor"});
  const DType t = op == "And" || op == "Or" || op == "Xor"
                      ? DType::kBool
                      : r.Pick({DType::kFloat32, DType::kInt64});
  m.options().int_low = -2;
  m.options().int_high = 2;
  m.Input(t, a).Input(t, b);
  return m.Node(op);
}

Case Where(Random& r) {
  Maker m(r);
  const SymShape a = Shape(r);
  m.Input(DType::kBool, Partner(r, a))
      .Input(DType::kFloat32, a)
      .Input(DType::kFloat32, Partner(r, a));
  return m.Node("Where");
}

Case Variadic(Random& r) {
  Maker m(r);
  const SymShape a = Shape(r);
  m.Input(DType::kFloat32, a);
  for (int64_t i = r.Int(0, 2); i > 0; --i) m.Input(DType::kFloat32, Partner(r, a));
  return m.Node(r.Pick({"Sum", "Mean", "Max", "Min"}));
}

Case Cast(Random& r) {
  Maker m(r);
  const DType from = r.Pick(
      {DType::kFloat32, DType::kInt64, DType::kInt32, DType::kUInt8, DType::kBool, DType::kInt8});
  const DType to = r.Pick({DType::kFloat32, DType::kInt64, DType::kInt32, DType::kBool});
  m.Input(from, Shape(r)).Set("to", static_cast<int64_t>(to));
  return m.Node("Cast");
}

constexpr Family kFamilies[] = {
    {"Unary", Unary},       {"Clip", Clip},           {"Binary", Binary},
    {"FusedAdd", FusedAdd}, {"IntBinary", IntBinary}, {"Comparison", Comparison},
    {"Where", Where},       {"Variadic", Variadic},   {"Cast", Cast},
    {"MulQuantize", MulQuantize},
};

}  // namespace

std::span<const Family> ElementwiseFamilies() { return kFamilies; }

}  // namespace slipway::cts
