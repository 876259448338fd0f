// QONNX: Quant (IntQuant), BipolarQuant and Trunc
// (https://github.com/fastmachinelearning/qonnx/tree/main/docs/qonnx-custom-ops). A Quant becomes
// Quantize and Dequantize when its codes fit the IR; otherwise, like the other two, the arithmetic
// of its specification in float32. Both are bit-exact.

#include <array>
#include <cctype>
#include <cmath>
#include <optional>

#include "model/frontends/onnx/contrib.h"
#include "model/frontends/onnx/tensor_proto.h"
#include "model/ops/quantize.h"

namespace slipway::onnx {
namespace {

using ir::Attributes;
using ir::Tensor;
using ir::Value;
using ops::QuantRounding;

Result<QuantRounding> ReadRounding(const OldNode& n, std::string_view fallback) {
  std::string name(n.attributes.String("rounding_mode", fallback));
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (name == "ROUND" || name == "HALF_EVEN") return QuantRounding::kHalfEven;
  if (name == "CEIL") return QuantRounding::kCeil;
  if (name == "FLOOR") return QuantRounding::kFloor;
  if (name == "UP") return QuantRounding::kFromZero;
  if (name == "DOWN" || name == "ROUND_TO_ZERO") return QuantRounding::kToZero;
  if (name == "HALF_UP") return QuantRounding::kHalfAway;
  if (name == "HALF_DOWN") return QuantRounding::kHalfToZero;
  return Unsupported(n.Describe() + ": rounding_mode " + Quote(name) + " is not known");
}

// The constant number at input i.
Result<double> Number(const OldNode& n, size_t i, const char* what) {
  const Tensor* t = n.input(i) ? n.input(i)->constant() : nullptr;
  const std::vector<double> v = t ? t->ToDoubles() : std::vector<double>();
  if (v.size() != 1) {
    return Unsupported(n.Describe() + ": its " + what + " (input " + std::to_string(i) +
                       ") must be a constant of one element");
  }
  return v[0];
}

Result<int64_t> BitWidth(const OldNode& n, size_t i) {
  SLIPWAY_ASSIGN_OR_RETURN(const double bits, Number(n, i, "bit width"));
  if (!(bits >= 1 && bits <= 64) || bits != std::floor(bits)) {
    return InvalidArgument(n.Describe() + ": bit width " + std::to_string(bits) +
                           " is no whole number from 1 to 64");
  }
  return static_cast<int64_t>(bits);
}

struct Range {
  double low, high;
};
Range RangeOf(int64_t bits, bool is_signed, bool narrow) {
  if (!is_signed) return {0, std::exp2(static_cast<double>(bits)) - (narrow ? 2 : 1)};
  const double half = std::exp2(static_cast<double>(bits - 1));
  return {narrow ? 1 - half : -half, half - 1};
}

Value* Scalar(const OldNode& n, Upgrader& u, const char* hint, double v) {
  return u.Constant(n, hint, Tensor::Scalar<float>(static_cast<float>(v)));
}

Value* Round(const OldNode& n, Upgrader& u, Value* x, QuantRounding rounding) {
  if (rounding == QuantRounding::kHalfEven) return u.Emit(n, "Round", {x});
  if (rounding == QuantRounding::kCeil) return u.Emit(n, "Ceil", {x});
  if (rounding == QuantRounding::kFloor) return u.Emit(n, "Floor", {x});
  // The other modes round the magnitude.
  Value* size = u.Emit(n, "Abs", {x});
  if (rounding == QuantRounding::kFromZero) {
    size = u.Emit(n, "Ceil", {size});
  } else if (rounding == QuantRounding::kToZero) {
    size = u.Emit(n, "Floor", {size});
  } else if (rounding == QuantRounding::kHalfAway) {
    size = u.Emit(n, "Floor", {u.Emit(n, "Add", {size, Scalar(n, u, "half", 0.5)})});
  } else {
    size = u.Emit(n, "Ceil", {u.Emit(n, "Sub", {size, Scalar(n, u, "half", 0.5)})});
  }
  return u.Emit(n, "Mul", {u.Emit(n, "Sign", {x}), size});
}

// Scale and zero point as operands of Quantize: scalars, or vectors along one axis (counted from
// the end). Nothing when they have another form.
struct Operands {
  std::vector<float> scale;
  std::vector<int64_t> zero;
  int64_t axis = -1;
  bool vector = false;
};
std::optional<Operands> ReadOperands(const Tensor* scale, const Tensor* zero) {
  if (!scale || !zero || scale->dtype() != DType::kFloat32) return std::nullopt;
  Operands o;
  for (const Tensor* t : {scale, zero}) {
    if (t->count() == 1) continue;
    const Dims& d = t->dims();
    for (int i = 0; i < d.rank(); ++i) {
      if (d[static_cast<size_t>(i)] == 1) continue;
      if (d[static_cast<size_t>(i)] != t->count()) return std::nullopt;
      if (o.vector && o.axis != i - d.rank()) return std::nullopt;
      o.axis = i - d.rank();
      o.vector = true;
    }
  }
  const size_t count = static_cast<size_t>(std::max(scale->count(), zero->count()));
  for (double s : scale->ToDoubles()) {
    if (!(s > 0) || std::isinf(s)) return std::nullopt;
    o.scale.push_back(static_cast<float>(s));
  }
  for (double z : zero->ToDoubles()) {
    if (z != std::floor(z) || std::fabs(z) > 65535) return std::nullopt;
    o.zero.push_back(static_cast<int64_t>(z));
  }
  if (o.scale.empty() || o.zero.empty()) return std::nullopt;
  if (o.scale.size() == 1) o.scale.resize(count, o.scale[0]);
  if (o.zero.size() == 1) o.zero.resize(count, o.zero[0]);
  if (o.scale.size() != count || o.zero.size() != count) return std::nullopt;
  return o;
}

template <typename T>
Tensor CodeTensor(const std::vector<int64_t>& values, bool vector) {
  const std::vector<T> codes(values.begin(), values.end());
  return vector ? Tensor::Vector<T>(codes) : Tensor::Scalar<T>(codes[0]);
}

// x, scale, zero point, bit width
Status Quant(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 4));
  const bool is_signed = n.attributes.Int("signed", 1) != 0,
             narrow = n.attributes.Int("narrow", 0) != 0;
  SLIPWAY_ASSIGN_OR_RETURN(const QuantRounding rounding, ReadRounding(n, "ROUND"));
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t bits, BitWidth(n, 3));
  const Range range = RangeOf(bits, is_signed, narrow);
  Value *x = n.input(0), *scale = n.input(1), *zero = n.input(2);
  const bool bipolar = bits == 1 && is_signed;
  auto o = ReadOperands(scale->constant(), zero->constant());
  bool fits = o && !bipolar && bits <= 16 && (is_signed || !narrow);
  bool shifted = false;
  for (size_t i = 0; fits && i < o->zero.size(); ++i) {
    const auto z = static_cast<double>(o->zero[i]);
    fits = z >= range.low && z <= range.high;
    shifted |= z != 0;
  }
  if (fits) {
    Attributes a{{"bits", bits}, {"signed", int64_t{is_signed}}};
    if (narrow) a.Set("narrow", int64_t{1});
    if (o->vector) a.Set("axis", o->axis);
    std::vector<Value*> operands{u.Constant(
        n, "scale", o->vector ? Tensor::Vector<float>(o->scale) : Tensor::Scalar(o->scale[0]))};
    if (shifted) {
      Tensor codes = bits <= 8 ? (is_signed ? CodeTensor<int8_t>(o->zero, o->vector)
                                            : CodeTensor<uint8_t>(o->zero, o->vector))
                               : (is_signed ? CodeTensor<int16_t>(o->zero, o->vector)
                                            : CodeTensor<uint16_t>(o->zero, o->vector));
      operands.push_back(u.Constant(n, "zero_point", std::move(codes)));
    }
    Attributes quantize = a;
    if (rounding != QuantRounding::kHalfEven) {
      quantize.Set("rounding", std::string(ops::kRoundingNames[static_cast<size_t>(rounding)]));
    }
    if (shifted) quantize.Set("zero_first", int64_t{1});
    std::vector<Value*> inputs = operands;
    inputs.insert(inputs.begin(), x);
    inputs[0] = u.Emit(n, "Quantize", inputs, quantize, ir::kSlipwayDomain);
    return Become(n, "Dequantize", inputs, a, ir::kSlipwayDomain);
  }
  Value* y = u.Emit(n, "Add", {u.Emit(n, "Div", {x, scale}), zero});
  if (bipolar) {
    Value* up = u.Emit(n, "GreaterOrEqual", {y, Scalar(n, u, "zero", 0)});
    y = u.Emit(n, "Where", {up, Scalar(n, u, "one", 1), Scalar(n, u, "minus", -1)});
  } else {
    y = u.Emit(n, "Clip", {y, Scalar(n, u, "low", range.low), Scalar(n, u, "high", range.high)});
    y = Round(n, u, y, rounding);
  }
  return Become(n, "Mul", {u.Emit(n, "Sub", {y, zero}), scale});
}

