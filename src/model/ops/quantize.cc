// slipway.Quantize and slipway.Dequantize: between real values and codes.

#include "model/ops/quantize.h"

#include "base/checked.h"
#include "model/ops/broadcast.h"
#include "model/ops/dispatch.h"

namespace slipway::ops {

std::optional<QuantRounding> RoundingFromName(std::string_view name) {
  for (size_t i = 0; i < std::size(kRoundingNames); ++i) {
    if (kRoundingNames[i] == name) return static_cast<QuantRounding>(i);
  }
  return std::nullopt;
}

DType SmallFloatKind(std::string_view name) {
  const DType t = DTypeFromName(name);
  const bool small = IsFloating(t) && DTypeBits(t) <= 8 && t != DType::kFloat8E8M0;
  return small ? t : DType::kUndefined;
}

namespace {

// Where the scale of each element lies: per tensor, along an axis, or blocked along it.
struct ScaleLayout {
  int64_t inner = 1;        // elements behind the axis
  int64_t extent = 1;       // of the axis; 1 for per tensor
  int64_t group = 1;        // elements of the axis that share a scale
  int64_t groups = 1;       // along the axis
  int64_t axis_stride = 0;  // 0: one scale for all
  bool blocked = false;     // scales differ also along the other axes

  // Element `at` of x -> element of scale, and how many following elements share it or step with it
  // by one.
  int64_t Index(int64_t at) const {
    if (axis_stride == 0) return 0;
    const int64_t i = at / inner % extent / group;
    return blocked ? (at / inner / extent * groups + i) * inner + at % inner : i;
  }
};

Status MakeLayout(const Dims& x, const TensorView& scale, const QuantParams& q, ScaleLayout* l) {
  if (scale.count() == 1 && (q.group == 0 || x.count() == 1)) return OkStatus();
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(q.axis, x.rank(), &axis));
  l->extent = x[static_cast<size_t>(axis)];
  l->inner = x.count(axis + 1, x.rank());
  l->axis_stride = 1;
  l->groups = l->extent;
  int64_t expected = l->extent;
  if (q.group > 0) {
    l->blocked = true;
    l->group = q.group;
    l->groups = CeilDiv(l->extent, q.group);
    expected = l->groups * x.count(0, axis) * l->inner;
  }
  if (scale.count() != expected) {
    return InvalidArgument("scale " + scale.dims.ToString() + " does not fit x " + x.ToString() +
                           " along axis " + std::to_string(axis) +
                           (q.group > 0 ? " in groups of " + std::to_string(q.group) : ""));
  }
  return OkStatus();
}

struct Operands {
  QuantParams q;
  ScaleLayout layout;
};

template <typename S>
Status CheckScales(const TensorView& scale, QuantKind kind) {
  for (int64_t i = 0, n = scale.count(); i < n; ++i) {
    const float s = static_cast<float>(scale.as<const S>()[i]);
    if (!(s > 0) || std::isinf(s)) {
      return InvalidArgument("scale element " + std::to_string(i) + " is " + std::to_string(s) +
                             "; scales must be positive and finite");
    }
    int exponent;
    if (kind == QuantKind::kPowerOfTwo && std::frexp(s, &exponent) != 0.5f) {
      return InvalidArgument("scale element " + std::to_string(i) + " = " + std::to_string(s) +
                             " is no power of two, as kind power_of_two requires");
    }
  }
  return OkStatus();
}

Result<Operands> Prepare(const OpContext& c, int max_bits) {
  Operands o;
  SLIPWAY_ASSIGN_OR_RETURN(o.q, ParseQuant(*c.attributes, max_bits));
  const TensorView& scale = c.inputs[1];
  SLIPWAY_RETURN_IF_ERROR(MakeLayout(c.inputs[0].dims, scale, o.q, &o.layout));
  if (c.Has(2) && c.inputs[2].count() != scale.count()) {
    return InvalidArgument("zero_point " + c.inputs[2].dims.ToString() + " and scale " +
                           scale.dims.ToString() + " differ in extent");
  }
  Status status = OkStatus();
  if (!Dispatch<float, Float16, BFloat16>(
          scale.dtype, [&]<typename S>() { status = CheckScales<S>(scale, o.q.kind); })) {
    return NoKernel(scale.dtype).With("scale");
  }
  SLIPWAY_RETURN_IF_ERROR(status);
  return o;
}

template <typename F>
bool DispatchCodes(DType t, F&& f) {
  return Dispatch<int8_t, uint8_t, int16_t, uint16_t, int32_t>(t, f);
}

struct ZeroPoints {
  const TensorView* view = nullptr;
  int64_t At(int64_t i) const {
    int64_t z = 0;
    if (view) DispatchCodes(view->dtype, [&]<typename Z>() { z = view->as<const Z>()[i]; });
    return z;
  }
};

Result<ZeroPoints> ReadZeroPoints(const OpContext& c) {
  if (!c.Has(2)) return ZeroPoints{};
  if (!DispatchCodes(c.inputs[2].dtype, []<typename Z>() {}))
    return NoKernel(c.inputs[2].dtype).With("zero_point");
  return ZeroPoints{&c.inputs[2]};
}

// Calls f(from, to, scale index) on runs of elements that share one scale.
template <typename F>
void ForRuns(const OpContext& c, const ScaleLayout& l, int64_t count, F&& f) {
  const int64_t share = l.axis_stride == 0 ? count : l.blocked ? 1 : l.inner;
  For(c, count, kElementGrain, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end;) {
      const int64_t next = std::min(end, (at / share + 1) * share);
      f(at, next, l.Index(at));
      at = next;
    }
  });
}

