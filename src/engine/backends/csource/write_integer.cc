// Calls of the integer operators: operators.inc has their contract.

#include <algorithm>

#include "engine/backends/csource/writer.h"
#include "model/ops/activation.h"
#include "model/ops/quantize.h"

namespace slipway::backends::csource {
namespace {

Status NeedCodes(const SourceWriter& w, std::initializer_list<size_t> inputs) {
  for (const size_t i : inputs) {
    if (w.Has(i) && !IsCode(w.In(i).dtype))
      return Unsupported(std::string(DTypeName(w.In(i).dtype)) + " inputs");
  }
  const DType y = w.Out().dtype;
  if (!IsCode(y) && y != DType::kFloat32)
    return Unsupported(std::string(DTypeName(y)) + " outputs");
  return OkStatus();
}

// The fields of sw_rounding. `second`: what has z's zero point (the residual, or QMatMul's b).
Result<std::string> Rounding(SourceWriter& w, const std::string& bias,
                             const std::string& multiplier, bool per_channel, const char* x_zero,
                             size_t second, const char* z_zero) {
  const auto& a = w.op.attributes;
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation activation, ops::ParseActivation(a));
  const int64_t x_flip = Flip(w.In(0).dtype), z_flip = w.Has(second) ? Flip(w.In(second).dtype) : 0;
  return bias + ", " + multiplier + ", " + (per_channel ? "1" : "0") + ", " + Number(x_flip) +
         ", " + Number(a.Int(x_zero, 0) + x_flip) + ", " + Number(z_flip) + ", " +
         Number(a.Int(z_zero, 0) + z_flip) + ", " + Number(a.Float("z_multiplier", 0)) + ", " +
         Number(static_cast<int64_t>(activation.kind)) + ", " + Number(activation.a) + ", " +
         Number(activation.b) + ", " + Number(a.Float("y_multiplier", 1)) + ", {" + Target(w) + "}";
}

// The inputs that QConv and QLinear share. Unsupported: weights that are no constant int8.
Status Product(SourceWriter& w, int64_t channels, std::string* rounding) {
  SLIPWAY_RETURN_IF_ERROR(NeedCodes(w, {0, 4}));
  if (w.In(1).kind != format::TensorKind::kConstant || w.In(1).dtype != DType::kInt8)
    return Unsupported("weights that are no constant int8 codes");
  const auto multiplier = w.Floats(2);
  if (multiplier.size() != 1 && static_cast<int64_t>(multiplier.size()) != channels)
    return InvalidArgument("multipliers that do not fit the channels");
  std::string bias = "0";
  if (w.Has(3)) {
    const auto values = w.Ints(3);
    if (static_cast<int64_t>(values.size()) != channels)
      return InvalidArgument("a bias that does not fit the channels");
    bias = w.Int32Array(values);
  }
  SLIPWAY_ASSIGN_OR_RETURN(
      *rounding, Rounding(w, bias, w.FloatArray(multiplier), multiplier.size() > 1, "x_zero_point",
                          4, "z_zero_point"));
  return OkStatus();
}

Status QConv(SourceWriter& w) {
  const Dims weights = w.Shape(w.In(1));
  std::string rounding;
  SLIPWAY_RETURN_IF_ERROR(Product(w, weights[0], &rounding));
  SLIPWAY_ASSIGN_OR_RETURN(
      const std::string window,
      WindowFields(w, std::span(weights).subspan(2), weights[0], w.op.attributes.Int("group", 1)));
  const PackedCodes packed = PackCodes(w, w.Ints(1), weights[0]);
  const int64_t depth = weights.count() / std::max<int64_t>(1, weights[0]);
  const bool dense = depth >= 24;  // else gathering the inputs costs more than it saves
  if (dense) w.NeedDepth(depth);
  const std::string name = (dense ? "qdense" : "qconv") + std::to_string(packed.bits);
  w.Need(name);
  w.Call("sw_" + name,
         {w.Struct("sw_window", window), w.Struct("sw_rounding", rounding), w.Input(0, "uint8_t"),
          packed.codes, packed.low, w.InputOrNull(4, "uint8_t"), w.Output("void")});
  return OkStatus();
}

Status QLinear(SourceWriter& w) {
  const Dims x = w.Shape(w.In(0)), y = w.Shape(w.Out());
  const int64_t k = x.back(), n = y.back();
  std::string rounding;
  SLIPWAY_RETURN_IF_ERROR(Product(w, n, &rounding));
  std::vector<int64_t> codes = w.Ints(1);
  if (w.op.attributes.Int("transW", 0) == 0) {
    const auto from = codes;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < k; ++j)
        codes[static_cast<size_t>(i * k + j)] = from[static_cast<size_t>(j * n + i)];
    }
  }
  const PackedCodes packed = PackCodes(w, codes, n);
  w.NeedDepth(k);
  const std::string name = "qlinear" + std::to_string(packed.bits);
  w.Need(name);
  w.Call("sw_" + name, {Number(y.count() / n), Number(k), Number(n),
                        w.Struct("sw_rounding", rounding), w.Input(0, "uint8_t"), packed.codes,
                        packed.low, w.InputOrNull(4, "uint8_t"), w.Output("void")});
  return OkStatus();
}