// scale where x >= 0, -scale elsewhere
Status BipolarQuant(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 2));
  const Tensor zero = Tensor::Scalar<float>(0);
  if (const auto o = ReadOperands(n.input(1)->constant(), &zero)) {
    Attributes a{{"bits", int64_t{1}}, {"kind", std::string("bipolar")}};
    if (o->vector) a.Set("axis", o->axis);
    Value* scale = u.Constant(
        n, "scale", o->vector ? Tensor::Vector<float>(o->scale) : Tensor::Scalar(o->scale[0]));
    Value* codes = u.Emit(n, "Quantize", {n.input(0), scale}, a, ir::kSlipwayDomain);
    return Become(n, "Dequantize", {codes, scale}, a, ir::kSlipwayDomain);
  }
  Value* up = u.Emit(n, "GreaterOrEqual", {n.input(0), Scalar(n, u, "zero", 0)});
  return Become(n, "Where", {up, n.input(1), u.Emit(n, "Neg", {n.input(1)})});
}

// Version 1: x, scale, zero point, input and output bit width. Version 2 has the output's scale
// (and in some releases its zero point, which follows from the others) before the output's bit
// width.
Status Trunc(OldNode& n, Upgrader& u) {
  SLIPWAY_RETURN_IF_ERROR(NeedInputs(n, 5));
  SLIPWAY_ASSIGN_OR_RETURN(const QuantRounding rounding, ReadRounding(n, "FLOOR"));
  Value *x = n.input(0), *scale = n.input(1), *zero = n.input(2);
  Value* y = u.Emit(n, "Add", {u.Emit(n, "Div", {x, scale}), zero});
  y = u.Emit(n, "Round", {y});
  if (n.inputs.size() <= 5) {
    SLIPWAY_ASSIGN_OR_RETURN(const int64_t in_bits, BitWidth(n, 3));
    SLIPWAY_ASSIGN_OR_RETURN(const int64_t out_bits, BitWidth(n, 4));
    y = u.Emit(n, "Div",
               {y, Scalar(n, u, "step", std::exp2(static_cast<double>(in_bits - out_bits)))});
    y = Round(n, u, y, rounding);
    return Become(n, "Mul", {u.Emit(n, "Sub", {y, zero}), scale});
  }
  const Tensor* from = scale->constant();
  const Tensor* to = n.input(4)->constant();
  if (!from || !to || from->dtype() != DType::kFloat32 || to->dtype() != DType::kFloat32 ||
      from->count() != to->count() || from->count() < 1) {
    return Unsupported(n.Describe() + ": its scales must be float32 constants of equal extent");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t bits, BitWidth(n, n.inputs.size() - 1));
  const Range range =
      RangeOf(bits, n.attributes.Int("signed", 1) != 0, n.attributes.Int("narrow", 0) != 0);
  const auto in = from->ToDoubles(), out = to->ToDoubles();
  std::vector<float> steps;
  for (size_t i = 0; i < in.size(); ++i) {
    const double exponent = std::nearbyint(std::log2(out[i] / in[i]));
    if (!(std::fabs(exponent) <= 64))
      return InvalidArgument(n.Describe() + ": its scales must be positive and finite");
    steps.push_back(static_cast<float>(std::exp2(exponent)));
  }
  Value* step = u.Constant(n, "step", Tensor::Of<float>(from->dims(), steps));
  y = u.Emit(n, "Div", {y, step});
  y = u.Emit(n, "Clip", {y, Scalar(n, u, "low", range.low), Scalar(n, u, "high", range.high)});
  y = Round(n, u, y, rounding);
  y = u.Emit(n, "Sub", {y, u.Emit(n, "Div", {zero, step})});
  return Become(n, "Mul", {y, n.input(4)});
}

constexpr ContribRow kRows[] = {
    {"BipolarQuant", BipolarQuant},
    {"IntQuant", Quant},
    {"Quant", Quant},
    {"Trunc", Trunc},
};

}  // namespace

std::span<const ContribRow> QonnxOperators() { return kRows; }

}  // namespace slipway::onnx
