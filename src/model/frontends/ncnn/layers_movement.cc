// Concatenation, cutting, padding, permutation and resizing.

#include <algorithm>
#include <cmath>

#include "model/frontends/ncnn/convert.h"

namespace slipway::ncnn {

using ir::Node;
using ir::Value;

namespace {

// An attribute `axis` within the input's dimensions; inference has checked it.
int64_t AxisOf(const Node& n, int64_t fallback) {
  const auto rank = static_cast<int64_t>(Converter::Dimensions(n.input(0)).size());
  const int64_t axis = n.attributes.Int("axis", fallback);
  return axis < 0 ? axis + rank : axis;
}

Status Concat(Converter& c, const Node& n) {
  std::vector<Blob> inputs;
  int64_t at = 0;
  bool alike = true;
  for (const Value* v : n.inputs()) {
    int64_t axis = AxisOf(n, 0);
    SLIPWAY_ASSIGN_OR_RETURN(Blob b, c.Along(v, &axis));
    alike &= inputs.empty() || (axis == at && b.dims.size() == inputs[0].dims.size());
    at = axis;
    inputs.push_back(b);
  }
  if (!alike) {  // shapes of which some lost their batch: all as [before, axis, behind]
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Extents d = Converter::Dimensions(n.input(i));
      const auto axis = static_cast<std::ptrdiff_t>(AxisOf(n, 0));
      inputs[i] =
          c.As(inputs[i], {Elements({d.begin(), d.begin() + axis}), d[static_cast<size_t>(axis)],
                           Elements({d.begin() + axis + 1, d.end()})});
    }
    at = 1;
  }
  Extents dims = inputs[0].dims;
  for (size_t i = 1; i < inputs.size(); ++i)
    dims[static_cast<size_t>(at)] += inputs[i].dims[static_cast<size_t>(at)];
  Blob y;
  c.Add("Concat", n, inputs, dims, &y)->params = {{0, at}};
  c.Set(n.output(), y);
  return OkStatus();
}

Status Split(Converter& c, const Node& n) {
  int64_t axis = AxisOf(n, 0);
  const auto whole = static_cast<size_t>(axis);
  std::vector<int64_t> sizes;
  for (const Value* v : n.outputs()) {
    if (!v) return Converter::Refuse(n, "ncnn's Slice needs all of its parts");
    sizes.push_back(Converter::Dimensions(v)[whole]);
  }
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Along(n.input(0), &axis));
  Blob first;
  Layer* l = c.Add("Slice", n, {x}, x.dims, &first);
  l->params = {{0, sizes}, {1, axis}};
  std::vector<Blob> parts(sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    Extents dims = x.dims;
    dims[static_cast<size_t>(axis)] = sizes[i];
    parts[i] = {i == 0 ? first.name : c.NewBlob(n.outputs()[i]->name()), dims};
    if (i > 0) l->outputs.push_back(parts[i].name);
    c.Set(n.outputs()[i], parts[i]);
  }
  return OkStatus();
}

Blob Crop(Converter& c, const Node& n, const Blob& x, int64_t axis, int64_t from, int64_t to) {
  Extents dims = x.dims;
  dims[static_cast<size_t>(axis)] = to - from;
  Blob y;
  c.Add("Crop", n, {x}, dims, &y)->params = {{9, std::vector<int64_t>{from}},
                                             {10, std::vector<int64_t>{to}},
                                             {11, std::vector<int64_t>{axis}}};
  return y;
}

