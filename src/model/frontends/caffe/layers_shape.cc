// Shapes and data movement.

#include <algorithm>

#include "base/checked.h"
#include "model/frontends/caffe/layer.h"

namespace slipway::caffe {
namespace {

using Ints = std::vector<int64_t>;

Status Concat(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 100000));
  Params p = c.Group("concat_param");
  const bool old = p.Has("concat_dim");
  const int64_t wanted = old ? p.Int("concat_dim", 1, 0) : p.Int("axis", 1);
  p.Ignore({"axis"});
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, c.Axis(wanted, c.Rank(0)));
  if (c.num_bottoms() == 1) {
    c.SetTop(0, c.bottom(0));
    return OkStatus();
  }
  std::vector<ir::Value*> inputs;
  for (size_t i = 0; i < c.num_bottoms(); ++i) inputs.push_back(c.bottom(i));
  return c.Top(c.Emit("Concat", inputs, {{"axis", int64_t{axis}}}));
}

Status Slice(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1, 1, 100000));
  Params p = c.Group("slice_param");
  const bool old = p.Has("slice_dim");
  const int64_t wanted = old ? p.Int("slice_dim", 1, 0) : p.Int("axis", 1);
  p.Ignore({"axis"});
  Ints points = p.Ints("slice_point", 0, INT32_MAX);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, c.Axis(wanted, c.Rank(0)));
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t extent, c.Extent(0, axis));
  const auto tops = static_cast<int64_t>(c.tops().size());
  if (tops == 1) {
    c.SetTop(0, c.bottom(0));
    return OkStatus();
  }
  if (points.empty()) {
    if (extent % tops != 0)
      return c.Bad(std::to_string(tops) + " tops do not divide the extent " +
                   std::to_string(extent));
    for (int64_t i = 1; i < tops; ++i) points.push_back(i * (extent / tops));
  }
  if (static_cast<int64_t>(points.size()) != tops - 1)
    return c.Bad("has " + std::to_string(points.size()) + " slice_point for " +
                 std::to_string(tops) + " tops");
  points.push_back(extent);
  Ints sizes;
  int64_t from = 0;
  for (const int64_t to : points) {
    if (to <= from) return c.Bad("slice_point must rise and stay below " + std::to_string(extent));
    sizes.push_back(to - from);
    from = to;
  }
  SLIPWAY_ASSIGN_OR_RETURN(
      auto out, c.EmitMany("Split", {c.bottom(0), c.Ints(sizes)}, {{"axis", int64_t{axis}}},
                           static_cast<size_t>(tops)));
  for (size_t i = 0; i < out.size(); ++i) c.SetTop(i, out[i]);
  return OkStatus();
}

Status Flatten(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("flatten_param");
  const int64_t first = p.Int("axis", 1), last = p.Int("end_axis", -1);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const int rank = c.Rank(0);
  SLIPWAY_ASSIGN_OR_RETURN(const int from, c.Axis(first, rank));
  SLIPWAY_ASSIGN_OR_RETURN(const int to, c.Axis(last, rank));
  if (to < from) return c.Bad("end_axis lies before axis");
  if (to + 1 == rank && !c.bottom(0)->type().IsStatic()) {
    Ints shape(static_cast<size_t>(from) + 1, 0);  // 0 copies
    shape.back() = -1;
    return c.Top(c.Emit("Reshape", {c.bottom(0), c.Ints(shape)}));
  }
  const Dims x = c.BottomShape(0);
  Dims out;
  for (int i = 0; i < from; ++i) out.push_back(x[static_cast<size_t>(i)]);
  out.push_back(x.count(from, to + 1));
  for (int i = to + 1; i < x.rank(); ++i) out.push_back(x[static_cast<size_t>(i)]);
  return c.Top(c.Reshape(c.bottom(0), out));
}

Status ReadShape(Params& p, const Message* shape, Ints* dims) {
  if (!shape) return OkStatus();
  for (const TextField& f : shape->fields) {
    int64_t d = 0;
    if (f.name != "dim" || !ReadInt(f, &d) || d < -1 || d > INT32_MAX)
      p.Fail("shape holds something that is no dimension");
    dims->push_back(d);
  }
  if (dims->size() > static_cast<size_t>(kMaxRank)) p.Fail("shape has too many dimensions");
  return OkStatus();
}