float RoundTo(DType precision, float v) {
  if (precision == DType::kFloat16) return static_cast<float>(Float16(v));
  if (precision == DType::kBFloat16) return static_cast<float>(BFloat16(v));
  return v;
}

// x / scale in the precision that the node asks for.
float Ratio(const QuantParams& q, float x, float scale) {
  if (q.precision == DType::kUndefined) return x / scale;
  return RoundTo(q.precision, RoundTo(q.precision, x) / RoundTo(q.precision, scale));
}

// Codes of a small floating-point type: rare, so element by element.
template <typename X, typename S>
void QuantizeToFloat(const OpContext& c, const Operands& o) {
  const X* x = c.inputs[0].as<const X>();
  const S* scales = c.inputs[1].as<const S>();
  uint8_t* y = c.outputs[0].as<uint8_t>();
  const int bits = DTypeBits(o.q.code_type);
  for (int64_t i = 0, n = c.inputs[0].count(); i < n; ++i) {
    const float v =
        Ratio(o.q, static_cast<float>(x[i]), static_cast<float>(scales[o.layout.Index(i)]));
    WriteCode(y, bits, i, EncodeFloat8(o.q.code_type, v, o.q.saturate));
  }
}

template <typename S, typename Y>
void DequantizeFromFloat(const OpContext& c, const Operands& o) {
  const uint8_t* x = c.inputs[0].as<const uint8_t>();
  const S* scales = c.inputs[1].as<const S>();
  const int bits = DTypeBits(o.q.code_type);
  for (int64_t i = 0, n = c.inputs[0].count(); i < n; ++i) {
    c.outputs[0].as<Y>()[i] = static_cast<Y>(DecodeFloat8(o.q.code_type, ReadCode(x, bits, i)) *
                                             static_cast<float>(scales[o.layout.Index(i)]));
  }
}

// scale and zero point of one run, re-read only when the index changes.
template <typename X, typename S, typename Y>
void QuantizeRuns(const OpContext& c, const Operands& o, const ZeroPoints& zeros) {
  const X* x = c.inputs[0].as<const X>();
  const S* scales = c.inputs[1].as<const S>();
  Y* y = c.outputs[0].as<Y>();
  const CodeRange range = o.q.range;
  ForRuns(c, o.layout, c.inputs[0].count(), [&](int64_t begin, int64_t end, int64_t s) {
    const float scale = static_cast<float>(scales[s]);
    if (o.q.kind == QuantKind::kLogarithmic) {
      const LogLevels levels(o.q.bits, scale);
      for (int64_t i = begin; i < end; ++i)
        y[i] = static_cast<Y>(levels.Encode(static_cast<double>(static_cast<Compute<X>>(x[i]))));
      return;
    }
    if (o.q.kind == QuantKind::kBipolar) {
      for (int64_t i = begin; i < end; ++i)
        y[i] = static_cast<Y>(static_cast<float>(x[i]) >= 0 ? 1 : -1);
      return;
    }
    const int64_t zero = zeros.At(s);
    if (o.q.zero_first) {
      for (int64_t i = begin; i < end; ++i) {
        const float shifted =
            Ratio(o.q, static_cast<float>(x[i]), scale) + static_cast<float>(zero);
        double v = RoundBy(shifted, o.q.rounding);
        v = v > range.lo ? v : range.lo;
        v = v < range.hi ? v : range.hi;
        y[i] = static_cast<Y>(static_cast<int64_t>(v));
      }
      return;
    }
    const double lo = static_cast<double>(range.lo - zero),
                 hi = static_cast<double>(range.hi - zero);
    for (int64_t i = begin; i < end; ++i) {
      const float ratio = Ratio(o.q, static_cast<float>(x[i]), scale);
      double v = RoundBy(ratio, o.q.rounding);
      v = v > lo ? v : lo;  // NaN becomes the lowest code
      v = v < hi ? v : hi;
      y[i] = static_cast<Y>(static_cast<int64_t>(v) + zero);
    }
  });
}

