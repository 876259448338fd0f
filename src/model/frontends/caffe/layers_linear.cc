// Convolution, pooling and inner products.

#include <algorithm>

#include "base/checked.h"
#include "model/frontends/caffe/layer.h"

namespace slipway::caffe {
namespace {

using Ints = std::vector<int64_t>;
constexpr int64_t kMost = int64_t{1} << 24;  // of a kernel, stride, pad or dilation

// `field` (repeated, one value for all dimensions or one each) or `field`_h and _w.
Ints Spatial(Params& p, const std::string& field, const std::string& stem, size_t rank,
             int64_t fallback, int64_t low) {
  Ints v = p.Ints(field, low, kMost);
  const bool h = p.Has(stem + "_h"), w = p.Has(stem + "_w");
  if (h || w) {
    if (!v.empty()) p.Fail(field + " and " + stem + "_h/_w exclude each other");
    if (rank != 2) p.Fail(stem + "_h and _w need two spatial dimensions");
    return {p.Int(stem + "_h", fallback, low, kMost), p.Int(stem + "_w", fallback, low, kMost)};
  }
  if (v.empty()) return Ints(rank, fallback);
  if (v.size() == 1) return Ints(rank, v[0]);
  if (v.size() != rank) {
    p.Fail(field + " has " + std::to_string(v.size()) + " values for " + std::to_string(rank) +
           " spatial dimensions");
    return Ints(rank, std::max<int64_t>(low, 1));
  }
  return v;
}

Ints Twice(const Ints& pads) {
  Ints out = pads;
  out.insert(out.end(), pads.begin(), pads.end());
  return out;
}

Status Convolve(LayerContext& c, bool transposed, bool depthwise) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  if (c.Rank(0) < 3 || c.Rank(0) > 5)
    return c.Bad("bottom '" + c.spec().bottoms[0] + "' is " + ToString(c.BottomSym(0)) +
                 "; expected 3 to 5 dimensions");
  const auto rank = static_cast<size_t>(c.Rank(0)) - 2;
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t channels, c.Extent(0, 1));
  Params p = c.Group("convolution_param");
  p.Ignore({"force_nd_im2col"});
  const int64_t outputs = p.Int("num_output", 0, 1, kMost);
  if (outputs == 0) p.Fail("num_output is missing");
  const int64_t group = p.Int("group", depthwise ? channels : 1, 1, kMost);
  if (p.Int("axis", 1) != 1) p.Fail("axis must be 1");
  const Ints kernel = Spatial(p, "kernel_size", "kernel", rank, 0, 1);
  if (std::find(kernel.begin(), kernel.end(), 0) != kernel.end()) p.Fail("kernel_size is missing");
  const Ints stride = Spatial(p, "stride", "stride", rank, 1, 1);
  const Ints pad = Spatial(p, "pad", "pad", rank, 0, 0);
  const Ints dilation = Spatial(p, "dilation", "dilation", rank, 1, 1);
  const bool bias = p.Bool("bias_term", true);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  if (channels % group != 0 || outputs % group != 0) {
    return c.Bad("group " + std::to_string(group) + " does not divide " + std::to_string(channels) +
                 " input and " + std::to_string(outputs) + " output channels");
  }
  SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(bias ? 2 : 1));
  Dims w = transposed ? Dims{channels, outputs / group} : Dims{outputs, channels / group};
  for (const int64_t k : kernel) w.push_back(k);
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor weight, c.Blob(0, w));
  std::vector<ir::Value*> inputs = {c.bottom(0), c.Constant("weight", std::move(weight))};
  if (bias) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor b, c.Blob(1, {outputs}, Fill::kZero));
    inputs.push_back(c.Constant("bias", std::move(b)));
  }
  return c.Top(c.Emit(transposed ? "ConvTranspose" : "Conv", inputs,
                      {{"kernel_shape", kernel},
                       {"strides", stride},
                       {"pads", Twice(pad)},
                       {"dilations", dilation},
                       {"group", group}}));
}

Status Convolution(LayerContext& c) { return Convolve(c, false, false); }
Status Depthwise(LayerContext& c) { return Convolve(c, false, true); }
Status Deconvolution(LayerContext& c) { return Convolve(c, true, false); }

struct PoolSpec {
  bool max = true, ceil = true;
  Ints kernel, stride, pad;
};

