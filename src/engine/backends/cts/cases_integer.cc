// The integer operators of the quantization lowering.

#include <algorithm>
#include <cmath>

#include "engine/backends/cts/cases.h"

namespace slipway::cts {
namespace {

DType Code(Random& r) { return r.Pick({DType::kUInt8, DType::kInt8}); }
int64_t Zero(Random& r, DType t, double chance = 0.3) {
  if (!r.Chance(chance)) return 0;
  return t == DType::kUInt8 ? r.Int(1, 255) : r.Int(-128, 127);
}

// The output's type and range.
DType SetOutput(Maker& m, double zero_chance = 0.3) {
  Random& r = m.random();
  const DType y = r.Chance(0.15) ? DType::kFloat32 : Code(r);
  m.Set("to", static_cast<int64_t>(y));
  if (y == DType::kFloat32) return y;
  const int64_t zero = Zero(r, y, zero_chance);
  int64_t lo = y == DType::kUInt8 ? 0 : -128, hi = y == DType::kUInt8 ? 255 : 127;
  if (r.Chance(0.3)) lo = zero;
  if (r.Chance(0.2)) hi = r.Int(std::max(lo, zero), hi);
  if (r.Chance(0.2) && lo < -127 && hi >= -127) lo = -127;
  m.Set("y_zero_point", zero).Set("q_min", lo).Set("q_max", hi);
  return y;
}

void Multipliers(Maker& m, int64_t channels, int64_t depth) {
  const double s = 1.0 / (400.0 * std::sqrt(static_cast<double>(depth)));
  m.Floats(m.random().Chance(0.8) ? Dims{channels} : Dims{1}, s * 0.5, s * 2);
}

void Bias(Maker& m, int64_t channels, bool residual) {
  if (m.random().Chance(0.7)) {
    auto t = *ir::Tensor::Allocate(DType::kInt32, {channels});
    for (int64_t i = 0; i < channels; ++i)
      reinterpret_cast<int32_t*>(t.mutable_data())[i] =
          static_cast<int32_t>(m.random().Int(-20000, 20000));
    m.Constant(std::move(t));
  } else if (residual) {
    m.Absent();
  }
}

// An activation in a fifth of the cases; it wants real values, not codes.
void Activate(Maker& m, int64_t channels, int64_t depth) {
  if (!m.random().Chance(0.2)) return Multipliers(m, channels, depth);
  const double s = 1.0 / (4000.0 * std::sqrt(static_cast<double>(depth)));
  m.Floats(m.random().Chance(0.8) ? Dims{channels} : Dims{1}, s * 0.5, s * 2);
  SetActivation(m);
  m.Set("y_multiplier", static_cast<float>(m.random().Real(5, 40)));
  m.options().ties = true;
}

// Weights of 8 bits less a zero point.
ir::Tensor CentredCodes(Random& r, const Dims& dims) {
  auto t = *ir::Tensor::Allocate(DType::kInt16, dims);
  for (int64_t i = 0; i < t.count(); ++i)
    reinterpret_cast<int16_t*>(t.mutable_data())[i] = static_cast<int16_t>(r.Int(-255, 255));
  return t;
}

// Codes that keep an 8-bit result inside its range now and then: small multipliers do.
Case MakeQConv(Random& r, bool depthwise) {
  Maker m(r);
  const int spatial = r.Chance(0.1) ? 1 : !depthwise && r.Chance(0.05) ? 3 : 2;
  const RandomWindow w = MakeWindow(r, spatial, depthwise ? 8 : 6, true);
  int64_t group = 1, cin = r.Int(1, 40), cout = r.Int(1, 40);
  if (depthwise) group = cin = cout = r.Chance(0.5) ? 8 * r.Int(1, 20) : r.Int(1, 90);
  switch (depthwise ? -1 : r.Int(0, 4)) {
    case 0:
      cin = 16 * r.Int(1, 3), cout = 16 * r.Int(1, 3);
      break;
    case 1:
      group = cin = cout = r.Chance(0.5) ? 16 * r.Int(1, 3) : r.Int(2, 20);
      break;
    case 2:
      group = r.Int(2, 6), cin = group * r.Pick<int64_t>({3, 4, 8, 16});
      cout = group * r.Pick<int64_t>({cin / group, 16, 24, 32});
      break;
    case 3:  // several panels of columns
      cout = r.Int(49, 150);
      break;
    default:
      break;
  }
  SymShape x{r.Chance(0.7) ? BatchSymbol() : Dim(1), Dim(cin)}, y{x[0], Dim(cout)};
  Dims wd{cout, cin / group};
  for (size_t d = 0; d < w.kernel.size(); ++d) {
    const int64_t size = depthwise ? r.Int(8, 20) : r.Int(6, 13),
                  span = (w.kernel[d] - 1) * w.dilations[d] + 1;
    x.push_back(size);
    wd.push_back(w.kernel[d]);
    y.push_back((size + w.pads[d] + w.pads[d + w.kernel.size()] - span) / w.strides[d] + 1);
  }
  const DType xt = Code(r);
  m.Input(xt, x).Constant(r.Chance(0.1) ? CentredCodes(r, wd) : m.RandomCodes(DType::kInt8, wd));
  Activate(m, cout, wd.count(1, wd.rank()));
  const bool residual = r.Chance(0.35);
  Bias(m, cout, residual);
  if (residual) {
    const DType z = Code(r);
    m.Input(z, y)
        .Set("z_multiplier", static_cast<float>(r.Real(0.2, 1.2)))
        .Set("z_zero_point", Zero(r, z));
  }
  m.Set("x_zero_point", Zero(r, xt)).Set("group", group);
  m.Set("kernel_shape", w.kernel)
      .Set("strides", w.strides)
      .Set("pads", w.pads)
      .Set("dilations", w.dilations);
  SetOutput(m);
  return m.Node("QConv", "slipway");
}
Case QConv(Random& r) { return MakeQConv(r, false); }
Case QDepthwise(Random& r) { return MakeQConv(r, true); }

Case QLinear(Random& r) {
  Maker m(r);
  const int64_t k = r.Int(1, 90), n = r.Int(1, 70);
  SymShape x{r.Chance(0.7) ? BatchSymbol() : Dim(2)}, y;
  for (int64_t i = r.Int(0, 2); i > 0; --i) x.push_back(r.Int(1, 7));
  y = x;
  x.push_back(k);
  y.push_back(n);
  const bool trans = r.Chance(0.5), residual = r.Chance(0.3);
  const DType xt = Code(r);
  const Dims wd = trans ? Dims{n, k} : Dims{k, n};
  m.Input(xt, x).Constant(r.Chance(0.1) ? CentredCodes(r, wd) : m.RandomCodes(DType::kInt8, wd));
  Activate(m, n, k);
  Bias(m, n, residual);
  if (residual) {
    const DType z = Code(r);
    m.Input(z, y)
        .Set("z_multiplier", static_cast<float>(r.Real(0.2, 1.2)))
        .Set("z_zero_point", Zero(r, z));
  }
  m.Set("x_zero_point", Zero(r, xt)).Set("transW", int64_t{trans});
  SetOutput(m);
  return m.Node("QLinear", "slipway");
}

Case QMatMul(Random& r) {
  Maker m(r);
  const int64_t rows = r.Int(1, 30), k = r.Int(1, 90), n = r.Int(1, 70);
  SymShape a, b;
  if (r.Chance(0.8)) {
    a.push_back(r.Chance(0.6) ? BatchSymbol() : Dim(2));
    b = r.Chance(0.7) ? a : SymShape{Dim(1)};
    if (r.Chance(0.5)) {
      const Dim heads(r.Int(2, 4));
      a.push_back(heads);
      b.push_back(r.Chance(0.7) ? heads : Dim(1));
    }
    if (r.Chance(0.15)) b.clear();
  }
  a.insert(a.end(), {Dim(rows), Dim(k)});
  b.insert(b.end(), {Dim(k), Dim(n)});
  const DType at = Code(r), bt = Code(r);
  m.Input(at, a).Input(bt, b);
  m.Set("a_zero_point", Zero(r, at)).Set("b_zero_point", Zero(r, bt));
  m.Set("multiplier",
        static_cast<float>(r.Real(0.3, 1.5) / (80 * std::sqrt(static_cast<double>(k)))));
  SetOutput(m);
  return m.Node("QMatMul", "slipway");
}

// In the order of a model, or with heads that stay where they are in rows.
Case QAttention(Random& r) {
  Maker m(r);
  const DType qt = Code(r), kt = Code(r), vt = Code(r), pt = Code(r);
  const int64_t rows = r.Chance(0.2) ? r.Int(60, 130) : r.Int(1, 30), keys = r.Int(1, 70),
                k = r.Int(1, 40), d = r.Int(1, 40), heads = r.Int(1, 4);
  const Dim batch = r.Chance(0.6) ? BatchSymbol() : Dim(2);
  const bool inside = r.Chance(0.5);  // [batch, length, heads, size]
  const auto input = [&](DType type, int64_t length, int64_t size) {
    m.Input(type, inside ? SymShape{batch, Dim(length), Dim(heads), Dim(size)}
                         : SymShape{batch, Dim(heads), Dim(length), Dim(size)});
  };
  const bool turned = inside || r.Chance(0.5);  // keys as rows
  input(qt, rows, k);
  input(kt, turned ? keys : k, turned ? k : keys);
  input(vt, keys, d);
  using Ints = std::vector<int64_t>;
  if (inside) {
    m.Set("q_perm", Ints{0, 2, 1, 3}).Set("v_perm", Ints{0, 2, 1, 3});
    m.Set("y_perm", Ints{0, 2, 1, 3}).Set("k_perm", Ints{0, 2, 3, 1});
  } else if (turned) {
    m.Set("k_perm", Ints{0, 1, 3, 2});
  }
  const bool masked = r.Chance(0.3);
  if (masked || r.Chance(0.4)) m.Floats({heads, r.Chance(0.7) ? rows : 1, keys}, -2, 2);
  if (masked) {
    m.Floats({rows, keys}, -3, 0);
    m.Set("t_scale", 0.11f).Set("t_multiplier", 0.13f).Set("t_zero_point", int64_t{4});
  }
  if (r.Chance(0.5)) m.Set("s_scale", 0.07f).Set("s_zero_point", int64_t{-9});
  m.Set("q_zero_point", Zero(r, qt)).Set("k_zero_point", Zero(r, kt));
  m.Set("v_zero_point", Zero(r, vt)).Set("p_zero_point", Zero(r, pt));
  if (pt == DType::kUInt8) m.Set("p_q_min", int64_t{0}).Set("p_q_max", int64_t{255});
  m.Set("p_to", static_cast<int64_t>(pt)).Set("p_scale", static_cast<float>(r.Real(0.004, 0.03)));
  m.Set("s_multiplier",
        static_cast<float>(r.Real(0.3, 1.5) / (800 * std::sqrt(static_cast<double>(k)))));
  // Codes of the softmax may differ by one: their products then do where few make an output.
  m.Set("multiplier", static_cast<float>(r.Real(0.2, 0.4) / 128));
  m.options().ties = true;
  while (SetOutput(m) == DType::kFloat32) {
  }
  return m.Node("QAttention", "slipway");
}

Case QLayerNorm(Random& r) {
  Maker m(r);
  const int64_t n = r.Int(1, 100);
  const SymShape s{r.Chance(0.6) ? BatchSymbol() : Dim(2), Dim(r.Int(1, 9)), Dim(n)};
  const bool sums = r.Chance(0.5), weighted = r.Chance(0.5);
  const DType a = sums ? Code(r) : DType::kFloat32;
  m.Input(a, s);
  if (weighted) {
    m.Floats({n}, -2, 2);
  } else if (sums) {
    m.Absent();
  }
  if (sums) {
    const DType b = Code(r);
    m.Input(b, s).Set("a_zero_point", Zero(r, a)).Set("b_zero_point", Zero(r, b));
    m.Set("a_multiplier", static_cast<float>(r.Real(0.01, 0.03)));
    m.Set("b_multiplier", static_cast<float>(r.Real(0.01, 0.03)));
  }
  m.Set("epsilon", 1e-3f).Set("scale", static_cast<float>(r.Real(0.01, 0.05)));
  if (r.Chance(0.5)) m.Set("v_scale", static_cast<float>(r.Real(0.01, 0.05)));
  m.options().ties = true;
  while (SetOutput(m) == DType::kFloat32) {
  }
  return m.Node("QLayerNorm", "slipway");
}

SymShape Shape(Random& r) {
  SymShape s{r.Chance(0.6) ? BatchSymbol() : Dim(r.Int(1, 3)),
             Dim(r.Chance(0.5) ? 16 * r.Int(1, 3) : r.Int(1, 40))};
  for (int64_t i = r.Int(0, 2); i > 0; --i) s.push_back(r.Int(1, 12));
  return s;
}

Case QBinary(Random& r, const char* op) {
  Maker m(r);
  const SymShape s = Shape(r);
  SymShape t = s;
  if (r.Chance(0.3)) {
    for (size_t i = 0; i < t.size(); ++i) {
      if (i != 1) t[i] = 1;
    }
  }
  const DType a = Code(r), b = Code(r);
  m.Input(a, s).Input(b, t).Set("a_zero_point", Zero(r, a)).Set("b_zero_point", Zero(r, b));
  if (std::string(op) == "QAdd") {
    m.Set("a_multiplier", static_cast<float>(r.Real(0.2, 1.2)))
        .Set("b_multiplier", static_cast<float>(r.Real(0.2, 1.2)));
  } else {
    m.Set("multiplier", static_cast<float>(r.Real(0.002, 0.02)));
  }
  SetOutput(m);
  return m.Node(op, "slipway");
}
Case QAdd(Random& r) { return QBinary(r, "QAdd"); }
Case QMul(Random& r) { return QBinary(r, "QMul"); }

Case QRescale(Random& r) {
  Maker m(r);
  const DType x = Code(r);
  m.Input(x, Shape(r))
      .Set("multiplier", static_cast<float>(r.Real(0.1, 2)))
      .Set("x_zero_point", Zero(r, x));
  SetOutput(m);
  return m.Node("QRescale", "slipway");
}

Case QAffine(Random& r) {
  Maker m(r);
  const int spatial = static_cast<int>(r.Int(1, 2));
  const int64_t axis = r.Chance(0.7) ? 1 : spatial + 1;
  SymShape s{r.Chance(0.6) ? BatchSymbol() : Dim(r.Int(1, 3)), Dim(r.Int(1, 20))};
  for (int i = 0; i < spatial; ++i) s.push_back(Dim(r.Int(1, 12)));
  std::vector<int64_t> pieces;
  int64_t channels = 0;
  for (int64_t i = r.Int(1, 4); i > 0; --i) {
    pieces.push_back(r.Chance(0.5) ? 16 * r.Int(1, 3) : r.Int(1, 70));
    channels += pieces.back();
  }
  m.Floats(r.Chance(0.8) ? Dims{channels} : Dims{1}, -1.2, 1.2);
  m.Floats(r.Chance(0.8) ? Dims{channels} : Dims{1}, -30, 30);
  for (int64_t n : pieces) {
    s[static_cast<size_t>(axis)] = Dim(n);
    m.Input(Code(r), s);
  }
  m.Set("axis", axis);
  SetOutput(m);
  return m.Node("QAffine", "slipway");
}

Case QLookup(Random& r) {
  Maker m(r);
  SymShape s = Shape(r);
  const size_t axis = r.Chance(0.5) || s.size() < 2 ? s.size() - 1 : 1;
  const bool each = r.Chance(0.6);
  if (each && r.Chance(0.5)) s[axis] = Dim(r.Int(1, 150));
  if (each && r.Chance(0.3)) s[0] = Dim(r.Int(20, 200));
  const bool constant = s[axis].known();
  m.Input(Code(r), s)
      .Constant(m.RandomCodes(Code(r), each && constant ? Dims{s[axis].value(), 256} : Dims{256}));
  if (each && constant) m.Set("axis", static_cast<int64_t>(axis));
  return m.Node("QLookup", "slipway");
}

Case QAveragePool(Random& r) {
  Maker m(r);
  const DType xt = Code(r);
  SymShape x{r.Chance(0.7) ? BatchSymbol() : Dim(1),
             Dim(r.Chance(0.5) ? 16 * r.Int(1, 3) : r.Int(1, 21)), Dim(r.Int(6, 13)),
             Dim(r.Int(6, 13))};
  m.Input(xt, x)
      .Set("x_zero_point", Zero(r, xt))
      .Set("multiplier", static_cast<float>(r.Real(0.3, 1.5)));
  if (r.Chance(0.5)) {
    m.Set("global", int64_t{1});
  } else {
    const RandomWindow w = MakeWindow(r, 2, 6, false);
    m.Set("kernel_shape", w.kernel)
        .Set("strides", w.strides)
        .Set("pads", w.pads)
        .Set("ceil_mode", r.Int(0, 1))
        .Set("count_include_pad", r.Int(0, 1));
  }
  SetOutput(m);
  return m.Node("QAveragePool", "slipway");
}

// Floats that are rounded on the way.
Case RoundedMeans(Random& r) {
  Maker m(r);
  const bool is_signed = r.Chance(0.5);
  m.Input(DType::kFloat32, {r.Chance(0.7) ? BatchSymbol() : Dim(1), Dim(r.Int(1, 150)),
                            Dim(r.Int(1, 13)), Dim(r.Int(1, 13))});
  m.Set("global", int64_t{1})
      .Set("multiplier", static_cast<float>(r.Real(0.3, 1.5)))
      .Set("x_scale", static_cast<float>(r.Real(0.005, 0.1)))
      .Set("x_q_min", int64_t{is_signed ? -128 : 0})
      .Set("x_q_max", int64_t{is_signed ? 127 : 255})
      .Set("x_zero_point", is_signed ? r.Int(-20, 20) : r.Int(0, 200));
  SetOutput(m);
  return m.Node("QAveragePool", "slipway");
}

Case QResize(Random& r) {
  Maker m(r);
  const DType t = Code(r);
  m.Input(t, ResizeShape(r));
  RandomResize(m, r.Chance(0.1));
  const int64_t zero = Zero(r, t, 0.5);
  m.Set("x_zero_point", zero);
  const DType y = SetOutput(m);
  m.Set("multiplier", static_cast<float>(r.Real(0.3, 1.5)));
  if (y == t && r.Chance(0.6))  // the same codes
    m.Set("multiplier", 1.0f).Set("y_zero_point", zero);
  return m.Node("QResize", "slipway");
}

Case Quantize(Random& r) {
  Maker m(r);
  SymShape s = Shape(r);
  if (r.Chance(0.3)) s[1] = Dim(r.Int(1, 4));  // images
  const bool is_signed = r.Chance(0.5), channel = r.Chance(0.4);
  const DType t = is_signed ? DType::kInt8 : DType::kUInt8;
  const int64_t count = channel ? s[1].value() : 1;
  m.options().low = -5;
  m.options().high = 5;
  m.Input(DType::kFloat32, s).Floats(channel ? Dims{count} : Dims{}, 0.01, 0.05);
  if (r.Chance(0.5)) {
    auto zero = *ir::Tensor::Allocate(t, channel ? Dims{count} : Dims{});
    for (int64_t i = 0; i < count; ++i)
      zero.mutable_data()[i] = static_cast<uint8_t>(is_signed ? r.Int(-100, 100) : r.Int(0, 255));
    m.Constant(std::move(zero));
  }
  m.Set("signed", int64_t{is_signed}).Set("axis", int64_t{1});
  if (r.Chance(0.2)) m.Set("narrow", int64_t{1});
  if (r.Chance(0.1)) m.Set("rounding", std::string("half_away"));
  return m.Node("Quantize", "slipway");
}

Case Dequantize(Random& r) {
  Maker m(r);
  const SymShape s = Shape(r);
  const DType t = Code(r);
  const bool channel = r.Chance(0.4);
  const int64_t count = channel ? s[1].value() : 1;
  m.Input(t, s).Floats(channel ? Dims{count} : Dims{}, 0.01, 0.05);
  if (r.Chance(0.5)) m.Constant(m.RandomCodes(t, channel ? Dims{count} : Dims{}));
  m.Set("signed", int64_t{t == DType::kInt8}).Set("axis", int64_t{1});
  return m.Node("Dequantize", "slipway");
}

constexpr Family kFamilies[] = {
    {"QConv", QConv},
    {"QDepthwise", QDepthwise},
    {"QLinear", QLinear},
    {"QMatMul", QMatMul},
    {"QAttention", QAttention},
    {"QLayerNorm", QLayerNorm},
    {"QAffine", QAffine},
    {"QAdd", QAdd},
    {"QMul", QMul},
    {"QRescale", QRescale},
    {"QLookup", QLookup},
    {"QAveragePool", QAveragePool},
    {"RoundedMeans", RoundedMeans},
    {"QResize", QResize},
    {"Quantize", Quantize},
    {"Dequantize", Dequantize},
};

}  // namespace

std::span<const Family> IntegerFamilies() { return kFamilies; }

std::span<const Family> Families() {
  static const std::vector<Family>* all = [] {
    auto* list = new std::vector<Family>;
    for (auto part :
         {LinearFamilies(), ElementwiseFamilies(), MovementFamilies(), IntegerFamilies()})
      list->insert(list->end(), part.begin(), part.end());
    return list;
  }();
  return *all;
}

}  // namespace slipway::cts