Status Reshape(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("reshape_param");
  Ints dims;
  SLIPWAY_RETURN_IF_ERROR(ReadShape(p, p.Sub("shape"), &dims));
  const int64_t wanted = p.Int("axis", 0), axes = p.Int("num_axes", -1, -1);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_ASSIGN_OR_RETURN(const int from, c.Axis(wanted, c.Rank(0), true));
  // Over the whole shape Caffe's 0 and -1 are ONNX's.
  if (from == 0 && axes < 0 && !c.bottom(0)->type().IsStatic())
    return c.Top(c.Emit("Reshape", {c.bottom(0), c.Ints(dims)}));
  const Dims x = c.BottomShape(0);
  const int64_t to = axes < 0 ? x.rank() : from + axes;
  if (to > x.rank()) return c.Bad("num_axes goes beyond the bottom " + x.ToString());
  std::vector<int64_t> out;
  for (int i = 0; i < from; ++i) out.push_back(x[static_cast<size_t>(i)]);
  int64_t open = -1;
  for (size_t i = 0; i < dims.size(); ++i) {
    int64_t d = dims[i];
    if (d == 0) {
      if (from + static_cast<int64_t>(i) >= x.rank())
        return c.Bad("dim 0 copies a dimension that the bottom " + x.ToString() + " lacks");
      d = x[static_cast<size_t>(from) + i];
    }
    if (d == -1) {
      if (open >= 0) return c.Bad("shape has two dimensions of -1");
      open = static_cast<int64_t>(out.size());
      d = 1;
    }
    out.push_back(d);
  }
  for (int64_t i = to; i < x.rank(); ++i) out.push_back(x[static_cast<size_t>(i)]);
  const auto known = CheckedCount(out);
  if (!known || out.size() > static_cast<size_t>(kMaxRank)) return c.Bad("shape is impossible");
  if (open >= 0) {
    if (*known == 0 || x.count() % *known != 0) {
      return c.Bad("the " + std::to_string(x.count()) + " elements of " + x.ToString() +
                   " do not divide into the shape");
    }
    out[static_cast<size_t>(open)] = x.count() / *known;
  } else if (*known != x.count()) {
    return c.Bad("the bottom " + x.ToString() + " has " + std::to_string(x.count()) +
                 " elements, the shape " + std::to_string(*known));
  }
  return c.Top(c.Reshape(c.bottom(0), Dims(std::span<const int64_t>(out))));
}

Status Permute(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("permute_param");
  Ints order = p.Ints("order", 0, kMaxRank);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const int rank = c.Rank(0);
  // Axes that are not named follow in their order.
  for (int64_t i = 0; i < rank; ++i) {
    const auto n = std::count(order.begin(), order.end(), i);
    if (n > 1) return c.Bad("order names axis " + std::to_string(i) + " twice");
    if (n == 0) order.push_back(i);
  }
  if (order.size() != static_cast<size_t>(rank))
    return c.Bad("order names an axis that the bottom does not have");
  return c.Top(c.Emit("Transpose", {c.bottom(0)}, {{"perm", order}}));
}

Status Crop(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(2, 2));
  Params p = c.Group("crop_param");
  const int64_t wanted = p.Int("axis", 2);
  const Ints offsets = p.Ints("offset", 0, INT32_MAX);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const Dims x = c.BottomShape(0), like = c.BottomShape(1);
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, c.Axis(wanted, x.rank()));
  if (like.rank() != x.rank()) return c.Bad("its bottoms have different numbers of dimensions");
  const size_t n = static_cast<size_t>(x.rank() - axis);
  if (offsets.size() > 1 && offsets.size() != n)
    return c.Bad("has " + std::to_string(offsets.size()) + " offsets for " + std::to_string(n) +
                 " dimensions");
  Ints starts, ends, axes;
  for (size_t i = 0; i < n; ++i) {
    const size_t at = static_cast<size_t>(axis) + i;
    const int64_t offset = offsets.empty() ? 0 : offsets.size() == 1 ? offsets[0] : offsets[i];
    if (offset + like[at] > x[at])
      return c.Bad("crops " + x.ToString() + " to " + like.ToString() + " at offset " +
                   std::to_string(offset) + ", which goes beyond it");
    starts.push_back(offset);
    ends.push_back(offset + like[at]);
    axes.push_back(static_cast<int64_t>(at));
  }
  return c.Top(c.Emit("Slice", {c.bottom(0), c.Ints(starts), c.Ints(ends), c.Ints(axes)}));
}

