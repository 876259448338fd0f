// Inference of operators that move, cut and join data, following the elements of small integer
// tensors.

#include <algorithm>

#include "model/ir/infer_util.h"

namespace slipway::ir {

Status InferConcat(InferContext& c) {
  const size_t n = c.num_inputs();
  DType dtype = DType::kUndefined;
  std::optional<SymShape> out;
  bool known = true;
  size_t axis = 0;
  for (size_t i = 0; i < n; ++i) {
    if (!c.has_input(i)) return Bad("input ", i, " is absent");
    SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, i}));
    if (dtype == DType::kUndefined) dtype = c.input(i).dtype;
    const SymShape* s = ShapeOf(c, i);
    if (!s) {
      known = false;
      continue;
    }
    if (!out) {
      if (s->empty())
        return Bad("input ", i, " is a scalar, which cannot be concatenated; Unsqueeze it");
      SLIPWAY_ASSIGN_OR_RETURN(axis, NormalizeAxis(c.attributes().Int("axis", 0), s->size()));
      out = *s;
      continue;
    }
    if (s->size() != out->size())
      return Bad("input ", i, " has shape ", *s, " but earlier inputs have ", out->size(),
                 " dimensions");
    for (size_t d = 0; d < s->size(); ++d) {
      if (d == axis) {
        (*out)[d] = (*out)[d] + (*s)[d];
      } else {
        SLIPWAY_ASSIGN_OR_RETURN(
            (*out)[d], Unify(c, (*out)[d], (*s)[d],
                             "dimension " + std::to_string(d) + " of input " + std::to_string(i)));
      }
    }
  }
  if (!known && out) (*out)[axis] = c.fresh_symbol();
  c.set_output(0, dtype, out);
  if (!known || !out || !SmallExtent(*out)) return OkStatus();
  const auto extent = *SmallExtent(*out);
  std::vector<std::vector<Dim>> parts;
  bool any = false;
  for (size_t i = 0; i < n; ++i) {
    auto e = c.elements(i);
    any |= e.has_value();
    parts.push_back(e ? std::move(*e) : std::vector<Dim>());
  }
  if (!any) return OkStatus();
  std::vector<Dim> joined(static_cast<size_t>(Count(*out).value()));
  int64_t offset = 0;
  for (size_t i = 0; i < n; ++i) {
    const auto own = *SmallExtent(*c.input(i).shape);
    const size_t count = static_cast<size_t>(Count(*c.input(i).shape).value());
    // A few unknown sizes among known ones become symbols, so that the rest of the shape stays
    // known.
    if (parts[i].size() != count) {
      if (count > 8 || c.input(i).dtype != DType::kInt64) return OkStatus();
      parts[i] = FreshShape(c, count);
    }
    ForEachIndex(own, [&](std::vector<int64_t> index) {
      const size_t from = PositionOf(index, own);
      index[axis] += offset;
      joined[PositionOf(index, extent)] = parts[i][from];
    });
    offset += own[axis];
  }
  c.set_elements(0, std::move(joined));
  return OkStatus();
}

