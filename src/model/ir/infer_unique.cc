// Inference of NonMaxSuppression and Unique, whose outputs' extents depend on data.

#include "model/ir/infer_util.h"

namespace slipway::ir {

Status InferNonMaxSuppression(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 0, 3, "boxes"));
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 1, 3, "scores"));
  for (size_t i : {0, 1, 3, 4}) {
    SLIPWAY_RETURN_IF_ERROR(
        RequireDtype(c, i, DType::kFloat32, i < 2 ? "boxes and scores" : "a threshold"));
  }
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 2, DType::kInt64, "max_output_boxes_per_class"));
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 2, "max_output_boxes_per_class"));
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 3, "iou_threshold"));
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 4, "score_threshold"));
  if (ShapeOf(c, 0) && ShapeOf(c, 1)) {
    const SymShape boxes = *ShapeOf(c, 0), scores = *ShapeOf(c, 1);
    if (boxes[2].known() && !boxes[2].Is(4)) return Bad("boxes ", boxes, " must be [N, boxes, 4]");
    SLIPWAY_RETURN_IF_ERROR(Unify(c, boxes[0], scores[0], "batch of boxes and scores").status());
    SLIPWAY_RETURN_IF_ERROR(Unify(c, boxes[1], scores[2], "number of boxes and scores").status());
  }
  c.set_output(0, DType::kInt64, SymShape{c.fresh_symbol(), Dim(3)});
  return OkStatus();
}

Status InferUnique(InferContext& c) {
  const SymShape* x = ShapeOf(c, 0);
  const Dim groups = c.fresh_symbol();
  Dim items = x ? Count(*x) : c.fresh_symbol();
  std::optional<SymShape> out;
  if (!c.attributes().Has("axis")) {
    out = SymShape{groups};
  } else if (x) {
    SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                             NormalizeAxis(c.attributes().Int("axis", 0), x->size()));
    out = *x;
    items = (*x)[axis];
    (*out)[axis] = groups;
  } else {
    items = c.fresh_symbol();
  }
  c.set_output(0, c.input(0).dtype, std::move(out));
  c.set_output(1, DType::kInt64, SymShape{groups});
  c.set_output(2, DType::kInt64, SymShape{items});
  c.set_output(3, DType::kInt64, SymShape{groups});
  return OkStatus();
}

}  // namespace slipway::ir