Status QMatMul(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedCodes(w, {0, 1}));
  const Dims a = w.Shape(w.In(0)), b = w.Shape(w.In(1)), y = w.Shape(w.Out());
  const std::vector<float> multiplier = {w.op.attributes.Float("multiplier", 1)};
  SLIPWAY_ASSIGN_OR_RETURN(
      const std::string rounding,
      Rounding(w, "0", w.FloatArray(multiplier), false, "a_zero_point", 1, "b_zero_point"));
  std::vector<int64_t> offsets;
  const int64_t m = a[a.size() - 2], k = a.back(), n = b.back();
  MatrixOffsets(a, b, y, &offsets);
  w.Need("qmatmul");
  w.Call("sw_qmatmul", {Number(static_cast<int64_t>(offsets.size() / 2)), w.Int32Array(offsets),
                        Number(m), Number(k), Number(n), w.Struct("sw_rounding", rounding),
                        w.Input(0, "uint8_t"), w.Input(1, "uint8_t"), w.Output("void")});
  return OkStatus();
}

Status QBinary(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedCodes(w, {0, 1}));
  const auto& a = w.op.attributes;
  const bool mul = w.op.op == "QMul";
  const int64_t fa = Flip(w.In(0).dtype), fb = Flip(w.In(1).dtype);
  w.Need("qadd");
  w.Call("sw_qbinary",
         {w.Struct("sw_nd", BroadcastFields(w.Shape(w.Out()), w.Shape(w.In(0)), w.Shape(w.In(1)))),
          w.Struct("sw_pair", std::string(mul ? "1" : "0") + ", " + Number(fa) + ", " +
                                  Number(a.Int("a_zero_point", 0) + fa) + ", " + Number(fb) + ", " +
                                  Number(a.Int("b_zero_point", 0) + fb) + ", " +
                                  Number(a.Float(mul ? "multiplier" : "a_multiplier", 1)) + ", " +
                                  Number(a.Float("b_multiplier", 1)) + ", {" + Target(w) + "}"),
          w.Input(0, "uint8_t"), w.Input(1, "uint8_t"), w.Output("void")});
  return OkStatus();
}

Status QRescale(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedCodes(w, {0}));
  const int64_t flip = Flip(w.In(0).dtype);
  w.Need("qrescale");
  w.Call("sw_qrescale",
         {Number(w.Shape(w.In(0)).count()), Number(flip),
          Number(w.op.attributes.Int("x_zero_point", 0) + flip),
          Number(w.op.attributes.Float("multiplier", 1)), w.Struct("sw_target", Target(w)),
          w.Input(0, "uint8_t"), w.Output("void")});
  return OkStatus();
}