// Pooling over two spatial dimensions as Caffe counts its windows: rounded up, and with padding a
// last window that starts behind the input and its padding is dropped.
Result<std::vector<ir::Value*>> Pool(LayerContext& c, ir::Value* x, const PoolSpec& s,
                                     size_t outputs) {
  const SymShape& d = c.Sym(x);
  const bool padded = s.pad[0] > 0 || s.pad[1] > 0;
  for (size_t i = 0; i < 2; ++i) {
    if (s.pad[i] >= s.kernel[i]) return InvalidArgument("pad must be smaller than the kernel");
    if (!d[i + 2].known()) {
      // With a stride up to the kernel every window that is kept starts inside, at any size.
      if (s.stride[i] <= s.kernel[i]) continue;
      return Unsupported("its stride exceeds its kernel, so whether the last window lies inside " +
                         ToString(d) + " depends on the size; give it as a number by --shape");
    }
    const int64_t size = d[i + 2].value(), in = size + 2 * s.pad[i] - s.kernel[i];
    if (in < 0) {
      return InvalidArgument("the kernel " + std::to_string(s.kernel[i]) +
                             " is larger than the padded input " + ToString(d));
    }
    int64_t out = (s.ceil ? (in + s.stride[i] - 1) / s.stride[i] : in / s.stride[i]) + 1;
    if (padded && (out - 1) * s.stride[i] >= size + s.pad[i]) --out;
    if ((out - 1) * s.stride[i] - s.pad[i] >= size) {
      return Unsupported("the last window lies outside the input " + ToString(d) +
                         ", where Caffe's result is undefined; use a stride up to the kernel size");
    }
  }
  ir::Attributes a{{"kernel_shape", s.kernel}, {"strides", s.stride}, {"pads", Twice(s.pad)}};
  if (s.ceil) a.Set("ceil_mode", int64_t{1});
  if (!s.max && padded) a.Set("count_include_pad", int64_t{1});
  return c.EmitMany(s.max ? "MaxPool" : "AveragePool", {x}, a, outputs);
}

// At test time STOCHASTIC weighs each value of a window by its share of the sum: the sum of squares
// over the sum, 0 where that is 0.
Result<ir::Value*> Stochastic(LayerContext& c, PoolSpec s, bool global) {
  s.max = false;
  auto average = [&](ir::Value* x) -> Result<ir::Value*> {
    if (global) return c.Emit("GlobalAveragePool", {x});
    SLIPWAY_ASSIGN_OR_RETURN(auto out, Pool(c, x, s, 1));
    return out[0];
  };
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * square, c.Emit("Mul", {c.bottom(0), c.bottom(0)}));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * above, average(square));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * below, average(c.bottom(0)));
  SLIPWAY_ASSIGN_OR_RETURN(below, c.Emit("Add", {below, c.Scalar(1.17549435e-38f)}));
  return c.Emit("Div", {above, below});
}

bool IsStochastic(Params& p) {
  const std::string method = p.Text("pool", "MAX");
  return method == "STOCHASTIC" || method == "2";
}

Result<bool> IsMax(Params& p) {
  const std::string method = p.Text("pool", "MAX");
  if (method == "MAX" || method == "0") return true;
  if (method == "AVE" || method == "1") return false;
  return InvalidArgument("unknown pool '" + method + "'; expected MAX, AVE or STOCHASTIC");
}

Status Pooling(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1, 1, 2));
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(0, 4));
  Params p = c.Group("pooling_param");
  PoolSpec s;
  const bool stochastic = IsStochastic(p);
  if (!stochastic) {
    SLIPWAY_ASSIGN_OR_RETURN(s.max, IsMax(p));
  }
  const bool global = p.Bool("global_pooling", false);
  s.kernel = Spatial(p, "kernel_size", "kernel", 2, 0, 1);
  s.stride = Spatial(p, "stride", "stride", 2, 1, 1);
  s.pad = Spatial(p, "pad", "pad", 2, 0, 0);
  const std::string round = p.Text("round_mode", "CEIL");
  if (round != "CEIL" && round != "0" && round != "FLOOR" && round != "1")
    p.Fail("unknown round_mode '" + round + "'");
  s.ceil = p.Bool("ceil_mode", round == "CEIL" || round == "0");
  const bool mask = c.spec().tops.size() == 2;
  if (mask && !s.max) p.Fail("two tops need pool: MAX");
  Dims d;
  if (mask) d = c.BottomShape(0);
  if (global) {
    if (mask) s.kernel = {d[2], d[3]};
    if (s.pad != Ints{0, 0} || s.stride != Ints{1, 1})
      p.Fail("global_pooling allows neither pad nor stride");
  } else if (s.kernel[0] == 0 || s.kernel[1] == 0) {
    p.Fail("kernel_size is missing");
  }
  if (stochastic && s.pad != Ints{0, 0}) p.Fail("pool: STOCHASTIC allows no pad");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  if (stochastic) return c.Top(Stochastic(c, s, global));
  if (global && !mask)
    return c.Top(c.Emit(s.max ? "GlobalMaxPool" : "GlobalAveragePool", {c.bottom(0)}));
  SLIPWAY_ASSIGN_OR_RETURN(auto out, Pool(c, c.bottom(0), s, mask ? 2 : 1));
  c.SetTop(0, out[0]);
  if (!mask) return OkStatus();
  // Caffe's mask counts within a plane and is float.
  SLIPWAY_ASSIGN_OR_RETURN(
      ir::Value * plane,
      c.Emit("Mod", {out[1], c.Constant("plane", ir::Tensor::Scalar<int64_t>(d[2] * d[3]))}));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * as_float, c.Emit("Cast", {plane}, {{"to", int64_t{1}}}));
  c.SetTop(1, as_float);
  return OkStatus();
}