template <typename X, typename S, typename Y>
void DequantizeRuns(const OpContext& c, const Operands& o, const ZeroPoints& zeros) {
  const X* x = c.inputs[0].as<const X>();
  const S* scales = c.inputs[1].as<const S>();
  Y* y = c.outputs[0].as<Y>();
  ForRuns(c, o.layout, c.inputs[0].count(), [&](int64_t begin, int64_t end, int64_t s) {
    const float scale = static_cast<float>(scales[s]);
    if (o.q.kind == QuantKind::kLogarithmic) {
      const LogLevels levels(o.q.bits, scale);
      for (int64_t i = begin; i < end; ++i)
        y[i] = static_cast<Y>(static_cast<float>(levels.Decode(x[i])));
      return;
    }
    const int64_t zero = zeros.At(s);
    for (int64_t i = begin; i < end; ++i) {
      y[i] = static_cast<Y>(static_cast<float>(static_cast<int64_t>(x[i]) - zero) * scale);
    }
  });
}

}  // namespace

Result<QuantParams> ParseQuant(const Attributes& a, int max_bits) {
  QuantParams q;
  const int64_t bits = a.Int("bits", 8);
  if (bits < 1 || (bits > 16 && !(bits == 32 && max_bits == 32))) {
    return InvalidArgument("bits = " + std::to_string(bits) + "; expected 1 to 16" +
                           (max_bits == 32 ? " or 32" : ""));
  }
  q.bits = static_cast<int>(bits);
  q.is_signed = a.Int("signed", 1) != 0;
  q.narrow = a.Int("narrow", 0) != 0;
  q.axis = a.Int("axis", 1);
  q.group = a.Int("group", 0);
  if (q.group < 0)
    return InvalidArgument("group = " + std::to_string(q.group) +
                           "; expected 0 (none) or a positive size");
  const auto kind = a.String("kind", "affine");
  if (kind == "power_of_two") {
    q.kind = QuantKind::kPowerOfTwo;
  } else if (kind == "logarithmic") {
    q.kind = QuantKind::kLogarithmic;
  } else if (kind == "bipolar") {
    q.kind = QuantKind::kBipolar;
    if (q.bits != 1 || !q.is_signed || q.group != 0)
      return InvalidArgument("bipolar codes have one bit, are signed and have no groups");
  } else if (q.code_type = SmallFloatKind(kind); q.code_type != DType::kUndefined) {
    q.kind = QuantKind::kSmallFloat;
    if (q.bits != DTypeBits(q.code_type)) {
      return InvalidArgument("bits = " + std::to_string(q.bits) + " but kind " + std::string(kind) +
                             " has " + std::to_string(DTypeBits(q.code_type)));
    }
  } else if (kind != "affine") {
    return InvalidArgument("unknown kind '" + std::string(kind) +
                           "'; expected affine, power_of_two, logarithmic, bipolar or the name of an 8- or "
                           "4-bit floating-point type");
  }
  q.zero_first = a.Int("zero_first", 0) != 0;
  q.saturate = a.Int("saturate", 1) != 0;
  if (const int64_t precision = a.Int("precision", 0);
      precision != 0 && precision != static_cast<int64_t>(DType::kFloat32)) {
    if (precision != static_cast<int64_t>(DType::kFloat16) &&
        precision != static_cast<int64_t>(DType::kBFloat16)) {
      return InvalidArgument("precision = " + std::to_string(precision) +
                             "; expected float32, float16 or bfloat16");
    }
    q.precision = static_cast<DType>(precision);
  }
  const auto rounding = RoundingFromName(a.String("rounding", "half_even"));
  if (!rounding) {
    std::string names;
    for (std::string_view name : kRoundingNames) names += " " + std::string(name);
    return InvalidArgument("unknown rounding '" + std::string(a.String("rounding", "")) +
                           "'; expected one of" + names);
  }
  q.rounding = *rounding;
  if (q.kind == QuantKind::kLogarithmic && (!q.is_signed || q.bits > 8 || q.bits < 2)) {
    return InvalidArgument("logarithmic codes are signed and have 2 to 8 bits");
  }
  if (q.bits <= 16) q.range = RangeOf(q.bits, q.is_signed, q.narrow);
  if (q.kind == QuantKind::kBipolar) q.range = {-1, 1};
  return q;
}