Status InferSplit(InferContext& c) {
  const DType dtype = c.input(0).dtype;
  const size_t n = c.num_outputs();
  const int64_t wanted = c.attributes().Int("num_outputs", 0);
  if (wanted != 0 && c.has_input(1))
    return Bad("both the input 'split' and num_outputs are given; keep one");
  if (wanted != 0 && wanted != static_cast<int64_t>(n))
    return Bad("num_outputs = ", wanted, " but the node has ", n, " outputs");
  if (const SymShape* s = ShapeOf(c, 1);
      s && s->size() == 1 && (*s)[0].known() && (*s)[0].value() != static_cast<int64_t>(n)) {
    return Bad("split has ", (*s)[0], " elements but the node has ", n, " outputs");
  }
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    for (size_t i = 0; i < n; ++i) c.set_output(i, dtype, std::nullopt);
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                           NormalizeAxis(c.attributes().Int("axis", 0), x->size()));
  const Dim& whole = (*x)[axis];
  std::vector<Dim> sizes;
  SLIPWAY_ASSIGN_OR_RETURN(auto given, IntVector(c, 1, "split"));
  if (given) {
    if (given->size() != n)
      return Bad("split has ", given->size(), " elements but the node has ", n, " outputs");
    Dim sum(0);
    for (const Dim& d : *given) {
      if (d.known() && d.value() < 0) return Bad("split holds the negative size ", d);
      sum = sum + d;
    }
    if (sum.overflowed()) return Bad("the sum of split overflows");
    if (sum.known() && whole.known() && !(sum == whole))
      return Bad("split adds up to ", sum, " but dimension ", axis, " of ", *x, " is ", whole);
    if (!(sum == whole)) c.assume_equal(sum, whole);
    sizes = std::move(*given);
  } else if (c.has_input(1)) {
    sizes = FreshShape(c, n);
  } else {
    const Dim parts(static_cast<int64_t>(n));
    const Dim chunk = CeilDiv(whole, parts);
    const Dim last = whole - chunk * (parts - Dim(1));
    if (last.known() && last.value() < 0)
      return Bad("dimension ", axis, " of ", *x, " cannot be split into ", n, " parts");
    sizes.assign(n, chunk);
    if (n > 0) sizes[n - 1] = last;
  }
  const auto elements = c.elements(0);
  int64_t at = 0;
  for (size_t i = 0; i < n; ++i) {
    SymShape s = *x;
    s[axis] = sizes[i];
    c.set_output(i, dtype, std::move(s));
    if (elements && x->size() == 1 && sizes[i].known() && at >= 0) {
      const int64_t end = at + sizes[i].value();
      if (end <= static_cast<int64_t>(elements->size())) {
        c.set_elements(i, {elements->begin() + at, elements->begin() + end});
      }
      at = end;
    } else {
      at = -1;
    }
  }
  return OkStatus();
}

namespace {

constexpr int64_t kSliceEnd = (int64_t{1} << 31) - 1;  // "to the end", as exporters write it

// A slice bound made absolute and clamped to [lowest, highest]; nullopt when its sign cannot be
// told.
std::optional<Dim> SliceBound(const Dim& bound, const Dim& extent, const Dim& lowest,
                              const Dim& highest) {
  if (bound.known() && !extent.known()) {
    if (bound.value() >= kSliceEnd) return highest;
    if (bound.value() <= -kSliceEnd) return lowest;
  }
  Dim absolute = bound;
  if (SeemsNegative(bound)) {
    absolute = bound + extent;
  } else if (!SeemsNonNegative(bound)) {
    return std::nullopt;
  }
  if (absolute.overflowed()) return std::nullopt;
  if (!SeemsNonNegative(absolute - lowest)) absolute = Max(absolute, lowest);
  if (!SeemsNonNegative(highest - absolute)) absolute = Min(absolute, highest);
  return absolute;
}

struct SliceRange {
  Dim start, count;
};
std::optional<SliceRange> SliceExtent(const Dim& extent, const Dim& start, const Dim& end,
                                      int64_t step) {
  const Dim lowest = step > 0 ? Dim(0) : Dim(-1), highest = step > 0 ? extent : extent - Dim(1);
  const auto from = SliceBound(start, extent, step > 0 ? lowest : Dim(0), highest);
  const auto to = SliceBound(end, extent, lowest, highest);
  if (!from || !to) return std::nullopt;
  const Dim span = step > 0 ? *to - *from : *from - *to;
  const Dim count = CeilDiv(span, step > 0 ? Dim(step) : Dim(0) - Dim(step));
  if (count.overflowed()) return std::nullopt;
  return SliceRange{*from, SeemsNonNegative(count) ? count : Max(count, Dim(0))};
}

}  // namespace

