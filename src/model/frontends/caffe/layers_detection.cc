// Layers of detectors: SSD's prior boxes and detections, Fast R-CNN's pooling of regions.

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "model/frontends/caffe/layer.h"

namespace slipway::caffe {
namespace {

// The boxes depend on extents only, so they become a constant [1, 2, boxes * 4]: corners over the
// image, then variances.
Status PriorBox(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(2, 2));
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(0, 4));
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(1, 4));
  Params p = c.Group("prior_box_param");
  const std::vector<double> least = p.Floats("min_size"), most = p.Floats("max_size");
  const std::vector<double> given = p.Floats("aspect_ratio");
  const bool flip = p.Bool("flip", true), clip = p.Bool("clip", false);
  std::vector<double> variance = p.Floats("variance");
  const double offset = p.Float("offset", 0.5);
  const int64_t side = p.Int("img_size", 0, 0), side_h = p.Int("img_h", side, 0),
                side_w = p.Int("img_w", side, 0);
  const double step = p.Float("step", 0);
  double step_h = p.Float("step_h", step), step_w = p.Float("step_w", step);
  if (least.empty() || least.size() > 64) p.Fail("min_size must be given, at most 64 times");
  if (!most.empty() && most.size() != least.size()) p.Fail("as many max_size as min_size");
  for (size_t i = 0; i < most.size(); ++i) {
    if (most[i] <= least[std::min(i, least.size() - 1)]) p.Fail("max_size must exceed min_size");
  }
  if (given.size() > 64) p.Fail("more than 64 aspect_ratio");
  if (variance.empty()) variance = {0.1};
  if (variance.size() != 1 && variance.size() != 4) p.Fail("variance needs one or four numbers");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  std::vector<double> ratios{1};
  for (const double r : given) {
    if (r <= 0) return c.Bad("aspect_ratio must be positive");
    if (std::any_of(ratios.begin(), ratios.end(),
                    [&](double have) { return std::abs(have - r) < 1e-6; })) {
      continue;
    }
    ratios.push_back(r);
    if (flip) ratios.push_back(1 / r);
  }
  Dims x{0, 0, 0, 0}, image{0, 0, 0, 0};  // batch and channels do not matter
  for (int i = 2; i < 4; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(x[static_cast<size_t>(i)], c.Extent(0, i));
    SLIPWAY_ASSIGN_OR_RETURN(image[static_cast<size_t>(i)], c.Extent(1, i));
  }
  const double height = static_cast<double>(side_h > 0 ? side_h : image[2]);
  const double width = static_cast<double>(side_w > 0 ? side_w : image[3]);
  if (step_h == 0) step_h = height / static_cast<double>(x[2]);
  if (step_w == 0) step_w = width / static_cast<double>(x[3]);
  const auto per_place = static_cast<int64_t>(ratios.size() * least.size() + most.size());
  const auto count = CheckedCount(std::vector<int64_t>{x[2], x[3], per_place, 4});
  if (!count || *count > (int64_t{1} << 26)) return ResourceExhausted("more than 2^24 prior boxes");
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, ir::Tensor::Allocate(DType::kFloat32, {1, 2, *count}));
  auto* out = reinterpret_cast<float*>(t.mutable_data());
  int64_t at = 0;
  auto put = [&](double cx, double cy, double w, double h) {
    const double corners[4] = {(cx - w / 2) / width, (cy - h / 2) / height, (cx + w / 2) / width,
                               (cy + h / 2) / height};
    for (const double v : corners)
      out[at++] = static_cast<float>(clip ? std::clamp(v, 0.0, 1.0) : v);
  };
  for (int64_t h = 0; h < x[2]; ++h) {
    for (int64_t w = 0; w < x[3]; ++w) {
      const double cx = (static_cast<double>(w) + offset) * step_w,
                   cy = (static_cast<double>(h) + offset) * step_h;
      for (size_t i = 0; i < least.size(); ++i) {
        put(cx, cy, least[i], least[i]);
        if (!most.empty()) {
          const double s = std::sqrt(least[i] * most[i]);
          put(cx, cy, s, s);
        }
        for (size_t r = 1; r < ratios.size(); ++r)
          put(cx, cy, least[i] * std::sqrt(ratios[r]), least[i] / std::sqrt(ratios[r]));
      }
    }
  }
  for (int64_t i = 0; i < *count; ++i)
    out[*count + i] = static_cast<float>(variance[static_cast<size_t>(i) % variance.size()]);
  c.SetTop(0, c.Constant("boxes", std::move(t)));
  return OkStatus();
}

