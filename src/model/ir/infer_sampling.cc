// Inference of sampling at computed places and of what undoes pooling and im2col.

#include "model/ir/infer_util.h"

namespace slipway::ir {
namespace {

Status OneOf(const InferContext& c, std::string_view attribute, std::string_view fallback,
             std::initializer_list<std::string_view> allowed) {
  const std::string_view v = c.attributes().String(attribute, fallback);
  std::string list;
  for (std::string_view a : allowed) {
    if (a == v) return OkStatus();
    list += (list.empty() ? "" : ", ") + std::string(a);
  }
  return Bad(attribute, " '", v, "' must be one of ", list);
}

// The attribute `name` holds n numbers in [least, kMaxWindow], or is absent.
Status CheckList(const InferContext& c, std::string_view name, size_t n, int64_t least) {
  const auto list = c.attributes().Ints(name);
  if (list.empty()) return OkStatus();
  if (list.size() != n) return Bad(name, " has ", list.size(), " numbers but needs ", n);
  for (int64_t v : list) {
    if (v < least || v > kMaxWindow)
      return Bad(name, " ", v, " must lie in [", least, ", ", kMaxWindow, "]");
  }
  return OkStatus();
}

int64_t Entry(std::span<const int64_t> list, size_t i, int64_t fallback) {
  return i < list.size() ? list[i] : fallback;
}

}  // namespace

Status InferGridSample(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(
      OneOf(c, "mode", "linear", {"linear", "nearest", "cubic", "bilinear", "bicubic"}));
  SLIPWAY_RETURN_IF_ERROR(OneOf(c, "padding_mode", "zeros", {"zeros", "border", "reflection"}));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 3, "X"));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 1, 3, "grid"));
  const DType dtype = c.input(0).dtype;
  const SymShape *x = ShapeOf(c, 0), *grid = ShapeOf(c, 1);
  if (!x || !grid) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  const Dim spatial(static_cast<int64_t>(x->size()) - 2);
  if (x->size() != grid->size() || (grid->back().known() && !(grid->back() == spatial))) {
    return Bad("grid ", *grid, " must have as many dimensions as X ", *x, ", the last of size ",
               spatial);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const Dim batch, Unify(c, (*x)[0], (*grid)[0], "batch of X and grid"));
  SymShape out{batch, (*x)[1]};
  out.insert(out.end(), grid->begin() + 1, grid->end() - 1);
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

Status InferAffineGrid(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 0, 3, "theta"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 1, 1, "size"));
  SLIPWAY_ASSIGN_OR_RETURN(const auto size, IntVector(c, 1, "size"));
  const SymShape *theta = ShapeOf(c, 0), *size_shape = ShapeOf(c, 1);
  const DType dtype = c.input(0).dtype;
  int64_t spatial = theta && (*theta)[1].known() ? (*theta)[1].value() : -1;
  if (spatial < 0 && size_shape && (*size_shape)[0].known()) spatial = (*size_shape)[0].value() - 2;
  if (size) spatial = static_cast<int64_t>(size->size()) - 2;
  if (spatial < 0) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  const bool fits = !theta || ((!(*theta)[1].known() || (*theta)[1].Is(spatial)) &&
                               (!(*theta)[2].known() || (*theta)[2].Is(spatial + 1)));
  if ((spatial != 2 && spatial != 3) || !fits)
    return Bad("theta must be [N, 2, 3] with a size of 4 numbers or [N, 3, 4] with one of 5");
  SymShape out{theta ? (*theta)[0] : c.fresh_symbol()};
  if (size && theta) {
    SLIPWAY_ASSIGN_OR_RETURN(out[0], Unify(c, (*theta)[0], (*size)[0], "batch of theta and size"));
  }
  for (int64_t i = 0; i < spatial; ++i)
    out.push_back(size ? (*size)[static_cast<size_t>(i + 2)] : c.fresh_symbol());
  out.push_back(Dim(spatial));
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

Status InferRoiAlign(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(OneOf(c, "mode", "avg", {"avg", "max"}));
  SLIPWAY_RETURN_IF_ERROR(OneOf(c, "coordinate_transformation_mode", "half_pixel",
                                {"half_pixel", "output_half_pixel"}));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 0, 4, "X"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 1, 2, "rois"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 2, 1, "batch_indices"));
  const int64_t h = c.attributes().Int("output_height", 1),
                w = c.attributes().Int("output_width", 1);
  if (h < 1 || w < 1 || h > kMaxWindow || w > kMaxWindow)
    return Bad("output_height = ", h, " and output_width = ", w, " must be positive");
  if (c.attributes().Int("sampling_ratio", 0) < 0)
    return Bad("sampling_ratio must not be negative");
  const SymShape *x = ShapeOf(c, 0), *rois = ShapeOf(c, 1), *batch = ShapeOf(c, 2);
  if (rois && (*rois)[1].known() && !(*rois)[1].Is(4))
    return Bad("rois ", *rois, " must be [N, 4]");
  Dim count = rois ? (*rois)[0] : batch ? (*batch)[0] : c.fresh_symbol();
  if (rois && batch) {
    SLIPWAY_ASSIGN_OR_RETURN(count,
                             Unify(c, (*rois)[0], (*batch)[0], "number of rois and batch_indices"));
  }
  c.set_output(0, c.input(0).dtype,
               SymShape{count, x ? (*x)[1] : c.fresh_symbol(), Dim(h), Dim(w)});
  return OkStatus();
}

