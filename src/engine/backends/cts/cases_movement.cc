// Data movement and shapes.

#include <algorithm>
#include <numeric>

#include "engine/backends/cts/cases.h"

namespace slipway::cts {
namespace {

DType AnyType(Random& r) {
  return r.Pick({DType::kFloat32, DType::kFloat32, DType::kUInt8, DType::kInt64, DType::kInt8});
}

SymShape Shape(Random& r, int lo = 1, int hi = 5) {
  SymShape s{r.Chance(0.6) ? BatchSymbol() : Dim(r.Int(1, 3))};
  const int64_t rank = r.Int(lo, hi);
  while (static_cast<int64_t>(s.size()) < rank)
    s.push_back(s.size() == 1 && r.Chance(0.4) ? 16 * r.Int(1, 2) : r.Int(1, 19));
  return s;
}

Case Transpose(Random& r) {
  Maker m(r);
  const SymShape s = Shape(r);
  std::vector<int64_t> perm(s.size());
  std::iota(perm.begin(), perm.end(), 0);
  for (size_t i = perm.size(); i-- > 1;)
    std::swap(perm[i], perm[static_cast<size_t>(r.Int(0, static_cast<int64_t>(i)))]);
  m.Input(AnyType(r), s);
  if (r.Chance(0.9)) m.Set("perm", perm);
  return m.Node("Transpose");
}

Case Concat(Random& r) {
  Maker m(r);
  SymShape s = Shape(r, 1, 4);
  const size_t axis = static_cast<size_t>(r.Int(0, static_cast<int64_t>(s.size()) - 1));
  const DType t = AnyType(r);
  for (int64_t i = r.Int(1, 4); i > 0; --i) {
    if (s[axis].known()) s[axis] = axis == 1 && r.Chance(0.5) ? 16 * r.Int(1, 3) : r.Int(1, 20);
    m.Input(t, s);
  }
  m.Set("axis", r.Chance(0.5) ? static_cast<int64_t>(axis)
                              : static_cast<int64_t>(axis) - static_cast<int64_t>(s.size()));
  return m.Node("Concat");
}

Case Split(Random& r) {
  Maker m(r);
  SymShape s = Shape(r, 2, 4);
  const size_t axis = static_cast<size_t>(r.Int(1, static_cast<int64_t>(s.size()) - 1));
  const int64_t parts = r.Int(1, 4);
  std::vector<int64_t> sizes;
  int64_t total = 0;
  for (int64_t i = 0; i < parts; ++i)
    total += sizes.emplace_back(axis == 1 && r.Chance(0.5) ? 16 : r.Int(1, 9));
  s[axis] = total;
  m.Input(AnyType(r), s).Set("axis", static_cast<int64_t>(axis));
  m.Ints(sizes);
  return m.Node("Split", "", static_cast<size_t>(parts));
}

Case Slice(Random& r) {
  Maker m(r);
  const SymShape s = Shape(r, 2, 4);
  std::vector<int64_t> starts, ends, axes, steps;
  for (size_t d = 1; d < s.size(); ++d) {
    if (r.Chance(0.4)) continue;
    const int64_t size = s[d].value();
    axes.push_back(r.Chance(0.5) ? static_cast<int64_t>(d)
                                 : static_cast<int64_t>(d) - static_cast<int64_t>(s.size()));
    if (r.Chance(0.15)) {
      starts.push_back(size - 1), ends.push_back(-size - 1), steps.push_back(-1);
    } else {
      starts.push_back(r.Int(0, size - 1)),
          ends.push_back(r.Chance(0.3) ? INT64_MAX : r.Int(starts.back() + 1, size)),
          steps.push_back(r.Pick<int64_t>({1, 1, 2}));
    }
  }
  if (axes.empty()) axes = {0}, starts = {0}, ends = {INT64_MAX}, steps = {1};
  m.Input(AnyType(r), s).Ints(starts).Ints(ends).Ints(axes).Ints(steps);
  return m.Node("Slice");
}

Case Pad(Random& r) {
  Maker m(r);
  const SymShape s = Shape(r, 1, 4);
  const std::string mode = r.Chance(0.5) ? "constant" : r.Pick({"edge", "reflect", "wrap"});
  const int64_t least = r.Chance(0.2) ? -1 : 0;  // crops
  std::vector<int64_t> pads(2 * s.size());
  for (size_t i = 0; i < pads.size(); ++i) {
    const Dim& d = s[i % s.size()];
    const int64_t size = d.known() ? d.value() : 1;
    const int64_t most = mode == "reflect" ? size - 1 : mode == "wrap" && !d.known() ? 0 : 9;
    if (r.Chance(0.5)) pads[i] = std::min(most, r.Int(size > 2 ? least : 0, r.Chance(0.1) ? 9 : 3));
  }
  const DType t = r.Pick({DType::kFloat32, DType::kUInt8});
  std::vector<int64_t> axes;
  if (r.Chance(0.3)) {  // some of them, in some order
    for (size_t d = 0; d < s.size(); ++d) {
      if (r.Chance(0.6))
        axes.insert(r.Chance(0.5) ? axes.begin() : axes.end(), static_cast<int64_t>(d));
    }
    std::vector<int64_t> some;
    for (size_t end : {size_t{0}, s.size()}) {
      for (int64_t d : axes) some.push_back(pads[end + static_cast<size_t>(d)]);
    }
    if (!axes.empty()) pads = some;
  }
  m.Input(t, s).Ints(pads).Set("mode", mode);
  if (mode == "constant" && t == DType::kFloat32 && r.Chance(0.5)) {
    m.Constant(ir::Tensor::Scalar<float>(1.5f));
  } else if (!axes.empty()) {
    m.Absent();
  }
  if (!axes.empty()) m.Ints(axes);
  return m.Node("Pad");
}

// Channels in another order.
Case GatherChannels(Random& r) {
  Maker m(r);
  const int64_t groups = r.Int(1, 3), size = r.Int(1, 40), channels = groups * size;
  SymShape s{r.Chance(0.6) ? BatchSymbol() : Dim(2), Dim(channels)};
  for (int64_t i = r.Int(1, 2); i > 0; --i) s.push_back(r.Int(1, 9));
  std::vector<int64_t> order;
  for (int64_t i = 0; i < channels; ++i)
    order.push_back(r.Chance(0.02) ? r.Int(-channels, channels - 1)
                                   : i % groups * size + i / groups);
  m.Input(AnyType(r), s).Ints(order);
  m.Set("axis", int64_t{1});
  return m.Node("Gather");
}

Case Gather(Random& r) {
  if (r.Chance(0.4)) return GatherChannels(r);
  Maker m(r);
  const SymShape s = Shape(r, 1, 4);
  size_t axis = static_cast<size_t>(r.Int(0, static_cast<int64_t>(s.size()) - 1));
  const int64_t size = s[axis].known() ? s[axis].value() : 1;
  std::vector<int64_t> values;
  for (int64_t i = r.Int(1, 6); i > 0; --i) values.push_back(r.Int(-size, size - 1));
  m.Input(AnyType(r), s);
  if (r.Chance(0.3)) {
    m.Constant(ir::Tensor::Scalar<int64_t>(values[0]));
  } else {
    m.Ints(values);
  }
  m.Set("axis", static_cast<int64_t>(axis));
  return m.Node("Gather");
}

Case Expand(Random& r) {
  Maker m(r);
  SymShape s = Shape(r, 1, 4);
  std::vector<int64_t> to;
  for (Dim& d : s) {
    if (!d.known()) {
      to.push_back(1);
    } else {
      to.push_back(d.value());
      if (r.Chance(0.5)) d = 1;
    }
  }
  m.Input(AnyType(r), s).Ints(to);
  return m.Node("Expand");
}

Case Tile(Random& r) {
  Maker m(r);
  const SymShape s = Shape(r, 1, 4);
  std::vector<int64_t> repeats;
  for (size_t i = 0; i < s.size(); ++i) repeats.push_back(r.Int(1, 3));
  m.Input(AnyType(r), s).Ints(repeats);
  return m.Node("Tile");
}

Case DepthToSpace(Random& r) {
  Maker m(r);
  const int64_t block = r.Int(1, 3);
  const bool depth = r.Chance(0.6);
  const int64_t c = r.Int(1, 8), h = r.Int(1, 6), w = r.Int(1, 6);
  m.Input(AnyType(r), depth ? SymShape{BatchSymbol(), c * block * block, h, w}
                            : SymShape{BatchSymbol(), c, h * block, w * block});
  m.Set("blocksize", block);
  if (!depth) return m.Node("SpaceToDepth");
  if (r.Chance(0.5)) m.Set("mode", std::string("CRD"));
  return m.Node("DepthToSpace");
}

Case Reshape(Random& r) {
  Maker m(r);
  const DType t = AnyType(r);
  const int64_t c = r.Int(1, 20), h = r.Int(1, 5);
  switch (r.Int(0, 4)) {
    case 0:
      m.Input(t, {BatchSymbol(), c, h, h}).Ints({0, -1});
      return m.Node("Reshape");
    case 1:
      m.Input(t, {BatchSymbol(), c, 1, 1});
      return m.Node("Flatten");
    case 2:
      m.Input(t, {BatchSymbol(), c, h, 1}).Ints({3});
      return m.Node("Squeeze");
    case 3:
      m.Input(t, {BatchSymbol(), c}).Ints({2, 3});
      return m.Node("Unsqueeze");
    default:
      m.Input(t, {BatchSymbol(), c, h});
      return m.Node("Identity");
  }
}

Case Resize(Random& r) {
  Maker m(r);
  const bool nearest = r.Chance(0.4);
  m.Input(nearest ? r.Chance(0.2) ? DType::kBFloat16 : AnyType(r) : FloatType(r), ResizeShape(r));
  RandomResize(m, nearest);
  if (r.Chance(0.1)) m.Set("extrapolation_value", 3.0f);
  return m.Node("Resize");
}

constexpr Family kFamilies[] = {
    {"Transpose", Transpose}, {"Concat", Concat}, {"Split", Split},
    {"Slice", Slice},         {"Pad", Pad},       {"Gather", Gather},
    {"Expand", Expand},       {"Tile", Tile},     {"DepthToSpace", DepthToSpace},
    {"Reshape", Reshape},     {"Resize", Resize},
};

}  // namespace

SymShape ResizeShape(Random& r) {
  SymShape s{r.Chance(0.6) ? BatchSymbol() : Dim(r.Int(1, 2)), Dim(r.Chance(0.4)   ? 16
                                                                   : r.Chance(0.2) ? r.Int(17, 70)
                                                                                   : r.Int(1, 9))};
  const int64_t spatial = r.Pick({1, 2, 2, 2, 3});
  for (int64_t i = 0; i < spatial; ++i)
    s.push_back(Dim(spatial < 3 && r.Chance(0.1) ? r.Int(17, 30) : r.Int(1, spatial < 3 ? 9 : 4)));
  return s;
}

void RandomResize(Maker& m, bool nearest) {
  Random& r = m.random();
  const SymShape s = *m.input(0).type().shape;
  const size_t rank = s.size();
  // Scales leave a batch that is not known as it is; sizes, and scales of a few, name axes.
  const bool all = r.Chance(0.5) && rank > 1;
  std::vector<int64_t> axes, sizes;
  std::vector<float> scales;
  const bool by_scale = all || r.Chance(0.4);
  const bool channels = r.Chance(0.1);  // and the batch
  const float common = r.Chance(0.5) ? 2.0f : r.Pick({0.5f, 1.5f, 1.7f, 3.0f, 4.0f, 1.0f});
  for (size_t i = 0; i < rank; ++i) {
    const bool resized = s[i].known() && (i >= 2 || channels) && !r.Chance(0.1);
    if (!all && !resized) continue;
    float scale = resized ? r.Chance(0.7) ? common : static_cast<float>(r.Real(0.3, 4)) : 1.0f;
    if (s[i].known() && static_cast<float>(s[i].value()) * scale < 1) scale = 1;
    axes.push_back(r.Chance(0.3) ? static_cast<int64_t>(i) - static_cast<int64_t>(rank)
                                 : static_cast<int64_t>(i));
    scales.push_back(scale);
    sizes.push_back(r.Int(1, s[i].known() && s[i].value() > 16 ? 50 : rank > 4 ? 6 : 20));
  }
  if (axes.empty()) {
    axes = {static_cast<int64_t>(rank) - 1};
    scales = {2};
    sizes = {7};
  }
  m.Absent();
  if (by_scale) {
    m.Constant(ir::Tensor::Vector(scales));
  } else {
    m.Absent().Ints(sizes);
    if (r.Chance(0.2))
      m.Set("keep_aspect_ratio_policy", std::string(r.Pick({"not_larger", "not_smaller"})));
  }
  if (!all) m.Set("axes", axes);
  m.Set("mode", std::string(nearest ? "nearest" : r.Chance(0.75) ? "linear" : "cubic"));
  m.Set("coordinate_transformation_mode",
        std::string(r.Pick({"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
                            "asymmetric", "align_corners"})));
  if (nearest)
    m.Set("nearest_mode",
          std::string(r.Pick({"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"})));
  if (r.Chance(0.15)) m.Set("antialias", int64_t{1});
  if (r.Chance(0.15)) m.Set("exclude_outside", int64_t{1});
  if (r.Chance(0.3)) m.Set("cubic_coeff_a", -0.5f);
}

std::span<const Family> MovementFamilies() { return kFamilies; }

}  // namespace slipway::cts
