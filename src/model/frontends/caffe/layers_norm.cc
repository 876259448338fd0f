// Normalisation, softmax, reductions and arg-max.

#include <cmath>

#include "model/frontends/caffe/layer.h"

namespace slipway::caffe {
namespace {

using Ints = std::vector<int64_t>;

// mean and variance over `axes`: (x - mean) / f(variance), the variance left out when not wanted.
Result<ir::Value*> Standardize(LayerContext& c, const Ints& axes, bool variance, float eps,
                               bool eps_outside) {
  ir::Value* at = c.Ints(axes);
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * mean, c.Emit("ReduceMean", {c.bottom(0), at}));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * centred, c.Emit("Sub", {c.bottom(0), mean}));
  if (!variance) return centred;
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * square, c.Emit("Mul", {centred, centred}));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * var, c.Emit("ReduceMean", {square, at}));
  if (!eps_outside) {
    SLIPWAY_ASSIGN_OR_RETURN(var, c.Emit("Add", {var, c.Scalar(eps)}));
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * deviation, c.Emit("Sqrt", {var}));
  if (eps_outside) {
    SLIPWAY_ASSIGN_OR_RETURN(deviation, c.Emit("Add", {deviation, c.Scalar(eps)}));
  }
  return c.Emit("Div", {centred, deviation});
}

// A vector of `n` equal numbers.
Result<ir::Tensor> Filled(int64_t n, float value) {
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, ir::Tensor::Allocate(DType::kFloat32, {n}));
  for (int64_t i = 0; i < n; ++i) reinterpret_cast<float*>(t.mutable_data())[i] = value;
  return t;
}

Status BatchNorm(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("batch_norm_param");
  p.Ignore({"moving_average_fraction"});
  const bool global = p.Bool("use_global_stats", true);
  const float eps = static_cast<float>(p.Float("eps", 1e-5));
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const int rank = c.Rank(0);
  if (rank < 1) return c.Bad("needs a bottom of one dimension or more");
  int64_t channels = 1;
  if (rank > 1) {
    SLIPWAY_ASSIGN_OR_RETURN(channels, c.Extent(0, 1));
  }
  if (!global) {
    Ints axes{0};
    for (int i = 2; i < rank; ++i) axes.push_back(i);
    return c.Top(Standardize(c, axes, true, eps, false));
  }
  SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(3));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor mean, c.Blob(0, {channels}, Fill::kZero));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor var, c.Blob(1, {channels}, Fill::kPositive));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor count, c.Blob(2, {1}, Fill::kOne));
  const float factor = count.Aligned().data<float>()[0];
  if (factor != 1) {
    // The blobs hold sums weighted by the moving average; a factor of 0 means nothing was learned.
    const float by = factor == 0 ? 0 : 1 / factor;
    for (ir::Tensor* t : {&mean, &var}) {
      SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor scaled,
                               ir::Tensor::Allocate(DType::kFloat32, {channels}));
      const ir::Tensor from = t->Aligned();
      for (int64_t i = 0; i < channels; ++i)
        reinterpret_cast<float*>(scaled.mutable_data())[i] = from.data<float>()[i] * by;
      *t = std::move(scaled);
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor one, Filled(channels, 1));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor zero, Filled(channels, 0));
  ir::Value* in = c.bottom(0);
  if (rank == 1) {
    SLIPWAY_ASSIGN_OR_RETURN(in, c.Widen(in, 1));
  }
  SLIPWAY_ASSIGN_OR_RETURN(
      ir::Value * y,
      c.Emit("BatchNormalization",
             {in, c.Constant("one", std::move(one)), c.Constant("zero", std::move(zero)),
              c.Constant("mean", std::move(mean)), c.Constant("variance", std::move(var))},
             {{"epsilon", eps}}));
  if (rank > 1) return c.Top(y);
  return c.Top(c.Emit("Squeeze", {y, c.Ints({1})}));
}

