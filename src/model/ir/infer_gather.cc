// Inference of indexed access and of Resize.

#include <algorithm>
#include <cmath>

#include "model/ir/infer_util.h"

namespace slipway::ir {
namespace {

Status RequireIndices(const InferContext& c, size_t i) {
  if (!c.has_input(i)) return OkStatus();
  const DType t = c.input(i).dtype;
  if (t == DType::kUndefined || t == DType::kInt64 || t == DType::kInt32) return OkStatus();
  return Bad("the indices have type ", t, " but must be int64 or int32");
}

}  // namespace

Status InferGather(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireIndices(c, 1));
  const DType dtype = c.input(0).dtype;
  const SymShape *x = ShapeOf(c, 0), *indices = ShapeOf(c, 1);
  if (!x || !indices) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                           NormalizeAxis(c.attributes().Int("axis", 0), x->size()));
  SymShape out(x->begin(), x->begin() + static_cast<std::ptrdiff_t>(axis));
  out.insert(out.end(), indices->begin(), indices->end());
  out.insert(out.end(), x->begin() + static_cast<std::ptrdiff_t>(axis) + 1, x->end());
  c.set_output(0, dtype, out);

  const auto at = c.elements(1);
  if (!at) return OkStatus();
  std::vector<int64_t> positions;
  for (const Dim& d : *at) {
    if (!d.known() || !(*x)[axis].known()) return OkStatus();
    const int64_t extent = (*x)[axis].value();
    if (d.value() < -extent || d.value() >= extent) {
      return Bad("index ", d, " is out of range for dimension ", axis, " of ", *x);
    }
    positions.push_back(d.value() < 0 ? d.value() + extent : d.value());
  }
  const auto elements = c.elements(0);
  const auto from = SmallExtent(*x), to = SmallExtent(out), index_extent = SmallExtent(*indices);
  if (!elements || !from || !to || !index_extent) return OkStatus();
  std::vector<Dim> picked;
  std::vector<int64_t> own(x->size());
  const size_t n = indices->size();
  ForEachIndex(*to, [&](const std::vector<int64_t>& index) {
    for (size_t d = 0; d < axis; ++d) own[d] = index[d];
    own[axis] = positions[PositionOf(std::span(index).subspan(axis, n), *index_extent)];
    for (size_t d = axis + 1; d < own.size(); ++d) own[d] = index[d + n - 1];
    picked.push_back((*elements)[PositionOf(own, *from)]);
  });
  c.set_elements(0, std::move(picked));
  return OkStatus();
}

Status InferGatherElements(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireIndices(c, 1));
  const SymShape *x = ShapeOf(c, 0), *indices = ShapeOf(c, 1);
  c.set_output(0, c.input(0).dtype, c.input(1).shape);
  if (!x || !indices) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                           NormalizeAxis(c.attributes().Int("axis", 0), x->size()));
  if (x->size() != indices->size())
    return Bad("data ", *x, " and indices ", *indices, " must have as many dimensions");
  for (size_t i = 0; i < x->size(); ++i) {
    const Dim &d = (*x)[i], &n = (*indices)[i];
    if (i != axis && d.known() && n.known() && n.value() > d.value()) {
      return Bad("dimension ", i, " of indices ", *indices, " exceeds that of data ", *x);
    }
  }
  return OkStatus();
}