Status Tile(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  Params p = c.Group("tile_param");
  const int64_t wanted = p.Int("axis", 1), tiles = p.Int("tiles", 0, 1);
  if (tiles == 0) p.Fail("tiles is missing");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const int rank = c.Rank(0);
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, c.Axis(wanted, rank));
  Ints repeats(static_cast<size_t>(rank), 1);
  repeats[static_cast<size_t>(axis)] = tiles;
  return c.Top(c.Emit("Tile", {c.bottom(0), c.Ints(repeats)}));
}

Status BatchReindex(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(2, 2));
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(1, 1));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * index, c.Emit("Cast", {c.bottom(1)}, {{"to", int64_t{7}}}));
  return c.Top(c.Emit("Gather", {c.bottom(0), index}));
}

// The items of the batch whose selector (the last bottom) is not 0.
Status Filter(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(2, 1000, 1, 1000));
  const size_t last = c.num_bottoms() - 1;
  if (c.tops().size() != last)
    return c.Bad("has " + std::to_string(c.tops().size()) + " tops for " + std::to_string(last) +
                 " bottoms and a selector");
  if (c.Rank(last) < 1) return c.Bad("the selector needs a dimension");
  const SymShape& s = c.BottomSym(last);
  for (size_t i = 1; i < s.size(); ++i) {
    if (!s[i].Is(1)) return c.Bad("the selector " + ToString(s) + " must hold one number an item");
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * wanted, c.Emit("Reshape", {c.bottom(last), c.Ints({-1})}));
  SLIPWAY_ASSIGN_OR_RETURN(wanted, c.Emit("Cast", {wanted}, {{"to", int64_t{9}}}));
  for (size_t i = 0; i < last; ++i) {
    if (c.Rank(i) < 1 || c.BottomSym(i)[0] != s[0])
      return c.Bad("bottom '" + c.spec().bottoms[i] + "' " + ToString(c.BottomSym(i)) +
                   " and the selector " + ToString(s) + " have different numbers of items");
    SLIPWAY_ASSIGN_OR_RETURN(ir::Value * y,
                             c.Emit("Compress", {c.bottom(i), wanted}, {{"axis", int64_t{0}}}));
    c.SetTop(i, y);
  }
  return OkStatus();
}

Status ShuffleChannel(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 1));
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(0, 4));
  Params p = c.Group("shuffle_channel_param");
  const int64_t group = p.Int("group", 1, 1);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t channels, c.Extent(0, 1));
  if (channels % group != 0)
    return c.Bad("group " + std::to_string(group) + " does not divide the channels " +
                 std::to_string(channels));
  if (!c.bottom(0)->type().IsStatic()) {
    if (channels > 1 << 20) return c.Bad("has too many channels");
    Ints order;
    for (int64_t i = 0; i < channels; ++i)
      order.push_back(i % group * (channels / group) + i / group);
    return c.Top(c.Emit("Gather", {c.bottom(0), c.Ints(order)}, {{"axis", int64_t{1}}}));
  }
  const Dims x = c.BottomShape(0);
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * y,
                           c.Reshape(c.bottom(0), {x[0], group, x[1] / group, x[2], x[3]}));
  SLIPWAY_ASSIGN_OR_RETURN(y, c.Emit("Transpose", {y}, {{"perm", Ints{0, 2, 1, 3, 4}}}));
  return c.Top(c.Reshape(y, x));
}

Status Resized(LayerContext& c, ir::Value* in, const Dims& size, const char* mode,
               const char* transform, const char* nearest) {
  const Dims x = c.Shape(in);
  for (size_t i = 2; i < 4; ++i) {
    if (size[i] < 1 || size[i] > INT32_MAX)
      return c.Bad("the size " + size.ToString() + " is impossible");
  }
  return c.Top(c.Emit("Resize", {in, nullptr, nullptr, c.Ints({x[0], x[1], size[2], size[3]})},
                      {{"mode", std::string(mode)},
                       {"coordinate_transformation_mode", std::string(transform)},
                       {"nearest_mode", std::string(nearest)}}));
}