Status InferSlice(InferContext& c) {
  const DType dtype = c.input(0).dtype;
  const SymShape* x = ShapeOf(c, 0);
  SLIPWAY_ASSIGN_OR_RETURN(auto starts, IntVector(c, 1, "starts"));
  SLIPWAY_ASSIGN_OR_RETURN(auto ends, IntVector(c, 2, "ends"));
  SLIPWAY_ASSIGN_OR_RETURN(auto axes, KnownIntVector(c, 3, "axes"));
  SLIPWAY_ASSIGN_OR_RETURN(auto steps, KnownIntVector(c, 4, "steps"));
  if (!x) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  // How many dimensions are cut: from any of the lists whose length is known.
  std::optional<size_t> count;
  for (size_t i = 1; i <= 4; ++i) {
    const SymShape* s = ShapeOf(c, i);
    if (!s || s->size() != 1 || !(*s)[0].known()) continue;
    const size_t length = static_cast<size_t>((*s)[0].value());
    if (count && *count != length)
      return Bad("starts, ends, axes and steps have different lengths: ", *count, " and ", length);
    count = length;
  }
  std::vector<int64_t> axis_list;
  if (c.has_input(3)) {
    if (axes) axis_list = *axes;
  } else if (count) {
    if (*count > x->size())
      return Bad("starts has ", *count, " elements but the input has ", x->size(), " dimensions");
    for (size_t i = 0; i < *count; ++i) axis_list.push_back(static_cast<int64_t>(i));
  }
  if (!count || (c.has_input(3) && !axes)) {  // anything may be cut
    c.set_output(0, dtype, FreshShape(c, x->size()));
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(const auto which, NormalizeAxes(axis_list, x->size()));
  SymShape out = *x;
  std::vector<int64_t> first(x->size(), 0), stride(x->size(), 1);
  bool exact = true;
  for (size_t i = 0; i < which.size(); ++i) {
    // Steps beyond any extent all take one element; the clamp keeps the arithmetic in range.
    const int64_t step = std::clamp(steps && i < steps->size() ? (*steps)[i] : int64_t{1},
                                    -(int64_t{1} << 61), int64_t{1} << 61);
    if (step == 0)
      return Bad("steps holds 0, which never moves; use a positive or negative number");
    std::optional<SliceRange> range;
    const bool known =
        starts && ends && i < starts->size() && i < ends->size() && (!c.has_input(4) || steps);
    if (known) range = SliceExtent((*x)[which[i]], (*starts)[i], (*ends)[i], step);
    out[which[i]] = range ? range->count : c.fresh_symbol();
    if (range && range->start.known()) {
      first[which[i]] = range->start.value();
      stride[which[i]] = step;
    } else {
      exact = false;
    }
  }
  c.set_output(0, dtype, out);
  const auto elements = c.elements(0);
  const auto from = SmallExtent(*x), to = SmallExtent(out);
  if (!exact || !elements || !from || !to) return OkStatus();
  std::vector<Dim> cut;
  std::vector<int64_t> own(x->size());
  ForEachIndex(*to, [&](const std::vector<int64_t>& index) {
    for (size_t d = 0; d < own.size(); ++d) own[d] = first[d] + index[d] * stride[d];
    cut.push_back((*elements)[PositionOf(own, *from)]);
  });
  c.set_elements(0, std::move(cut));
  return OkStatus();
}

Status InferPad(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 2}));
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 2, "constant_value"));
  const std::string_view mode = c.attributes().String("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap") {
    return Bad("mode '", mode, "' must be constant, reflect, edge or wrap");
  }
  const DType dtype = c.input(0).dtype;
  const SymShape* x = ShapeOf(c, 0);
  SLIPWAY_ASSIGN_OR_RETURN(auto pads, IntVector(c, 1, "pads"));
  SLIPWAY_ASSIGN_OR_RETURN(auto axes, KnownIntVector(c, 3, "axes"));
  if (!x) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  std::vector<size_t> which;
  if (!c.has_input(3)) {
    for (size_t i = 0; i < x->size(); ++i) which.push_back(i);
  } else if (axes) {
    SLIPWAY_ASSIGN_OR_RETURN(which, NormalizeAxes(*axes, x->size()));
  }
  if (!pads || (c.has_input(3) && !axes)) {
    c.set_output(0, dtype, FreshShape(c, x->size()));
    return OkStatus();
  }
  if (pads->size() != 2 * which.size()) {
    return Bad("pads has ", pads->size(), " elements but needs ", 2 * which.size(),
               ": a begin and an end for each of ", which.size(), " dimensions");
  }
  SymShape out = *x;
  for (size_t i = 0; i < which.size(); ++i) {
    const Dim &before = (*pads)[i], &after = (*pads)[which.size() + i];
    const Dim& in = (*x)[which[i]];
    for (const Dim* p : {&before, &after}) {
      if (!p->known() || !in.known() || p->value() <= 0 || mode == "constant") continue;
      const bool good = mode == "reflect" ? p->value() < in.value() : in.value() > 0;
      if (!good)
        return Bad("mode ", mode, " cannot pad dimension ", which[i], " of extent ", in, " by ",
                   *p);
    }
    const Dim d = in + before + after;
    if (d.known() && !d.overflowed() && d.value() < 0) {
      return Bad("pads ", before, " and ", after, " remove more than dimension ", which[i],
                 " of extent ", in, " has");
    }
    // A negative pad may remove a whole dimension but nothing that the other pad adds.
    if (in.known() && ((before.known() && before.value() < 0 && (in + before).value() < 0) ||
                       (after.known() && after.value() < 0 && (in + after).value() < 0))) {
      return Bad("pads ", before, " and ", after, " remove more than dimension ", which[i],
                 " of extent ", in, " has");
    }
    out[which[i]] = d;
  }
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