// One axis after the other; a step is a crop of [.., extent / step, step, ..].
Status Slice(Converter& c, const Node& n) {
  std::vector<std::vector<int64_t>> lists(5);
  for (size_t i = 1; i < 5; ++i) {
    if (!n.input(i)) continue;
    const ir::Tensor* t = n.constant_input(i);
    if (!t) return Converter::Refuse(n, "ncnn cuts at fixed places only");
    lists[i] = t->ToInts();
  }
  Extents dims = Converter::Dimensions(n.input(0));
  const auto rank = static_cast<int64_t>(dims.size());
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0)));
  bool straight = true;  // x still has the value's own shape
  for (size_t i = 0; i < lists[1].size(); ++i) {
    int64_t axis = lists[3].empty() ? static_cast<int64_t>(i) : lists[3][i];
    if (axis < 0) axis += rank;
    const int64_t step = lists[4].empty() ? 1 : lists[4][i];
    if (axis < 0 || axis >= rank || step < 1)
      return Converter::Refuse(n, "ncnn does not cut backwards");
    const int64_t extent = dims[static_cast<size_t>(axis)];
    auto place = [&](int64_t v) { return std::clamp(v < 0 ? v + extent : v, int64_t{0}, extent); };
    const int64_t from = place(lists[1][i]), to = place(lists[2][i]);
    if (from == 0 && to == extent && step == 1) continue;
    const auto at = static_cast<std::ptrdiff_t>(axis);
    const int64_t before = Elements({dims.begin(), dims.begin() + at});
    const int64_t behind = Elements({dims.begin() + at + 1, dims.end()});
    const int64_t kept = (to - from + step - 1) / step;
    if (to <= from) return Converter::Refuse(n, "ncnn has no empty blobs");
    if (step == 1) {
      const Extents shape = Converter::Shape(n.input(0));
      const auto dropped = rank - static_cast<int64_t>(shape.size());
      if (straight && axis >= dropped && shape.size() <= 4 && lists[1].size() == 1) {
        x = Crop(c, n, c.As(x, shape), axis - dropped, from, to);
      } else {
        x = Crop(c, n, c.As(x, {before, extent, behind}), 1, from, to);
      }
    } else {
      if (extent % step != 0 || from >= step || kept != extent / step)
        return Converter::Refuse(n, "ncnn has no step that leaves a rest");
      x = Crop(c, n, c.As(x, {before * (extent / step), step, behind}), 1, from, from + 1);
    }
    straight = false;
    dims[static_cast<size_t>(axis)] = kept;
  }
  c.Set(n.output(), x);
  return OkStatus();
}

// Constant indices one behind the other are a cut.
Status Gather(Converter& c, const Node& n) {
  const ir::Tensor* t = n.constant_input(1);
  if (!t) return Converter::Refuse(n, "ncnn gathers at constant indices only");
  int64_t axis = AxisOf(n, 0);
  const int64_t extent = Converter::Dimensions(n.input(0))[static_cast<size_t>(axis)];
  const auto indices = t->ToInts();
  if (indices.empty()) return Converter::Refuse(n, "ncnn has no empty blobs");
  const int64_t from = indices[0] < 0 ? indices[0] + extent : indices[0];
  for (size_t i = 0; i < indices.size(); ++i) {
    const int64_t at = indices[i] < 0 ? indices[i] + extent : indices[i];
    if (at != from + static_cast<int64_t>(i) || at < 0 || at >= extent)
      return Converter::Refuse(n, "ncnn gathers neighbouring elements only");
  }
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Along(n.input(0), &axis));
  c.Set(n.output(), Crop(c, n, x, axis, from, from + static_cast<int64_t>(indices.size())));
  return OkStatus();
}

// The names of ncnn's orders say, from the innermost on, which old dimension stands there.
constexpr const char* kOrders3[] = {"whc", "hwc", "wch", "cwh", "hcw", "chw"};
constexpr const char* kOrders4[] = {"whdc", "hwdc", "wdhc", "dwhc", "hdwc", "dhwc", "whcd", "hwcd",
                                    "wchd", "cwhd", "hcwd", "chwd", "wdch", "dwch", "wcdh", "cwdh",
                                    "dcwh", "cdwh", "hdcw", "dhcw", "hcdw", "chdw", "dchw", "cdhw"};

}  // namespace