// The BN of SegNet (scale and shift, ready for use) and of PSPNet (slope, bias, mean, variance).
Status Bn(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("bn_param");
  p.Ignore({"bn_mode", "scale_filler", "shift_filler", "slope_filler", "bias_filler", "momentum",
            "frozen", "moving_average"});
  const float eps = static_cast<float>(p.Float("eps", 1e-5));
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const int rank = c.Rank(0);
  if (rank < 2) return c.Bad("needs a bottom of two dimensions or more");
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t channels, c.Extent(0, 1));
  const Dims vector{channels};
  if (c.num_blobs() == 4) {
    const Fill fills[] = {Fill::kPositive, Fill::kZero, Fill::kZero, Fill::kPositive};
    std::vector<ir::Value*> inputs{c.bottom(0)};
    for (size_t i = 0; i < 4; ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, c.Blob(i, vector, fills[i]));
      inputs.push_back(c.Constant("bn" + std::to_string(i), std::move(t)));
    }
    return c.Top(c.Emit("BatchNormalization", inputs, {{"epsilon", eps}}));
  }
  SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(2));
  Dims wide = vector;
  for (int i = 2; i < rank; ++i) wide.push_back(1);
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor scale, c.Blob(0, wide, Fill::kPositive));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor shift, c.Blob(1, wide, Fill::kZero));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * y,
                           c.Emit("Mul", {c.bottom(0), c.Constant("scale", std::move(scale))}));
  return c.Top(c.Emit("Add", {y, c.Constant("shift", std::move(shift))}));
}

Status Lrn(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(0, 4));
  Params p = c.Group("lrn_param");
  const int64_t size = p.Int("local_size", 5, 1, 1 << 20);
  const float alpha = static_cast<float>(p.Float("alpha", 1)),
              beta = static_cast<float>(p.Float("beta", 0.75)),
              k = static_cast<float>(p.Float("k", 1));
  const std::string region = p.Text("norm_region", "ACROSS_CHANNELS");
  const bool across = region == "ACROSS_CHANNELS" || region == "0";
  if (!across && region != "WITHIN_CHANNEL" && region != "1")
    p.Fail("unknown norm_region '" + region + "'");
  if (size % 2 == 0) p.Fail("local_size must be odd");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  if (across) {
    return c.Top(c.Emit("LRN", {c.bottom(0)},
                        {{"alpha", alpha}, {"beta", beta}, {"bias", k}, {"size", size}}));
  }
  // x * (1 + alpha * average of x^2 over the window, its padding counted)^-beta; k is not used.
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * square, c.Emit("Mul", {c.bottom(0), c.bottom(0)}));
  const int64_t pad = (size - 1) / 2;
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * average, c.Emit("AveragePool", {square},
                                                       {{"kernel_shape", Ints{size, size}},
                                                        {"strides", Ints{1, 1}},
                                                        {"pads", Ints{pad, pad, pad, pad}},
                                                        {"count_include_pad", int64_t{1}}}));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * y, c.Emit("Mul", {average, c.Scalar(alpha)}));
  SLIPWAY_ASSIGN_OR_RETURN(y, c.Emit("Add", {y, c.Scalar(1)}));
  SLIPWAY_ASSIGN_OR_RETURN(y, c.Emit("Pow", {y, c.Scalar(-beta)}));
  return c.Top(c.Emit("Mul", {c.bottom(0), y}));
}

Status Mvn(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("mvn_param");
  const bool variance = p.Bool("normalize_variance", true),
             across = p.Bool("across_channels", false);
  const float eps = static_cast<float>(p.Float("eps", 1e-9));
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(0, 4));
  return c.Top(Standardize(c, across ? Ints{1, 2, 3} : Ints{2, 3}, variance, eps, true));
}

// SSD: x / sqrt(sum of x^2 + eps) * scale.
Status Normalize(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(0, 4));
  Params p = c.Group("norm_param");
  const bool spatial = p.Bool("across_spatial", true), shared = p.Bool("channel_shared", true);
  const float eps = static_cast<float>(p.Float("eps", 1e-10));
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(1));
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t channels, c.Extent(0, 1));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor scale,
                           c.Blob(0, Dims{shared ? 1 : channels, 1, 1}, Fill::kPositive));
  SLIPWAY_ASSIGN_OR_RETURN(
      ir::Value * sum,
      c.Emit("ReduceSumSquare", {c.bottom(0), c.Ints(spatial ? Ints{1, 2, 3} : Ints{1})}));
  SLIPWAY_ASSIGN_OR_RETURN(sum, c.Emit("Add", {sum, c.Scalar(eps)}));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * norm, c.Emit("Sqrt", {sum}));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * y, c.Emit("Div", {c.bottom(0), norm}));
  return c.Top(c.Emit("Mul", {y, c.Constant("scale", std::move(scale))}));
}

Status SoftmaxOver(LayerContext& c) {
  Params p = c.Group("softmax_param");
  const int64_t wanted = p.Int("axis", 1);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, c.Axis(wanted, c.Rank(0)));
  return c.Top(c.Emit("Softmax", {c.bottom(0)}, {{"axis", int64_t{axis}}}));
}