Status InferGatherND(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireIndices(c, 1));
  const DType dtype = c.input(0).dtype;
  const SymShape *x = ShapeOf(c, 0), *indices = ShapeOf(c, 1);
  const int64_t batch = c.attributes().Int("batch_dims", 0);
  if (!x || !indices) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  const int64_t rank = static_cast<int64_t>(x->size()),
                index_rank = static_cast<int64_t>(indices->size());
  if (rank < 1 || index_rank < 1) return Bad("data and indices need at least one dimension");
  if (batch < 0 || batch >= std::min(rank, index_rank)) {
    return Bad("batch_dims = ", batch, " must be smaller than the dimensions of data ", *x,
               " and indices ", *indices);
  }
  for (int64_t i = 0; i < batch; ++i) {
    const size_t d = static_cast<size_t>(i);
    SLIPWAY_RETURN_IF_ERROR(
        Unify(c, (*x)[d], (*indices)[d], "batch dimension " + std::to_string(i)).status());
  }
  const Dim& depth = indices->back();
  if (!depth.known()) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  if (depth.value() < 1 || depth.value() > rank - batch) {
    return Bad("the last dimension of indices ", *indices, " must lie in [1, ", rank - batch,
               "] for data ", *x, " and batch_dims = ", batch);
  }
  SymShape out(indices->begin(), indices->end() - 1);
  out.insert(out.end(), x->begin() + batch + depth.value(), x->end());
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

Status InferOneHot(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 1, "depth"));
  if (const SymShape* v = ShapeOf(c, 2);
      v && (v->size() != 1 || ((*v)[0].known() && !(*v)[0].Is(2)))) {
    return Bad("values (input 2) has shape ", *v, " but must be [2]: the off and the on value");
  }
  const DType dtype = c.input(2).dtype;
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                           NormalizeAxis(c.attributes().Int("axis", -1), x->size() + 1));
  Dim depth;
  if (auto e = c.elements(1); e && e->size() == 1) {
    depth = (*e)[0];
    if (depth.known() && depth.value() < 1) return Bad("depth = ", depth, " must be at least 1");
  } else {  // also a floating depth, which the specification allows: ops::ShapeOneHot reads it
    depth = c.fresh_symbol();
  }
  SymShape out = *x;
  out.insert(out.begin() + static_cast<std::ptrdiff_t>(axis), depth);
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

