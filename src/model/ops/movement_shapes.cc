// The extents of operators that take them, or what they follow from, as a tensor: Reshape, Slice, Resize and their like.
// The same rules as in model/ir/infer_*.cc, for numbers; shapes_test.cc holds the two against each other.

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/checked.h"
#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

Status Bad(std::string what) { return InvalidArgument(std::move(what)); }

// Input i as a list of integers; absent is an empty one.
struct IndexList {
  const TensorView* tensor = nullptr;
  int64_t size() const { return tensor ? tensor->count() : 0; }
  int64_t operator[](int64_t i) const { return IndexAt(*tensor, i); }
};

Status ReadIndices(const OpContext& c, size_t i, const char* what, IndexList* out) {
  if (!c.Has(i)) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[i], what));
  if (c.inputs[i].dims.rank() > 1) return Bad(std::string(what) + " must be a vector");
  out->tensor = &c.inputs[i];
  return OkStatus();
}

Status ReadSizes(const OpContext& c, size_t i, const char* what, Dims* out) {
  IndexList list;
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, i, what, &list));
  if (list.size() > kMaxRank) {
    return Bad(std::string(what) + " has " + std::to_string(list.size()) + " elements; at most " +
               std::to_string(kMaxRank) + " dimensions are supported");
  }
  *out = {};
  for (int64_t k = 0; k < list.size(); ++k) {
    if (list[k] < 0)
      return Bad(std::string(what) + " holds " + std::to_string(list[k]) + "; sizes must not be negative");
    out->push_back(list[k]);
  }
  return OkStatus();
}

// Which of `rank` dimensions the list names; each at most once.
Status ReadAxes(const IndexList& list, int rank, bool (&named)[kMaxRank]) {
  for (int64_t i = 0; i < list.size(); ++i) {
    int axis;
    SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(list[i], rank, &axis));
    if (named[axis]) return Bad("axes name dimension " + std::to_string(axis) + " twice");
    named[axis] = true;
  }
  return OkStatus();
}

Status One(const OpContext& c, size_t i, const char* what) {
  if (c.inputs[i].count() == 1) return OkStatus();
  return Bad(std::string(what) + " has shape " + c.inputs[i].dims.ToString() + " but must be one element");
}

Status Overflow(const char* what) { return Bad(std::string(what) + " overflows"); }

}  // namespace

Status ShapeReshape(const OpContext& c, std::span<Dims> outputs) {
  const Dims& x = c.inputs[0].dims;
  IndexList target;
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, 1, "shape", &target));
  if (target.size() > kMaxRank) return Bad("shape has " + std::to_string(target.size()) + " elements");
  const bool allow_zero = c.attributes->Int("allowzero", 0) != 0;
  Dims out;
  int open = -1;
  for (int64_t i = 0; i < target.size(); ++i) {
    int64_t d = target[i];
    if (d == 0 && !allow_zero) {
      if (i >= x.rank()) return Bad("shape copies dimension " + std::to_string(i) + " but the input " + x.ToString() + " has none");
      d = x[static_cast<size_t>(i)];
    } else if (d == -1) {
      if (open >= 0) return Bad("shape holds -1 twice; only one dimension can be inferred");
      open = static_cast<int>(i);
      d = 1;
    } else if (d < 0) {
      return Bad("shape holds " + std::to_string(d) + "; use -1 to infer a dimension");
    }
    out.push_back(d);
  }
  const auto have = CheckedCount(x), rest = CheckedCount(out);
  if (!have || !rest) return Overflow("the number of elements");
  if (open >= 0) {
    if (*rest == 0 || *have % *rest != 0) {
      return Bad("input " + x.ToString() + " cannot take a shape whose other dimensions make " + std::to_string(*rest) + " elements");
    }
    out[static_cast<size_t>(open)] = *have / *rest;
  } else if (*have != *rest) {
    return Bad("input " + x.ToString() + " of " + std::to_string(*have) + " elements cannot take shape " + out.ToString());
  }
  outputs[0] = out;
  return OkStatus();
}