Status Softmax(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  return SoftmaxOver(c);
}

// What a loss layer makes of its first bottom at test time.
Status SoftmaxLoss(LayerContext& c) { return SoftmaxOver(c); }
Status SigmoidLoss(LayerContext& c) { return c.Top(c.Emit("Sigmoid", {c.bottom(0)})); }

Status Reduction(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("reduction_param");
  const std::string op = p.Text("operation", "SUM");
  const int64_t wanted = p.Int("axis", 0);
  const float coeff = static_cast<float>(p.Float("coeff", 1));
  const char* name = op == "SUM" || op == "1"     ? "ReduceSum"
                     : op == "ASUM" || op == "2"  ? "ReduceL1"
                     : op == "SUMSQ" || op == "3" ? "ReduceSumSquare"
                     : op == "MEAN" || op == "4"  ? "ReduceMean"
                                                  : nullptr;
  if (!name) p.Fail("unknown operation '" + op + "'");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const int rank = c.Rank(0);
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, c.Axis(wanted, rank));
  Ints axes;
  for (int i = axis; i < rank; ++i) axes.push_back(i);
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * y,
                           c.Emit(name, {c.bottom(0), c.Ints(axes)}, {{"keepdims", int64_t{0}}}));
  if (coeff != 1) {
    SLIPWAY_ASSIGN_OR_RETURN(y, c.Emit("Mul", {y, c.Scalar(coeff)}));
  }
  c.SetTop(0, y);
  return OkStatus();
}

// Indices (as floats), values, or without an axis both. Of equal values Caffe lists the last first:
// the axis is turned round before TopK, which lists the first one first.
Status ArgMax(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("argmax_param");
  const bool values = p.Bool("out_max_val", false), has_axis = p.Has("axis");
  const int64_t k = p.Int("top_k", 1, 1, INT32_MAX), wanted = p.Int("axis", 0);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  Dims x = c.BottomShape(0);
  if (x.rank() < 1) return c.Bad("needs a bottom of one dimension or more");
  ir::Value* in = c.bottom(0);
  int axis = 1;
  if (has_axis) {
    SLIPWAY_ASSIGN_OR_RETURN(axis, c.Axis(wanted, x.rank()));
  } else {
    x = Dims{x[0], x.count(1, x.rank())};
    SLIPWAY_ASSIGN_OR_RETURN(in, c.Reshape(in, x));
  }
  const int64_t extent = x[static_cast<size_t>(axis)];
  if (k > extent)
    return c.Bad("top_k " + std::to_string(k) + " is more than the " + std::to_string(extent) +
                 " values");
  SLIPWAY_ASSIGN_OR_RETURN(
      ir::Value * turned,
      c.Emit("Slice", {in, c.Ints({-1}), c.Ints({-extent - 1}), c.Ints({axis}), c.Ints({-1})}));
  SLIPWAY_ASSIGN_OR_RETURN(auto top,
                           c.EmitMany("TopK", {turned, c.Ints({k})}, {{"axis", int64_t{axis}}}, 2));
  ir::Value* index = nullptr;
  if (!has_axis || !values) {
    SLIPWAY_ASSIGN_OR_RETURN(
        index,
        c.Emit("Sub", {c.Constant("last", ir::Tensor::Scalar<int64_t>(extent - 1)), top[1]}));
    SLIPWAY_ASSIGN_OR_RETURN(index, c.Emit("Cast", {index}, {{"to", int64_t{1}}}));
  }
  if (has_axis) {
    c.SetTop(0, values ? top[0] : index);
    return OkStatus();
  }
  const Dims out{x[0], 1, k};
  SLIPWAY_ASSIGN_OR_RETURN(index, c.Reshape(index, out));
  if (!values) {
    c.SetTop(0, index);
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * best, c.Reshape(top[0], out));
  return c.Top(c.Emit("Concat", {index, best}, {{"axis", int64_t{1}}}));
}

constexpr LayerEntry kLayers[] = {
    {"ArgMax", ArgMax},
    {"BN", Bn},
    {"BatchNorm", BatchNorm},
    {"LRN", Lrn},
    {"MVN", Mvn},
    {"Normalize", Normalize},
    {"Reduction", Reduction},
    {"SigmoidCrossEntropyLoss", SigmoidLoss},
    {"Softmax", Softmax},
    {"SoftmaxWithLoss", SoftmaxLoss},
};

}  // namespace

std::span<const LayerEntry> NormLayers() { return kLayers; }

}  // namespace slipway::caffe