// SegNet's: each value goes where the mask of a pooling (places within a plane, as numbers) says.
Status Unpool(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(1, 4));
  Params p = c.Group("upsample_param");
  const int64_t scale = p.Int("scale", 2, 1, 1 << 15);
  const Ints scales{p.Int("scale_h", scale, 1, 1 << 15), p.Int("scale_w", scale, 1, 1 << 15)};
  const Ints given{p.Int("upsample_h", 0, 0), p.Int("upsample_w", 0, 0)};
  const bool pad_out[2] = {p.Bool("pad_out_h", false), p.Bool("pad_out_w", false)};
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  const Dims x = c.BottomShape(0);
  if (c.BottomShape(1) != x)
    return c.Bad("the mask '" + c.spec().bottoms[1] + "' is " + c.BottomShape(1).ToString() +
                 "; expected " + x.ToString());
  Dims y = x;
  Ints kernel, strides;
  for (size_t i = 0; i < 2; ++i) {
    y[i + 2] = given[i] > 0 ? given[i] : x[i + 2] * scales[i] - (pad_out[i] ? 1 : 0);
    if (x[i + 2] < 1 || y[i + 2] < x[i + 2])
      return c.Bad("cannot upsample " + x.ToString() + " to " + y.ToString());
    // Only the extent that both give counts; the natural pair where it fits.
    const bool natural = y[i + 2] == x[i + 2] * scales[i];
    strides.push_back(natural ? scales[i] : 1);
    kernel.push_back(natural ? scales[i] : y[i + 2] - x[i + 2] + 1);
  }
  const int64_t planes = x[0] * x[1];
  if (planes > 1 << 20 || !CheckedBytes(DType::kFloat32, y)) return c.Bad("is too large");
  Ints starts;
  for (int64_t i = 0; i < planes; ++i) starts.push_back(i * y[2] * y[3]);
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * index, c.Emit("Cast", {c.bottom(1)}, {{"to", int64_t{7}}}));
  ir::Value* offset =
      c.Constant("planes", ir::Tensor::Vector<int64_t>(starts).Reshaped({x[0], x[1], 1, 1}));
  SLIPWAY_ASSIGN_OR_RETURN(index, c.Emit("Add", {index, offset}));
  return c.Top(
      c.Emit("MaxUnpool", {c.bottom(0), index}, {{"kernel_shape", kernel}, {"strides", strides}}));
}

// Nearest upsampling by a factor, or with a second bottom by a pooling's mask.
Status Upsample(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 2));
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(0, 4));
  if (c.num_bottoms() == 2) return Unpool(c);
  Params p = c.Group("upsample_param");
  const int64_t scale = p.Int("scale", 2, 1, 1 << 15);
  p.Ignore({"mode"});
  if (p.Text("mode", "NEAREST") != "NEAREST") p.Fail("only mode NEAREST is supported");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  if (!c.bottom(0)->type().IsStatic()) {
    const float by = static_cast<float>(scale);
    ir::Value* scales = c.Constant("scales", ir::Tensor::Vector<float>({1, 1, by, by}));
    return c.Top(c.Emit("Resize", {c.bottom(0), nullptr, scales},
                        {{"mode", std::string("nearest")},
                         {"coordinate_transformation_mode", std::string("asymmetric")},
                         {"nearest_mode", std::string("floor")}}));
  }
  const Dims x = c.BottomShape(0);
  return Resized(c, c.bottom(0), {x[0], x[1], x[2] * scale, x[3] * scale}, "nearest", "asymmetric",
                 "floor");
}

// Interp to an extent that only the inputs decide: its arithmetic as nodes.
Result<ir::Value*> OpenSize(LayerContext& c, ir::Value* in, int64_t zoom, int64_t shrink) {
  const auto number = [&](int64_t v) { return c.Ints({v}); };
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * size,
                           c.Emit("Shape", {in}, {{"start", int64_t{2}}, {"end", int64_t{4}}}));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * steps, c.Emit("Sub", {size, number(1)}));
  if (shrink > 1) {
    SLIPWAY_ASSIGN_OR_RETURN(steps, c.Emit("Div", {steps, number(shrink)}));
  }
  if (zoom > 1) {
    SLIPWAY_ASSIGN_OR_RETURN(steps, c.Emit("Mul", {steps, number(zoom)}));
  }
  return c.Emit("Add", {steps, number(1)});
}