Status ShapeSqueeze(const OpContext& c, std::span<Dims> outputs) {
  const Dims& x = c.inputs[0].dims;
  IndexList axes;
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, 1, "axes", &axes));
  bool gone[kMaxRank] = {};
  SLIPWAY_RETURN_IF_ERROR(ReadAxes(axes, x.rank(), gone));
  Dims out;
  for (int i = 0; i < x.rank(); ++i) {
    const int64_t d = x[static_cast<size_t>(i)];
    if (c.Has(1) ? gone[i] && d != 1 : false)
      return Bad("dimension " + std::to_string(i) + " of " + x.ToString() + " cannot be squeezed; only 1 can");
    if (c.Has(1) ? !gone[i] : d != 1) out.push_back(d);
  }
  outputs[0] = out;
  return OkStatus();
}

Status ShapeUnsqueeze(const OpContext& c, std::span<Dims> outputs) {
  const Dims& x = c.inputs[0].dims;
  IndexList axes;
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, 1, "axes", &axes));
  if (axes.size() > kMaxRank || x.rank() + axes.size() > kMaxRank)
    return Bad("the output would have more than " + std::to_string(kMaxRank) + " dimensions");
  const int rank = x.rank() + static_cast<int>(axes.size());
  bool added[kMaxRank] = {};
  SLIPWAY_RETURN_IF_ERROR(ReadAxes(axes, rank, added));
  Dims out;
  for (int i = 0, from = 0; i < rank; ++i) out.push_back(added[i] ? 1 : x[static_cast<size_t>(from++)]);
  outputs[0] = out;
  return OkStatus();
}

Status ShapeExpand(const OpContext& c, std::span<Dims> outputs) {
  const Dims& x = c.inputs[0].dims;
  Dims target, out;
  SLIPWAY_RETURN_IF_ERROR(ReadSizes(c, 1, "shape", &target));
  const int rank = std::max(x.rank(), target.rank());
  for (int i = 0; i < rank; ++i) {
    const int a = i - (rank - x.rank()), b = i - (rank - target.rank());
    const int64_t from = a < 0 ? 1 : x[static_cast<size_t>(a)], to = b < 0 ? 1 : target[static_cast<size_t>(b)];
    if (from != to && from != 1 && to != 1)
      return Bad("input " + x.ToString() + " does not broadcast to " + target.ToString());
    out.push_back(from == 1 ? to : from);
  }
  outputs[0] = out;
  return OkStatus();
}

Status ShapeTile(const OpContext& c, std::span<Dims> outputs) {
  Dims repeats, out = c.inputs[0].dims;
  SLIPWAY_RETURN_IF_ERROR(ReadSizes(c, 1, "repeats", &repeats));
  if (repeats.rank() != out.rank())
    return Bad("repeats has " + std::to_string(repeats.rank()) + " elements but the input " + out.ToString() + " has " +
               std::to_string(out.rank()) + " dimensions");
  for (size_t i = 0; i < out.size(); ++i) {
    const auto d = CheckedMul(out[i], repeats[i]);
    if (!d) return Overflow("a dimension of the output");
    out[i] = *d;
  }
  outputs[0] = out;
  return OkStatus();
}