Status QLookup(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedCodes(w, {0}));
  const Dims x = w.Shape(w.In(0)), table = w.Shape(w.In(1));
  int64_t channels = 1, inner = 1;
  if (table.rank() == 2) {
    const int64_t axis = Axis(w.op.attributes.Int("axis", -1), x.rank());
    channels = x[static_cast<size_t>(axis)];
    inner = x.count(static_cast<int>(axis) + 1, x.rank());
  }
  w.Need("qlookup");
  w.Call("sw_qlookup", {Number(x.count()), Number(channels), Number(inner),
                        w.Out().dtype == DType::kFloat32 ? "4" : "1", w.Input(1, "void"),
                        w.Input(0, "uint8_t"), w.Output("void")});
  return OkStatus();
}

Status QAveragePool(SourceWriter& w) {
  SLIPWAY_RETURN_IF_ERROR(NeedCodes(w, {0}));
  const auto& a = w.op.attributes;
  const Dims x = w.Shape(w.In(0));
  const int64_t flip = Flip(w.In(0).dtype);
  std::string window, pad_end = "{0, 0, 0}";
  if (a.Int("global", 0) != 0) {
    window = GlobalWindow(x);
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(window, WindowFields(w, {}, x[1], 1, &pad_end));
  }
  w.Need("qaverage");
  w.Call("sw_qaverage",
         {w.Struct("sw_window", window), Number(a.Int("count_include_pad", 0)),
          w.Array("int32_t", pad_end, 3, 4), Number(flip), Number(a.Int("x_zero_point", 0) + flip),
          Number(a.Float("multiplier", 1)), w.Struct("sw_target", Target(w)), w.Input(0, "uint8_t"),
          w.Output("void")});
  return OkStatus();
}

Status QAffine(SourceWriter& w) {
  const Dims y = w.Shape(w.Out());
  const auto axis = static_cast<size_t>(Axis(w.op.attributes.Int("axis", 1), y.rank()));
  const auto multiplier = w.Floats(0), offset = w.Floats(1);
  if (multiplier.empty() || offset.empty()) return Unsupported("multipliers that are no constant");
  int64_t first = 0;
  for (size_t i = 2; i < w.step->inputs.size(); ++i) {
    SLIPWAY_RETURN_IF_ERROR(NeedCodes(w, {i}));
    const int64_t own = w.Shape(w.In(i))[axis];
    w.Need("qaffine");
    w.Call("sw_qaffine",
           {Number(y.count(0, static_cast<int>(axis))), Number(own), Number(y[axis]), Number(first),
            Number(y.count(static_cast<int>(axis) + 1, y.rank())), Number(Flip(w.In(i).dtype)),
            w.FloatArray(multiplier), multiplier.size() > 1 ? "1" : "0", w.FloatArray(offset),
            offset.size() > 1 ? "1" : "0", w.Struct("sw_target", Target(w)), w.Input(i, "uint8_t"),
            w.Output("void")});
    first += own;
  }
  return OkStatus();
}

