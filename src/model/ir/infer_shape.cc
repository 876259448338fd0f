// Inference of operators that change or make shapes.

#include <algorithm>

#include "model/ir/infer_util.h"

namespace slipway::ir {
namespace {

void KeepElements(InferContext& c) {
  if (auto e = c.elements(0)) c.set_elements(0, std::move(*e));
}

// The length of the vector at input i when known and sensible as a rank.
std::optional<size_t> KnownLength(const InferContext& c, size_t i) {
  const SymShape* s = ShapeOf(c, i);
  if (!s || s->size() != 1 || !(*s)[0].known() || (*s)[0].value() < 0 || (*s)[0].value() > kMaxRank)
    return std::nullopt;
  return static_cast<size_t>((*s)[0].value());
}

// A shape that a tensor of unknown elements describes.
std::optional<SymShape> UnknownShape(InferContext& c, size_t i) {
  const auto n = KnownLength(c, i);
  if (!n) return std::nullopt;
  return FreshShape(c, *n);
}

Status CheckSizes(const std::vector<Dim>& sizes, std::string_view what) {
  for (const Dim& d : sizes) {
    if (d.known() && d.value() < 0) return Bad(what, " holds ", d, "; sizes must not be negative");
  }
  return OkStatus();
}

}  // namespace

Status InferReshape(InferContext& c) {
  const DType dtype = c.input(0).dtype;
  SLIPWAY_ASSIGN_OR_RETURN(auto target, IntVector(c, 1, "shape"));
  const SymShape* x = ShapeOf(c, 0);
  if (!target) {
    c.set_output(0, dtype, UnknownShape(c, 1));
    KeepElements(c);
    return OkStatus();
  }
  const bool allow_zero = c.attributes().Int("allowzero", 0) != 0;
  SymShape out = *target;
  std::optional<size_t> open;
  bool known = x != nullptr;
  Dim rest(1);   // the product of all but the open one
  Dim input(1);  // the product of the input without dimensions copied by 0, which cancel
  std::vector<bool> copied(x ? x->size() : 0, false);
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i].Is(0) && !allow_zero) {
      if (!x) {
        out[i] = c.fresh_symbol();
        continue;
      }
      if (i >= x->size())
        return Bad("shape ", *target, " copies dimension ", i, " but the input ", *x, " has none");
      out[i] = (*x)[i];
      copied[i] = true;
    } else if (out[i].Is(-1)) {
      if (open)
        return Bad("shape ", *target, " holds -1 twice; only one dimension can be inferred");
      open = i;
    } else if (out[i].known() && out[i].value() < 0) {
      return Bad("shape ", *target, " holds ", out[i], "; use -1 to infer a dimension");
    } else {
      rest = rest * out[i];
    }
  }
  for (size_t i = 0; x && i < x->size(); ++i) {
    if (!copied[i]) input = input * (*x)[i];
  }
  bool empty_copy = false;
  for (size_t i = 0; x && i < x->size(); ++i) empty_copy |= copied[i] && (*x)[i].Is(0);
  if (input.overflowed() || rest.overflowed())
    return Bad("the number of elements of ", x ? *x : SymShape(), " or of ", *target, " overflows");
  if (open) {
    if (!known) {
      out[*open] = c.fresh_symbol();
    } else if (rest.Is(0) || empty_copy) {
      return Bad("shape ", *target,
                 " holds -1 beside an empty dimension; write the size instead of -1");
    } else if (input.known() && rest.known() && input.value() % rest.value() != 0) {
      return Bad("input ", *x, " of ", Count(*x), " elements cannot take shape ", *target,
                 ": the elements do not divide");
    } else {
      out[*open] = FloorDiv(input, rest);
    }
  } else if (known && !empty_copy) {
    if (input.known() && rest.known() && !(input == rest)) {
      return Bad("input ", *x, " of ", Count(*x), " elements cannot take shape ", *target, " of ",
                 Count(out));
    }
    if (!(input == rest)) c.assume_equal(rest, input);
  }
  c.set_output(0, dtype, std::move(out));
  KeepElements(c);
  return OkStatus();
}

Status InferFlatten(InferContext& c) {
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, c.input(0).dtype, FreshShape(c, 2));
    return OkStatus();
  }
  const int64_t rank = static_cast<int64_t>(x->size());
  int64_t axis = c.attributes().Int("axis", 1);
  if (axis < -rank || axis > rank)
    return Bad("axis ", axis, " is out of range for ", rank, " dimensions; use a number in [",
               -rank, ", ", rank, "]");
  if (axis < 0) axis += rank;
  const SymShape outer(x->begin(), x->begin() + axis), inner(x->begin() + axis, x->end());
  c.set_output(0, c.input(0).dtype, SymShape{Count(outer), Count(inner)});
  KeepElements(c);
  return OkStatus();
}

