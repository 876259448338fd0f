// Inference of convolutions and pooling.

#include <cmath>

#include "model/ir/infer_util.h"

namespace slipway::ir {
namespace {

Result<int64_t> ReadGroup(const InferContext& c) {
  const int64_t group = c.attributes().Int("group", 1);
  if (group < 1 || group > kMaxWindow) return Bad("group = ", group, " must be at least 1");
  return group;
}

// The kernel extent from the weights' spatial dimensions and the kernel_shape attribute, which must
// agree; nullopt when neither tells.
Result<std::optional<std::vector<int64_t>>> KernelExtent(const InferContext& c, const SymShape* w,
                                                         size_t spatial) {
  std::optional<std::vector<int64_t>> out;
  const auto given = c.attributes().Ints("kernel_shape");
  if (!given.empty()) {
    if (given.size() != spatial)
      return Bad("kernel_shape has ", given.size(), " numbers but the input has ", spatial,
                 " spatial dimensions");
    out = std::vector<int64_t>(given.begin(), given.end());
  }
  if (!w) return out;
  std::vector<int64_t> own;
  for (size_t i = 2; i < w->size(); ++i) {
    const Dim& d = (*w)[i];
    if (!d.known()) return out;
    own.push_back(d.value());
  }
  if (out && *out != own) return Bad("kernel_shape does not match the weights' shape ", *w);
  out = std::move(own);
  return out;
}

struct ConvShapes {
  Dim batch, in_channels, out_channels;
  size_t spatial = 0;
  std::optional<Window> window;
};

// What Conv, ConvTranspose and QConv share: ranks, groups, channels, bias, window. nullopt when X's
// rank is unknown.
Result<std::optional<ConvShapes>> ReadConv(InferContext& c, bool transposed, size_t bias) {
  std::optional<ConvShapes> none;
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 3, "the input"));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 1, 3, "the weight"));
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t group, ReadGroup(c));
  const SymShape *x = ShapeOf(c, 0), *w = ShapeOf(c, 1);
  if (x && w && x->size() != w->size()) {
    return Bad("input ", *x, " and weight ", *w, " must have as many dimensions");
  }
  if (!x) return none;
  ConvShapes s;
  s.batch = (*x)[0];
  s.in_channels = (*x)[1];
  s.spatial = x->size() - 2;
  if (w) {
    const Dim& first = (*w)[0];
    const Dim& second = (*w)[1];
    const Dim want = transposed ? first : second * Dim(group);
    if (s.in_channels.known() && want.known() && !(s.in_channels == want)) {
      return Bad("the input has ", s.in_channels, " channels but the weight ", *w,
                 " with group = ", group, " takes ", want, "; check group and the weight");
    }
    if (transposed && first.known() && first.value() % group != 0) {
      return Bad("group = ", group, " does not divide the ", first, " input channels");
    }
    if (!transposed && first.known() && first.value() % group != 0) {
      return Bad("group = ", group, " does not divide the ", first, " output channels");
    }
    if (!(s.in_channels == want)) c.assume_equal(s.in_channels, want);
    s.out_channels = transposed ? second * Dim(group) : first;
  } else {
    s.out_channels = c.fresh_symbol();
  }
  SLIPWAY_RETURN_IF_ERROR(RequireVector(c, bias, s.out_channels, "bias"));
  SLIPWAY_ASSIGN_OR_RETURN(auto kernel, KernelExtent(c, w, s.spatial));
  if (kernel) {
    SLIPWAY_ASSIGN_OR_RETURN(s.window, ReadWindow(c, std::move(*kernel)));
  }
  return std::optional<ConvShapes>(std::move(s));
}

Result<std::optional<SymShape>> ConvOutput(InferContext& c, size_t bias, size_t residual) {
  SLIPWAY_ASSIGN_OR_RETURN(auto s, ReadConv(c, false, bias));
  std::optional<SymShape> out;
  if (!s) return out;
  const SymShape& x = *c.input(0).shape;
  out = SymShape{s->batch, s->out_channels};
  for (size_t i = 0; i < s->spatial; ++i) {
    if (!s->window) {
      out->push_back(c.fresh_symbol());
      continue;
    }
    SLIPWAY_ASSIGN_OR_RETURN(Dim d, WindowOutput(*s->window, x[i + 2], i));
    out->push_back(std::move(d));
  }
  if (const SymShape* r = ShapeOf(c, residual)) {
    bool good = r->size() == out->size();
    for (size_t i = 0; good && i < out->size(); ++i) {
      good = !(*r)[i].known() || !(*out)[i].known() || (*r)[i] == (*out)[i];
    }
    if (!good) return Bad("the residual has shape ", *r, " but must have the output's, ", *out);
  }
  return out;
}

