#include "model/ir/infer_util.h"

#include <algorithm>

#include "base/hash.h"
#include "model/ops/quantized.h"

namespace slipway::ir {

const SymShape* ShapeOf(const InferContext& c, size_t i) {
  return c.has_input(i) && c.input(i).shape ? &*c.input(i).shape : nullptr;
}

Status RequireRank(const InferContext& c, size_t i, int64_t rank, std::string_view what) {
  const SymShape* s = ShapeOf(c, i);
  if (s && static_cast<int64_t>(s->size()) != rank) {
    return Bad(what, " has shape ", *s, " but must have ", rank,
               rank == 1 ? " dimension" : " dimensions");
  }
  return OkStatus();
}

Status RequireMinRank(const InferContext& c, size_t i, int64_t rank, std::string_view what) {
  const SymShape* s = ShapeOf(c, i);
  if (s && static_cast<int64_t>(s->size()) < rank) {
    return Bad(what, " has shape ", *s, " but must have at least ", rank,
               rank == 1 ? " dimension" : " dimensions");
  }
  return OkStatus();
}

Status SameDtype(const InferContext& c, std::initializer_list<size_t> which) {
  DType first = DType::kUndefined;
  size_t first_index = 0;
  for (size_t i : which) {
    if (!c.has_input(i)) continue;
    const DType t = c.input(i).dtype;
    if (t == DType::kUndefined) continue;
    if (first == DType::kUndefined) {
      first = t;
      first_index = i;
    } else if (t != first) {
      return Bad("inputs ", first_index, " and ", i, " have types ", first, " and ", t,
                 " but must have the same; insert a Cast");
    }
  }
  return OkStatus();
}

Status RequireDtype(const InferContext& c, size_t i, DType want, std::string_view what) {
  if (!c.has_input(i)) return OkStatus();
  const DType t = c.input(i).dtype;
  if (t == DType::kUndefined || t == want) return OkStatus();
  return Bad(what, " (input ", i, ") has type ", t, " but must be ", want);
}

Status RequireBool(const InferContext& c, size_t i) {
  if (!c.has_input(i)) return OkStatus();
  const DType t = c.input(i).dtype;
  if (t == DType::kUndefined || t == DType::kBool) return OkStatus();
  return Bad("input ", i, " has type ", t, " but must be bool; insert a Cast or a comparison");
}

Result<std::optional<std::vector<Dim>>> IntVector(const InferContext& c, size_t i,
                                                  std::string_view what) {
  std::optional<std::vector<Dim>> none;
  if (!c.has_input(i)) return none;
  const Type& t = c.input(i);
  if (t.dtype != DType::kUndefined && t.dtype != DType::kInt64 && t.dtype != DType::kInt32) {
    return Bad(what, " (input ", i, ") has type ", t.dtype, " but must be int64");
  }
  if (t.shape && t.shape->size() > 1) {
    return Bad(what, " (input ", i, ") has shape ", *t.shape, " but must be a vector");
  }
  return c.elements(i);
}

Result<std::optional<std::vector<int64_t>>> KnownIntVector(const InferContext& c, size_t i,
                                                           std::string_view what) {
  SLIPWAY_ASSIGN_OR_RETURN(auto elements, IntVector(c, i, what));
  std::optional<std::vector<int64_t>> out;
  if (!elements) return out;
  std::vector<int64_t> values;
  for (const Dim& d : *elements) {
    if (!d.known() || d.overflowed()) return out;
    values.push_back(d.value());
  }
  out = std::move(values);
  return out;
}

Status RequireScalar(const InferContext& c, size_t i, std::string_view what) {
  const SymShape* s = ShapeOf(c, i);
  if (!s) return OkStatus();
  const Dim n = Count(*s);
  if (n.known() && !n.Is(1))
    return Bad(what, " (input ", i, ") has shape ", *s, " but must be one element");
  return OkStatus();
}

Status RequireVector(InferContext& c, size_t i, const Dim& count, std::string_view what) {
  const SymShape* s = ShapeOf(c, i);
  if (!s) return OkStatus();
  if (s->size() != 1)
    return Bad(what, " (input ", i, ") has shape ", *s, " but must be a vector of ", count,
               " elements");
  if (count.known() && (*s)[0].known() && !((*s)[0] == count)) {
    return Bad(what, " (input ", i, ") has ", (*s)[0], " elements but ", count, " are needed");
  }
  if (!((*s)[0] == count)) c.assume_equal((*s)[0], count);
  return OkStatus();
}

Result<size_t> NormalizeAxis(int64_t axis, size_t rank, std::string_view what) {
  const int64_t r = static_cast<int64_t>(rank);
  if (axis < -r || axis >= r) {
    if (rank == 0) return Bad(what, " ", axis, " is given for a scalar, which has no dimensions");
    return Bad(what, " ", axis, " is out of range for ", rank, " dimensions; use a number in [", -r,
               ", ", r - 1, "]");
  }
  return static_cast<size_t>(axis < 0 ? axis + r : axis);
}

Result<std::vector<size_t>> NormalizeAxes(std::span<const int64_t> axes, size_t rank,
                                          std::string_view what) {
  std::vector<size_t> out;
  std::vector<bool> seen(rank, false);
  for (int64_t a : axes) {
    SLIPWAY_ASSIGN_OR_RETURN(const size_t axis, NormalizeAxis(a, rank, what));
    if (seen[axis]) return Bad(what, " name dimension ", axis, " twice");
    seen[axis] = true;
    out.push_back(axis);
  }
  return out;
}

Result<Dim> Unify(InferContext& c, const Dim& a, const Dim& b, std::string_view what) {
  if (a == b) return a;
  if (a.known() && b.known()) return Bad(what, ": ", a, " and ", b, " differ but must be the same");
  c.assume_equal(a, b);
  if (a.known() || b.known()) return a.known() ? a : b;
  return c.bound(a) || !c.bound(b) ? a : b;
}

Result<SymShape> Broadcast(InferContext& c, const SymShape& a, const SymShape& b) {
  SymShape out(std::max(a.size(), b.size()), Dim(1));
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t skip_a = out.size() - a.size(), skip_b = out.size() - b.size();
    const Dim x = i < skip_a ? Dim(1) : a[i - skip_a], y = i < skip_b ? Dim(1) : b[i - skip_b];
    if (x == y || y.Is(1)) {
      out[i] = x;
    } else if (x.Is(1)) {
      out[i] = y;
    } else if (x.known() && y.known()) {
      return Bad("shapes ", a, " and ", b, " do not broadcast: dimension ", i, " is ", x, " and ",
                 y, "; the extents must be equal or one of them 1");
    } else if (x.known() || y.known()) {
      out[i] = x.known() ? x : y;  // the symbolic one is this or 1
    } else {
      out[i] = c.bound(x) || !c.bound(y) ? x : y;  // equal, unless one of them is 1
    }
  }
  return out;
}