Status ShapeSlice(const OpContext& c, std::span<Dims> outputs) {
  Dims out = c.inputs[0].dims;
  IndexList starts, ends, axes, steps;
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, 1, "starts", &starts));
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, 2, "ends", &ends));
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, 3, "axes", &axes));
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, 4, "steps", &steps));
  if (ends.size() != starts.size() || (c.Has(3) && axes.size() != starts.size()) || (c.Has(4) && steps.size() != starts.size()))
    return Bad("starts, ends, axes and steps have different lengths");
  if (starts.size() > out.rank()) return Bad("more starts than dimensions");
  bool sliced[kMaxRank] = {};
  for (int64_t i = 0; i < starts.size(); ++i) {
    int axis;
    SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.Has(3) ? axes[i] : i, out.rank(), &axis));
    if (sliced[axis]) return Bad("axes name dimension " + std::to_string(axis) + " twice");
    sliced[axis] = true;
    const int64_t step = std::clamp(c.Has(4) ? steps[i] : 1, -(int64_t{1} << 61), int64_t{1} << 61);
    if (step == 0) return Bad("steps holds 0, which never moves; use a positive or negative number");
    const int64_t n = out[static_cast<size_t>(axis)];
    const auto bound = [&](int64_t v, int64_t low, int64_t high) { return std::max(low, std::min(v < 0 ? v + n : v, high)); };
    const int64_t start = bound(starts[i], 0, step > 0 ? n : n - 1);
    const int64_t end = step > 0 ? bound(ends[i], 0, n) : bound(ends[i], -1, n - 1);
    const int64_t span = step > 0 ? end - start : start - end, size = step > 0 ? step : -step;
    out[static_cast<size_t>(axis)] = n > 0 && span > 0 ? (span - 1) / size + 1 : 0;
  }
  outputs[0] = out;
  return OkStatus();
}

Status ShapePad(const OpContext& c, std::span<Dims> outputs) {
  Dims out = c.inputs[0].dims;
  IndexList pads, axes;
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, 1, "pads", &pads));
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, 3, "axes", &axes));
  const int64_t n = c.Has(3) ? axes.size() : out.rank();
  bool named[kMaxRank] = {};
  SLIPWAY_RETURN_IF_ERROR(ReadAxes(axes, out.rank(), named));
  if (pads.size() != 2 * n) return Bad("pads has " + std::to_string(pads.size()) + " elements but needs " + std::to_string(2 * n));
  for (int64_t i = 0; i < n; ++i) {
    int axis;
    SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.Has(3) ? axes[i] : i, out.rank(), &axis));
    int64_t& d = out[static_cast<size_t>(axis)];
    const int64_t in = d, before = pads[i], after = pads[n + i];
    const auto first = CheckedAdd(in, before);
    const auto sum = first ? CheckedAdd(*first, after) : std::nullopt;
    if (!sum) return Overflow("a dimension of the output");
    if (*sum < 0 || (before < 0 && *first < 0) || (after < 0 && after < -in)) {
      return Bad("pads " + std::to_string(before) + " and " + std::to_string(after) + " remove more than dimension " +
                 std::to_string(axis) + " of extent " + std::to_string(in) + " has");
    }
    d = *sum;
  }
  outputs[0] = out;
  return OkStatus();
}