Status InferTranspose(InferContext& c) {
  const DType dtype = c.input(0).dtype;
  const SymShape* x = ShapeOf(c, 0);
  const auto perm = c.attributes().Ints("perm");
  if (!x) {
    c.set_output(0, dtype,
                 perm.empty()
                     ? std::nullopt
                     : std::optional(FreshShape(c, std::min<size_t>(perm.size(), kMaxRank + 1))));
    return OkStatus();
  }
  std::vector<size_t> order;
  if (c.attributes().Has("perm")) {
    if (perm.size() != x->size())
      return Bad("perm has ", perm.size(), " numbers but the input ", *x, " has ", x->size(),
                 " dimensions");
    SLIPWAY_ASSIGN_OR_RETURN(order, NormalizeAxes(perm, x->size(), "perm"));
  } else {
    for (size_t i = x->size(); i > 0; --i) order.push_back(i - 1);
  }
  SymShape out;
  for (size_t i : order) out.push_back((*x)[i]);
  c.set_output(0, dtype, out);
  const auto elements = c.elements(0);
  const auto from = SmallExtent(*x), to = SmallExtent(out);
  if (!elements || !from || !to) return OkStatus();
  std::vector<Dim> moved;
  std::vector<int64_t> own(x->size());
  ForEachIndex(*to, [&](const std::vector<int64_t>& index) {
    for (size_t i = 0; i < order.size(); ++i) own[order[i]] = index[i];
    moved.push_back((*elements)[PositionOf(own, *from)]);
  });
  c.set_elements(0, std::move(moved));
  return OkStatus();
}

Status InferDepthToSpace(InferContext& c) {
  const int64_t b = c.attributes().Int("blocksize", 0);
  if (b < 1 || b > (1 << 15)) return Bad("blocksize = ", b, " must lie in [1, 32768]");
  const std::string_view mode = c.attributes().String("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") return Bad("mode '", mode, "' must be DCR or CRD");
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 0, 4, "the input"));
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, c.input(0).dtype, FreshShape(c, 4));
    return OkStatus();
  }
  const Dim& channels = (*x)[1];
  if (channels.known() && channels.value() % (b * b) != 0) {
    return Bad("blocksize * blocksize = ", b * b, " does not divide the ", channels, " channels");
  }
  c.set_output(
      0, c.input(0).dtype,
      SymShape{(*x)[0], FloorDiv(channels, Dim(b * b)), (*x)[2] * Dim(b), (*x)[3] * Dim(b)});
  return OkStatus();
}

Status InferSpaceToDepth(InferContext& c) {
  const int64_t b = c.attributes().Int("blocksize", 0);
  if (b < 1 || b > (1 << 15)) return Bad("blocksize = ", b, " must lie in [1, 32768]");
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 0, 4, "the input"));
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, c.input(0).dtype, FreshShape(c, 4));
    return OkStatus();
  }
  for (size_t i : {2, 3}) {
    if ((*x)[i].known() && (*x)[i].value() % b != 0)
      return Bad("blocksize = ", b, " does not divide dimension ", i, " of ", *x);
  }
  c.set_output(0, c.input(0).dtype,
               SymShape{(*x)[0], (*x)[1] * Dim(b * b), FloorDiv((*x)[2], Dim(b)),
                        FloorDiv((*x)[3], Dim(b))});
  return OkStatus();
}

}  // namespace slipway::ir