namespace {

// floor(in * scale); exact for a symbolic `in` when the scale is a small dyadic fraction.
Result<Dim> Scaled(InferContext& c, const Dim& in, float scale) {
  if (!std::isfinite(scale) || scale <= 0)
    return Bad("scale ", std::to_string(scale), " must be positive and finite");
  if (in.known()) {
    // In float32, as the specification's own inference computes it.
    const float v = std::floor(static_cast<float>(in.value()) * scale);
    if (v >= 0x1p62f)
      return Bad("extent ", in, " times scale ", std::to_string(scale), " is too large");
    return Dim(static_cast<int64_t>(v));
  }
  double numerator = scale;
  int64_t denominator = 1;
  while (numerator != std::floor(numerator) && denominator < (1 << 20)) {
    numerator *= 2;
    denominator *= 2;
  }
  if (numerator != std::floor(numerator) || numerator > 0x1p40) return c.fresh_symbol();
  return FloorDiv(in * Dim(static_cast<int64_t>(numerator)), Dim(denominator));
}

struct Choice {
  std::string_view attribute, fallback;
  std::initializer_list<std::string_view> allowed;
};

Status CheckResizeModes(const InferContext& c) {
  const Choice kChoices[] = {
      {"mode", "nearest", {"nearest", "linear", "cubic"}},
      {"nearest_mode",
       "round_prefer_floor",
       {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}},
      {"keep_aspect_ratio_policy", "stretch", {"stretch", "not_larger", "not_smaller"}},
      {"coordinate_transformation_mode",
       "half_pixel",
       {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
        "tf_crop_and_resize"}},
  };
  for (const Choice& choice : kChoices) {
    const std::string_view v = c.attributes().String(choice.attribute, choice.fallback);
    if (std::find(choice.allowed.begin(), choice.allowed.end(), v) == choice.allowed.end()) {
      return Bad(choice.attribute, " '", v, "' is not one of the specification's");
    }
  }
  return OkStatus();
}

bool IsEmptyInput(const InferContext& c, size_t i) {
  if (!c.has_input(i)) return true;
  const SymShape* s = ShapeOf(c, i);
  return s && s->size() == 1 && (*s)[0].Is(0);
}

Status InferResized(InferContext& c, DType dtype) {
  SLIPWAY_RETURN_IF_ERROR(CheckResizeModes(c));
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  std::vector<size_t> which;
  if (const auto axes = c.attributes().Ints("axes"); !axes.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(which, NormalizeAxes(axes, x->size()));
  } else {
    for (size_t i = 0; i < x->size(); ++i) which.push_back(i);
  }
  const bool by_scale = !IsEmptyInput(c, 2), by_size = !IsEmptyInput(c, 3);
  if (by_scale == by_size)
    return Bad("exactly one of scales (input 2) and sizes (input 3) must be given");
  const bool crop =
      c.attributes().String("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize";
  std::vector<double> roi;
  if (crop) {
    if (IsEmptyInput(c, 1)) return Bad("tf_crop_and_resize needs roi (input 1)");
    if (const Tensor* t = c.constant(1)) {
      roi = t->ToDoubles();
      if (roi.size() != 2 * which.size())
        return Bad("roi has ", roi.size(), " elements but needs ", 2 * which.size());
    }
  }
  SymShape out = *x;
  if (by_scale) {
    const Tensor* t = c.constant(2);
    const auto scales = t ? t->ToDoubles() : std::vector<double>();
    if (t && scales.size() != which.size())
      return Bad("scales has ", t->count(), " elements but needs ", which.size());
    for (size_t i = 0; i < which.size(); ++i) {
      Dim& d = out[which[i]];
      if (!t || (crop && roi.empty())) {
        d = c.fresh_symbol();
        continue;
      }
      const double part = crop ? roi[which.size() + i] - roi[i] : 1.0;
      SLIPWAY_ASSIGN_OR_RETURN(d, Scaled(c, d, static_cast<float>(part * scales[i])));
    }
    c.set_output(0, dtype, std::move(out));
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto sizes, IntVector(c, 3, "sizes"));
  if (sizes && sizes->size() != which.size())
    return Bad("sizes has ", sizes->size(), " elements but needs ", which.size());
  for (size_t i = 0; sizes && i < which.size(); ++i) {
    if ((*sizes)[i].known() && (*sizes)[i].value() < 0)
      return Bad("sizes holds ", (*sizes)[i], "; sizes must not be negative");
  }
  const std::string_view policy = c.attributes().String("keep_aspect_ratio_policy", "stretch");
  bool all_known = sizes.has_value();
  for (size_t i = 0; sizes && i < which.size(); ++i)
    all_known &= (*sizes)[i].known() && (*x)[which[i]].known();
  double scale = policy == "not_larger" ? INFINITY : 0;
  for (size_t i = 0; all_known && policy != "stretch" && i < which.size(); ++i) {
    const double in = static_cast<double>((*x)[which[i]].value());
    if (in == 0)
      return Bad("dimension ", which[i], " of ", *x, " is empty and has no aspect ratio");
    const double s = static_cast<double>((*sizes)[i].value()) / in;
    scale = policy == "not_larger" ? std::min(scale, s) : std::max(scale, s);
  }
  for (size_t i = 0; i < which.size(); ++i) {
    Dim& d = out[which[i]];
    if (!sizes || (policy != "stretch" && !all_known)) {
      d = c.fresh_symbol();
    } else if (policy == "stretch") {
      d = (*sizes)[i];
    } else {
      const double v = std::floor(scale * static_cast<double>(d.value()) + 0.5);
      if (!(v < 0x1p62)) return Bad("the size along dimension ", which[i], " is too large");
      d = Dim(static_cast<int64_t>(v));
    }
  }
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

}  // namespace

Status InferResize(InferContext& c) { return InferResized(c, c.input(0).dtype); }

Status InferQResize(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType to, QuantizedOutput(c));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 0, "x_zero_point"));
  if (c.attributes().String("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize")
    return Bad("QResize has no tf_crop_and_resize");
  return InferResized(c, to);
}

}  // namespace slipway::ir