Result<Blob> Permute(Converter& c, const Node& n, const Blob& x, const Extents& all,
                     const std::vector<int64_t>& perm) {
  // Ones move freely; neighbours that stay neighbours are one dimension.
  std::vector<std::vector<int64_t>> groups;
  for (int64_t p : perm) {
    if (all[static_cast<size_t>(p)] == 1) continue;
    if (!groups.empty()) {
      bool follows = p > groups.back().back();
      for (int64_t between = groups.back().back() + 1; follows && between < p; ++between)
        follows = all[static_cast<size_t>(between)] == 1;
      if (follows) {
        groups.back().push_back(p);
        continue;
      }
    }
    groups.push_back({p});
  }
  if (groups.size() < 2) return x;
  std::vector<size_t> order(groups.size());  // of the old dimensions
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return groups[a] < groups[b]; });
  auto size = [&](size_t g) {
    int64_t s = 1;
    for (int64_t p : groups[g]) s *= all[static_cast<size_t>(p)];
    return s;
  };
  if (groups.size() > 4) {
    // Two steps or more: the second group moves behind the first, and they are one from then on.
    const auto p = std::find(order.begin(), order.end(), size_t{0}) - order.begin();
    const auto q = std::find(order.begin(), order.end(), size_t{1}) - order.begin();
    const auto low = p < q ? p + 1 : q, middle = p < q ? q : q + 1, high = p < q ? q + 1 : p + 1;
    auto extent = [&](std::ptrdiff_t first, std::ptrdiff_t last) {
      int64_t product = 1;
      for (auto i = first; i < last; ++i) product *= size(order[static_cast<size_t>(i)]);
      return product;
    };
    const auto count = static_cast<std::ptrdiff_t>(order.size());
    SLIPWAY_ASSIGN_OR_RETURN(Blob moved, Permute(c, n, x,
                                                 {extent(0, low), extent(low, middle),
                                                  extent(middle, high), extent(high, count)},
                                                 {0, 2, 1, 3}));
    std::rotate(order.begin() + low, order.begin() + middle, order.begin() + high);
    Extents dims;
    std::vector<int64_t> rest;
    for (size_t g : order) dims.push_back(size(g));
    for (size_t g = 0; g < groups.size(); ++g)
      rest.push_back(std::find(order.begin(), order.end(), g) - order.begin());
    return Permute(c, n, moved, dims, rest);
  }
  Extents from, to;
  for (size_t g : order) from.push_back(size(g));
  for (size_t g = 0; g < groups.size(); ++g) to.push_back(size(g));
  const std::string letters = groups.size() == 2 ? "hw" : groups.size() == 3 ? "chw" : "cdhw";
  std::string name;  // innermost first
  for (size_t g = groups.size(); g-- > 0;) {
    const auto old = static_cast<size_t>(std::find(order.begin(), order.end(), g) - order.begin());
    name += letters[old];
  }
  int64_t code = name == "wh" ? 0 : 1;
  if (groups.size() == 3)
    code = std::find(std::begin(kOrders3), std::end(kOrders3), name) - std::begin(kOrders3);
  if (groups.size() == 4)
    code = std::find(std::begin(kOrders4), std::end(kOrders4), name) - std::begin(kOrders4);
  Blob y;
  c.Add("Permute", n, {c.As(x, from)}, to, &y)->params = {{0, code}};
  return y;
}

namespace {

Status Transpose(Converter& c, const Node& n) {
  const Extents all = Converter::Dimensions(n.input(0));
  std::vector<int64_t> perm(n.attributes.Ints("perm").begin(), n.attributes.Ints("perm").end());
  if (perm.empty()) {
    for (size_t i = all.size(); i-- > 0;) perm.push_back(static_cast<int64_t>(i));
  }
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0)));
  SLIPWAY_ASSIGN_OR_RETURN(Blob y, Permute(c, n, x, all, perm));
  c.Set(n.output(), y);
  return OkStatus();
}

Status Pad(Converter& c, const Node& n) {
  const ir::Tensor* t = n.constant_input(1);
  if (!t || n.input(3)) return Converter::Refuse(n, "ncnn pads by fixed amounts of all axes only");
  const auto pads = t->ToInts();
  const Extents all = Converter::Dimensions(n.input(0)), shape = Converter::Shape(n.input(0));
  const size_t dropped = all.size() - shape.size(), rank = all.size();
  const auto mode = n.attributes.String("mode", "constant");
  const int64_t type = mode == "constant" ? 0 : mode == "edge" ? 1 : mode == "reflect" ? 2 : -1;
  if (type < 0 || pads.size() != 2 * rank || shape.size() > 3)
    return Converter::Refuse(n, "ncnn's Padding takes three dimensions, constant, edge or reflect");
  int64_t amounts[3][2] = {};
  Extents dims = shape;
  for (size_t i = 0; i < rank; ++i) {
    if (pads[i] == 0 && pads[i + rank] == 0) continue;
    const size_t from_end = rank - 1 - i;
    if (i < dropped || pads[i] < 0 || pads[i + rank] < 0)
      return Converter::Refuse(n, "ncnn pads neither the batch nor by negative amounts");
    if (from_end == 2 && type != 0)
      return Converter::Refuse(n, "ncnn pads channels with a constant only");
    amounts[from_end][0] = pads[i];
    amounts[from_end][1] = pads[i + rank];
    dims[i - dropped] += pads[i] + pads[i + rank];
  }
  float value = 0;
  if (n.input(2)) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor v, Converter::Constant(n, 2, "value"));
    value = static_cast<float>(v.ToDoubles()[0]);
  }
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0), shape));
  Blob y;
  c.Add("Padding", n, {x}, dims, &y)->params = {
      {0, amounts[1][0]}, {1, amounts[1][1]}, {2, amounts[0][0]}, {3, amounts[0][1]},
      {4, type},          {5, value},         {7, amounts[2][0]}, {8, amounts[2][1]}};
  c.Set(n.output(), y);
  return OkStatus();
}

