// Inference of operators whose output extents depend on data. They give fresh symbols here; the
// driver (infer.cc) puts what ops::ShapeFunction says in their place when the data are known.

#include "model/ir/infer_util.h"

namespace slipway::ir {

Status InferNonZero(InferContext& c) {
  const SymShape* x = ShapeOf(c, 0);
  const Dim rank = x ? Dim(static_cast<int64_t>(x->size())) : c.fresh_symbol();
  c.set_output(0, DType::kInt64, SymShape{rank, c.fresh_symbol()});
  return OkStatus();
}

Status InferCompress(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 1, 1, "condition (input 1)"));
  SLIPWAY_RETURN_IF_ERROR(RequireBool(c, 1));
  const DType dtype = c.input(0).dtype;
  if (!c.attributes().Has("axis")) {
    c.set_output(0, dtype, SymShape{c.fresh_symbol()});
    return OkStatus();
  }
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, dtype, std::nullopt);
    return OkStatus();
  }
  SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                           NormalizeAxis(c.attributes().Int("axis", 0), x->size()));
  SymShape out = *x;
  out[axis] = c.fresh_symbol();
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

}  // namespace slipway::ir
