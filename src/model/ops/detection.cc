// DetectionOutput: SSD's boxes from locations, confidences and priors (Liu et al.,
// arXiv:1512.02325), as its Caffe computes them; the number of detections.

#include <algorithm>
#include <cmath>

#include "model/ops/dispatch.h"
#include "model/ops/scratch.h"

namespace slipway::ops {
namespace {

constexpr float kNoThreshold = -3.4028234663852886e38f;

enum class Code { kCorner, kCenterSize, kCornerSize };

struct Corners {
  float v[4];  // xmin, ymin, xmax, ymax

  float Area() const { return v[2] < v[0] || v[3] < v[1] ? 0 : (v[2] - v[0]) * (v[3] - v[1]); }
};

float Overlap(const Corners& a, const Corners& b) {
  const float w = std::min(a.v[2], b.v[2]) - std::max(a.v[0], b.v[0]),
              h = std::min(a.v[3], b.v[3]) - std::max(a.v[1], b.v[1]);
  if (!(w > 0 && h > 0)) return 0;
  const float common = w * h;
  return common / (a.Area() + b.Area() - common);
}

struct Found {
  float score;
  int32_t label;
  int32_t prior;
};

bool Better(const Found& a, const Found& b) {
  if (a.score != b.score) return a.score > b.score;
  return a.label != b.label ? a.label < b.label : a.prior < b.prior;
}

struct Detector {
  int64_t images, priors, classes, background, top_k, keep_top_k;
  bool shared, encoded;  // locations for all classes; variances already in the locations
  Code code;
  float nms, eta, least;
  const float *locations, *scores, *boxes, *variances;

  Corners Decode(int64_t image, int64_t prior, int64_t label) const {
    const int64_t per = shared ? 1 : classes;
    const float* l = locations + ((image * priors + prior) * per + (shared ? 0 : label)) * 4;
    const float* b = boxes + prior * 4;
    float d[4];
    for (int i = 0; i < 4; ++i) d[i] = encoded ? l[i] : variances[prior * 4 + i] * l[i];
    const float w = b[2] - b[0], h = b[3] - b[1];
    switch (code) {
      case Code::kCorner:
        return {{b[0] + d[0], b[1] + d[1], b[2] + d[2], b[3] + d[3]}};
      case Code::kCornerSize:
        return {{b[0] + d[0] * w, b[1] + d[1] * h, b[2] + d[2] * w, b[3] + d[3] * h}};
      case Code::kCenterSize:
        break;
    }
    const float x = d[0] * w + (b[0] + b[2]) / 2, y = d[1] * h + (b[1] + b[3]) / 2,
                half_w = std::exp(d[2]) * w / 2, half_h = std::exp(d[3]) * h / 2;
    return {{x - half_w, y - half_h, x + half_w, y + half_h}};
  }