Status OpenInterp(LayerContext& c, int64_t height, int64_t width, int64_t zoom, int64_t shrink,
                  int64_t before, int64_t behind) {
  ir::Value *in = c.bottom(0), *size = nullptr;
  if (before != 0 || behind != 0) {
    const int64_t end = behind == 0 ? INT32_MAX : behind;  // negative: from the end
    SLIPWAY_ASSIGN_OR_RETURN(
        in, c.Emit("Slice", {in, c.Ints({-before, -before}), c.Ints({end, end}), c.Ints({2, 3})}));
  }
  if (c.num_bottoms() == 2) {
    SLIPWAY_ASSIGN_OR_RETURN(
        size, c.Emit("Shape", {c.bottom(1)}, {{"start", int64_t{2}}, {"end", int64_t{4}}}));
  } else if (height > 0 && width > 0) {
    size = c.Ints({height, width});
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(size, OpenSize(c, in, zoom, shrink));
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * planes,
                           c.Emit("Shape", {in}, {{"start", int64_t{0}}, {"end", int64_t{2}}}));
  SLIPWAY_ASSIGN_OR_RETURN(size, c.Emit("Concat", {planes, size}, {{"axis", int64_t{0}}}));
  return c.Top(c.Emit("Resize", {in, nullptr, nullptr, size},
                      {{"mode", std::string("linear")},
                       {"coordinate_transformation_mode", std::string("align_corners")}}));
}

// DeepLab: bilinear with aligned corners, after cropping by pads that are not positive.
Status Interp(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(1, 2));
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(0, 4));
  Params p = c.Group("interp_param");
  const int64_t height = p.Int("height", 0, 0), width = p.Int("width", 0, 0),
                zoom = p.Int("zoom_factor", 1, 1), shrink = p.Int("shrink_factor", 1, 1);
  const int64_t before = p.Int("pad_beg", 0, -INT32_MAX, 0),
                behind = p.Int("pad_end", 0, -INT32_MAX, 0);
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  if (!c.bottom(0)->type().IsStatic() ||
      (c.num_bottoms() == 2 && !c.bottom(1)->type().IsStatic())) {
    if (c.num_bottoms() == 2) SLIPWAY_RETURN_IF_ERROR(c.RequireRank(1, 4));
    return OpenInterp(c, height, width, zoom, shrink, before, behind);
  }
  Dims size = c.BottomShape(0);
  ir::Value* in = c.bottom(0);
  if (before != 0 || behind != 0) {
    const Dims x = size;
    for (size_t i = 2; i < 4; ++i) {
      size[i] += before + behind;
      if (size[i] < 1) return c.Bad("pad_beg and pad_end leave nothing of " + x.ToString());
    }
    SLIPWAY_ASSIGN_OR_RETURN(
        in, c.Emit("Slice", {in, c.Ints({-before, -before}), c.Ints({x[2] + behind, x[3] + behind}),
                             c.Ints({2, 3})}));
  }
  if (c.num_bottoms() == 2) {
    SLIPWAY_RETURN_IF_ERROR(c.RequireRank(1, 4));
    size[2] = c.BottomShape(1)[2];
    size[3] = c.BottomShape(1)[3];
  } else if (height > 0 && width > 0) {
    size[2] = height;
    size[3] = width;
  } else {
    for (size_t i = 2; i < 4; ++i) {
      size[i] = (size[i] - 1) / shrink + 1;
      size[i] += (size[i] - 1) * (zoom - 1);
    }
  }
  return Resized(c, in, size, "linear", "align_corners", "floor");
}

Status Parameter(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(0, 0));
  Params p = c.Group("parameter_param");
  Ints dims;
  SLIPWAY_RETURN_IF_ERROR(ReadShape(p, p.Sub("shape"), &dims));
  if (std::count(dims.begin(), dims.end(), -1) > 0) p.Fail("shape has a dimension of -1");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  SLIPWAY_RETURN_IF_ERROR(c.RequireBlobs(1));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, c.Blob(0, Dims(std::span<const int64_t>(dims))));
  c.SetTop(0, c.Constant("value", std::move(t)));
  return OkStatus();
}

Status Nothing(LayerContext&) { return OkStatus(); }

constexpr LayerEntry kLayers[] = {
    {"BatchReindex", BatchReindex},
    {"Concat", Concat},
    {"Crop", Crop},
    {"Filter", Filter},
    {"Flatten", Flatten},
    {"Interp", Interp},
    {"Parameter", Parameter},
    {"Permute", Permute},
    {"Reshape", Reshape},
    {"ShuffleChannel", ShuffleChannel},
    {"Silence", Nothing},
    {"Slice", Slice},
    {"Tile", Tile},
    {"Upsample", Upsample},
};

}  // namespace

std::span<const LayerEntry> ShapeLayers() { return kLayers; }

}  // namespace slipway::caffe
