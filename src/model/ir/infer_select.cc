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

Status InferDetectionOutput(InferContext& c) {
  const char* names[] = {"locations", "confidences", "priors"};
  for (size_t i = 0; i < 3; ++i) {
    SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, i, DType::kFloat32, names[i]));
    SLIPWAY_RETURN_IF_ERROR(RequireRank(c, i, i == 2 ? 3 : 2, names[i]));
  }
  const Attributes& a = c.attributes();
  const int64_t classes = a.Int("num_classes", 0);
  if (classes < 1 || classes > 1 << 24)
    return Bad("num_classes ", classes, " must lie between 1 and 2^24");
  const std::string_view code = a.String("code_type", "CORNER");
  if (code != "CORNER" && code != "CENTER_SIZE" && code != "CORNER_SIZE")
    return Bad("code_type '", std::string(code), "' is unknown; use CORNER, CENTER_SIZE or CORNER_SIZE");
  const float nms = a.Float("nms_threshold", 0.3f), eta = a.Float("eta", 1);
  if (!(nms >= 0)) return Bad("nms_threshold must not be negative");
  if (!(eta > 0 && eta <= 1)) return Bad("eta must lie in (0, 1]");
  const SymShape *loc = ShapeOf(c, 0), *conf = ShapeOf(c, 1), *prior = ShapeOf(c, 2);
  if (loc && conf) SLIPWAY_RETURN_IF_ERROR(Unify(c, (*loc)[0], (*conf)[0], "batch").status());
  if (prior) {
    const int64_t least = a.Int("variance_encoded_in_target", 0) != 0 ? 1 : 2;
    if ((*prior)[1].known() && (*prior)[1].value() < least)
      return Bad("priors ", *prior, " have no variances; expected [1, 2, priors * 4]");
    if ((*prior)[2].known()) {
      const int64_t n = (*prior)[2].value() / 4;
      if ((*prior)[2].value() % 4 != 0 || n > INT32_MAX)
        return Bad("priors ", *prior, " must be [1, 2, priors * 4]");
      const Dim wanted = Dim(n) * Dim(a.Int("share_location", 1) != 0 ? 4 : 4 * classes);
      if (loc && (*loc)[1].known() && (*loc)[1] != wanted)
        return Bad("locations ", *loc, " need ", wanted.ToString(), " numbers for ", n, " priors");
      if (conf && (*conf)[1].known() && (*conf)[1] != Dim(n) * Dim(classes))
        return Bad("confidences ", *conf, " need ", n, " priors times ", classes, " classes");
    }
  }
  c.set_output(0, DType::kFloat32, SymShape{Dim(1), Dim(1), c.fresh_symbol(), Dim(7)});
  return OkStatus();
}

}  // namespace slipway::ir