  // Appends to `kept` what remains of one class of one image, best first. `order` and `decoded`
  // have room for all priors.
  int64_t Suppress(int64_t image, int64_t label, Found* order, Corners* decoded,
                   Found* kept) const {
    int64_t count = 0;
    for (int64_t p = 0; p < priors; ++p) {
      const float score = scores[(image * priors + p) * classes + label];
      if (score > least)
        order[count++] = {score, static_cast<int32_t>(label), static_cast<int32_t>(p)};
    }
    if (top_k >= 0 && top_k < count) {
      std::partial_sort(order, order + top_k, order + count, Better);
      count = top_k;
    } else {
      std::sort(order, order + count, Better);
    }
    int64_t n = 0;
    float threshold = nms;
    for (int64_t i = 0; i < count; ++i) {
      const Corners box = Decode(image, order[i].prior, label);
      bool good = true;
      for (int64_t k = 0; good && k < n; ++k) good = Overlap(box, decoded[k]) <= threshold;
      if (!good) continue;
      decoded[n] = box;
      kept[n++] = order[i];
      if (eta < 1 && threshold > 0.5f) threshold *= eta;
    }
    return n;
  }
};

Status ReadDetector(const OpContext& c, Detector* d) {
  const Attributes& a = *c.attributes;
  const TensorView &loc = c.inputs[0], &conf = c.inputs[1], &prior = c.inputs[2];
  for (const TensorView* t : {&loc, &conf, &prior}) {
    if (t->dtype != DType::kFloat32)
      return Unsupported("locations, confidences and priors must be float32");
  }
  d->classes = a.Int("num_classes", 0);
  d->background = a.Int("background_label_id", 0);
  d->top_k = a.Int("top_k", -1);
  d->keep_top_k = a.Int("keep_top_k", -1);
  d->shared = a.Int("share_location", 1) != 0;
  d->encoded = a.Int("variance_encoded_in_target", 0) != 0;
  d->nms = a.Float("nms_threshold", 0.3f);
  d->eta = a.Float("eta", 1);
  d->least = a.Has("confidence_threshold") ? a.Float("confidence_threshold", 0) : kNoThreshold;
  const std::string_view code = a.String("code_type", "CORNER");
  d->code = code == "CENTER_SIZE"   ? Code::kCenterSize
            : code == "CORNER_SIZE" ? Code::kCornerSize
                                    : Code::kCorner;
  if (loc.dims.rank() != 2 || conf.dims.rank() != 2 || prior.dims.rank() != 3 ||
      prior.dims[0] < 1 || prior.dims[1] < (d->encoded ? 1 : 2) || prior.dims[2] % 4 != 0) {
    return InvalidArgument("locations " + loc.dims.ToString() + ", confidences " +
                           conf.dims.ToString() + " and priors " + prior.dims.ToString() +
                           " must be [N, priors * 4], [N, priors * "
                           "classes] and [1, 2, priors * 4]");
  }
  d->images = loc.dims[0];
  d->priors = prior.dims[2] / 4;
  // The products fit: priors stay below 2^31 and classes below 2^24.
  if (d->classes < 1 || d->classes > 1 << 24 || d->priors > INT32_MAX ||
      conf.dims[0] != d->images || loc.dims[1] != d->priors * 4 * (d->shared ? 1 : d->classes) ||
      conf.dims[1] != d->priors * d->classes) {
    return InvalidArgument("locations " + loc.dims.ToString() + " and confidences " +
                           conf.dims.ToString() + " do not fit " + std::to_string(d->priors) +
                           " priors and " + std::to_string(d->classes) + " classes");
  }
  if (!(d->nms >= 0) || !(d->eta > 0 && d->eta <= 1))
    return InvalidArgument("nms_threshold must not be negative and eta must lie in (0, 1]");
  d->locations = loc.as<const float>();
  d->scores = conf.as<const float>();
  d->boxes = prior.as<const float>();
  d->variances = d->encoded ? nullptr : d->boxes + prior.dims[2];
  return OkStatus();
}

// row(image, found, box) for every detection, in the output's order. Returns their number.
template <typename F>
Status Detect(const Detector& d, int64_t* total, F&& row) {
  std::unique_ptr<Found[]> order, kept;
  std::unique_ptr<Corners[]> decoded;
  const int64_t per_class = d.top_k >= 0 ? std::min(d.top_k, d.priors) : d.priors;
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(d.priors, &order));
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(per_class, &decoded));
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(per_class * d.classes, &kept));
  *total = 0;
  for (int64_t i = 0; i < d.images; ++i) {
    int64_t n = 0;
    for (int64_t label = 0; label < d.classes; ++label) {
      if (label != d.background)
        n += d.Suppress(i, label, order.get(), decoded.get(), kept.get() + n);
    }
    if (d.keep_top_k >= 0 && n > d.keep_top_k) {
      std::partial_sort(kept.get(), kept.get() + d.keep_top_k, kept.get() + n, Better);
      n = d.keep_top_k;
      std::sort(kept.get(), kept.get() + n, [](const Found& a, const Found& b) {
        return a.label != b.label ? a.label < b.label : Better(a, b);
      });
    }
    for (int64_t k = 0; k < n; ++k) row(i, kept[k]);
    *total += n;
  }
  return OkStatus();
}

}  // namespace

Status ShapeDetectionOutput(const OpContext& c, std::span<Dims> outputs) {
  Detector d;
  int64_t n = 0;
  SLIPWAY_RETURN_IF_ERROR(ReadDetector(c, &d));
  SLIPWAY_RETURN_IF_ERROR(Detect(d, &n, [](int64_t, const Found&) {}));
  outputs[0] = {1, 1, n > 0 ? n : d.images, 7};
  return OkStatus();
}

Status SlipwayDetectionOutput(const OpContext& c) {
  const TensorView& y = c.outputs[0];
  Detector d;
  SLIPWAY_RETURN_IF_ERROR(ReadDetector(c, &d));
  if (y.dtype != DType::kFloat32 || y.dims.rank() != 4 || y.dims[0] != 1 || y.dims[1] != 1 ||
      y.dims[3] != 7)
    return Internal("the output must be float32 [1, 1, detections, 7]");
  const int64_t room = y.dims[2];
  auto* out = y.as<float>();
  int64_t at = 0, n = 0;
  SLIPWAY_RETURN_IF_ERROR(Detect(d, &n, [&](int64_t image, const Found& f) {
    if (at++ >= room) return;
    const Corners box = d.Decode(image, f.prior, f.label);
    *out++ = static_cast<float>(image);
    *out++ = static_cast<float>(f.label);
    *out++ = f.score;
    out = std::copy(box.v, box.v + 4, out);
  }));
  if (n == 0) {
    for (int64_t i = 0; i < std::min(room, d.images); ++i) {
      *out++ = static_cast<float>(i);
      out = std::fill_n(out, 6, -1.0f);
    }
    n = d.images;
  }
  if (n == room) return OkStatus();
  return Internal("the output has room for " + std::to_string(room) +
                  " detections, but there are " + std::to_string(n));
}

}  // namespace slipway::ops
