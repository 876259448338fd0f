// Convolution, linear algebra, pooling, normalisation.

#include <cmath>

#include "engine/backends/cts/cases.h"

namespace slipway::cts {

void SetActivation(Maker& m) {
  const std::string name =
      m.random().Pick({"none", "Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish",
                       "Swish", "Gelu", "GeluTanh", "Tanh", "Elu"});
  m.Set("activation", name);
  if (name == "Clip")
    m.Set("activation_params", std::vector<float>{m.random().Chance(0.5) ? 0.f : -0.5f, 6.f});
  if (name == "HardSigmoid") m.Set("activation_params", std::vector<float>{0.2f, 0.5f});
  if (name == "LeakyRelu" || name == "Elu" || name == "Swish")
    m.Set("activation_params", std::vector<float>{0.3f});
}

RandomWindow MakeWindow(Random& random, int spatial, int64_t smallest, bool dilate) {
  RandomWindow w;
  std::vector<int64_t> ends;
  for (int d = 0; d < spatial; ++d) {
    int64_t k = random.Pick<int64_t>({1, 2, 3, 3, 5, 7}),
            dilation = dilate && random.Chance(0.2) ? 2 : 1;
    while ((k - 1) * dilation + 1 > smallest) k = std::max<int64_t>(1, k - 2), dilation = 1;
    w.kernel.push_back(k);
    w.dilations.push_back(dilation);
    w.strides.push_back(random.Pick<int64_t>({1, 1, 2, 3}));
    w.pads.push_back(random.Int(0, k / 2));
    ends.push_back(random.Int(0, k / 2));
  }
  w.pads.insert(w.pads.end(), ends.begin(), ends.end());
  return w;
}

namespace {

void SetWindow(Maker& m, const RandomWindow& w, bool dilations) {
  m.Set("kernel_shape", w.kernel).Set("strides", w.strides).Set("pads", w.pads);
  if (dilations) m.Set("dilations", w.dilations);
}

struct Channels {
  int64_t group, in, out;
};
Channels MakeChannels(Random& r) {
  switch (r.Int(0, 4)) {
    case 0:
      return {1, r.Int(1, 20), r.Int(1, 20)};
    case 1:
      return {1, 16 * r.Int(1, 3), 16 * r.Int(1, 3)};
    case 2: {
      const int64_t c = r.Chance(0.5) ? 16 * r.Int(1, 3) : r.Int(2, 20);
      return {c, c, c};  // depthwise
    }
    case 3: {
      const int64_t g = r.Int(2, 4), f = r.Pick<int64_t>({1, 4, 8, 16});
      return {g, g * f, g * f * r.Int(1, 2)};
    }
    default:
      return {1, 3, 16 * r.Int(1, 3)};
  }
}

Case MakeConv(Random& r, bool fused, bool depthwise = false) {
  Maker m(r);
  const int spatial = r.Chance(0.15) ? 1 : r.Chance(0.05) ? 3 : 2;
  Channels c = MakeChannels(r);
  if (depthwise) c.group = c.in = c.out = r.Chance(0.6) ? 8 * r.Int(1, 8) : r.Int(1, 40);
  SymShape x{r.Chance(0.7) ? BatchSymbol() : Dim(1), Dim(c.in)};
  Dims w{c.out, c.in / c.group};
  const int64_t smallest = depthwise ? 8 : 6;
  RandomWindow window = MakeWindow(r, spatial, smallest, true);
  for (int d = 0; d < spatial; ++d) {
    x.push_back(r.Int(smallest, 15));
    w.push_back(window.kernel[static_cast<size_t>(d)]);
  }
  const bool half = depthwise && r.Chance(0.4);
  const DType type = half ? DType::kBFloat16 : DType::kFloat32;
  if (half) m.Half();
  m.Input(type, x).Floats(w, -0.5, 0.5);
  const bool residual = fused && r.Chance(0.4);
  if (r.Chance(0.7)) {
    m.Floats({c.out});
  } else if (residual) {
    m.Absent();
  }
  if (residual) {
    SymShape y{x[0], Dim(c.out)};
    for (size_t d = 0; d < window.kernel.size(); ++d) {
      const int64_t span = (window.kernel[d] - 1) * window.dilations[d] + 1;
      y.push_back(
          (x[d + 2].value() + window.pads[d] + window.pads[d + window.kernel.size()] - span) /
              window.strides[d] +
          1);
    }
    m.Input(type, y);
  }
  m.Set("group", c.group);
  SetWindow(m, window, true);
  if (fused) SetActivation(m);
  m.options().tolerance = 1e-4;  // thousands of products, and activations that make them small
  return m.Node("Conv", fused ? "slipway" : "");
}
Case Conv(Random& r) { return MakeConv(r, false); }
Case FusedConv(Random& r) { return MakeConv(r, true); }

// Groups, strides, asymmetric padding, output padding.
Case ConvTranspose(Random& r) {
  Maker m(r);
  const int spatial = r.Chance(0.15) ? 1 : 2;
  const int64_t group = r.Chance(0.3) ? r.Int(2, 4) : 1;
  const int64_t in = group * (r.Chance(0.5) ? 16 * r.Int(1, 2) : r.Int(1, 20)),
                out = r.Chance(0.5) ? 16 * r.Int(1, 2) : r.Int(1, 20);
  SymShape x{r.Chance(0.7) ? BatchSymbol() : Dim(1), Dim(in)};
  Dims w{in, out};
  std::vector<int64_t> strides, dilations, pads, ends, more;
  for (int d = 0; d < spatial; ++d) {
    const int64_t k = r.Pick<int64_t>({1, 2, 2, 3, 4, 4, 5});
    strides.push_back(r.Pick<int64_t>({1, 2, 2, 3}));
    dilations.push_back(r.Chance(0.15) ? 2 : 1);
    pads.push_back(r.Int(0, k / 2));
    ends.push_back(r.Int(0, k / 2));
    more.push_back(r.Chance(0.3) ? r.Int(0, strides.back() - 1) : 0);
    x.push_back(r.Int(3, 12));
    w.push_back(k);
  }
  pads.insert(pads.end(), ends.begin(), ends.end());
  m.Input(DType::kFloat32, x).Floats(w, -0.5, 0.5);
  if (r.Chance(0.6)) m.Floats({group * out});
  m.Set("group", group).Set("strides", strides).Set("dilations", dilations).Set("pads", pads);
  m.Set("output_padding", more);
  m.options().tolerance = 1e-4;
  return m.Node("ConvTranspose");
}
Case Depthwise(Random& r) { return MakeConv(r, r.Chance(0.8), true); }

// The same as of the random numbers, and of Floats() from here on.
DType FloatType(Maker& m) {
  const DType type = FloatType(m.random());
  if (type == DType::kBFloat16) m.Half();
  return type;
}

// A 1x1 convolution and a depthwise one; at times with images of which only some rows are held.
Case ConvDepthwise(Random& r) {
  Maker m(r);
  const bool wide = r.Chance(0.1);
  const int64_t in = r.Chance(0.5) ? 2 * r.Int(1, 20) : r.Int(1, 40),
                channels = wide            ? 32
                           : r.Chance(0.7) ? 8 * r.Int(1, 10)
                                           : r.Int(1, 40);
  SymShape x{r.Chance(0.7) ? BatchSymbol() : Dim(1), Dim(in)};
  Dims w{channels, in, 1, 1}, v{channels, 1};
  const RandomWindow window = MakeWindow(r, 2, 8, true);
  for (size_t d = 0; d < 2; ++d) {
    x.push_back(wide ? r.Int(20, d == 0 ? 50 : 200) : r.Int(8, 17));
    v.push_back(window.kernel[d]);
  }
  const DType type = FloatType(m);
  m.Input(type, x).Floats(w, -0.5, 0.5).Floats(v, -0.5, 0.5);
  const bool second = r.Chance(0.7);
  if (r.Chance(0.7)) {
    m.Floats({channels});
  } else if (second) {
    m.Absent();
  }
  if (second) m.Floats({channels});
  SetWindow(m, window, true);
  SetActivation(m);
  const std::string inner = r.Pick({"none", "Relu", "Swish", "HardSwish", "Clip", "Tanh"});
  m.Set("inner", inner);
  if (inner == "Clip") m.Set("inner_params", std::vector<float>{-0.5f, 6.f});
  if (inner == "Swish") m.Set("inner_params", std::vector<float>{r.Chance(0.5) ? 1.f : 0.3f});
  // In bfloat16 the plain loops may round what lies between the other way: values up to 8, in steps
  // of 1/32, times weights of up to 0.5.
  m.options().tolerance = type == DType::kBFloat16 ? 1.0 / 64 : 1e-4;
  return m.Node("ConvDepthwise", "slipway");
}

// What Winograd's algorithm is for, with all that it has to cut: odd extents, uneven padding,
// groups.
Case Conv3x3(Random& r) {
  Maker m(r);
  const int64_t group = r.Chance(0.3) ? r.Int(2, 3) : 1, in = 8 * r.Int(1, 5),
                out = 8 * r.Int(1, 9), h = r.Int(1, 19), w = r.Int(1, 19);
  const std::vector<int64_t> pads = {r.Int(h < 3 ? 1 : 0, 2), r.Int(w < 3 ? 1 : 0, 2),
                                     r.Int(h < 3 ? 1 : 0, 2), r.Int(w < 3 ? 1 : 0, 2)};
  const Dim n = r.Chance(0.7) ? BatchSymbol() : Dim(1);
  m.Input(DType::kFloat32, {n, Dim(group * in), Dim(h), Dim(w)})
      .Floats({group * out, in, 3, 3}, -0.5, 0.5);
  const bool residual = r.Chance(0.4);
  if (r.Chance(0.7)) {
    m.Floats({group * out});
  } else if (residual) {
    m.Absent();
  }
  if (residual)
    m.Input(DType::kFloat32,
            {n, Dim(group * out), Dim(h + pads[0] + pads[2] - 2), Dim(w + pads[1] + pads[3] - 2)});
  m.Set("group", group).Set("pads", pads);
  SetActivation(m);
  m.options().tolerance = 1e-4;
  return m.Node("Conv", "slipway");
}

Case Linear(Random& r) {
  Maker m(r);
  const int64_t k = r.Int(1, 70), n = r.Int(1, 70);
  SymShape x{r.Chance(0.7) ? BatchSymbol() : Dim(2)}, y;
  for (int64_t i = r.Int(0, 2); i > 0; --i) x.push_back(r.Int(1, r.Chance(0.2) ? 40 : 7));
  y = x;
  x.push_back(k);
  y.push_back(n);
  const bool trans = r.Chance(0.5), residual = r.Chance(0.3);
  const DType type = FloatType(m);
  m.Input(type, x).Floats(trans ? Dims{n, k} : Dims{k, n}, -0.3, 0.3);
  if (r.Chance(0.7)) {
    m.Floats({n});
  } else if (residual) {
    m.Absent();
  }
  if (residual) m.Input(type, y);
  m.Set("transW", int64_t{trans});
  m.options().tolerance = 3e-5;
  SetActivation(m);
  return m.Node("Linear", "slipway");
}

Case Gemm(Random& r) {
  Maker m(r);
  const int64_t k = r.Int(1, 50), n = r.Int(1, 50);
  const bool trans = r.Chance(0.5), trans_a = r.Chance(0.1);
  const Dim batch = r.Chance(0.7) ? BatchSymbol() : Dim(r.Int(1, 9));
  m.Input(DType::kFloat32, trans_a ? SymShape{k, batch} : SymShape{batch, k})
      .Floats(trans ? Dims{n, k} : Dims{k, n});
  if (r.Chance(0.7)) m.Floats(r.Chance(0.8) ? Dims{n} : Dims{1});
  m.Set("transA", int64_t{trans_a}).Set("transB", int64_t{trans});
  if (r.Chance(0.2)) m.Set("alpha", 0.5f);
  return m.Node("Gemm");
}

Case MatMul(Random& r) {
  Maker m(r);
  // Sometimes a sum over nothing, which is 0.
  const int64_t rows = r.Int(1, 20), k = r.Chance(0.05) ? 0 : r.Int(1, 40), n = r.Int(1, 40);
  SymShape a, b;
  switch (r.Int(0, 5)) {
    case 0:
      a = {rows, k}, b = {k, n};
      break;
    case 1:
      a = {BatchSymbol(), 2, rows, k}, b = {BatchSymbol(), 2, k, n};
      break;
    case 2:
      a = {BatchSymbol(), 3, rows, k}, b = {1, 3, k, n};
      break;
    case 3:
      a = {rows, k}, b = {BatchSymbol(), k, n};
      break;
    case 4:
      a = {k}, b = {BatchSymbol(), k, n};
      break;
    default:
      a = {BatchSymbol(), rows, k}, b = {k};
      break;
  }
  m.Input(DType::kFloat32, a);
  if (r.Chance(0.5) || !b[0].known()) {
    m.Input(DType::kFloat32, b);
  } else {
    Dims dims;
    for (const Dim& d : b) dims.push_back(d.value());
    m.Floats(dims);
  }
  return m.Node("MatMul");
}

Case Attention(Random& r) {
  Maker m(r);
  const int64_t kv_heads = r.Int(1, 3), heads = kv_heads * r.Int(1, 2),
                size = r.Pick<int64_t>({4, 8, 16, 20}), v_size = r.Pick<int64_t>({size, 8});
  const int64_t q = r.Int(1, 20), k = r.Int(1, 20);
  const Dim n = BatchSymbol();
  const DType type = FloatType(r);
  if (r.Chance(0.5)) {
    m.Input(type, {n, heads, q, size})
        .Input(type, {n, kv_heads, k, size})
        .Input(type, {n, kv_heads, k, v_size});
  } else {
    m.Input(type, {n, q, heads * size})
        .Input(type, {n, k, kv_heads * size})
        .Input(type, {n, k, kv_heads * v_size});
    m.Set("q_num_heads", heads).Set("kv_num_heads", kv_heads);
  }
  if (r.Chance(0.5))
    m.Input(DType::kFloat32, r.Chance(0.3)   ? SymShape{q, k}
                             : r.Chance(0.5) ? SymShape{1, heads, q, k}
                                             : SymShape{n, 1, q, k});
  // Weights of the values are rounded to bfloat16 too.
  if (type == DType::kBFloat16) m.options().tolerance = 1.0 / 128;
  if (r.Chance(0.3)) m.Set("scale", 0.2f);
  if (r.Chance(0.15)) m.Set("is_causal", int64_t{1});
  return m.Node("Attention");
}

Case Pool(Random& r, const char* op, DType type) {
  Maker m(r);
  const int spatial = r.Chance(0.15) ? 1 : 2;
  const bool ceil = r.Chance(0.3);
  RandomWindow w = MakeWindow(r, spatial, 6, r.Chance(0.2));
  SymShape x{r.Chance(0.7) ? BatchSymbol() : Dim(1),
             Dim(r.Chance(0.5) ? 16 * r.Int(1, 3) : r.Int(1, 21))};
  for (int d = 0; d < spatial; ++d) x.push_back(r.Int(6, 15));
  m.Input(type, x);
  SetWindow(m, w, std::string(op) == "MaxPool");
  if (ceil) m.Set("ceil_mode", int64_t{1});
  if (std::string(op) == "AveragePool" && r.Chance(0.5)) m.Set("count_include_pad", int64_t{1});
  return m.Node(op);
}
Case Recurrent(Random& r) {
  Maker m(r);
  const int kind = static_cast<int>(r.Int(0, 3));
  const char* const op = kind == 0 ? "RNN" : kind == 1 ? "GRU" : "LSTM";
  const int64_t gates = kind == 0 ? 1 : kind == 1 ? 3 : 4, directions = r.Chance(0.4) ? 2 : 1;
  const int64_t steps = r.Chance(0.1) ? r.Int(100, 300) : r.Int(1, 9), input = r.Int(1, 40);
  const int64_t hidden = r.Chance(0.3) ? 16 * r.Int(1, 20) : r.Int(1, 70);
  const Dim batch = r.Chance(0.7) ? BatchSymbol() : Dim(r.Int(1, 9));
  const bool batch_first = r.Chance(0.3), reverse = directions == 1 && r.Chance(0.3);
  m.Input(DType::kFloat32,
          batch_first ? SymShape{batch, steps, input} : SymShape{steps, batch, input});
  const double size = 2 / std::sqrt(static_cast<double>(hidden));
  m.Floats({directions, gates * hidden, input}, -0.4, 0.4)
      .Floats({directions, gates * hidden, hidden}, -size, size);
  const bool lengths = batch.known() && r.Chance(0.3), state = r.Chance(0.4);
  if (r.Chance(0.7)) {
    m.Floats({directions, 2 * gates * hidden});
  } else if (lengths || state) {
    m.Absent();
  }
  if (lengths) {
    auto t = *ir::Tensor::Allocate(DType::kInt32, {batch.value()});
    for (int64_t i = 0; i < batch.value(); ++i)
      reinterpret_cast<int32_t*>(t.mutable_data())[i] = static_cast<int32_t>(r.Int(0, steps));
    m.Constant(std::move(t));
  } else if (state) {
    m.Absent();
  }
  const SymShape states = batch_first ? SymShape{batch, Dim(directions), Dim(hidden)}
                                      : SymShape{Dim(directions), batch, Dim(hidden)};
  if (state) {
    m.Input(DType::kFloat32, states);
    if (kind >= 2 && r.Chance(0.7)) m.Input(DType::kFloat32, states);
  }
  m.Set("hidden_size", hidden).Set("layout", int64_t{batch_first});
  if (directions == 2 || reverse)
    m.Set("direction", std::string(directions == 2 ? "bidirectional" : "reverse"));
  if (kind == 1 && r.Chance(0.6)) m.Set("linear_before_reset", int64_t{1});
  if (kind == 0 && r.Chance(0.3)) {
    m.Set("activations", std::vector<std::string>(static_cast<size_t>(directions), "Relu"));
  } else if (kind >= 2 && r.Chance(0.2)) {
    std::vector<std::string> names;
    for (int64_t d = 0; d < directions; ++d)
      names.insert(names.end(), {"HardSigmoid", "Tanh", "Tanh"});
    m.Set("activations", names);
  }
  m.options().tolerance = 1e-4;  // what one step loses goes through all that follow
  return m.Node(op, "", static_cast<size_t>(r.Int(1, kind >= 2 ? 3 : 2)));
}

Case MaxPool(Random& r) { return Pool(r, "MaxPool", FloatType(r)); }
Case MaxPoolCodes(Random& r) { return Pool(r, "MaxPool", r.Pick({DType::kUInt8, DType::kInt8})); }
Case AveragePool(Random& r) { return Pool(r, "AveragePool", FloatType(r)); }

SymShape Image(Random& r) {
  return {r.Chance(0.8) ? BatchSymbol() : Dim(1),
          Dim(r.Chance(0.5) ? 16 * r.Int(1, 3) : r.Int(1, 21)), Dim(r.Int(1, 12)),
          Dim(r.Int(1, 12))};
}

Case GlobalPool(Random& r) {
  Maker m(r);
  SymShape x = Image(r);
  if (r.Chance(0.2)) x[1] = r.Int(20, 300);
  m.Input(FloatType(r), x);
  return m.Node(r.Chance(0.8) ? "GlobalAveragePool" : "GlobalMaxPool");
}

Case SqueezeExcite(Random& r) {
  Maker m(r);
  SymShape x = Image(r);
  if (r.Chance(0.2)) x[1] = r.Int(20, 200);
  if (r.Chance(0.2)) x.pop_back();
  const int64_t channels = x[1].value(), hidden = r.Int(1, 40);
  const DType type = FloatType(m);
  Dims w1{hidden, channels}, w2{channels, hidden};
  for (size_t i = 2; i < x.size(); ++i) {
    w1.push_back(1);
    w2.push_back(1);
  }
  m.Input(type, x).Floats(w1, -0.3, 0.3).Floats(w2, -0.3, 0.3);
  if (r.Chance(0.7)) {
    m.Floats({hidden});
  } else {
    m.Absent();
  }
  if (r.Chance(0.7)) m.Floats({channels});
  SetActivation(m);
  if (r.Chance(0.4))
    m.Set("gate", std::string("HardSigmoid")).Set("gate_params", std::vector<float>{0.2f, 0.5f});
  m.options().tolerance = 3e-5;
  return m.Node("SqueezeExcite", "slipway");
}

SymShape Some(Random& r, int lo = 1, int hi = 4) {
  SymShape s{r.Chance(0.7) ? BatchSymbol() : Dim(r.Int(1, 3))};
  for (int64_t i = r.Int(lo, hi); i > 1; --i)
    s.push_back(r.Chance(0.2) ? r.Int(30, 70) : r.Int(1, 18));
  return s;
}

Case Softmax(Random& r) {
  Maker m(r);
  const SymShape s = Some(r, 1, 4);
  m.options().low = -20;
  m.options().high = 20;
  m.Input(DType::kFloat32, s)
      .Set("axis", r.Chance(0.6) ? int64_t{-1} : r.Int(0, static_cast<int64_t>(s.size()) - 1));
  return m.Node(r.Chance(0.85) ? "Softmax" : "LogSoftmax");
}

Case LayerNorm(Random& r) {
  Maker m(r);
  const SymShape s = Some(r, 2, 4);
  int64_t axis = static_cast<int64_t>(s.size()) - 1;
  if (r.Chance(0.3) && s.size() > 2) --axis;
  Dims scale;
  for (size_t i = static_cast<size_t>(axis); i < s.size(); ++i) scale.push_back(s[i].value());
  const bool rms = r.Chance(0.3);
  const DType type = FloatType(m);
  m.Input(type, s).Floats(scale);
  if (!rms && r.Chance(0.8)) m.Floats(scale);
  m.Set("axis", axis - static_cast<int64_t>(s.size()));
  // The plain loops round before they scale, as ONNX says for bfloat16.
  m.options().tolerance = type == DType::kBFloat16 ? 1.0 / 64 : 3e-5;
  return m.Node(rms ? "RMSNormalization" : "LayerNormalization");
}

Case BatchNorm(Random& r) {
  Maker m(r);
  const SymShape s = r.Chance(0.8) ? Image(r) : SymShape{BatchSymbol(), Dim(r.Int(1, 20))};
  const Dims c{s[1].value()};
  m.Input(DType::kFloat32, s).Floats(c).Floats(c).Floats(c).Floats(c, 0.5, 2);
  return m.Node("BatchNormalization");
}

Case LinearNBits(Random& r) {
  Maker m(r);
  const int64_t n = r.Int(1, 70), k = r.Int(1, 150), group = r.Chance(0.3) ? k : r.Int(1, k);
  const int64_t bits = r.Int(1, 8), groups = (k - 1) / group + 1;
  SymShape x;
  for (int64_t i = r.Int(0, 2); i > 0; --i)
    x.push_back(r.Chance(0.5) ? BatchSymbol() : Dim(r.Int(1, 7)));
  x.push_back(k);
  const DType type = r.Chance(0.5) ? DType::kInt8 : DType::kUInt8;
  const auto codes = [&](const Dims& dims) {
    ir::Tensor t = m.RandomCodes(type, dims);
    for (size_t i = 0; i < t.bytes().size(); ++i) {
      const int low = t.mutable_data()[i] & ((1 << bits) - 1);
      t.mutable_data()[i] =
          static_cast<uint8_t>(type == DType::kInt8 ? low - (1 << (bits - 1)) : low);
    }
    return t;
  };
  m.Input(DType::kFloat32, x).Constant(codes({n, k})).Floats({n, groups}, 0.01, 0.1);
  r.Chance(0.5) ? m.Constant(codes({n, groups})) : m.Absent();
  if (r.Chance(0.5)) m.Floats({n});
  m.Set("bits", bits).Set("group", group);
  m.options().tolerance = 3e-5;
  return m.Node("LinearNBits", "slipway");
}

Case GroupNorm(Random& r) {
  Maker m(r);
  SymShape s = Image(r);
  const int64_t groups = r.Int(1, 4);
  s[1] = groups * r.Int(1, 6);
  const Dims c{s[1].value()};
  m.Input(DType::kFloat32, s).Floats(c).Floats(c);
  m.options().tolerance = 3e-5;
  if (r.Chance(0.3)) return m.Node("InstanceNormalization");
  m.Set("num_groups", groups);
  return m.Node("GroupNormalization");
}

Case Reduce(Random& r) {
  Maker m(r);
  const SymShape s = Some(r, 1, 5);
  m.Input(DType::kFloat32, s);
  const int64_t rank = static_cast<int64_t>(s.size());
  std::vector<int64_t> axes;
  if (r.Chance(0.6)) {  // a run of axes
    const int64_t from = r.Int(0, rank - 1), to = r.Int(from, rank - 1);
    for (int64_t i = from; i <= to; ++i) axes.push_back(r.Chance(0.5) ? i : i - rank);
  } else {
    for (int64_t i = 0; i < rank; ++i) {
      if (r.Chance(0.5)) axes.push_back(i);
    }
  }
  if (!axes.empty() || r.Chance(0.5)) m.Ints(axes);
  m.Set("keepdims", r.Int(0, 1));
  const std::string op =
      r.Pick<const char*>({"ReduceMean", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin",
                           "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd"});
  // Sums of thousands that nearly cancel.
  if (op == "ReduceMean" || op == "ReduceSum") m.options().tolerance = 1e-4;
  return m.Node(op);
}

constexpr Family kFamilies[] = {
    {"Conv", Conv},
    {"ConvTranspose", ConvTranspose},
    {"FusedConv", FusedConv},
    {"Conv3x3", Conv3x3},
    {"Depthwise", Depthwise},
    {"Linear", Linear},
    {"LinearNBits", LinearNBits},
    {"Gemm", Gemm},
    {"MatMul", MatMul},
    {"Attention", Attention},
    {"Recurrent", Recurrent},
    {"MaxPool", MaxPool},
    {"MaxPoolCodes", MaxPoolCodes},
    {"AveragePool", AveragePool},
    {"GlobalPool", GlobalPool},
    {"ConvDepthwise", ConvDepthwise},
    {"SqueezeExcite", SqueezeExcite},
    {"Softmax", Softmax},
    {"LayerNorm", LayerNorm},
    {"BatchNorm", BatchNorm},
    {"GroupNorm", GroupNorm},
    {"Reduce", Reduce},
};

}  // namespace

std::span<const Family> LinearFamilies() { return kFamilies; }

}  // namespace slipway::cts