// Quantize and Dequantize of affine codes, with constant parameters.
Status Codes(SourceWriter& w) {
  const bool quantize = w.op.op == "Quantize";
  SLIPWAY_ASSIGN_OR_RETURN(const ops::QuantParams q, ops::ParseQuant(w.op.attributes, 32));
  const DType codes = quantize ? w.Out().dtype : w.In(0).dtype,
              real = quantize ? w.In(0).dtype : w.Out().dtype;
  const auto scale = w.Floats(1);
  if ((q.kind != ops::QuantKind::kAffine && q.kind != ops::QuantKind::kPowerOfTwo) ||
      q.group != 0 || q.zero_first || q.precision != DType::kUndefined || !IsCode(codes) ||
      real != DType::kFloat32 || scale.empty() ||
      (quantize && q.rounding != ops::QuantRounding::kHalfEven))
    return Unsupported(
        "other codes than affine ones of up to 8 bits with constant scales, rounded half to even");
  const Dims x = w.Shape(w.In(0));
  int64_t outer = 1, channels = 1, inner = x.count();
  if (scale.size() > 1) {
    const auto axis = static_cast<size_t>(Axis(q.axis, x.rank()));
    if (axis >= x.size() || x[axis] != static_cast<int64_t>(scale.size()))
      return InvalidArgument("scales that do not fit the axis");
    outer = x.count(0, static_cast<int>(axis));
    channels = x[axis];
    inner = x.count(static_cast<int>(axis) + 1, x.rank());
  }
  std::vector<int64_t> zero = w.Ints(2);
  zero.resize(scale.size(), zero.size() == 1 ? zero[0] : 0);
  const int64_t flip = Flip(codes);
  if (!quantize) {
    for (int64_t& z : zero) z += flip;
  }
  const std::string each = scale.size() > 1 ? "1" : "0";
  if (quantize) {
    w.Need("quantize");
    w.Call("sw_quantize", {Number(outer), Number(channels), Number(inner), w.FloatArray(scale),
                           w.Int32Array(zero), each, Number(int64_t{q.range.lo}),
                           Number(int64_t{q.range.hi}), w.Input(0, "float"), w.Output("uint8_t")});
  } else {
    w.Need("dequantize");
    w.Call("sw_dequantize",
           {Number(outer), Number(channels), Number(inner), w.FloatArray(scale), w.Int32Array(zero),
            each, Number(flip), w.Input(0, "uint8_t"), w.Output("float")});
  }
  return OkStatus();
}

constexpr Row kRows[] = {
    {"slipway", "QConv", QConv},      {"slipway", "QLinear", QLinear},
    {"slipway", "QMatMul", QMatMul},  {"slipway", "QAdd", QBinary},
    {"slipway", "QMul", QBinary},     {"slipway", "QRescale", QRescale},
    {"slipway", "QLookup", QLookup},  {"slipway", "QAveragePool", QAveragePool},
    {"slipway", "QAffine", QAffine},  {"slipway", "Quantize", Codes},
    {"slipway", "Dequantize", Codes},
};

}  // namespace

PackedCodes PackCodes(SourceWriter& w, const std::vector<int64_t>& codes, int64_t outputs) {
  const size_t each = codes.size() / static_cast<size_t>(std::max<int64_t>(1, outputs));
  std::vector<int64_t> low;
  int64_t widest = 0;
  for (size_t o = 0; each > 0 && o < static_cast<size_t>(outputs); ++o) {
    const auto first = codes.begin() + static_cast<std::ptrdiff_t>(o * each);
    const auto [lo, hi] = std::minmax_element(first, first + static_cast<std::ptrdiff_t>(each));
    low.push_back(*lo);
    widest = std::max(widest, *hi - *lo);
  }
  PackedCodes out;
  out.bits = widest > 15 || low.empty() ? 8 : widest > 3 ? 4 : 2;
  const auto per = static_cast<size_t>(8 / out.bits);
  std::vector<uint8_t> bytes((codes.size() + per - 1) / per, 0);
  for (size_t i = 0; i < codes.size(); ++i) {
    const int64_t code = out.bits == 8 ? codes[i] & 255 : codes[i] - low[i / each];
    bytes[i / per] =
        static_cast<uint8_t>(bytes[i / per] | (code << (i % per * static_cast<size_t>(out.bits))));
  }
  out.codes = w.ByteArray(bytes, out.bits == 8);
  if (out.bits < 8) {
    std::vector<uint8_t> narrow;
    for (const int64_t v : low) narrow.push_back(static_cast<uint8_t>(v & 255));
    out.low = w.ByteArray(narrow, true);
  }
  return out;
}

std::string Target(const SourceWriter& w) {
  const auto& a = w.op.attributes;
  return std::string(w.Out().dtype == DType::kFloat32 ? "1" : "0") + ", " +
         Number(a.Int("y_zero_point", 0)) + ", " + Number(a.Int("q_min", -128)) + ", " +
         Number(a.Int("q_max", 127));
}

std::span<const Row> IntegerRows() { return kRows; }

}  // namespace slipway::backends::csource