Status InferMaxRoiPool(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1}));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 0, 4, "X"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 1, 2, "rois"));
  const auto pooled = c.attributes().Ints("pooled_shape");
  if (pooled.size() != 2) return Bad("pooled_shape must be two numbers, height and width");
  SLIPWAY_RETURN_IF_ERROR(CheckList(c, "pooled_shape", 2, 1));
  const SymShape *x = ShapeOf(c, 0), *rois = ShapeOf(c, 1);
  if (rois && (*rois)[1].known() && !(*rois)[1].Is(5))
    return Bad("rois ", *rois, " must be [N, 5]");
  c.set_output(0, c.input(0).dtype,
               SymShape{rois ? (*rois)[0] : c.fresh_symbol(), x ? (*x)[1] : c.fresh_symbol(),
                        Dim(pooled[0]), Dim(pooled[1])});
  return OkStatus();
}

Status InferDeformConv(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2, 3, 4}));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 3, "X"));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 1, 3, "W"));
  const int64_t group = c.attributes().Int("group", 1),
                offset_group = c.attributes().Int("offset_group", 1);
  if (group < 1 || group > kMaxWindow || offset_group < 1 || offset_group > kMaxWindow)
    return Bad("group = ", group, " and offset_group = ", offset_group, " must be positive");
  const SymShape *x = ShapeOf(c, 0), *w = ShapeOf(c, 1), *offset = ShapeOf(c, 2),
                 *mask = ShapeOf(c, 4);
  const DType dtype = c.input(0).dtype;
  if (!x || !w) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  if (x->size() != w->size()) return Bad("X ", *x, " and W ", *w, " must have equal ranks");
  SLIPWAY_RETURN_IF_ERROR(
      Unify(c, (*x)[1], (*w)[1] * Dim(group), "channels of X and of W times group").status());
  for (const auto& [dim, by, what] :
       {std::tuple{(*w)[0], group, "group"}, std::tuple{(*x)[1], offset_group, "offset_group"}}) {
    if (dim.known() && dim.value() % by != 0)
      return Bad(what, " = ", by, " does not divide ", dim, " channels");
  }
  SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 3, (*w)[0], "bias"));
  std::vector<int64_t> kernel;
  bool known = true;
  for (size_t i = 2; i < w->size(); ++i) {
    known &= (*w)[i].known();
    kernel.push_back((*w)[i].known() ? (*w)[i].value() : 1);
  }
  const auto given = c.attributes().Ints("kernel_shape");
  if (!given.empty() && known &&
      !std::equal(given.begin(), given.end(), kernel.begin(), kernel.end()))
    return Bad("kernel_shape does not match the weights' shape ", *w);
  SymShape out{(*x)[0], (*w)[0]};
  if (known) {
    SLIPWAY_ASSIGN_OR_RETURN(const Window window, ReadWindow(c, kernel));
    for (size_t i = 0; i < kernel.size(); ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(Dim d, WindowOutput(window, (*x)[i + 2], i));
      out.push_back(std::move(d));
    }
    Dim taps(offset_group);
    for (int64_t k : kernel) taps = taps * Dim(k);
    for (const auto& [shape, per, what] :
         {std::tuple{offset, static_cast<int64_t>(kernel.size()), "offset"},
          std::tuple{mask, int64_t{1}, "mask"}}) {
      if (!shape) continue;
      SymShape want = out;
      want[1] = taps * Dim(per);
      bool good = shape->size() == want.size();
      for (size_t i = 0; good && i < want.size(); ++i)
        good = !want[i].known() || !(*shape)[i].known() || want[i] == (*shape)[i];
      if (!good) return Bad(what, " has shape ", *shape, " but must have ", want);
    }
  } else {
    for (size_t i = 2; i < w->size(); ++i)
      out.push_back(offset && offset->size() == w->size() ? (*offset)[i] : c.fresh_symbol());
  }
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