Status InferSqueeze(InferContext& c) {
  const DType dtype = c.input(0).dtype;
  SLIPWAY_ASSIGN_OR_RETURN(auto axes, KnownIntVector(c, 1, "axes"));
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  SymShape out;
  if (!c.has_input(1)) {
    for (const Dim& d : *x) {  // a symbolic dimension is taken for larger than 1
      if (!d.Is(1)) out.push_back(d);
    }
  } else if (!axes) {
    const auto n = KnownLength(c, 1);
    c.set_output(
        0, dtype,
        n && *n <= x->size() ? std::optional(FreshShape(c, x->size() - *n)) : std::nullopt);
    KeepElements(c);
    return OkStatus();
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(const auto which, NormalizeAxes(*axes, x->size()));
    std::vector<bool> gone(x->size(), false);
    for (size_t a : which) {
      if ((*x)[a].known() && !(*x)[a].Is(1))
        return Bad("dimension ", a, " of ", *x, " is ", (*x)[a],
                   " and cannot be squeezed; only 1 can");
      gone[a] = true;
      if (!(*x)[a].known()) c.assume_equal((*x)[a], Dim(1));
    }
    for (size_t i = 0; i < x->size(); ++i) {
      if (!gone[i]) out.push_back((*x)[i]);
    }
  }
  c.set_output(0, dtype, std::move(out));
  KeepElements(c);
  return OkStatus();
}

Status InferUnsqueeze(InferContext& c) {
  const DType dtype = c.input(0).dtype;
  SLIPWAY_ASSIGN_OR_RETURN(auto axes, KnownIntVector(c, 1, "axes"));
  const SymShape* x = ShapeOf(c, 0);
  if (!x || !axes) {
    const auto n = KnownLength(c, 1);
    c.set_output(0, dtype, x && n ? std::optional(FreshShape(c, x->size() + *n)) : std::nullopt);
    KeepElements(c);
    return OkStatus();
  }
  const size_t rank = x->size() + axes->size();
  if (rank > kMaxRank)
    return Bad("the output would have ", rank, " dimensions; at most ", kMaxRank, " are supported");
  SLIPWAY_ASSIGN_OR_RETURN(const auto which, NormalizeAxes(*axes, rank));
  SymShape out;
  for (size_t i = 0, from = 0; i < rank; ++i) {
    const bool added = std::find(which.begin(), which.end(), i) != which.end();
    out.push_back(added ? Dim(1) : (*x)[from++]);
  }
  c.set_output(0, dtype, std::move(out));
  KeepElements(c);
  return OkStatus();
}

namespace {

// The elements of input 0 repeated over a small output of known extent.
template <typename F>
void SpreadElements(InferContext& c, const SymShape& out, F&& source) {
  const auto elements = c.elements(0);
  const auto to = SmallExtent(out);
  const auto from = c.input(0).shape ? SmallExtent(*c.input(0).shape) : std::nullopt;
  if (!elements || !from || !to) return;
  std::vector<Dim> spread;
  std::vector<int64_t> own(from->size());
  ForEachIndex(*to, [&](const std::vector<int64_t>& index) {
    for (size_t d = 0; d < own.size(); ++d)
      own[d] = source(index[to->size() - own.size() + d], (*from)[d]);
    spread.push_back((*elements)[PositionOf(own, *from)]);
  });
  c.set_elements(0, std::move(spread));
}

}  // namespace

Status InferExpand(InferContext& c) {
  const DType dtype = c.input(0).dtype;
  SLIPWAY_ASSIGN_OR_RETURN(auto target, IntVector(c, 1, "shape"));
  const SymShape* x = ShapeOf(c, 0);
  if (!x || !target) {
    const auto n = KnownLength(c, 1);
    c.set_output(0, dtype,
                 x && n ? std::optional(FreshShape(c, std::max(x->size(), *n))) : std::nullopt);
    return OkStatus();
  }
  SLIPWAY_RETURN_IF_ERROR(CheckSizes(*target, "shape"));
  SLIPWAY_ASSIGN_OR_RETURN(SymShape out, Broadcast(c, *x, *target));
  c.set_output(0, dtype, out);
  SpreadElements(c, out, [](int64_t at, int64_t extent) { return extent == 1 ? 0 : at; });
  return OkStatus();
}