Status Resize(Converter& c, const Node& n) {
  const auto& a = n.attributes;
  const Extents x = Converter::Dimensions(n.input(0)), y = Converter::Dimensions(n.output());
  if (x.size() != 4 || x[0] != 1 || y[0] != 1 || x[1] != y[1])
    return Converter::Refuse(n, "ncnn resizes height and width of one image only");
  const auto mode = a.String("mode", "nearest");
  const auto where = a.String("coordinate_transformation_mode", "half_pixel");
  const auto nearest = a.String("nearest_mode", "round_prefer_floor");
  if (a.Int("antialias", 0) != 0 || a.Int("exclude_outside", 0) != 0)
    return Converter::Refuse(n, "ncnn has neither antialias nor exclude_outside");
  // What the coordinates follow must be the ratio of the extents.
  if (const ir::Tensor* scales = n.constant_input(2); scales && scales->count() == 4) {
    const auto s = scales->ToDoubles();
    for (size_t i = 2; i < 4; ++i) {
      if (std::abs(s[i] * static_cast<double>(x[i]) - static_cast<double>(y[i])) > 1e-3)
        return Converter::Refuse(n, "its scales do not give whole extents, which ncnn goes by");
    }
  }
  const bool half =
      where == "half_pixel" || (where == "pytorch_half_pixel" && y[2] > 1 && y[3] > 1);
  const bool corners = where == "align_corners";
  const bool grows = y[2] % x[2] == 0 && y[3] % x[3] == 0;
  int64_t type = 0;
  if (mode == "nearest" &&
      ((where == "asymmetric" && nearest == "floor") ||
       (grows && where == "half_pixel" && nearest.starts_with("round_prefer")))) {
    type = 1;
  } else if (mode == "linear" && (half || corners)) {
    type = 2;
  } else if (mode == "cubic" && (half || corners) &&
             std::abs(a.Float("cubic_coeff_a", -0.75f) + 0.75f) < 1e-6f) {
    type = 3;
  } else {
    return Converter::Refuse(n, "ncnn has no resizing with mode " + std::string(mode) + ", " +
                                    std::string(where) + ", " + std::string(nearest));
  }
  SLIPWAY_ASSIGN_OR_RETURN(Blob in, c.Get(n.input(0), {x[1], x[2], x[3]}));
  Blob out;
  Layer* l = c.Add("Interp", n, {in}, {y[1], y[2], y[3]}, &out);
  // The scales as well: nearest goes by them.
  l->params = {{0, type},
               {1, static_cast<float>(y[2]) / static_cast<float>(x[2])},
               {2, static_cast<float>(y[3]) / static_cast<float>(x[3])},
               {3, y[2]},
               {4, y[3]}};
  if (corners) l->params.push_back({6, int64_t{1}});
  c.Set(n.output(), out);
  return OkStatus();
}

Status Shuffle(Converter& c, const Node& n) {
  const Extents x = Converter::Dimensions(n.input(0)), y = Converter::Dimensions(n.output());
  if (x.size() != 4 || x[0] != 1)
    return Converter::Refuse(n, "ncnn moves one sample at a time: its batch must be 1");
  SLIPWAY_ASSIGN_OR_RETURN(Blob in, c.Get(n.input(0), {x[1], x[2], x[3]}));
  const bool out_of_depth = n.Is("DepthToSpace");
  const bool crd = out_of_depth && n.attributes.String("mode", "DCR") == "CRD";
  Blob out;
  c.Add(out_of_depth ? "PixelShuffle" : "Reorg", n, {in}, {y[1], y[2], y[3]}, &out)->params = {
      {0, n.attributes.Int("blocksize", 1)}, {1, int64_t{!crd}}};
  c.Set(n.output(), out);
  return OkStatus();
}

// Only where nothing is repeated.
Status Repeat(Converter& c, const Node& n) {
  if (Elements(Converter::Dimensions(n.input(0))) != Elements(Converter::Dimensions(n.output())))
    return Converter::Refuse(n, "ncnn repeats within an operation only; let the reader broadcast");
  SLIPWAY_ASSIGN_OR_RETURN(Blob x, c.Get(n.input(0)));
  c.Set(n.output(), x);
  return OkStatus();
}

}  // namespace

Writer FindMovement(const Node& n) {
  if (n.Is("Concat")) return Concat;
  if (n.Is("Split")) return Split;
  if (n.Is("Slice")) return Slice;
  if (n.Is("Gather")) return Gather;
  if (n.Is("Transpose")) return Transpose;
  if (n.Is("Pad")) return Pad;
  if (n.Is("Resize")) return Resize;
  if (n.Is("DepthToSpace") || n.Is("SpaceToDepth")) return Shuffle;
  if (n.Is("Expand") || n.Is("Tile")) return Repeat;
  return nullptr;
}

}  // namespace slipway::ncnn