Status ShapeResize(const OpContext& c, std::span<Dims> outputs) {
  Dims out = c.inputs[0].dims;
  const auto given = c.attributes->Ints("axes");
  const int64_t n = given.empty() ? out.rank() : static_cast<int64_t>(given.size());
  int which[kMaxRank];
  bool named[kMaxRank] = {};
  if (n > out.rank()) return Bad("axes has more entries than the input has dimensions");
  for (int64_t i = 0; i < n; ++i) {
    SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(given.empty() ? i : given[static_cast<size_t>(i)], out.rank(), &which[i]));
    if (named[which[i]]) return Bad("axes name dimension " + std::to_string(which[i]) + " twice");
    named[which[i]] = true;
  }
  const bool by_scale = c.Has(2) && c.inputs[2].count() > 0, by_size = c.Has(3) && c.inputs[3].count() > 0;
  if (by_scale == by_size) return Bad("exactly one of scales (input 2) and sizes (input 3) must be given");
  const auto element = [&](size_t input, int64_t i) {
    TensorView one = c.inputs[input];
    one.data = one.as<uint8_t>() + DTypeBytes(one.dtype, i);
    return ScalarAt(one);
  };
  if (by_scale) {
    const bool crop = c.attributes->String("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize";
    if (crop && (!c.Has(1) || c.inputs[1].count() != 2 * n || !IsFloating(c.inputs[1].dtype)))
      return Bad("tf_crop_and_resize needs a roi of " + std::to_string(2 * n) + " elements");
    if (c.inputs[2].count() != n || c.inputs[2].dtype != DType::kFloat32)
      return Bad("scales must be " + std::to_string(n) + " float32 elements");
    for (int64_t i = 0; i < n; ++i) {
      const double part = crop ? element(1, n + i) - element(1, i) : 1.0;
      const float scale = static_cast<float>(part * element(2, i));
      if (!std::isfinite(scale) || scale <= 0) return Bad("scale " + std::to_string(scale) + " must be positive and finite");
      int64_t& d = out[static_cast<size_t>(which[i])];
      const float v = std::floor(static_cast<float>(d) * scale);  // in float32, as the specification's own inference
      if (!(v < 0x1p62f)) return Overflow("an extent times its scale");
      d = static_cast<int64_t>(v);
    }
    outputs[0] = out;
    return OkStatus();
  }
  Dims sizes;
  SLIPWAY_RETURN_IF_ERROR(ReadSizes(c, 3, "sizes", &sizes));
  if (sizes.rank() != n) return Bad("sizes has " + std::to_string(sizes.rank()) + " elements but needs " + std::to_string(n));
  const auto policy = c.attributes->String("keep_aspect_ratio_policy", "stretch");
  double scale = policy == "not_larger" ? std::numeric_limits<double>::infinity() : 0;
  for (int64_t i = 0; policy != "stretch" && i < n; ++i) {
    const double in = static_cast<double>(out[static_cast<size_t>(which[i])]);
    if (in == 0) return Bad("dimension " + std::to_string(which[i]) + " of " + out.ToString() + " is empty and has no aspect ratio");
    const double s = static_cast<double>(sizes[static_cast<size_t>(i)]) / in;
    scale = policy == "not_larger" ? std::min(scale, s) : std::max(scale, s);
  }
  for (int64_t i = 0; i < n; ++i) {
    int64_t& d = out[static_cast<size_t>(which[i])];
    if (policy == "stretch") {
      d = sizes[static_cast<size_t>(i)];
      continue;
    }
    const double v = std::floor(scale * static_cast<double>(d) + 0.5);
    if (!(v < 0x1p62)) return Overflow("a dimension of the output");
    d = static_cast<int64_t>(v);
  }
  outputs[0] = out;
  return OkStatus();
}

Status ShapeRange(const OpContext& c, std::span<Dims> outputs) {
  for (size_t i = 0; i < 3; ++i) {
    SLIPWAY_RETURN_IF_ERROR(One(c, i, i == 0 ? "start" : i == 1 ? "limit" : "delta"));
    if (c.inputs[i].dtype != c.inputs[0].dtype) return Bad("start, limit and delta must have one type");
  }
  Status status;
  int64_t count = 0;
  const bool known = DispatchNumber(c.inputs[0].dtype, [&]<typename T>() {
    const auto start = static_cast<Compute<T>>(*c.inputs[0].as<const T>()), limit = static_cast<Compute<T>>(*c.inputs[1].as<const T>()),
               delta = static_cast<Compute<T>>(*c.inputs[2].as<const T>());
    if (delta == 0) {
      status = Bad("delta is 0; use a positive or negative number");
    } else if constexpr (kIsFloat<T>) {
      const double n = std::ceil((static_cast<double>(limit) - static_cast<double>(start)) / static_cast<double>(delta));
      if (!std::isfinite(n) || n > 1e15) {
        status = Bad("start, limit and delta do not give a finite range");
      } else {
        count = n > 0 ? static_cast<int64_t>(n) : 0;
      }
    } else if (delta > 0 ? limit > start : limit < start) {
      // Unsigned: the distance of two int64 need not fit one.
      const uint64_t a = static_cast<uint64_t>(start), b = static_cast<uint64_t>(limit), d = static_cast<uint64_t>(delta);
      const uint64_t span = delta > 0 ? b - a : a - b, step = delta > 0 ? d : uint64_t{0} - d;
      const uint64_t n = (span - 1) / step + 1;
      if (n > uint64_t{1} << 62) {
        status = Bad("the range is too long");
      } else {
        count = static_cast<int64_t>(n);
      }
    }
  });
  if (!known) return NoKernel(c.inputs[0].dtype);
  if (status.ok()) outputs[0] = {count};
  return status;
}

