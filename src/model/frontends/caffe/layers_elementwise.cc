// Activations, arithmetic with constants, and elementwise sums, products and maxima.

#include <cmath>

#include "model/frontends/caffe/layer.h"

namespace slipway::caffe {
namespace {

template <const char* kOp>
Status Unary(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  return c.Top(c.Emit(kOp, {c.bottom(0)}));
}
constexpr char kAbs[] = "Abs", kSoftplus[] = "Softplus", kSigmoid[] = "Sigmoid", kTanh[] = "Tanh",
               kMish[] = "Mish", kHardSwish[] = "HardSwish";

Status Alias(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1, 1, 1000));
  for (size_t i = 0; i < c.tops().size(); ++i) c.SetTop(i, c.bottom(0));
  return OkStatus();
}

Status Dropout(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("dropout_param");
  const double ratio = p.Float("dropout_ratio", 0.5);
  const bool scale_train = p.Bool("scale_train", true);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  if (scale_train) return Alias(c);
  return c.Top(c.Emit("Mul", {c.bottom(0), c.Scalar(static_cast<float>(1 - ratio))}));
}

Status ReLU(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("relu_param");
  const float slope = static_cast<float>(p.Float("negative_slope", 0));
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  if (slope == 0) return c.Top(c.Emit("Relu", {c.bottom(0)}));
  return c.Top(c.Emit("LeakyRelu", {c.bottom(0)}, {{"alpha", slope}}));
}

Status ReLU6(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  return c.Top(c.Emit("Clip", {c.bottom(0), c.Scalar(0), c.Scalar(6)}));
}

Status Clip(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("clip_param");
  if (!p.Has("min") || !p.Has("max")) p.Fail("min and max must be given");
  const auto low = static_cast<float>(p.Float("min", 0)),
             high = static_cast<float>(p.Float("max", 0));
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  return c.Top(c.Emit("Clip", {c.bottom(0), c.Scalar(low), c.Scalar(high)}));
}

Status Elu(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("elu_param");
  const float alpha = static_cast<float>(p.Float("alpha", 1));
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  return c.Top(c.Emit("Elu", {c.bottom(0)}, {{"alpha", alpha}}));
}

Status Swish(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("swish_param");
  const float beta = static_cast<float>(p.Float("beta", 1));
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  return c.Top(c.Emit("Swish", {c.bottom(0)}, {{"alpha", beta}}));
}

Status PReLU(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("prelu_param");
  p.Ignore({"filler"});
  const bool shared = p.Bool("channel_shared", false);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const int rank = c.Rank(0);
  if (rank < 2) return c.Bad("needs a bottom of two dimensions or more");
  SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(1));
  Dims dims{1};
  if (!shared) {
    SLIPWAY_ASSIGN_OR_RETURN(dims[0], c.Extent(0, 1));
  }
  for (int i = 2; i < rank; ++i) dims.push_back(1);
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor slope, c.Blob(0, dims));
  return c.Top(c.Emit("PRelu", {c.bottom(0), c.Constant("slope", std::move(slope))}));
}

// scale * x + shift, leaving out what does nothing.
Result<ir::Value*> Affine(LayerContext& c, ir::Value* x, double scale, double shift) {
  if (scale != 1) {
    SLIPWAY_ASSIGN_OR_RETURN(x, c.Emit("Mul", {x, c.Scalar(static_cast<float>(scale))}));
  }
  if (shift != 0) {
    SLIPWAY_ASSIGN_OR_RETURN(x, c.Emit("Add", {x, c.Scalar(static_cast<float>(shift))}));
  }
  return x;
}

Status Power(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("power_param");
  const double power = p.Float("power", 1), scale = p.Float("scale", 1),
               shift = p.Float("shift", 0);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * x, Affine(c, c.bottom(0), scale, shift));
  if (power == 1) {
    c.SetTop(0, x);
    return OkStatus();
  }
  return c.Top(c.Emit("Pow", {x, c.Scalar(static_cast<float>(power))}));
}

