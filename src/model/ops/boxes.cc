// NonMaxSuppression and the number of boxes that it keeps.

#include <algorithm>
#include <limits>

#include "model/ops/dispatch.h"
#include "model/ops/scratch.h"

namespace slipway::ops {
namespace {

struct Box {
  float low[2], high[2];

  float Area() const { return (high[0] - low[0]) * (high[1] - low[1]); }
};

struct Problem {
  int64_t batches, classes, boxes, most;
  float overlap, score;
  bool centres, by_score;
  const float *corners, *scores;

  // Corners come in any order; centres as x, y, width, height.
  Box At(int64_t batch, int64_t i) const {
    const float* p = corners + (batch * boxes + i) * 4;
    if (centres) {
      const float w = p[2] / 2, h = p[3] / 2;
      return {{p[1] - h, p[0] - w}, {p[1] + h, p[0] + w}};
    }
    return {{std::min(p[0], p[2]), std::min(p[1], p[3])},
            {std::max(p[0], p[2]), std::max(p[1], p[3])}};
  }
};

bool Overlaps(const Box& a, const Box& b, float threshold) {
  float inner = 1;
  for (int d = 0; d < 2; ++d) {
    const float extent = std::min(a.high[d], b.high[d]) - std::max(a.low[d], b.low[d]);
    if (!(extent > 0)) return false;
    inner *= extent;
  }
  const float one = a.Area(), other = b.Area();
  if (!(one > 0) || !(other > 0)) return false;
  return inner / (one + other - inner) > threshold;
}

Status ReadProblem(const OpContext& c, Problem* p) {
  const TensorView &boxes = c.inputs[0], &scores = c.inputs[1];
  if (boxes.dtype != DType::kFloat32 || scores.dtype != DType::kFloat32)
    return Unsupported("boxes and scores must be float32");
  if (boxes.dims.rank() != 3 || scores.dims.rank() != 3 || boxes.dims[2] != 4 ||
      boxes.dims[0] != scores.dims[0] || boxes.dims[1] != scores.dims[2]) {
    return InvalidArgument("boxes " + boxes.dims.ToString() + " and scores " +
                           scores.dims.ToString() +
                           " must be [batches, boxes, 4] and [batches, classes, boxes]");
  }
  for (size_t i = 2; i < 5; ++i) {
    if (!c.Has(i)) continue;
    if (c.inputs[i].count() != 1 || c.inputs[i].dtype != (i == 2 ? DType::kInt64 : DType::kFloat32))
      return InvalidArgument("input " + std::to_string(i) +
                             " must be one number, int64 for the count and float32 for thresholds");
  }
  p->batches = boxes.dims[0];
  p->classes = scores.dims[1];
  p->boxes = boxes.dims[1];
  p->most = c.Has(2) ? *c.inputs[2].as<const int64_t>() : 0;
  p->overlap = c.Has(3) ? *c.inputs[3].as<const float>() : 0;
  p->by_score = c.Has(4);
  p->score = p->by_score ? *c.inputs[4].as<const float>() : 0;
  p->centres = c.attributes->Int("center_point_box", 0) != 0;
  p->corners = boxes.as<const float>();
  p->scores = scores.as<const float>();
  if (!(p->overlap >= 0 && p->overlap <= 1))
    return InvalidArgument("iou_threshold " + std::to_string(p->overlap) + " must lie in [0, 1]");
  return OkStatus();
}

// keep(batch, class, box) for every box that stays, in the output's order.
template <typename F>
Status Select(const Problem& p, F&& keep) {
  if (p.most <= 0) return OkStatus();
  std::unique_ptr<int64_t[]> order;
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(p.boxes, &order));
  for (int64_t b = 0; b < p.batches; ++b) {
    for (int64_t k = 0; k < p.classes; ++k) {
      const float* scores = p.scores + (b * p.classes + k) * p.boxes;
      int64_t count = 0;
      for (int64_t i = 0; i < p.boxes; ++i) {
        if (scores[i] == scores[i] && (!p.by_score || scores[i] > p.score)) order[count++] = i;
      }
      std::sort(order.get(), order.get() + count, [&](int64_t i, int64_t j) {
        return scores[i] != scores[j] ? scores[i] > scores[j] : i < j;
      });
      int64_t kept = 0;  // they move to the front of the same list
      for (int64_t i = 0; i < count && kept < p.most; ++i) {
        const Box box = p.At(b, order[i]);
        bool good = true;
        for (int64_t j = 0; good && j < kept; ++j)
          good = !Overlaps(box, p.At(b, order[j]), p.overlap);
        if (!good) continue;
        order[kept++] = order[i];
        keep(b, k, order[i]);
      }
    }
  }
  return OkStatus();
}

}  // namespace

Status ShapeNonMaxSuppression(const OpContext& c, std::span<Dims> outputs) {
  Problem p;
  SLIPWAY_RETURN_IF_ERROR(ReadProblem(c, &p));
  int64_t count = 0;
  SLIPWAY_RETURN_IF_ERROR(Select(p, [&](int64_t, int64_t, int64_t) { ++count; }));
  outputs[0] = {count, 3};
  return OkStatus();
}

Status OnnxNonMaxSuppression(const OpContext& c) {
  const TensorView& y = c.outputs[0];
  Problem p;
  SLIPWAY_RETURN_IF_ERROR(ReadProblem(c, &p));
  if (y.dims.rank() != 2 || y.dims[1] != 3 || y.dtype != DType::kInt64)
    return Internal("the output must be int64 [boxes, 3]");
  const int64_t room = y.dims[0];
  int64_t found = 0;
  SLIPWAY_RETURN_IF_ERROR(Select(p, [&](int64_t b, int64_t k, int64_t i) {
    if (found < room) {
      int64_t* to = y.as<int64_t>() + found * 3;
      to[0] = b;
      to[1] = k;
      to[2] = i;
    }
    ++found;
  }));
  if (found != room) {
    return Internal("the output has room for " + std::to_string(room) + " boxes, but " +
                    std::to_string(found) + " remain");
  }
  return OkStatus();
}

}  // namespace slipway::ops