Result<std::optional<SymShape>> PoolOutput(InferContext& c) {
  std::optional<SymShape> out;
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 3, "the input"));
  const auto kernel = c.attributes().Ints("kernel_shape");
  if (kernel.empty())
    return Bad("kernel_shape is missing or empty; give the window's extent per spatial dimension");
  SLIPWAY_ASSIGN_OR_RETURN(const Window w, ReadWindow(c, {kernel.begin(), kernel.end()}));
  for (size_t i = 0; i < w.rank(); ++i) {
    const int64_t span = w.dilations[i] * (w.kernel[i] - 1) + 1;
    if (w.pads[i] >= span || w.pads[w.rank() + i] >= span) {
      return Bad("pads ", w.pads[i], " and ", w.pads[w.rank() + i], " of spatial dimension ", i,
                 " must be smaller than the window's span ", span);
    }
  }
  const SymShape* x = ShapeOf(c, 0);
  if (!x) return out;
  if (w.rank() + 2 != x->size()) {
    return Bad("kernel_shape has ", w.rank(), " numbers but the input ", *x, " has ", x->size() - 2,
               " spatial dimensions");
  }
  out = SymShape{(*x)[0], (*x)[1]};
  for (size_t i = 0; i < w.rank(); ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(Dim d, WindowOutput(w, (*x)[i + 2], i));
    out->push_back(std::move(d));
  }
  return out;
}

std::optional<SymShape> GlobalOutput(const InferContext& c) {
  const SymShape* x = ShapeOf(c, 0);
  if (!x) return std::nullopt;
  SymShape out(x->size(), Dim(1));
  out[0] = (*x)[0];
  out[1] = (*x)[1];
  return out;
}

}  // namespace

Status InferConv(InferContext& c) {
  const bool fused = c.domain() == kSlipwayDomain;
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2, 3}));
  if (fused) SLIPWAY_RETURN_IF_ERROR(CheckActivation(c));
  SLIPWAY_ASSIGN_OR_RETURN(auto out, ConvOutput(c, 2, 3));
  c.set_output(0, c.input(0).dtype, std::move(out));
  return OkStatus();
}

Status InferConvDepthwise(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2, 3, 4}));
  SLIPWAY_RETURN_IF_ERROR(CheckActivation(c));
  SLIPWAY_RETURN_IF_ERROR(CheckActivation(c, "inner", "inner_params"));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 3, "the input"));
  const SymShape *x = ShapeOf(c, 0), *w = ShapeOf(c, 1), *v = ShapeOf(c, 2);
  std::optional<SymShape> out;
  if (x && w && v) {
    bool good = w->size() == x->size() && v->size() == x->size() && (*v)[1].Is(1);
    for (size_t i = 2; good && i < w->size(); ++i) good = (*w)[i].Is(1);
    const auto differ = [](const Dim& a, const Dim& b) {
      return a.known() && b.known() && !(a == b);
    };
    if (!good || differ((*w)[1], (*x)[1]) || differ((*w)[0], (*v)[0]))
      return Bad("weights ", *w, " and ", *v, " do not fit the input ", *x, " and each other");
    if (!((*w)[1] == (*x)[1])) c.assume_equal((*w)[1], (*x)[1]);
    SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 3, (*w)[0], "the first bias"));
    SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 4, (*w)[0], "the second bias"));
    SLIPWAY_ASSIGN_OR_RETURN(auto kernel, KernelExtent(c, v, x->size() - 2));
    out = SymShape{(*x)[0], (*w)[0]};
    std::optional<Window> window;
    if (kernel) {
      SLIPWAY_ASSIGN_OR_RETURN(window, ReadWindow(c, std::move(*kernel)));
    }
    for (size_t i = 0; i + 2 < x->size(); ++i) {
      if (!window) {
        out->push_back(c.fresh_symbol());
        continue;
      }
      SLIPWAY_ASSIGN_OR_RETURN(Dim d, WindowOutput(*window, (*x)[i + 2], i));
      out->push_back(std::move(d));
    }
  }
  c.set_output(0, c.input(0).dtype, std::move(out));
  return OkStatus();
}