Status ShapeConstantOfShape(const OpContext& c, std::span<Dims> outputs) {
  return ReadSizes(c, 0, "shape", &outputs[0]);
}

Status ShapeOneHot(const OpContext& c, std::span<Dims> outputs) {
  SLIPWAY_RETURN_IF_ERROR(One(c, 1, "depth"));
  const Dims& x = c.inputs[0].dims;
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", -1), x.rank() + 1, &axis));
  if (x.rank() >= kMaxRank) return Bad("the output would have more than " + std::to_string(kMaxRank) + " dimensions");
  const double depth = ScalarAt(c.inputs[1]);
  if (!(depth >= 1 && depth < 1e15)) return Bad("depth must be a number of at least 1");
  Dims out;
  for (int i = 0; i <= x.rank(); ++i) {
    if (i == axis) out.push_back(static_cast<int64_t>(depth));
    if (i < x.rank()) out.push_back(x[static_cast<size_t>(i)]);
  }
  outputs[0] = out;
  return OkStatus();
}

Status ShapeTopK(const OpContext& c, std::span<Dims> outputs) {
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[1], "K"));
  SLIPWAY_RETURN_IF_ERROR(One(c, 1, "K"));
  Dims out = c.inputs[0].dims;
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", -1), out.rank(), &axis));
  const int64_t k = IndexAt(c.inputs[1], 0);
  int64_t& d = out[static_cast<size_t>(axis)];
  if (k < 0 || k > d)
    return Bad("K = " + std::to_string(k) + " is not between 0 and the " + std::to_string(d) + " elements along dimension " + std::to_string(axis));
  d = k;
  for (Dims& o : outputs) o = out;
  return OkStatus();
}

Status ShapeSplit(const OpContext& c, std::span<Dims> outputs) {
  const Dims& x = c.inputs[0].dims;
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", 0), x.rank(), &axis));
  const int64_t whole = x[static_cast<size_t>(axis)], n = static_cast<int64_t>(outputs.size());
  IndexList sizes;
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, 1, "split", &sizes));
  if (c.Has(1) && sizes.size() != n)
    return Bad("split has " + std::to_string(sizes.size()) + " elements but the node has " + std::to_string(n) + " outputs");
  const int64_t chunk = (whole + n - 1) / n;
  int64_t at = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t part = c.Has(1) ? sizes[i] : i + 1 < n ? chunk : whole - at;
    if (part < 0 || part > whole - at)
      return Bad("dimension " + std::to_string(axis) + " of " + x.ToString() + " cannot be split so: part " + std::to_string(i) +
                 " would have " + std::to_string(part) + " elements");
    Dims& out = outputs[static_cast<size_t>(i)];
    out = x;
    out[static_cast<size_t>(axis)] = part;
    at += part;
  }
  if (at != whole) return Bad("split adds up to " + std::to_string(at) + " but dimension " + std::to_string(axis) + " of " + x.ToString() + " is larger");
  return OkStatus();
}

Status ShapeReduce(const OpContext& c, std::span<Dims> outputs) {
  const Dims& x = c.inputs[0].dims;
  IndexList axes;
  SLIPWAY_RETURN_IF_ERROR(ReadIndices(c, 1, "axes", &axes));
  const bool keep = c.attributes->Int("keepdims", 1) != 0, none = axes.size() == 0;
  if (none && c.attributes->Int("noop_with_empty_axes", 0) != 0) {
    outputs[0] = x;
    return OkStatus();
  }
  bool reduced[kMaxRank] = {};
  SLIPWAY_RETURN_IF_ERROR(ReadAxes(axes, x.rank(), reduced));
  Dims out;
  for (int i = 0; i < x.rank(); ++i) {
    if (!none && !reduced[i]) {
      out.push_back(x[static_cast<size_t>(i)]);
    } else if (keep) {
      out.push_back(1);
    }
  }
  outputs[0] = out;
  return OkStatus();
}

}  // namespace slipway::ops
