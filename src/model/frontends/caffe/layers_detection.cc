// Layers of detectors: SSD's prior boxes.

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
  const Dims x = c.BottomShape(0), image = c.BottomShape(1);
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

constexpr LayerEntry kLayers[] = {
    {"PriorBox", PriorBox},
};

}  // namespace

std::span<const LayerEntry> DetectionLayers() { return kLayers; }

}  // namespace slipway::caffe