Status BroadcastsTo(const SymShape& from, const SymShape& to, std::string_view what) {
  bool good = from.size() <= to.size();
  for (size_t i = 0; good && i < from.size(); ++i) {
    const Dim& f = from[i];
    const Dim& t = to[to.size() - from.size() + i];
    good = !f.known() || f.Is(1) || !t.known() || f == t;
  }
  if (!good) return Bad(what, " has shape ", from, ", which does not broadcast to ", to);
  return OkStatus();
}

SymShape FreshShape(InferContext& c, size_t rank) {
  SymShape s;
  for (size_t i = 0; i < rank; ++i) s.push_back(c.fresh_symbol());
  return s;
}

std::optional<std::vector<int64_t>> SmallExtent(const SymShape& shape) {
  std::vector<int64_t> out;
  for (const Dim& d : shape) {
    if (!d.known() || d.value() < 0) return std::nullopt;
    out.push_back(d.value());
  }
  const Dim n = Count(shape);
  if (n.overflowed() || n.value() > kMaxElements) return std::nullopt;
  return out;
}

std::vector<size_t> BroadcastPositions(std::span<const int64_t> from, std::span<const int64_t> to) {
  std::vector<size_t> out;
  std::vector<int64_t> own(from.size());
  ForEachIndex(to, [&](const std::vector<int64_t>& index) {
    for (size_t i = 0; i < from.size(); ++i)
      own[i] = from[i] == 1 ? 0 : index[to.size() - from.size() + i];
    out.push_back(PositionOf(own, from));
  });
  return out;
}