Status InferQConv(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType to, QuantizedOutput(c, true));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 0, "x_zero_point", true));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 4, "z_zero_point", true));
  if (c.input(1).dtype != DType::kInt16)
    SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 1, DType::kInt8, "the weight"));
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 2, DType::kFloat32, "multiplier"));
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 3, DType::kInt32, "bias"));
  SLIPWAY_ASSIGN_OR_RETURN(auto out, ConvOutput(c, 3, 4));
  c.set_output(0, to, out);
  const SymShape* m = ShapeOf(c, 2);
  if (m && m->size() == 1 && (*m)[0].Is(1)) return OkStatus();
  return out ? RequireVector(c, 2, (*out)[1], "multiplier") : OkStatus();
}

Status InferConvInteger(InferContext& c) {
  for (size_t i = 0; i < 4; ++i) {
    if (c.has_input(i) && c.input(i).dtype != DType::kUndefined &&
        c.input(i).dtype != DType::kInt8 && c.input(i).dtype != DType::kUInt8)
      return Bad("input ", i, " has type ", c.input(i).dtype, " but must be int8 or uint8");
  }
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 2, "x_zero_point"));
  constexpr size_t kNone = 4;
  SLIPWAY_ASSIGN_OR_RETURN(auto out, ConvOutput(c, kNone, kNone));
  const SymShape* zero = ShapeOf(c, 3);
  if (zero && out && !Count(*zero).Is(1))
    SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 3, (*out)[1], "w_zero_point"));
  c.set_output(0, DType::kInt32, std::move(out));
  return OkStatus();
}

Status InferConvTranspose(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2}));
  SLIPWAY_ASSIGN_OR_RETURN(auto s, ReadConv(c, true, 2));
  const DType dtype = c.input(0).dtype;
  if (!s) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  const auto extra = c.attributes().Ints("output_padding");
  const auto wanted = c.attributes().Ints("output_shape");
  if (!extra.empty() && extra.size() != s->spatial) {
    return Bad("output_padding has ", extra.size(), " numbers but needs ", s->spatial);
  }
  if (!wanted.empty() && wanted.size() != s->spatial) {
    return Bad("output_shape has ", wanted.size(), " numbers but needs ", s->spatial,
               ", one per spatial dimension");
  }
  for (int64_t v : extra) {
    if (v < 0 || v > kMaxWindow)
      return Bad("output_padding ", v, " must lie in [0, ", kMaxWindow, "]");
  }
  const SymShape& x = *c.input(0).shape;
  SymShape out = {s->batch, s->out_channels};
  for (size_t i = 0; i < s->spatial; ++i) {
    if (!wanted.empty()) {
      if (wanted[i] < 1) return Bad("output_shape ", wanted[i], " must be at least 1");
      out.push_back(Dim(wanted[i]));
      continue;
    }
    if (!s->window) {
      out.push_back(c.fresh_symbol());
      continue;
    }
    const Window& w = *s->window;
    const Dim& in = x[i + 2];
    if (w.auto_pad == "SAME_UPPER" || w.auto_pad == "SAME_LOWER") {
      out.push_back(in * Dim(w.strides[i]));
      continue;
    }
    const Dim span = Dim(w.dilations[i]) * Dim(w.kernel[i] - 1) + Dim(1);
    const Dim d = Dim(w.strides[i]) * (in - Dim(1)) + span + Dim(extra.empty() ? 0 : extra[i]) -
                  Dim(w.pads[i]) - Dim(w.pads[w.rank() + i]);
    if (d.known() && !d.overflowed() && d.value() < 1) {
      return Bad("output dimension ", i + 2, " would be ", d, "; the pads ", w.pads[i], " + ",
                 w.pads[w.rank() + i], " are too large for input ", x);
    }
    out.push_back(d);
  }
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

Status InferPool(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(auto out, PoolOutput(c));
  c.set_output(0, c.input(0).dtype, out);
  c.set_output(1, DType::kInt64, std::move(out));
  return OkStatus();
}

Status InferGlobalPool(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 2, "the input"));
  c.set_output(0, c.input(0).dtype, GlobalOutput(c));
  return OkStatus();
}

Status InferQAveragePool(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType to, QuantizedOutput(c, true));
  const bool global = c.attributes().Int("global", 0) != 0;
  if (c.input(0).dtype == DType::kFloat32) {
    const float scale = c.attributes().Float("x_scale", 0);
    if (!global || !(scale > 0) || std::isinf(scale))
      return Bad("a float32 input needs global = 1 and a positive x_scale, which is ", scale);
  } else {
    SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 0, "x_zero_point", true));
  }
  if (global) {
    SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 2, "the input"));
    c.set_output(0, to, GlobalOutput(c));
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto out, PoolOutput(c));
  c.set_output(0, to, std::move(out));
  return OkStatus();
}

}  // namespace slipway::ir