Status Exp(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("exp_param");
  const double base = p.Float("base", -1), scale = p.Float("scale", 1), shift = p.Float("shift", 0);
  if (base != -1 && base <= 0) p.Fail("base must be positive, or -1 for e");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const double log = base == -1 ? 1 : std::log(base);
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * x, Affine(c, c.bottom(0), scale * log, shift * log));
  return c.Top(c.Emit("Exp", {x}));
}

Status Log(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("log_param");
  const double base = p.Float("base", -1), scale = p.Float("scale", 1), shift = p.Float("shift", 0);
  if (base != -1 && (base <= 0 || base == 1)) p.Fail("base must be positive and not 1, or -1");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * x, Affine(c, c.bottom(0), scale, shift));
  SLIPWAY_ASSIGN_OR_RETURN(x, c.Emit("Log", {x}));
  return c.Top(Affine(c, x, base == -1 ? 1 : 1 / std::log(base), 0));
}

Status Threshold(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("threshold_param");
  const float t = static_cast<float>(p.Float("threshold", 0));
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * above, c.Emit("Greater", {c.bottom(0), c.Scalar(t)}));
  return c.Top(c.Emit("Cast", {above}, {{"to", int64_t{1}}}));
}

Status Eltwise(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 100000));
  Params p = c.Group("eltwise_param");
  p.Ignore({"stable_prod_grad"});
  const std::string op = p.Text("operation", "SUM");
  const std::vector<double> coeff = p.Floats("coeff");
  const bool sum = op == "SUM" || op == "1", product = op == "PROD" || op == "0";
  if (!sum && !product && op != "MAX" && op != "2") p.Fail("unknown operation '" + op + "'");
  if (!coeff.empty() && (!sum || coeff.size() != c.num_bottoms()))
    p.Fail("coeff needs operation SUM and one number for each bottom");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const char* name = sum ? "Add" : product ? "Mul" : "Max";
  ir::Value* y = nullptr;
  for (size_t i = 0; i < c.num_bottoms(); ++i) {
    ir::Value* x = c.bottom(i);
    if (c.Sym(x) != c.BottomSym(0)) {
      return c.Bad("bottoms '" + c.spec().bottoms[0] + "' " + ToString(c.BottomSym(0)) + " and '" +
                   c.spec().bottoms[i] + "' " + ToString(c.Sym(x)) + " must have one shape");
    }
    if (!coeff.empty() && coeff[i] == -1 && y) {
      SLIPWAY_ASSIGN_OR_RETURN(y, c.Emit("Sub", {y, x}));
      continue;
    }
    if (!coeff.empty()) {
      SLIPWAY_ASSIGN_OR_RETURN(x, Affine(c, x, coeff[i], 0));
    }
    if (!y) {
      y = x;
    } else {
      SLIPWAY_ASSIGN_OR_RETURN(y, c.Emit(name, {y, x}));
    }
  }
  c.SetTop(0, y);
  return OkStatus();
}

// The multiplier or bias of Scale and Bias: the second bottom, or blob `blob`, as a value that
// broadcasts over the first bottom from `axis` on.
Result<ir::Value*> Operand(LayerContext& c, bool from_bottom, size_t blob, int axis, int64_t axes,
                           Fill fill, const char* name) {
  const SymShape& x = c.BottomSym(0);
  const int rank = c.Rank(0);
  if (from_bottom) {
    const SymShape& s = c.BottomSym(1);
    for (size_t i = 0; i < s.size(); ++i) {
      const size_t at = static_cast<size_t>(axis) + i;
      if (at >= x.size() || x[at] != s[i]) {
        return InvalidArgument("the second bottom " + ToString(s) + " does not fit " + ToString(x) +
                               " from axis " + std::to_string(axis));
      }
    }
    return c.Widen(c.bottom(1), rank - axis - c.Rank(1));
  }
  const int64_t n = axes < 0 ? rank - axis : axes;
  if (axis + n > rank)
    return InvalidArgument("num_axes " + std::to_string(axes) + " goes beyond the bottom " +
                           ToString(x));
  Dims wide;
  for (int i = axis; i < rank; ++i) {
    int64_t extent = 1;
    if (i < axis + n) {
      SLIPWAY_ASSIGN_OR_RETURN(extent, c.Extent(0, i));
    }
    wide.push_back(extent);
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, c.Blob(blob, wide, fill));
  return c.Constant(name, std::move(t));
}