size_t PositionOf(std::span<const int64_t> index, std::span<const int64_t> extent) {
  int64_t at = 0;
  for (size_t i = 0; i < extent.size(); ++i) at = at * extent[i] + index[i];
  return static_cast<size_t>(at);
}

namespace {

template <typename F>
bool HoldsWhenTried(const Dim& d, F&& f) {
  if (d.overflowed()) return false;
  if (d.known()) return f(d.value());
  constexpr int64_t kLargest = (int64_t{1} << 31) - 1;  // of a symbol without a declared range
  for (int64_t v : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4}, int64_t{5}, int64_t{7},
                    int64_t{8}, int64_t{32}, int64_t{1023}, int64_t{1} << 20, kLargest}) {
    auto r = d.Evaluate([&](std::string_view) { return v; });
    if (r.ok() && !f(*r)) return false;
  }
  for (uint64_t seed = 1; seed <= 8; ++seed) {  // different values for different symbols
    auto r = d.Evaluate([&](std::string_view s) {
      const uint64_t h = Hash64(s, seed);
      return h & 1 ? int64_t{1} : static_cast<int64_t>(h >> 1) % (seed < 5 ? 9 : kLargest) + 1;
    });
    if (r.ok() && !f(*r)) return false;
  }
  return true;
}

}  // namespace

bool SeemsNonNegative(const Dim& d) {
  return HoldsWhenTried(d, [](int64_t v) { return v >= 0; });
}
bool SeemsNegative(const Dim& d) {
  return HoldsWhenTried(d, [](int64_t v) { return v < 0; });
}

Status CheckActivation(const InferContext& c, const char* key, const char* params_key) {
  struct Row {
    std::string_view name;
    size_t params;
  };
  static constexpr Row kRows[] = {{"none", 0},    {"Relu", 0}, {"Clip", 2},        {"LeakyRelu", 1},
                                  {"Sigmoid", 0}, {"Tanh", 0}, {"HardSigmoid", 2}, {"HardSwish", 0},
                                  {"Swish", 1},   {"Gelu", 0}, {"GeluTanh", 0},    {"Elu", 1}};
  const bool gate = key[0] == 'g';  // whose absence means something
  const std::string_view name = c.attributes().String(key, gate ? "Sigmoid" : "none");
  const size_t given = c.attributes().Floats(params_key).size();
  for (const Row& row : kRows) {
    if (row.name != name) continue;
    if (given != row.params)
      return Bad("activation ", name, " needs ", row.params, " ", params_key, " but has ", given);
    return OkStatus();
  }
  return Bad("unknown activation '", name, "'");
}

Result<DType> QuantizedOutput(const InferContext& c, bool wide) {
  const int64_t to = c.attributes().Int("to", 3);
  if (to == static_cast<int64_t>(DType::kFloat32)) return DType::kFloat32;
  const auto codes = {DType::kUInt8, DType::kInt8, DType::kUInt16, DType::kInt16};
  const auto found = std::find_if(codes.begin(), codes.end(), [&](DType t) {
    return static_cast<int64_t>(t) == to && ops::LimitsOf(t, wide);
  });
  if (found == codes.end()) {
    return Bad("to = ", to, " must be float32 (1), ",
               wide ? "uint8 (2), int8 (3), uint16 (4) or int16 (5)" : "uint8 (2) or int8 (3)");
  }
  const DType t = *found;
  const auto [lo, hi] = *ops::LimitsOf(t, wide);
  const int64_t q_min = c.attributes().Int("q_min", -128), q_max = c.attributes().Int("q_max", 127);
  const int64_t zero = c.attributes().Int("y_zero_point", 0);
  if (q_min < lo || q_max > hi || q_min > q_max) {
    return Bad("q_min = ", q_min, " and q_max = ", q_max, " must satisfy ", lo,
               " <= q_min <= q_max <= ", hi, " for ", t);
  }
  if (zero < lo || zero > hi) return Bad("y_zero_point = ", zero, " is not in the range of ", t);
  return t;
}

