// Products, windows, normalisation, attention and quantization.

#include <algorithm>
#include <cmath>
#include <limits>

#include "learn/call.h"
#include "model/ops/quantize.h"

namespace slipway::learn {
namespace {

at::Tensor MaybeArray(const Call& c, size_t i) { return c.Has(i) ? c.Array(i) : at::Tensor(); }

Outputs MatMul(const Call& c) { return {at::matmul(c.Array(0), c.Array(1))}; }
Outputs Gemm(const Call& c) {
  const at::Tensor a = c.Int("transA", 0) != 0 ? c.Array(0).t() : c.Array(0),
                   b = c.Int("transB", 0) != 0 ? c.Array(1).t() : c.Array(1);
  at::Tensor y = at::mm(a, b);
  const double alpha = c.Float("alpha", 1), beta = c.Float("beta", 1);
  if (alpha != 1) y = y * alpha;
  if (c.Has(2)) y = y + (beta == 1 ? c.Array(2) : c.Array(2) * beta);
  return {y};
}
Outputs Linear(const Call& c) {
  const at::Tensor w = c.Int("transW", 0) != 0 ? c.Array(1).t() : c.Array(1);
  at::Tensor y = at::matmul(c.Array(0), w);
  if (c.Has(2)) y = y + c.Array(2);
  if (c.Has(3)) y = y + c.Array(3);
  return {Activate(c, y)};
}

// The spatial part of a convolution or pooling.
struct Window {
  std::vector<int64_t> kernel, stride, dilation, begin, end;  // the last two: padding
  size_t rank() const { return kernel.size(); }
};
Window ReadWindow(const Call& c, at::IntArrayRef in, std::vector<int64_t> kernel) {
  Window w;
  w.kernel = std::move(kernel);
  const size_t rank = w.kernel.size();
  w.stride = c.IntList("strides");
  w.stride.resize(rank, 1);
  w.dilation = c.IntList("dilations");
  w.dilation.resize(rank, 1);
  std::vector<int64_t> pads = c.IntList("pads");
  pads.resize(2 * rank, 0);
  const std::string_view automatic = c.node.attributes.String("auto_pad", "NOTSET");
  for (size_t i = 0; i < rank; ++i) {
    int64_t begin = pads[i], end = pads[i + rank];
    if (automatic == "VALID") begin = end = 0;
    if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
      const int64_t out = (in[i] + w.stride[i] - 1) / w.stride[i],
                    span = (w.kernel[i] - 1) * w.dilation[i] + 1,
                    total = std::max<int64_t>(0, (out - 1) * w.stride[i] + span - in[i]);
      begin = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
      end = total - begin;
    }
    w.begin.push_back(begin);
    w.end.push_back(end);
  }
  return w;
}
// How much further padding ceil_mode needs at the end of dimension i.
int64_t CeilExtra(const Window& w, at::IntArrayRef in, size_t i) {
  const int64_t span = (w.kernel[i] - 1) * w.dilation[i] + 1,
                room = in[i] + w.begin[i] + w.end[i] - span;
  int64_t steps = (room + w.stride[i] - 1) / w.stride[i];
  if (steps * w.stride[i] >= in[i] + w.begin[i]) --steps;  // a window of padding alone
  return std::max<int64_t>(0, steps * w.stride[i] - room);
}
std::vector<int64_t> PadOrder(const std::vector<int64_t>& begin, const std::vector<int64_t>& end) {
  std::vector<int64_t> order;
  for (size_t i = begin.size(); i-- > 0;) {
    order.push_back(begin[i]);
    order.push_back(end[i]);
  }
  return order;
}

at::Tensor Convolve(const Call& c, const at::Tensor& bias) {
  at::Tensor x = c.Array(0);
  const at::Tensor w = c.Array(1);
  const std::vector<int64_t> kernel(w.sizes().begin() + 2, w.sizes().end());
  Window win = ReadWindow(c, x.sizes().slice(2), kernel);
  std::vector<int64_t> padding = win.begin;
  if (win.begin != win.end ||
      std::any_of(padding.begin(), padding.end(), [](int64_t p) { return p < 0; })) {
    x = at::constant_pad_nd(x, PadOrder(win.begin, win.end));
    padding.assign(padding.size(), 0);
  }
  return at::convolution(x, w, bias, win.stride, padding, win.dilation, false,
                         std::vector<int64_t>(padding.size(), 0), c.Int("group", 1));
}
Outputs Conv(const Call& c) { return {Convolve(c, MaybeArray(c, 2))}; }
Outputs FusedConv(const Call& c) {
  at::Tensor y = Convolve(c, MaybeArray(c, 2));
  // In place: nobody else has seen what the convolution gave, and its derivative does not need it.
  if (c.Has(3)) y.add_(c.Array(3));
  if (c.node.attributes.String("activation", "none") == "Relu") return {y.relu_()};
  return {Activate(c, y)};
}
Outputs ConvTranspose(const Call& c) {
  const at::Tensor x = c.Array(0), w = c.Array(1);
  if (c.node.attributes.String("auto_pad", "NOTSET") != "NOTSET" ||
      c.node.attributes.Has("output_shape"))
    return {};
  const std::vector<int64_t> kernel(w.sizes().begin() + 2, w.sizes().end()), none(kernel.size(), 0);
  const Window win = ReadWindow(c, x.sizes().slice(2), kernel);
  at::Tensor y = at::convolution(x, w, MaybeArray(c, 2), win.stride, none, win.dilation, true, none,
                                 c.Int("group", 1));
  std::vector<int64_t> begin, end, more = c.IntList("output_padding");
  more.resize(kernel.size(), 0);
  bool apart = false;
  for (size_t i = 0; i < kernel.size(); ++i) {
    begin.push_back(-win.begin[i]);
    end.push_back(more[i] - win.end[i]);
    apart |= end.back() > 0;  // what is added has the bias alone
  }
  if (apart) return {};
  return {at::constant_pad_nd(y, PadOrder(begin, end))};
}

Outputs MaxPool(const Call& c) {
  const at::Tensor x = c.Array(0);
  if (c.node.output(1)) return {};
  Window w = ReadWindow(c, x.sizes().slice(2), c.IntList("kernel_shape"));
  if (c.Int("ceil_mode", 0) != 0) {
    for (size_t i = 0; i < w.rank(); ++i) w.end[i] += CeilExtra(w, x.sizes().slice(2), i);
  }
  const at::Tensor padded =
      at::constant_pad_nd(x, PadOrder(w.begin, w.end), -std::numeric_limits<double>::infinity());
  const std::vector<int64_t> none(w.rank(), 0);
  if (w.rank() == 1) return {at::max_pool1d(padded, w.kernel, w.stride, none, w.dilation)};
  if (w.rank() == 2) return {at::max_pool2d(padded, w.kernel, w.stride, none, w.dilation)};
  if (w.rank() == 3) return {at::max_pool3d(padded, w.kernel, w.stride, none, w.dilation)};
  return {};
}
// Sums of windows without padding.
at::Tensor WindowSums(const at::Tensor& x, const Window& w) {
  const std::vector<int64_t> none(w.rank(), 0);
  int64_t count = 1;
  for (const int64_t k : w.kernel) count *= k;
  const at::Tensor mean = w.rank() == 1   ? at::avg_pool1d(x, w.kernel, w.stride, none)
                          : w.rank() == 2 ? at::avg_pool2d(x, w.kernel, w.stride, none)
                                          : at::avg_pool3d(x, w.kernel, w.stride, none);
  return mean * static_cast<double>(count);
}
Outputs AveragePool(const Call& c) {
  const at::Tensor x = c.Array(0);
  const at::IntArrayRef in = x.sizes().slice(2);
  Window w = ReadWindow(c, in, c.IntList("kernel_shape"));
  if (w.rank() < 1 || w.rank() > 3 ||
      std::any_of(w.dilation.begin(), w.dilation.end(), [](int64_t d) { return d != 1; }))
    return {};
  std::vector<int64_t> ones(in.begin(), in.end());
  ones.insert(ones.begin(), {1, 1});
  at::Tensor counted = at::ones(ones, c.options);
  if (c.Int("count_include_pad", 0) != 0)
    counted = at::constant_pad_nd(counted, PadOrder(w.begin, w.end), 1);
  else
    counted = at::constant_pad_nd(counted, PadOrder(w.begin, w.end));
  if (c.Int("ceil_mode", 0) != 0) {
    std::vector<int64_t> none(w.rank(), 0), extra;
    for (size_t i = 0; i < w.rank(); ++i) extra.push_back(CeilExtra(w, in, i));
    counted = at::constant_pad_nd(counted, PadOrder(none, extra));
    for (size_t i = 0; i < w.rank(); ++i) w.end[i] += extra[i];
  }
  return {WindowSums(at::constant_pad_nd(x, PadOrder(w.begin, w.end)), w) / WindowSums(counted, w)};
}
std::vector<int64_t> Spatial(const at::Tensor& x) {
  std::vector<int64_t> axes;
  for (int64_t i = 2; i < x.dim(); ++i) axes.push_back(i);
  return axes;
}
Outputs GlobalAveragePool(const Call& c) {
  const at::Tensor x = c.Array(0);
  return {x.mean(Spatial(x), true)};
}
Outputs GlobalMaxPool(const Call& c) {
  const at::Tensor x = c.Array(0);
  return {x.amax(Spatial(x), true)};
}

// ---- normalisation ----

// A vector along dimension 1 of something like x.
at::Tensor Channels(const at::Tensor& v, const at::Tensor& x) {
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[1] = v.numel();
  return v.reshape(shape);
}
Outputs BatchNormalization(const Call& c) {
  const at::Tensor x = c.Array(0);
  const at::Tensor factor = c.Array(1) / at::sqrt(c.Array(4) + c.Float("epsilon", 1e-5f));
  return {(x - Channels(c.Array(3), x)) * Channels(factor, x) + Channels(c.Array(2), x)};
}
at::Tensor Normalised(const at::Tensor& x, at::IntArrayRef axes, double epsilon) {
  const at::Tensor d = x - x.mean(axes, true);
  return d / at::sqrt(d.square().mean(axes, true) + epsilon);
}
std::vector<int64_t> AxesFrom(int64_t axis, int64_t rank) {
  std::vector<int64_t> axes;
  for (int64_t i = AxisOf(axis, rank); i < rank; ++i) axes.push_back(i);
  return axes;
}
Outputs LayerNormalization(const Call& c) {
  if (c.node.output(1) || c.node.output(2)) return {};
  const at::Tensor x = c.Array(0);
  at::Tensor y =
      Normalised(x, AxesFrom(c.Int("axis", -1), x.dim()), c.Float("epsilon", 1e-5f)) * c.Array(1);
  return {c.Has(2) ? y + c.Array(2) : y};
}
Outputs RMSNormalization(const Call& c) {
  const at::Tensor x = c.Array(0);
  const auto axes = AxesFrom(c.Int("axis", -1), x.dim());
  return {x / at::sqrt(x.square().mean(axes, true) + c.Float("epsilon", 1e-5f)) * c.Array(1)};
}
Outputs InstanceNormalization(const Call& c) {
  const at::Tensor x = c.Array(0);
  return {Normalised(x, Spatial(x), c.Float("epsilon", 1e-5f)) * Channels(c.Array(1), x) +
          Channels(c.Array(2), x)};
}
Outputs GroupNormalization(const Call& c) {
  const at::Tensor x = c.Array(0);
  const at::Tensor grouped = x.reshape({x.size(0), c.Int("num_groups", 1), -1});
  const at::Tensor y = Normalised(grouped, {2}, c.Float("epsilon", 1e-5f)).reshape(x.sizes());
  return {y * Channels(c.Array(1), x) + Channels(c.Array(2), x)};
}

Outputs LRN(const Call& c) {
  const at::Tensor x = c.Array(0);
  const int64_t size = c.Int("size", 1);
  std::vector<int64_t> order(static_cast<size_t>(2 * x.dim()), 0);
  order[static_cast<size_t>(2 * (x.dim() - 2))] = (size - 1) / 2;
  order[static_cast<size_t>(2 * (x.dim() - 2)) + 1] = size / 2;
  const at::Tensor squares = at::constant_pad_nd(x.square(), order);
  at::Tensor sum = squares.slice(1, 0, x.size(1));
  for (int64_t i = 1; i < size; ++i) sum = sum + squares.slice(1, i, i + x.size(1));
  const double alpha = c.Float("alpha", 1e-4f) / static_cast<double>(size);
  return {x / at::pow(sum * alpha + c.Float("bias", 1), c.Float("beta", 0.75f))};
}

Outputs Einsum(const Call& c) {
  std::vector<at::Tensor> terms;
  for (size_t i = 0; i < c.in.size(); ++i) terms.push_back(c.Array(i));
  return {at::einsum(std::string(c.node.attributes.String("equation", "")), terms)};
}

// Without caches, lengths and scores.
Outputs Attention(const Call& c) {
  for (size_t i = 4; i < c.in.size(); ++i) {
    if (c.Has(i)) return {};
  }
  for (size_t i = 1; i < c.node.outputs().size(); ++i) {
    if (c.node.output(i)) return {};
  }
  const bool flat = c.Array(0).dim() == 3;
  const auto heads = [&](size_t i, const char* count) {
    const at::Tensor t = c.Array(i);
    return flat ? t.reshape({t.size(0), t.size(1), c.Int(count, 1), -1}).transpose(1, 2) : t;
  };
  const at::Tensor q = heads(0, "q_num_heads");
  at::Tensor k = heads(1, "kv_num_heads"), v = heads(2, "kv_num_heads");
  if (const int64_t share = q.size(1) / k.size(1); share > 1) {
    k = k.repeat_interleave(share, 1);
    v = v.repeat_interleave(share, 1);
  }
  const double scale =
      c.Float("scale", static_cast<float>(1 / std::sqrt(static_cast<double>(q.size(3)))));
  at::Tensor scores = at::matmul(q, k.transpose(2, 3)) * scale;
  if (const double cap = c.Float("softcap", 0); cap > 0) scores = at::tanh(scores / cap) * cap;
  if (c.Int("is_causal", 0) != 0) {
    const at::Tensor hidden = at::ones({scores.size(2), scores.size(3)}, c.options).triu(1) != 0;
    scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
  }
  if (c.Has(3)) {
    if (c.node.input(3)->dtype() == DType::kBool)
      scores = scores.masked_fill(c.Indices(3) == 0, -std::numeric_limits<double>::infinity());
    else
      scores = scores + c.Array(3);
  }
  // A query that may see no key gives 0.
  const at::Tensor weights = at::softmax(scores, -1).nan_to_num(0.0);
  const at::Tensor y = at::matmul(weights, v);
  return {flat ? y.transpose(1, 2).reshape({y.size(0), y.size(2), -1}) : y};
}

// ---- quantization ----

// y, with the derivative of x.
at::Tensor StraightThrough(const at::Tensor& y, const at::Tensor& x) {
  return x + (y - x).detach();
}

// Codes as floating-point numbers.
Outputs Quantize(const Call& c) {
  const auto p = ops::ParseQuant(c.node.attributes);
  if (!p.ok() || p->zero_first || p->precision != DType::kUndefined ||
      p->rounding != ops::QuantRounding::kHalfEven)
    return {};
  const at::Tensor x = c.Array(0), scale = Spread(c.Array(1), x, *p);
  const at::Tensor v = x / scale;
  if (p->kind == ops::QuantKind::kBipolar) {
    const at::Tensor sign = at::where(v >= 0, at::ones_like(v), -at::ones_like(v));
    return {StraightThrough(sign, v.clamp(-1, 1))};
  }
  if (p->kind != ops::QuantKind::kAffine && p->kind != ops::QuantKind::kPowerOfTwo) return {};
  at::Tensor codes = StraightThrough(at::round(v), v);
  if (c.Has(2)) codes = codes + Spread(c.Array(2), x, *p);
  return {codes.clamp(p->range.lo, p->range.hi)};
}
Outputs Dequantize(const Call& c) {
  const auto p = ops::ParseQuant(c.node.attributes, 32);
  if (!p.ok() || p->precision != DType::kUndefined ||
      (p->kind != ops::QuantKind::kAffine && p->kind != ops::QuantKind::kPowerOfTwo &&
       p->kind != ops::QuantKind::kBipolar))
    return {};
  at::Tensor codes = c.Array(0);
  const at::Tensor scale = Spread(c.Array(1), codes, *p);
  if (c.Has(2)) codes = codes - Spread(c.Array(2), codes, *p);
  return {codes * scale};
}

constexpr Operator kOperators[] = {
    {"", "MatMul", MatMul},
    {"", "Gemm", Gemm},
    {"slipway", "Linear", Linear},
    {"", "Conv", Conv},
    {"slipway", "Conv", FusedConv},
    {"", "ConvTranspose", ConvTranspose},
    {"", "MaxPool", MaxPool},
    {"", "AveragePool", AveragePool},
    {"", "GlobalAveragePool", GlobalAveragePool},
    {"", "GlobalMaxPool", GlobalMaxPool},
    {"", "BatchNormalization", BatchNormalization},
    {"", "LayerNormalization", LayerNormalization},
    {"", "RMSNormalization", RMSNormalization},
    {"", "InstanceNormalization", InstanceNormalization},
    {"", "GroupNormalization", GroupNormalization},
    {"", "LRN", LRN},
    {"", "Einsum", Einsum},
    {"", "Attention", Attention},
    {"slipway", "Quantize", Quantize},
    {"slipway", "Dequantize", Dequantize},
};

}  // namespace

at::Tensor Spread(const at::Tensor& v, const at::Tensor& x, const ops::QuantParams& p) {
  if (v.numel() == 1) return v.reshape({});
  const int64_t axis = AxisOf(p.axis, x.dim());
  if (p.group > 0) return v.repeat_interleave(p.group, axis).slice(axis, 0, x.size(axis));
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[static_cast<size_t>(axis)] = v.numel();
  return v.reshape(shape);
}
std::span<const Operator> NetworkOperators() { return kOperators; }

}  // namespace slipway::learn