// Spatial pyramid pooling: poolings into 1, 2x2, 4x4 ... bins, flattened and concatenated.
Status Spp(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(0, 4));
  Params p = c.Group("spp_param");
  PoolSpec s;
  SLIPWAY_ASSIGN_OR_RETURN(s.max, IsMax(p));
  const int64_t height = p.Int("pyramid_height", 0, 1, 12);
  if (height == 0) p.Fail("pyramid_height is missing");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const Dims d = c.BottomShape(0);
  std::vector<ir::Value*> levels;
  for (int64_t level = 0; level < height; ++level) {
    const int64_t bins = int64_t{1} << level;
    s.kernel = s.stride = s.pad = {0, 0};
    for (size_t i = 0; i < 2; ++i) {
      s.kernel[i] = (d[i + 2] + bins - 1) / bins;
      s.stride[i] = s.kernel[i];
      s.pad[i] = (s.kernel[i] * bins - d[i + 2] + 1) / 2;
    }
    SLIPWAY_ASSIGN_OR_RETURN(auto pooled, Pool(c, c.bottom(0), s, 1));
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * flat,
                             c.Emit("Flatten", {pooled[0]}, {{"axis", int64_t{1}}}));
    levels.push_back(flat);
  }
  if (levels.size() == 1) {
    c.SetTop(0, levels[0]);
    return OkStatus();
  }
  return c.Top(c.Emit("Concat", levels, {{"axis", int64_t{1}}}));
}

Status InnerProduct(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("inner_product_param");
  const int64_t outputs = p.Int("num_output", 0, 1, INT32_MAX);
  if (outputs == 0) p.Fail("num_output is missing");
  const bool bias = p.Bool("bias_term", true), transpose = p.Bool("transpose", false);
  const int64_t wanted = p.Int("axis", 1);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const int rank = c.Rank(0);
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, c.Axis(wanted, rank));
  int64_t k = 1;
  for (int i = axis; i < rank; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(const int64_t extent, c.Extent(0, i));
    const auto product = CheckedMul(k, extent);
    if (!product) return c.Bad("the bottom " + ToString(c.BottomSym(0)) + " is too large");
    k = *product;
  }
  SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(bias ? 2 : 1));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor w,
                           c.Blob(0, transpose ? Dims{k, outputs} : Dims{outputs, k}));
  ir::Value* flat = c.bottom(0);
  if (rank != 2 || axis != 1) {
    SLIPWAY_ASSIGN_OR_RETURN(flat, c.Emit("Flatten", {flat}, {{"axis", int64_t{axis}}}));
  }
  std::vector<ir::Value*> inputs = {flat, c.Constant("weight", std::move(w))};
  if (bias) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor b, c.Blob(1, {outputs}, Fill::kZero));
    inputs.push_back(c.Constant("bias", std::move(b)));
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * y,
                           c.Emit("Gemm", inputs, {{"transB", static_cast<int64_t>(!transpose)}}));
  if (axis == 1) {
    c.SetTop(0, y);
    return OkStatus();
  }
  Dims dims, x = c.BottomShape(0);
  for (int i = 0; i < axis; ++i) dims.push_back(x[static_cast<size_t>(i)]);
  dims.push_back(outputs);
  return c.Top(c.Reshape(y, dims));
}

Status Embed(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("embed_param");
  const int64_t outputs = p.Int("num_output", 0, 0, INT32_MAX);
  const int64_t rows = p.Int("input_dim", 0, 0, INT32_MAX);
  if (outputs == 0 || rows == 0) p.Fail("num_output and input_dim must be given");
  const bool bias = p.Bool("bias_term", true);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(bias ? 2 : 1));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor w, c.Blob(0, {rows, outputs}));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * index, c.Emit("Cast", {c.bottom(0)}, {{"to", int64_t{7}}}));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * y,
                           c.Emit("Gather", {c.Constant("weight", std::move(w)), index}));
  if (bias) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor b, c.Blob(1, {outputs}, Fill::kZero));
    SLIPWAY_ASSIGN_OR_RETURN(y, c.Emit("Add", {y, c.Constant("bias", std::move(b))}));
  }
  c.SetTop(0, y);
  return OkStatus();
}

constexpr LayerEntry kLayers[] = {
    {"Convolution", Convolution},
    {"ConvolutionDepthwise", Depthwise},
    {"DepthwiseConvolution", Depthwise},
    {"Deconvolution", Deconvolution},
    {"Pooling", Pooling},
    {"SPP", Spp},
    {"InnerProduct", InnerProduct},
    {"Embed", Embed},
};

}  // namespace

std::span<const LayerEntry> LinearLayers() { return kLayers; }

}  // namespace slipway::caffe