Status CheckCodes(const InferContext& c, size_t i, std::string_view zero_point, bool wide) {
  if (!c.has_input(i)) return OkStatus();
  const DType t = c.input(i).dtype;
  if (t == DType::kUndefined) return OkStatus();
  const auto limits = ops::LimitsOf(t, wide);
  if (!limits)
    return Bad("input ", i, " has type ", t, " but must be uint8 or int8",
               wide ? ", uint16 or int16" : "");
  const int64_t zero = c.attributes().Int(zero_point, 0);
  if (zero < limits->lo || zero > limits->hi) {
    return Bad(zero_point, " = ", zero, " is not in the range of ", t);
  }
  return OkStatus();
}

namespace {

Result<std::vector<int64_t>> WindowList(const InferContext& c, std::string_view name, size_t length,
                                        int64_t fallback, int64_t least) {
  const auto given = c.attributes().Ints(name);
  if (given.empty()) return std::vector<int64_t>(length, fallback);
  if (given.size() != length)
    return Bad(name, " has ", given.size(), " numbers but needs ", length);
  for (int64_t v : given) {
    if (v < least || v > kMaxWindow)
      return Bad(name, " holds ", v, " but must lie in [", least, ", ", kMaxWindow, "]");
  }
  return std::vector<int64_t>(given.begin(), given.end());
}

}  // namespace

Result<Window> ReadWindow(const InferContext& c, std::vector<int64_t> kernel) {
  Window w;
  for (int64_t k : kernel) {
    if (k < 1 || k > kMaxWindow)
      return Bad("kernel extent ", k, " must lie in [1, ", kMaxWindow, "]");
  }
  const size_t n = kernel.size();
  w.kernel = std::move(kernel);
  SLIPWAY_ASSIGN_OR_RETURN(w.strides, WindowList(c, "strides", n, 1, 1));
  SLIPWAY_ASSIGN_OR_RETURN(w.dilations, WindowList(c, "dilations", n, 1, 1));
  w.auto_pad = c.attributes().String("auto_pad", "NOTSET");
  if (w.auto_pad != "NOTSET" && w.auto_pad != "VALID" && w.auto_pad != "SAME_UPPER" &&
      w.auto_pad != "SAME_LOWER") {
    return Bad("auto_pad '", w.auto_pad, "' must be NOTSET, VALID, SAME_UPPER or SAME_LOWER");
  }
  SLIPWAY_ASSIGN_OR_RETURN(w.pads, WindowList(c, "pads", 2 * n, 0, 0));
  if (w.auto_pad != "NOTSET")
    w.pads.assign(2 * n, 0);  // the specification lets auto_pad replace pads
  w.ceil_mode = c.attributes().Int("ceil_mode", 0) != 0;
  return w;
}

Result<Dim> WindowOutput(const Window& w, const Dim& in, size_t i) {
  const int64_t stride = w.strides[i];
  const Dim span = Dim(w.dilations[i]) * Dim(w.kernel[i] - 1) + Dim(1);
  if (w.auto_pad == "SAME_UPPER" || w.auto_pad == "SAME_LOWER") return CeilDiv(in, stride);
  const int64_t before = w.pads[i], after = w.pads[w.rank() + i];
  const Dim room = in + Dim(before) + Dim(after) - span;
  if (room.known() && room.value() < 0) {
    return Bad("the window spans ", span, " but spatial dimension ", i, " is only ", in,
               " with padding ", before, " + ", after, "; enlarge the input or the pads");
  }
  if (!w.ceil_mode || w.auto_pad == "VALID") return FloorDiv(room, stride) + Dim(1);
  // A window must start inside the input or the left padding: at most ceil((in + before) / stride)
  // do. Trailing padding so small that this always holds keeps the expression simple.
  const Dim windows = CeilDiv(room, stride) + Dim(1);
  if (span.value() >= after + stride) return windows;
  return Min(windows, CeilDiv(in + Dim(before), stride));
}

}  // namespace slipway::ir