Status SlipwayQuantize(const OpContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const Operands o, Prepare(c, 16));
  SLIPWAY_ASSIGN_OR_RETURN(const ZeroPoints zeros, ReadZeroPoints(c));
  const TensorView& y = c.outputs[0];
  if (o.q.kind == QuantKind::kSmallFloat) {
    if (y.dtype != o.q.code_type) return NoKernel(y.dtype);
    bool known = false;
    Dispatch<float, Float16, BFloat16>(c.inputs[0].dtype, [&]<typename X>() {
      known = Dispatch<float, Float16, BFloat16>(
          c.inputs[1].dtype, [&]<typename S>() { QuantizeToFloat<X, S>(c, o); });
    });
    return known ? OkStatus() : NoKernel(c.inputs[0].dtype);
  }
  if (DTypeBits(y.dtype) < o.q.bits || IsSignedInteger(y.dtype) != o.q.is_signed) {
    return InvalidArgument(std::string(DTypeName(y.dtype)) + " cannot hold " +
                           std::to_string(o.q.bits) + "-bit " +
                           (o.q.is_signed ? "signed" : "unsigned") + " codes");
  }
  for (int64_t i = 0, n = c.Has(2) ? c.inputs[2].count() : 0; i < n; ++i) {
    if (zeros.At(i) < o.q.range.lo || zeros.At(i) > o.q.range.hi) {
      return InvalidArgument("zero_point " + std::to_string(zeros.At(i)) + " is no " +
                             std::to_string(o.q.bits) + "-bit code");
    }
  }
  bool done = false;
  auto run = [&]<typename X>() {
    Dispatch<float, Float16, BFloat16>(c.inputs[1].dtype, [&]<typename S>() {
      done = Dispatch<int8_t, uint8_t, int16_t, uint16_t>(
          y.dtype, [&]<typename Y>() { QuantizeRuns<X, S, Y>(c, o, zeros); });
    });
  };
  if (!Dispatch<float, Float16, BFloat16>(c.inputs[0].dtype, run))
    return NoKernel(c.inputs[0].dtype);
  return done ? OkStatus() : NoKernel(y.dtype);
}

Status SlipwayDequantize(const OpContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const Operands o, Prepare(c, 32));
  SLIPWAY_ASSIGN_OR_RETURN(const ZeroPoints zeros, ReadZeroPoints(c));
  const TensorView& y = c.outputs[0];
  if (y.dtype != c.inputs[1].dtype && y.dtype != DType::kFloat32) return NoKernel(y.dtype);
  bool done = false;
  if (o.q.kind == QuantKind::kSmallFloat) {
    if (c.inputs[0].dtype != o.q.code_type) return NoKernel(c.inputs[0].dtype);
    Dispatch<float, Float16, BFloat16>(c.inputs[1].dtype, [&]<typename S>() {
      done = Dispatch<float, Float16, BFloat16>(
          y.dtype, [&]<typename Y>() { DequantizeFromFloat<S, Y>(c, o); });
    });
    return done ? OkStatus() : NoKernel(y.dtype);
  }
  auto run = [&]<typename X>() {
    Dispatch<float, Float16, BFloat16>(c.inputs[1].dtype, [&]<typename S>() {
      done = Dispatch<float, Float16, BFloat16>(
          y.dtype, [&]<typename Y>() { DequantizeRuns<X, S, Y>(c, o, zeros); });
    });
  };
  if (!DispatchCodes(c.inputs[0].dtype, run)) return NoKernel(c.inputs[0].dtype);
  return done ? OkStatus() : NoKernel(y.dtype);
}

}  // namespace slipway::ops
