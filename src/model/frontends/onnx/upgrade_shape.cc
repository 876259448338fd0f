// Upgrades of operators that move elements, and of Resize with its predecessors.

#include <algorithm>
#include <array>

#include "model/frontends/onnx/tensor_proto.h"
#include "model/frontends/onnx/upgrade_ops.h"

namespace slipway::onnx {

using ir::Attributes;
using ir::Tensor;
using ir::Value;

Status Slice(OldNode& n, Upgrader& u) {
  if (n.opset >= 10) return OkStatus();
  const size_t count = n.attributes.Ints("starts").size();
  if (n.attributes.Ints("ends").size() != count || count == 0) {
    return InvalidArgument(n.Describe() +
                           ": 'starts' and 'ends' must be given and of equal length");
  }
  IntsToInput(n, u, "starts", 1);
  IntsToInput(n, u, "ends", 2);
  IntsToInput(n, u, "axes", 3);
  return OkStatus();
}

Status Pad(OldNode& n, Upgrader& u) {
  if (n.opset >= 11) return OkStatus();
  const bool oldest = n.attributes.Has("paddings") && !n.attributes.Has("pads");  // opset 1
  if (oldest) {
    const auto pads = n.attributes.Ints("paddings");
    n.attributes.Set("pads", std::vector<int64_t>(pads.begin(), pads.end()));
    n.attributes.Erase("paddings");
  }
  if (!IntsToInput(n, u, "pads", 1))
    return InvalidArgument(n.Describe() + ": attribute 'pads' is missing");
  const float value = n.attributes.Float("value", 0);
  n.attributes.Erase("value");
  n.inputs.resize(3, nullptr);
  if (value != 0) n.inputs[2] = u.ScalarLike(n, "value", n.input(0), value);
  return OkStatus();
}

Status Squeeze(OldNode& n, Upgrader& u) {
  if (n.opset < 13) IntsToInput(n, u, "axes", 1);
  return OkStatus();
}

Status Unsqueeze(OldNode& n, Upgrader& u) {
  if (n.opset < 13 && !IntsToInput(n, u, "axes", 1)) {
    return InvalidArgument(n.Describe() + ": attribute 'axes' is missing");
  }
  return OkStatus();
}

Status Split(OldNode& n, Upgrader& u) {
  if (n.opset < 13) IntsToInput(n, u, "split", 1);
  if (!n.input(1) && !n.attributes.Has("num_outputs")) {
    n.attributes.Set("num_outputs", static_cast<int64_t>(n.outputs.size()));
  }
  if (n.input(1)) n.attributes.Erase("num_outputs");
  return OkStatus();
}

Status TopK(OldNode& n, Upgrader& u) {
  if (n.opset >= 10) return OkStatus();
  if (!n.attributes.Has("k")) return InvalidArgument(n.Describe() + ": attribute 'k' is missing");
  const int64_t k[] = {n.attributes.Int("k", 0)};
  n.attributes.Erase("k");
  n.inputs.resize(2, nullptr);
  n.inputs[1] = u.Ints(n, "k", k);
  return OkStatus();
}

// Upsample 7..9 and Resize 10 sample at x_out / scale; the nearest element is the one below when
// growing, above when shrinking (what ONNX Runtime does; the old specification is silent).
static Status OldResize(OldNode& n, Upgrader& u) {
  if (n.attributes.Has("scales")) {
    const auto scales = n.attributes.Floats("scales");
    n.inputs.resize(2, nullptr);
    n.inputs[1] =
        u.Constant(n, "scales", Tensor::Of<float>({static_cast<int64_t>(scales.size())}, scales));
    n.attributes.Erase("scales");
  }
  Value* scales = n.input(1);
  if (!scales) return InvalidArgument(n.Describe() + ": scales are missing");
  bool shrinks = false;
  if (const Tensor* t = scales->constant()) {
    const auto s = t->ToDoubles();
    shrinks = std::any_of(s.begin(), s.end(), [](double v) { return v < 1; });
  }
  std::string mode(n.attributes.String("mode", "nearest"));
  if (mode == "bilinear" || mode == "trilinear") mode = "linear";
  n.op = "Resize";
  n.inputs = {n.input(0), nullptr, scales};
  n.attributes = {{"mode", mode}, {"coordinate_transformation_mode", std::string("asymmetric")}};
  if (mode == "nearest") n.attributes.Set("nearest_mode", std::string(shrinks ? "ceil" : "floor"));
  return OkStatus();
}

Status Resize(OldNode& n, Upgrader& u) {
  if (n.opset < 11) return OldResize(n, u);
  // Up to opset 12 an absent roi or scales is written as an empty tensor.
  for (size_t i = 1; i < n.inputs.size(); ++i) {
    const Tensor* t = n.inputs[i] ? n.inputs[i]->constant() : nullptr;
    if (t && t->count() == 0) n.inputs[i] = nullptr;
  }
  if (n.attributes.String("coordinate_transformation_mode", "") == "tf_half_pixel_for_nn") {
    // It lies half an element above half_pixel: rounding that down is rounding this half up, and
    // rounding that half down is rounding this up.
    const std::string_view rounding = n.attributes.String("nearest_mode", "round_prefer_floor");
    if ((rounding != "floor" && rounding != "round_prefer_floor") ||
        n.attributes.String("mode", "nearest") != "nearest") {
      return Unsupported(n.Describe() +
                         ": tf_half_pixel_for_nn is supported with mode nearest and nearest_mode "
                         "floor or round_prefer_floor only");
    }
    const bool down = rounding == "floor";
    n.attributes.Set("coordinate_transformation_mode", std::string("half_pixel"));
    n.attributes.Set("nearest_mode", std::string(down ? "round_prefer_ceil" : "ceil"));
  }
  if (n.attributes.String("coordinate_transformation_mode", "") != "tf_crop_and_resize" &&
      n.inputs.size() > 1) {
    n.inputs[1] = nullptr;  // roi has a meaning only there
  }
  return OkStatus();
}

Status ConstantOfShape(OldNode& n, Upgrader&) {
  auto it = n.tensors.find("value");
  if (it == n.tensors.end()) return OkStatus();
  const Tensor& t = it->second;
  n.attributes.Set("dtype", static_cast<int64_t>(t.dtype()));
  if (IsFloating(t.dtype())) {
    const auto v = t.ToDoubles();
    if (v.size() != 1) return InvalidArgument(n.Describe() + ": 'value' must have one element");
    n.attributes.Set("value_float", static_cast<float>(v[0]));
  } else {
    const auto v = t.ToInts();
    if (v.size() != 1) return InvalidArgument(n.Describe() + ": 'value' must have one element");
    n.attributes.Set("value_int", v[0]);
  }
  n.tensors.clear();
  return OkStatus();
}

// Opset 1 has one scale for each of height and width.
Status Upsample(OldNode& n, Upgrader& u) {
  if (n.attributes.Has("width_scale") || n.attributes.Has("height_scale")) {
    n.attributes.Set("scales", std::vector<float>{1, 1, n.attributes.Float("height_scale", 1),
                                                  n.attributes.Float("width_scale", 1)});
  }
  return OldResize(n, u);
}

Status Concat(OldNode& n, Upgrader&) {
  if (n.opset < 4 && !n.attributes.Has("axis")) n.attributes.Set("axis", int64_t{1});
  return OkStatus();
}

Status Reshape(OldNode& n, Upgrader& u) {
  if (n.opset >= 5 || n.input(1)) return OkStatus();
  if (!IntsToInput(n, u, "shape", 1))
    return InvalidArgument(n.Describe() + ": attribute 'shape' is missing");
  return OkStatus();
}

// Up to opset 5 one axis is repeated: inputs `tiles` and `axis`.
Status Tile(OldNode& n, Upgrader& u) {
  if (n.opset >= 6) return OkStatus();
  const Tensor* tiles = n.input(1) ? n.input(1)->constant() : nullptr;
  const Tensor* axis = n.input(2) ? n.input(2)->constant() : nullptr;
  auto number = [](const Tensor* t) -> std::optional<int64_t> {
    if (!t) return std::nullopt;
    const auto v = t->ToDoubles();  // any numeric type
    if (v.size() != 1 || !(v[0] > -1e15 && v[0] < 1e15)) return std::nullopt;
    return static_cast<int64_t>(v[0]);
  };
  const auto count = number(tiles), at = number(axis);
  if (!count || !at) {
    return Unsupported(n.Describe() +
                       ": tiles and axis must be constants before opset 6; convert the model");
  }
  const int64_t rank = u.RankOf(n.input(0));
  if (rank < 0) return NeedsKnownRank(n, 6);
  if (*at < -rank || *at >= rank) return InvalidArgument(n.Describe() + ": axis is out of range");
  std::vector<int64_t> repeats(static_cast<size_t>(rank), 1);
  repeats[static_cast<size_t>(*at < 0 ? *at + rank : *at)] = *count;
  n.inputs = {n.input(0), u.Ints(n, "repeats", repeats)};
  return OkStatus();
}

// Opset 1: border [left, top, right, bottom]; with scale [height, width] the extent counts instead
// of right and bottom.
Status Crop(OldNode& n, Upgrader& u) {
  const auto border = n.attributes.Ints("border"), scale = n.attributes.Ints("scale");
  if (border.size() != 4 || (!scale.empty() && scale.size() != 2))
    return InvalidArgument(n.Describe() + ": border must be 4 numbers and scale 2 or none");
  constexpr int64_t kEnd = std::numeric_limits<int32_t>::max();
  const int64_t starts[] = {border[1], border[0]}, axes[] = {2, 3};
  int64_t ends[] = {border[3] > 0 ? -border[3] : kEnd, border[2] > 0 ? -border[2] : kEnd};
  for (size_t i = 0; i < scale.size(); ++i) ends[i] = starts[i] + scale[i];
  n.inputs = {n.input(0), u.Ints(n, "starts", starts), u.Ints(n, "ends", ends),
              u.Ints(n, "axes", axes)};
  n.op = "Slice";
  n.attributes = {};
  return OkStatus();
}

// Opset 1: data, starts, ends, axes?, what Slice takes now.
Status DynamicSlice(OldNode& n, Upgrader&) {
  n.op = "Slice";
  return OkStatus();
}

Status Scatter(OldNode& n, Upgrader&) {
  n.op = "ScatterElements";
  return OkStatus();
}

}  // namespace slipway::onnx