Status Scale(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 2));
  Params p = c.Group("scale_param");
  p.Ignore({"filler"});
  const int64_t wanted = p.Int("axis", 1), axes = p.Int("num_axes", 1, -1);
  const bool bias = p.Bool("bias_term", false), two = c.num_bottoms() == 2;
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, c.Axis(wanted, c.Rank(0), axes == 0));
  if (!two || bias) SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(size_t{!two} + bias));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * gamma,
                           Operand(c, two, 0, axis, axes, Fill::kPositive, "scale"));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * y, c.Emit("Mul", {c.bottom(0), gamma}));
  if (bias) {
    const Dims g = c.Shape(gamma);
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor b, c.Blob(two ? 0 : 1, g, Fill::kZero));
    SLIPWAY_ASSIGN_OR_RETURN(y, c.Emit("Add", {y, c.Constant("bias", std::move(b))}));
  }
  c.SetTop(0, y);
  return OkStatus();
}

Status Bias(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 2));
  Params p = c.Group("bias_param");
  p.Ignore({"filler"});
  const int64_t wanted = p.Int("axis", 1), axes = p.Int("num_axes", 1, -1);
  const bool two = c.num_bottoms() == 2;
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, c.Axis(wanted, c.Rank(0), axes == 0));
  if (!two) SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(1));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * b, Operand(c, two, 0, axis, axes, Fill::kZero, "bias"));
  return c.Top(c.Emit("Add", {c.bottom(0), b}));
}

// SENet's fork: a [N, C, 1, 1] or [N, C] times x plus y.
Status Axpy(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(3, 3));
  const SymShape &x = c.BottomSym(1), &a = c.BottomSym(0);
  bool fits = x.size() >= 2 && a.size() >= 2 && a.size() <= x.size() && a[0] == x[0] &&
              a[1] == x[1] && c.BottomSym(2) == x;
  for (size_t i = 2; i < a.size(); ++i) fits &= a[i].Is(1);
  if (!fits) {
    return c.Bad("the bottoms " + ToString(a) + ", " + ToString(x) + ", " +
                 ToString(c.BottomSym(2)) + " are not [N, C, 1, 1], X and Y of one shape");
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * scale, c.Widen(c.bottom(0), c.Rank(1) - c.Rank(0)));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * product, c.Emit("Mul", {c.bottom(1), scale}));
  return c.Top(c.Emit("Add", {product, c.bottom(2)}));
}

constexpr LayerEntry kLayers[] = {
    {"AbsVal", Unary<kAbs>},
    {"Axpy", Axpy},
    {"BNLL", Unary<kSoftplus>},
    {"Bias", Bias},
    {"Clip", Clip},
    {"Dropout", Dropout},
    {"ELU", Elu},
    {"Eltwise", Eltwise},
    {"Exp", Exp},
    {"HardSwish", Unary<kHardSwish>},
    {"Log", Log},
    {"Mish", Unary<kMish>},
    {"PReLU", PReLU},
    {"Power", Power},
    {"ReLU", ReLU},
    {"ReLU6", ReLU6},
    {"Relu6", ReLU6},
    {"Scale", Scale},
    {"Sigmoid", Unary<kSigmoid>},
    {"Split", Alias},
    {"Swish", Swish},
    {"TanH", Unary<kTanh>},
    {"Threshold", Threshold},
};

}  // namespace

std::span<const LayerEntry> ElementwiseLayers() { return kLayers; }

}  // namespace slipway::caffe