// Bottoms: locations, confidences, priors. The operator's comment (operators.inc) says what it
// does.
Status DetectionOutput(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(3, 3));
  Params p = c.Group("detection_output_param");
  p.Ignore({"save_output_param", "visualize", "visualize_threshold", "save_file"});
  ir::Attributes a;
  const int64_t classes = p.Int("num_classes", 0, 0, 1 << 24);
  if (classes == 0) p.Fail("num_classes must be given and positive");
  a.Set("num_classes", classes);
  a.Set("share_location", static_cast<int64_t>(p.Bool("share_location", true)));
  a.Set("background_label_id", p.Int("background_label_id", 0));
  a.Set("variance_encoded_in_target",
        static_cast<int64_t>(p.Bool("variance_encoded_in_target", false)));
  a.Set("keep_top_k", p.Int("keep_top_k", -1));
  const std::string code = p.Text("code_type", "CORNER");
  const char* name = code == "CORNER" || code == "1"        ? "CORNER"
                     : code == "CENTER_SIZE" || code == "2" ? "CENTER_SIZE"
                     : code == "CORNER_SIZE" || code == "3" ? "CORNER_SIZE"
                                                            : nullptr;
  if (!name) p.Fail("unknown code_type '" + code + "'");
  a.Set("code_type", std::string(name ? name : ""));
  if (p.Has("confidence_threshold"))
    a.Set("confidence_threshold", static_cast<float>(p.Float("confidence_threshold", 0)));
  Params n(p.Sub("nms_param"), "nms_param");
  a.Set("top_k", n.Int("top_k", -1));
  const double nms = n.Float("nms_threshold", 0.3), eta = n.Float("eta", 1);
  if (nms < 0) n.Fail("nms_threshold must not be negative");
  if (eta <= 0 || eta > 1) n.Fail("eta must lie in (0, 1]");
  a.Set("nms_threshold", static_cast<float>(nms));
  a.Set("eta", static_cast<float>(eta));
  SLIPWAY_RETURN_IF_ERROR(n.Finish());
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  std::vector<ir::Value*> inputs;
  for (size_t i = 0; i < 2; ++i) {
    ir::Value* v = c.bottom(i);
    if (c.Rank(i) < 2)
      return c.Bad("bottom '" + c.spec().bottoms[i] + "' is " + ToString(c.BottomSym(i)) +
                   "; expected two dimensions or more");
    if (c.Rank(i) > 2) {
      SLIPWAY_ASSIGN_OR_RETURN(v, c.Emit("Flatten", {v}, {{"axis", int64_t{1}}}));
    }
    inputs.push_back(v);
  }
  Dims prior = c.BottomShape(2);
  if (prior.rank() < 3 || prior.count(3, prior.rank()) != 1)
    return c.Bad("the priors '" + c.spec().bottoms[2] + "' are " + prior.ToString() +
                 "; expected [1, 2, priors * 4]");
  SLIPWAY_ASSIGN_OR_RETURN(ir::Value * priors,
                           c.Reshape(c.bottom(2), {prior[0], prior[1], prior[2]}));
  inputs.push_back(priors);
  return c.Top(c.Emit("DetectionOutput", inputs, std::move(a), "slipway"));
}

// Rows of the second bottom: image, x1, y1, x2, y2. ONNX took the layer over as MaxRoiPool.
Status RoiPooling(LayerContext& c) {
  SLIPWAY_RETURN_IF_ERROR(c.Require(2, 2));
  SLIPWAY_RETURN_IF_ERROR(c.RequireRank(0, 4));
  Params p = c.Group("roi_pooling_param");
  const int64_t h = p.Int("pooled_h", 0, 0, 1 << 20), w = p.Int("pooled_w", 0, 0, 1 << 20);
  const double scale = p.Float("spatial_scale", 1);
  if (h == 0 || w == 0) p.Fail("pooled_h and pooled_w must be given");
  SLIPWAY_RETURN_IF_ERROR(p.Finish());
  ir::Value* rois = c.bottom(1);
  if (c.Rank(1) != 2) {
    if (c.Rank(1) < 2)
      return c.Bad("the regions '" + c.spec().bottoms[1] + "' must be [regions, 5]");
    SLIPWAY_ASSIGN_OR_RETURN(rois, c.Emit("Flatten", {rois}, {{"axis", int64_t{1}}}));
  }
  return c.Top(c.Emit("MaxRoiPool", {c.bottom(0), rois},
                      {{"pooled_shape", std::vector<int64_t>{h, w}},
                       {"spatial_scale", static_cast<float>(scale)}}));
}

constexpr LayerEntry kLayers[] = {
    {"DetectionOutput", DetectionOutput},
    {"PriorBox", PriorBox},
    {"ROIPooling", RoiPooling},
};

}  // namespace

std::span<const LayerEntry> DetectionLayers() { return kLayers; }

}  // namespace slipway::caffe
