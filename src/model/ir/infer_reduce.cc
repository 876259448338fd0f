// Inference of reductions and normalisations.

#include <algorithm>

#include "model/ir/infer_util.h"

namespace slipway::ir {
namespace {

// Reductions of an integer vector to one number.
void ReduceElements(InferContext& c, bool everything) {
  const auto e = c.elements(0);
  if (!e || e->empty() || !everything) return;
  const std::string_view op = c.op();
  Dim r = (*e)[0];
  for (size_t i = 1; i < e->size(); ++i) {
    const Dim& d = (*e)[i];
    if (op == "ReduceProd") {
      r = r * d;
    } else if (op == "ReduceSum") {
      r = r + d;
    } else if (op == "ReduceMax") {
      r = Max(r, d);
    } else if (op == "ReduceMin") {
      r = Min(r, d);
    } else {
      return;
    }
  }
  if (op != "ReduceProd" && op != "ReduceSum" && op != "ReduceMax" && op != "ReduceMin") return;
  if (!r.overflowed()) c.set_elements(0, {r});
}

}  // namespace

Status InferReduce(InferContext& c) {
  const DType dtype = c.input(0).dtype;
  if (dtype == DType::kBool && c.op() != "ReduceMax" && c.op() != "ReduceMin")
    return Bad("bool cannot be reduced so; insert a Cast");
  const bool keep = c.attributes().Int("keepdims", 1) != 0;
  const bool noop = c.attributes().Int("noop_with_empty_axes", 0) != 0;
  SLIPWAY_ASSIGN_OR_RETURN(const auto given, KnownIntVector(c, 1, "axes"));
  const SymShape* x = ShapeOf(c, 0);
  const SymShape* axes_shape = ShapeOf(c, 1);
  // An axes tensor without elements means the same as none.
  const bool none =
      !c.has_input(1) || (axes_shape && axes_shape->size() == 1 && (*axes_shape)[0].Is(0));
  std::vector<int64_t> axes;
  if (given) axes = *given;
  if (!x) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  if (!none && !given) {
    if (keep) {
      c.set_output(0, dtype, FreshShape(c, x->size()));
    } else {
      std::optional<SymShape> out;
      if (axes_shape && axes_shape->size() == 1 && (*axes_shape)[0].known()) {
        const int64_t rest = static_cast<int64_t>(x->size()) - (*axes_shape)[0].value();
        if (rest >= 0) out = FreshShape(c, static_cast<size_t>(rest));
      }
      c.set_output(0, dtype, std::move(out));
    }
    return OkStatus();
  }
  if (axes.empty() && noop) {
    c.set_output(0, dtype, *x);
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto which, NormalizeAxes(axes, x->size()));
  const bool everything = which.empty() || which.size() == x->size();
  SymShape out;
  for (size_t i = 0; i < x->size(); ++i) {
    const bool reduced = which.empty() || std::find(which.begin(), which.end(), i) != which.end();
    if (!reduced) {
      out.push_back((*x)[i]);
    } else if (keep) {
      out.push_back(Dim(1));
    }
  }
  c.set_output(0, dtype, std::move(out));
  ReduceElements(c, everything);
  return OkStatus();
}

Status InferArgReduce(InferContext& c) {
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, DType::kInt64, std::nullopt);
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                           NormalizeAxis(c.attributes().Int("axis", 0), x->size()));
  if ((*x)[axis].Is(0))
    return Bad("dimension ", axis, " of ", *x, " is empty and has no extreme element");
  SymShape out = *x;
  if (c.attributes().Int("keepdims", 1) != 0) {
    out[axis] = Dim(1);
  } else {
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  c.set_output(0, DType::kInt64, std::move(out));
  return OkStatus();
}

Status InferBatchNorm(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 2, "the input"));
  if (const SymShape* x = ShapeOf(c, 0)) {
    constexpr std::string_view kNames[] = {"", "scale", "B", "input_mean", "input_var"};
    for (size_t i = 1; i < 5; ++i) SLIPWAY_RETURN_IF_ERROR(RequireVector(c, i, (*x)[1], kNames[i]));
  }
  c.set_output(0, c.input(0).dtype, c.input(0).shape);
  return OkStatus();
}

Status InferLayerNorm(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2}));
  const SymShape* x = ShapeOf(c, 0);
  c.set_output(0, c.input(0).dtype, c.input(0).shape);
  std::optional<SymShape> statistics;
  if (x) {
    SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                             NormalizeAxis(c.attributes().Int("axis", -1), x->size()));
    // Scale and bias cover the normalised dimensions only.
    const SymShape normalised(x->begin() + static_cast<std::ptrdiff_t>(axis), x->end());
    for (size_t i : {1, 2}) {
      const SymShape* s = ShapeOf(c, i);
      if (s) SLIPWAY_RETURN_IF_ERROR(BroadcastsTo(*s, normalised, i == 1 ? "scale" : "bias"));
    }
    statistics = *x;
    for (size_t i = axis; i < x->size(); ++i) (*statistics)[i] = Dim(1);
  }
  c.set_output(1, DType::kFloat32, statistics);
  c.set_output(2, DType::kFloat32, statistics);
  return OkStatus();
}

Status InferTopK(InferContext& c) {
  const DType dtype = c.input(0).dtype;
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 1, "K"));
  SLIPWAY_ASSIGN_OR_RETURN(auto k, IntVector(c, 1, "K"));
  const SymShape* x = ShapeOf(c, 0);
  std::optional<SymShape> out;
  if (x) {
    SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                             NormalizeAxis(c.attributes().Int("axis", -1), x->size()));
    out = *x;
    const Dim& d = (*x)[axis];
    if (k && k->size() == 1) {
      const Dim& count = (*k)[0];
      if (count.known() && count.value() < 0) return Bad("K = ", count, " must not be negative");
      if (count.known() && d.known() && count.value() > d.value())
        return Bad("K = ", count, " exceeds the ", d, " elements along dimension ", axis);
      (*out)[axis] = count;
    } else {
      (*out)[axis] = c.fresh_symbol();
    }
  }
  c.set_output(0, dtype, out);
  c.set_output(1, DType::kInt64, std::move(out));
  return OkStatus();
}

}  // namespace slipway::ir