Status InferMaxUnpool(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 3, "X"));
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 1, DType::kInt64, "indices"));
  const SymShape *x = ShapeOf(c, 0), *indices = ShapeOf(c, 1);
  const DType dtype = c.input(0).dtype;
  const auto kernel = c.attributes().Ints("kernel_shape"), pads = c.attributes().Ints("pads"),
             strides = c.attributes().Ints("strides");
  SLIPWAY_RETURN_IF_ERROR(CheckList(c, "kernel_shape", kernel.size(), 1));
  SLIPWAY_RETURN_IF_ERROR(CheckList(c, "strides", kernel.size(), 1));
  SLIPWAY_RETURN_IF_ERROR(CheckList(c, "pads", 2 * kernel.size(), 0));
  SLIPWAY_ASSIGN_OR_RETURN(const auto given, IntVector(c, 2, "output_shape"));
  if (!x) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  const size_t n = x->size() - 2;
  if (kernel.size() != n) return Bad("kernel_shape must have ", n, " numbers for X ", *x);
  if (indices) {
    if (indices->size() != x->size()) return Bad("indices ", *indices, " must have X's shape ", *x);
    const SymShape a = *x, b = *indices;
    for (size_t i = 0; i < a.size(); ++i)
      SLIPWAY_RETURN_IF_ERROR(Unify(c, a[i], b[i], "shapes of X and indices").status());
  }
  SymShape out{(*x)[0], (*x)[1]};
  for (size_t i = 0; i < n; ++i) {
    out.push_back(((*x)[i + 2] - Dim(1)) * Dim(Entry(strides, i, 1)) + Dim(kernel[i]) -
                  Dim(Entry(pads, i, 0)) - Dim(Entry(pads, n + i, 0)));
  }
  if (c.has_input(2)) {
    if (given && given->size() != out.size())
      return Bad("output_shape must have ", out.size(), " numbers, one for each dimension of X");
    for (size_t i = 0; i < out.size(); ++i) {
      if (!given) {
        out[i] = c.fresh_symbol();
        continue;
      }
      const Dim& d = (*given)[i];
      if (d.known() && out[i].known() && (i < 2 ? !(d == out[i]) : d.value() < out[i].value())) {
        return Bad("output_shape ", SymShape(given->begin(), given->end()), " must be at least ",
                   out);
      }
      out[i] = d;
    }
  }
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

Status InferCol2Im(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 0, 3, "the input"));
  SLIPWAY_ASSIGN_OR_RETURN(const auto image, IntVector(c, 1, "image_shape"));
  SLIPWAY_ASSIGN_OR_RETURN(const auto block, IntVector(c, 2, "block_shape"));
  const SymShape *x = ShapeOf(c, 0), *s1 = ShapeOf(c, 1), *s2 = ShapeOf(c, 2);
  const DType dtype = c.input(0).dtype;
  size_t n = 0;
  for (const SymShape* s : {s1, s2}) {
    if (s && s->size() == 1 && (*s)[0].known()) n = static_cast<size_t>((*s)[0].value());
  }
  if (image) n = image->size();
  if (n == 0 || n > kMaxRank - 2) {
    if (!s1 && !s2) {
      c.set_output(0, dtype, std::nullopt);
      return OkStatus();
    }
    return Bad("image_shape must have 1 to ", kMaxRank - 2, " numbers");
  }
  if (block && block->size() != n) return Bad("block_shape must have ", n, " numbers");
  SLIPWAY_RETURN_IF_ERROR(CheckList(c, "dilations", n, 1));
  SLIPWAY_RETURN_IF_ERROR(CheckList(c, "strides", n, 1));
  SLIPWAY_RETURN_IF_ERROR(CheckList(c, "pads", 2 * n, 0));
  SymShape out{x ? (*x)[0] : c.fresh_symbol(), c.fresh_symbol()};
  if (block) {
    Dim taps(1);
    for (const Dim& d : *block) {
      if (d.known() && (d.value() < 1 || d.value() > kMaxWindow))
        return Bad("block_shape ", d, " must be positive");
      taps = taps * d;
    }
    if (x && (*x)[1].known() && taps.known() && !taps.overflowed()) {
      if ((*x)[1].value() % taps.value() != 0)
        return Bad("a block of ", taps, " does not divide the ", (*x)[1], " rows of ", *x);
      out[1] = Dim((*x)[1].value() / taps.value());
    }
  }
  for (size_t i = 0; i < n; ++i) {
    out.push_back(image ? (*image)[i] : c.fresh_symbol());
    if (out.back().known() && (out.back().value() < 0 || out.back().value() > kMaxWindow))
      return Bad("image_shape ", out.back(), " must not be negative");
  }
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

Status InferCenterCropPad(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto shape, IntVector(c, 1, "shape"));
  const SymShape* x = ShapeOf(c, 0);
  const DType dtype = c.input(0).dtype;
  if (!x) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  std::vector<size_t> which;
  if (c.attributes().Has("axes")) {
    SLIPWAY_ASSIGN_OR_RETURN(which, NormalizeAxes(c.attributes().Ints("axes"), x->size()));
  } else {
    for (size_t i = 0; i < x->size(); ++i) which.push_back(i);
  }
  if (shape && shape->size() != which.size())
    return Bad("shape has ", shape->size(), " numbers for ", which.size(), " axes");
  SymShape out = *x;
  for (size_t i = 0; i < which.size(); ++i) {
    out[which[i]] = shape ? (*shape)[i] : c.fresh_symbol();
    if (out[which[i]].known() && out[which[i]].value() < 0)
      return Bad("shape holds ", out[which[i]], "; sizes must not be negative");
  }
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

}  // namespace slipway::ir
