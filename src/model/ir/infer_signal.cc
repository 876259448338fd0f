// Inference of spectra, windows and random tensors.

#include "model/ir/infer_util.h"

namespace slipway::ir {
namespace {

// The attribute `name` as an element type; `fallback` when absent.
Result<DType> TypeAttribute(const InferContext& c, std::string_view name, DType fallback) {
  const int64_t v = c.attributes().Int(name, static_cast<int64_t>(fallback));
  const DType t = v > 0 && v < 256 ? static_cast<DType>(v) : DType::kUndefined;
  if (!IsKnown(t) || t == DType::kString) return Bad(name, " = ", v, " is no numeric element type");
  return t;
}

// One integer input as a dimension; a fresh symbol when unknown.
Result<Dim> SizeInput(InferContext& c, size_t i, int64_t least, std::string_view what) {
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, i, what));
  SLIPWAY_ASSIGN_OR_RETURN(auto e, IntVector(c, i, what));
  if (!e || e->size() != 1) return c.fresh_symbol();
  const Dim d = (*e)[0];
  if (d.known() && (d.value() < least || d.value() > kMaxWindow))
    return Bad(what, " = ", d, " must lie in [", least, ", ", kMaxWindow, "]");
  return d;
}

}  // namespace

Status InferDFT(InferContext& c) {
  const DType dtype = c.input(0).dtype;
  const bool inverse = c.attributes().Int("inverse", 0) != 0,
             onesided = c.attributes().Int("onesided", 0) != 0;
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 2, "the input"));
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 2, "axis"));
  SLIPWAY_ASSIGN_OR_RETURN(const auto given, KnownIntVector(c, 2, "axis"));
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  const Dim& parts = x->back();
  if (parts.known() && !parts.Is(1) && !parts.Is(2)) {
    return Bad("the input ", *x,
               " must have 1 (real) or 2 (complex) elements in its last dimension");
  }
  if (onesided && !inverse && parts.Is(2))
    return Bad("a one-sided transform needs a real input, not ", *x);
  Dim n;
  if (c.has_input(1)) {
    SLIPWAY_ASSIGN_OR_RETURN(n, SizeInput(c, 1, 1, "dft_length"));
  }
  SymShape out = *x;
  out.back() = Dim(inverse && onesided ? 1 : 2);
  if (c.has_input(2) && !given) {  // any dimension may change
    for (size_t i = 0; i + 1 < out.size(); ++i) out[i] = c.fresh_symbol();
    c.set_output(0, dtype, std::move(out));
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(const size_t axis, NormalizeAxis(given ? (*given)[0] : -2, x->size()));
  if (axis + 1 == x->size())
    return Bad("axis must not be the last dimension, which holds the complex parts");
  if (!c.has_input(1)) n = inverse && onesided ? Dim(2) * (out[axis] - Dim(1)) : out[axis];
  out[axis] = onesided && !inverse ? FloorDiv(n, Dim(2)) + Dim(1) : n;
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

Status InferSTFT(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 2}));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 2, "the signal"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 2, 1, "window"));
  const SymShape *x = ShapeOf(c, 0), *window = ShapeOf(c, 2);
  if (x && x->size() > 3) return Bad("the signal ", *x, " must be [batch, length, 1 or 2]");
  if (x && x->size() == 3 && (*x)[2].known() && !(*x)[2].Is(1) && !(*x)[2].Is(2))
    return Bad("the signal ", *x, " must have 1 or 2 elements in its last dimension");
  const bool onesided = c.attributes().Int("onesided", 1) != 0;
  if (onesided && x && x->size() == 3 && (*x)[2].Is(2))
    return Bad("a one-sided transform needs a real signal, not ", *x);
  SLIPWAY_ASSIGN_OR_RETURN(const Dim step, SizeInput(c, 1, 1, "frame_step"));
  Dim n = window ? (*window)[0] : x ? (*x)[1] : c.fresh_symbol();
  if (c.has_input(3)) {
    SLIPWAY_ASSIGN_OR_RETURN(const Dim given, SizeInput(c, 3, 1, "frame_length"));
    if (window) {
      SLIPWAY_ASSIGN_OR_RETURN(n, Unify(c, given, n, "frame_length and window"));
    } else {
      n = given;
    }
  } else if (!window && c.has_input(2)) {
    n = c.fresh_symbol();
  }
  const Dim length = x ? (*x)[1] : c.fresh_symbol();
  const Dim room = length - n;
  if (room.known() && room.value() < 0)
    return Bad("a frame of ", n, " does not fit a signal of ", length);
  const Dim frames = step.known() ? FloorDiv(room, step) + Dim(1) : c.fresh_symbol();
  c.set_output(0, c.input(0).dtype,
               SymShape{x ? (*x)[0] : c.fresh_symbol(), frames,
                        onesided ? FloorDiv(n, Dim(2)) + Dim(1) : n, Dim(2)});
  return OkStatus();
}

Status InferCosineWindow(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType dtype, TypeAttribute(c, "output_datatype", DType::kFloat32));
  SLIPWAY_ASSIGN_OR_RETURN(const Dim n, SizeInput(c, 0, 0, "size"));
  c.set_output(0, dtype, SymShape{n});
  return OkStatus();
}

Status InferMelWeightMatrix(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType dtype, TypeAttribute(c, "output_datatype", DType::kFloat32));
  SLIPWAY_ASSIGN_OR_RETURN(const Dim bins, SizeInput(c, 0, 1, "num_mel_bins"));
  SLIPWAY_ASSIGN_OR_RETURN(const Dim n, SizeInput(c, 1, 1, "dft_length"));
  SLIPWAY_RETURN_IF_ERROR(SizeInput(c, 2, 1, "sample_rate").status());
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 3, "lower_edge_hertz"));
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 4, "upper_edge_hertz"));
  c.set_output(0, dtype, SymShape{FloorDiv(n, Dim(2)) + Dim(1), bins});
  return OkStatus();
}

Status InferRandom(InferContext& c) {
  const std::string_view op = c.op();
  const bool from_shape = op == "RandomNormal" || op == "RandomUniform";
  const DType like = from_shape || op == "Multinomial" ? DType::kFloat32 : c.input(0).dtype;
  const DType fallback = op == "Multinomial" ? DType::kInt32 : like;
  DType dtype = fallback;
  if (c.attributes().Has("dtype")) {
    SLIPWAY_ASSIGN_OR_RETURN(dtype, TypeAttribute(c, "dtype", fallback));
  }
  if (op == "Multinomial") {
    if (dtype != DType::kInt32 && dtype != DType::kInt64)
      return Bad("dtype ", dtype, " must be int32 or int64");
    SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 0, 2, "the input"));
    const int64_t samples = c.attributes().Int("sample_size", 1);
    if (samples < 0 || samples > kMaxWindow)
      return Bad("sample_size = ", samples, " must not be negative");
    const SymShape* x = ShapeOf(c, 0);
    c.set_output(0, dtype, SymShape{x ? (*x)[0] : c.fresh_symbol(), Dim(samples)});
    return OkStatus();
  }
  if (op != "Bernoulli" && !IsFloating(dtype) && dtype != DType::kUndefined)
    return Bad("dtype ", dtype, " must be a floating type");
  if (!from_shape) {
    c.set_output(0, dtype, c.input(0).shape);
    return OkStatus();
  }
  SymShape out;
  for (int64_t d : c.attributes().Ints("shape")) {
    if (d < 0) return Bad("shape holds ", d, "; sizes must not be negative");
    out.push_back(Dim(d));
  }
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

}  // namespace slipway::ir