Status InferTile(InferContext& c) {
  const DType dtype = c.input(0).dtype;
  SLIPWAY_ASSIGN_OR_RETURN(auto repeats, IntVector(c, 1, "repeats"));
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, dtype, UnknownShape(c, 1));
    return OkStatus();
  }
  if (!repeats) {
    c.set_output(0, dtype, FreshShape(c, x->size()));
    return OkStatus();
  }
  SLIPWAY_RETURN_IF_ERROR(CheckSizes(*repeats, "repeats"));
  if (repeats->size() != x->size())
    return Bad("repeats has ", repeats->size(), " elements but the input ", *x, " has ", x->size(),
               " dimensions");
  SymShape out = *x;
  for (size_t i = 0; i < out.size(); ++i) out[i] = out[i] * (*repeats)[i];
  c.set_output(0, dtype, out);
  SpreadElements(c, out, [](int64_t at, int64_t extent) { return at % extent; });
  return OkStatus();
}

Status InferShape(InferContext& c) {
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, DType::kInt64, FreshShape(c, 1));
    return OkStatus();
  }
  const int64_t rank = static_cast<int64_t>(x->size());
  const auto bound = [&](int64_t v) { return std::clamp(v < 0 ? v + rank : v, int64_t{0}, rank); };
  const int64_t start = bound(c.attributes().Int("start", 0));
  const int64_t end =
      std::max(start, c.attributes().Has("end") ? bound(c.attributes().Int("end", rank)) : rank);
  c.set_output(0, DType::kInt64, SymShape{Dim(end - start)});
  c.set_elements(0, {x->begin() + start, x->begin() + end});
  return OkStatus();
}

Status InferSize(InferContext& c) {
  c.set_output(0, DType::kInt64, SymShape{});
  const SymShape* x = ShapeOf(c, 0);
  if (!x) return OkStatus();
  const Dim n = Count(*x);
  if (!n.overflowed()) c.set_elements(0, {n});
  return OkStatus();
}

Status InferConstantOfShape(InferContext& c) {
  const int64_t code = c.attributes().Int("dtype", 1);
  const DType dtype = code > 0 && code < 256 ? static_cast<DType>(code) : DType::kUndefined;
  if (!IsKnown(dtype)) return Bad("dtype = ", code, " is no element type of ONNX TensorProto");
  SLIPWAY_ASSIGN_OR_RETURN(auto sizes, IntVector(c, 0, "shape"));
  if (!sizes) {
    c.set_output(0, dtype, UnknownShape(c, 0));
    return OkStatus();
  }
  SLIPWAY_RETURN_IF_ERROR(CheckSizes(*sizes, "shape"));
  c.set_output(0, dtype, *sizes);
  const auto extent = SmallExtent(*sizes);
  if (extent && (IsInteger(dtype) || dtype == DType::kBool)) {
    const int64_t value = c.attributes().Int("value_int", 0);
    c.set_elements(0, std::vector<Dim>(static_cast<size_t>(Count(*sizes).value()), Dim(value)));
  }
  return OkStatus();
}

Status InferRange(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2}));
  constexpr std::string_view kNames[] = {"start", "limit", "delta"};
  for (size_t i = 0; i < 3; ++i) SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, i, kNames[i]));
  const DType dtype = c.input(0).dtype;
  if (IsFloating(dtype)) {  // ops::ShapeRange counts them when they are known
    c.set_output(0, dtype, FreshShape(c, 1));
    return OkStatus();
  }
  const auto start = c.elements(0), limit = c.elements(1), delta = c.elements(2);
  if (!start || !limit || !delta || start->size() != 1 || limit->size() != 1 ||
      delta->size() != 1) {
    c.set_output(0, dtype, FreshShape(c, 1));
    return OkStatus();
  }
  const Dim& step = (*delta)[0];
  if (step.Is(0)) return Bad("delta is 0; use a positive or negative number");
  const Dim span = (*limit)[0] - (*start)[0];
  Dim n = CeilDiv(span, step);
  if (!SeemsNonNegative(n)) n = Max(n, Dim(0));
  if (n.overflowed())
    return Bad("the range from ", (*start)[0], " to ", (*limit)[0], " by ", step, " is too long");
  c.set_output(0, dtype, SymShape{n});
  if (!n.known() || n.value() > kMaxElements) return OkStatus();
  std::vector<Dim> values;
  for (int64_t i = 0; i < n.value(); ++i) values.push_back((*start)[0] + Dim(i) * step);
  c.set_elements(0, std::move(values));
  return OkStatus();
}

}  // namespace slipway::ir
