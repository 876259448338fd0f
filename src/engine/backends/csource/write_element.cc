// Calls of elementwise operators of all types: functions of one and two operands, comparisons,
// logic, Where, Cast. Integers wrap, as in the reference; a division by zero gives 0.

#include <cmath>
#include <cstring>
#include <initializer_list>

#include "engine/backends/csource/writer.h"

namespace slipway::backends::csource {
namespace {

// "#" becomes the suffix of functions and numbers of the float type.
std::string OfType(std::string text, DType t) {
  for (size_t at; (at = text.find('#')) != std::string::npos;)
    text.replace(at, 1, t == DType::kFloat64 ? "" : "f");
  return text;
}

bool IsReal(DType t) { return t == DType::kFloat32 || t == DType::kFloat64; }

Status NoType(const SourceWriter& w, DType t) {
  return Unsupported(w.op.op + " of " + DTypeName(t));
}

std::string Count(const SourceWriter& w) { return Number(w.Shape(w.Out()).count()); }

// y = expression of x; needs: further pieces.
Status Map(SourceWriter& w, const std::string& expression, const std::string& needs = "") {
  const DType x = w.In(0).dtype, y = w.Out().dtype;
  const std::string name = w.Instance(
      "map1", w.op.op + "_" + Suffix(x),
      {{"@+", needs}, {"@X", CType(x)}, {"@Y", CType(y)}, {"@E", OfType(expression, x)}});
  w.Call(name, {Count(w), w.Input(0), w.Output(0)});
  return OkStatus();
}

struct Expression {
  const char *op, *text;
};
// Of floats.
constexpr Expression kUnary[] = {
    {"Exp", "exp#(x)"},
    {"Log", "log#(x)"},
    {"Sqrt", "sqrt#(x)"},
    {"Erf", "erf#(x)"},
    {"Reciprocal", "1.0# / x"},
    {"Floor", "floor#(x)"},
    {"Ceil", "ceil#(x)"},
    {"Round", "rint#(x)"},
    {"Sin", "sin#(x)"},
    {"Cos", "cos#(x)"},
    {"Tan", "tan#(x)"},
    {"Acos", "acos#(x)"},
    {"Asin", "asin#(x)"},
    {"Atan", "atan#(x)"},
    {"Cosh", "cosh#(x)"},
    {"Sinh", "sinh#(x)"},
    {"Acosh", "acosh#(x)"},
    {"Asinh", "asinh#(x)"},
    {"Atanh", "atanh#(x)"},
    {"Tanh", "tanh#(x)"},
    {"Sigmoid", "1.0# / (1.0# + exp#(-x))"},
    {"Softplus", "log1p#(exp#(-fabs#(x))) + (x < 0.0# ? 0.0# : x)"},
    {"Softsign", "x / (1.0# + fabs#(x))"},
    {"Mish", "x * tanh#(log1p#(exp#(-fabs#(x))) + (x < 0.0# ? 0.0# : x))"},
    {"Neg", "-x"},
    {"Abs", "fabs#(x)"},
    {"Sign", "x > 0.0# ? 1.0# : x < 0.0# ? -1.0# : x == 0.0# ? 0.0# : x"},
    {"Relu", "x < 0.0# ? 0.0# : x"},
    {"IsNaN", "x != x"},
};
constexpr Expression kSigned[] = {
    {"Neg", "(uint64_t)0 - (uint64_t)x"},
    {"Abs", "x < 0 ? (uint64_t)0 - (uint64_t)x : (uint64_t)x"},
    {"Sign", "(x > 0) - (x < 0)"},
    {"Relu", "x < 0 ? 0 : x"},
};
constexpr Expression kUnsigned[] = {
    {"Neg", "(uint64_t)0 - (uint64_t)x"},
    {"Abs", "x"},
    {"Sign", "x != 0"},
    {"Relu", "x"},
};

Status Unary(SourceWriter& w) {
  const DType t = w.In(0).dtype;
  const auto find = [&](std::span<const Expression> list) -> const char* {
    for (const Expression& e : list) {
      if (w.op.op == e.op) return e.text;
    }
    return nullptr;
  };
  const char* text = IsReal(t)                          ? find(kUnary)
                     : IsWhole(t) && IsSignedInteger(t) ? find(kSigned)
                     : IsWhole(t)                       ? find(kUnsigned)
                                                        : nullptr;
  return text ? Map(w, text) : NoType(w, t);
}

// A float attribute as the function's type has it, in parentheses.
std::string Given(const SourceWriter& w, const char* name, float absent) {
  return "(" + Number(w.op.attributes.Float(name, absent)) + ")";
}

Status Function(SourceWriter& w) {
  const DType t = w.In(0).dtype;
  if (!IsReal(t)) return NoType(w, t);
  const std::string& op = w.op.op;
  if (op == "Selu")
    return Map(w, Given(w, "gamma", 1.05070102214813232421875f) + " * (x < 0.0# ? " +
                      Given(w, "alpha", 1.67326319217681884765625f) + " * expm1#(x) : x)");
  if (op == "Celu") {
    const std::string a = Given(w, "alpha", 1);
    return Map(w, "x < 0.0# ? " + a + " * expm1#(x / " + a + ") : x");
  }
  if (op == "ThresholdedRelu") return Map(w, "x > " + Given(w, "alpha", 1) + " ? x : 0.0#");
  if (op == "Shrink") {
    const std::string bias = "(double)" + Given(w, "bias", 0),
                      lambda = "(double)" + Given(w, "lambd", 0.5f);
    return Map(w, "(double)x < -" + lambda + " ? (double)x + " + bias + " : (double)x > " + lambda +
                      " ? (double)x - " + bias + " : 0.0");
  }
  // IsInf
  const bool negative = w.op.attributes.Int("detect_negative", 1) != 0,
             positive = w.op.attributes.Int("detect_positive", 1) != 0;
  return Map(w, positive && negative ? "x - x != 0.0# && x == x"
                : positive           ? "x == (@X)INFINITY"
                : negative           ? "x == -(@X)INFINITY"
                                     : "x != x && x == x");
}

Status Not(SourceWriter& w) {
  const DType t = w.In(0).dtype;
  if (w.op.op == "Not") return t == DType::kBool ? Map(w, "!x") : NoType(w, t);
  return IsWhole(t) ? Map(w, "~x") : NoType(w, t);
}

// Of two operands, all types alike.
constexpr Expression kFloats[] = {
    {"Add", "a + b"},
    {"Sum", "a + b"},
    {"Mean", "a + b"},
    {"Sub", "a - b"},
    {"Mul", "a * b"},
    {"Div", "a / b"},
    {"Max", "b > a || b != b ? b : a"},
    {"Min", "b < a || b != b ? b : a"},
    {"PRelu", "a < 0.0# ? a * b : a"},
    {"Equal", "a == b"},
    {"Less", "a < b"},
    {"LessOrEqual", "a <= b"},
    {"Greater", "a > b"},
    {"GreaterOrEqual", "a >= b"},
};
constexpr Expression kWhole[] = {
    {"Add", "(uint64_t)a + (uint64_t)b"},
    {"Sum", "(uint64_t)a + (uint64_t)b"},
    {"Sub", "(uint64_t)a - (uint64_t)b"},
    {"Mul", "(uint64_t)a * (uint64_t)b"},
    {"Max", "b > a ? b : a"},
    {"Min", "b < a ? b : a"},
    {"Equal", "a == b"},
    {"Less", "a < b"},
    {"LessOrEqual", "a <= b"},
    {"Greater", "a > b"},
    {"GreaterOrEqual", "a >= b"},
    {"BitwiseAnd", "a & b"},
    {"BitwiseOr", "a | b"},
    {"BitwiseXor", "a ^ b"},
};
constexpr Expression kLogic[] = {
    {"And", "a && b"}, {"Or", "a || b"}, {"Xor", "!a != !b"}, {"Equal", "!a == !b"}};

// The expression, or Unsupported; needs: pieces that it calls.
Result<std::string> Binary(const SourceWriter& w, DType a, DType b, std::string* needs) {
  const std::string& op = w.op.op;
  const auto none = NoType(w, a);
  if (op == "Pow") {
    if (IsReal(a) && (IsReal(b) || IsWhole(b)))
      return std::string("b == 2 ? a * a : pow#(a, (@X)b)");
    if (a != DType::kInt32 && a != DType::kInt64) return none;
    if (IsWhole(b)) {
      *needs = "power";
      return std::string(IsSignedInteger(b) ? "sw_power(a, (uint64_t)b, b < 0)"
                                            : "sw_power(a, (uint64_t)b, 0)");
    }
    if (!IsReal(b)) return NoType(w, b);
    *needs = "cut";
    return std::string("sw_cut(pow((double)a, (double)b))");
  }
  if (a != b) return Unsupported(op + " of " + DTypeName(a) + " and " + DTypeName(b));
  if (op == "Mod") {
    if (w.op.attributes.Int("fmod", 0) != 0 && IsReal(a)) return std::string("fmod#(a, b)");
    if (!IsWhole(a)) return none;
    if (!IsSignedInteger(a)) return std::string("b == 0 ? 0 : a % b");
    return std::string(w.op.attributes.Int("fmod", 0) != 0
                           ? "b == 0 || b == -1 ? 0 : a % b"
                           : "b == 0 || b == -1 ? 0 : a % b != 0 && (a < 0) != (b < 0) ? a % b + b "
                             ": a % b");
  }
  if (op == "Div" && IsWhole(a))
    return std::string(IsSignedInteger(a) ? "b == 0 ? 0 : b == -1 ? (@X)((uint64_t)0 - "
                                            "(uint64_t)a) : a / b"
                                          : "b == 0 ? 0 : a / b");
  if (op == "PRelu" && IsWhole(a))
    return std::string(IsSignedInteger(a) ? "a < 0 ? (@X)((uint64_t)a * (uint64_t)b) : a" : "a");
  if (op == "BitShift") {
    if (!IsWhole(a) || IsSignedInteger(a)) return none;
    const bool left = w.op.attributes.String("direction", "") == "LEFT";
    return "b >= " + std::to_string(DTypeBits(a)) + " ? 0 : (uint64_t)a " + (left ? "<<" : ">>") +
           " b";
  }
  const std::span<const Expression> list = IsReal(a)    ? std::span<const Expression>(kFloats)
                                           : IsWhole(a) ? std::span<const Expression>(kWhole)
                                           : a == DType::kBool ? std::span<const Expression>(kLogic)
                                                               : std::span<const Expression>();
  for (const Expression& e : list) {
    if (op == e.op) return std::string(e.text);
  }
  return none;
}

// y = a op b, by pointers.
Status Join(SourceWriter& w, const Dims& a_dims, const Dims& b_dims, DType a, DType b,
            const std::string& pa, const std::string& pb) {
  std::string needs;
  SLIPWAY_ASSIGN_OR_RETURN(const std::string text, Binary(w, a, b, &needs));
  const DType y = w.Out().dtype;
  const std::string name = w.Instance("map2", w.op.op + "_" + Suffix(a),
                                      {{"@+", needs},
                                       {"@X", CType(a)},
                                       {"@Z", CType(b)},
                                       {"@Y", CType(y)},
                                       {"@E", OfType(text, a)}});
  w.Call(name, {w.Struct("sw_nd", BroadcastFields(w.Shape(w.Out()), a_dims, b_dims)), pa, pb,
                w.Output(0)});
  return OkStatus();
}

// Of one input or more, from the left.
Status Variadic(SourceWriter& w) {
  const size_t count = w.step->inputs.size();
  const Dims y = w.Shape(w.Out());
  const DType t = w.In(0).dtype;
  if (count == 1) {
    w.Call("memcpy", {w.Output(0), w.Input(0), Number(y.count() * (DTypeBits(t) / 8))});
    return OkStatus();
  }
  SLIPWAY_RETURN_IF_ERROR(
      Join(w, w.Shape(w.In(0)), w.Shape(w.In(1)), t, w.In(1).dtype, w.Input(0), w.Input(1)));
  for (size_t i = 2; i < count; ++i)
    SLIPWAY_RETURN_IF_ERROR(
        Join(w, y, w.Shape(w.In(i)), t, w.In(i).dtype, w.Output(0), w.Input(i)));
  if (w.op.op == "Mean") {
    const std::string name =
        w.Instance("map1", "scale_" + Suffix(t),
                   {{"@X", CType(t)},
                    {"@Y", CType(t)},
                    {"@E", OfType("x / " + std::to_string(count) + ".0#", t)}});
    w.Call(name, {Count(w), w.Output(0), w.Output(0)});
  }
  return OkStatus();
}

Status Where(SourceWriter& w) {
  const Dims y = w.Shape(w.Out()), c = w.Shape(w.In(0)), a = w.Shape(w.In(1)), b = w.Shape(w.In(2));
  if (w.In(0).dtype != DType::kBool) return NoType(w, w.In(0).dtype);
  w.Need("where");
  w.Call("sw_where",
         {w.Struct("sw_nd", BroadcastFields(y, c, a)), w.Struct("sw_nd", BroadcastFields(y, b, b)),
          Number(int64_t{DTypeBits(w.Out().dtype) / 8}), w.Input(0), w.Input(1), w.Input(2),
          w.Output(0)});
  return OkStatus();
}

Status Clip(SourceWriter& w) {
  const DType t = w.In(0).dtype;
  if (!IsReal(t) && !IsWhole(t)) return NoType(w, t);
  for (const size_t i : {size_t{1}, size_t{2}}) {
    if (w.Has(i) && (w.In(i).dtype != t || w.Shape(w.In(i)).count() != 1))
      return InvalidArgument("limits that are not one element of its type");
  }
  w.Call(w.Instance("clip", "clip_" + Suffix(t), {{"@X", CType(t)}}),
         {Count(w), w.Input(0), w.Input(1), w.Input(2), w.Output(0)});
  return OkStatus();
}

// The value of x as a float or integer of C, and back.
Status Cast(SourceWriter& w) {
  const DType x = w.In(0).dtype, y = w.Out().dtype;
  if (x == y) {
    w.Call("memcpy",
           {w.Output(0), w.Input(0), Number(w.Shape(w.Out()).count() * (DTypeBits(x) / 8))});
    return OkStatus();
  }
  std::string value = "x", needs;
  bool real = IsReal(x);
  if (x == DType::kBool) value = "(x != 0)";
  if (x == DType::kFloat16) value = "sw_half(x)", needs = "half", real = true;
  if (x == DType::kBFloat16) value = "sw_bfloat(x)", needs = "bfloat", real = true;
  const auto call = [&](const char* piece) {
    needs += std::string(needs.empty() ? "" : " ") + piece;
    value = "sw_" + std::string(piece) + "(" + value + ")";
  };
  if (y == DType::kBool) value = "(" + value + " != 0)";
  if (y == DType::kFloat16 || y == DType::kBFloat16) {
    value = "(double)" + value;
    call(y == DType::kFloat16 ? "tohalf" : "tobfloat");
  } else if (real && IsWhole(y)) {
    call(y == DType::kUInt64 ? "cutu" : "cut");
  }
  const std::string name =
      w.Instance("map1", "cast_" + Suffix(x) + "_" + Suffix(y),
                 {{"@+", needs}, {"@X", CType(x)}, {"@Y", CType(y)}, {"@E", value}});
  w.Call(name, {Count(w), w.Input(0), w.Output(0)});
  return OkStatus();
}

constexpr Row kRows[] = {
    {"", "Exp", Unary},
    {"", "Log", Unary},
    {"", "Sqrt", Unary},
    {"", "Neg", Unary},
    {"", "Abs", Unary},
    {"", "Erf", Unary},
    {"", "Reciprocal", Unary},
    {"", "Floor", Unary},
    {"", "Ceil", Unary},
    {"", "Round", Unary},
    {"", "Sin", Unary},
    {"", "Cos", Unary},
    {"", "Tan", Unary},
    {"", "Acos", Unary},
    {"", "Asin", Unary},
    {"", "Atan", Unary},
    {"", "Cosh", Unary},
    {"", "Sinh", Unary},
    {"", "Acosh", Unary},
    {"", "Asinh", Unary},
    {"", "Atanh", Unary},
    {"", "Softplus", Unary},
    {"", "Softsign", Unary},
    {"", "Mish", Unary},
    {"", "Sign", Unary},
    {"", "IsNaN", Unary},
    {"", "Selu", Function},
    {"", "Celu", Function},
    {"", "ThresholdedRelu", Function},
    {"", "Shrink", Function},
    {"", "IsInf", Function},
    {"", "Not", Not},
    {"", "BitwiseNot", Not},
    {"", "Add", Variadic},
    {"", "Sub", Variadic},
    {"", "Mul", Variadic},
    {"", "Div", Variadic},
    {"", "Pow", Variadic},
    {"", "Mod", Variadic},
    {"", "PRelu", Variadic},
    {"", "Min", Variadic},
    {"", "Max", Variadic},
    {"", "Sum", Variadic},
    {"", "Mean", Variadic},
    {"", "And", Variadic},
    {"", "Or", Variadic},
    {"", "Xor", Variadic},
    {"", "Equal", Variadic},
    {"", "Less", Variadic},
    {"", "LessOrEqual", Variadic},
    {"", "Greater", Variadic},
    {"", "GreaterOrEqual", Variadic},
    {"", "BitwiseAnd", Variadic},
    {"", "BitwiseOr", Variadic},
    {"", "BitwiseXor", Variadic},
    {"", "BitShift", Variadic},
    {"", "Where", Where},
    {"", "Cast", Cast},
};

}  // namespace

std::span<const Row> ElementRows() { return kRows; }

Status WriteUnary(SourceWriter& w) { return Unary(w); }

Status WriteBinary(SourceWriter& w) { return Variadic(w); }

Status WriteClip(SourceWriter& w) { return Clip(w); }

}  // namespace slipway::backends::csource
