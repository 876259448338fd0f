// Inference of single operators without a family: Einsum, Det, EyeLike, losses, predicates,
// BitCast, RotaryEmbedding, TfIdfVectorizer.

#include <algorithm>

#include "model/ir/infer_util.h"
#include "model/ops/einsum.h"

namespace slipway::ir {

Status InferPredicate(InferContext& c) {
  const DType t = c.input(0).dtype;
  if (t != DType::kUndefined && !IsFloating(t))
    return Bad("the input has type ", t, " but must be floating");
  c.set_output(0, DType::kBool, c.input(0).shape);
  return OkStatus();
}

Status InferBitCast(InferContext& c) {
  const int64_t to = c.attributes().Int("to", 0);
  const DType t = to > 0 && to < 256 ? static_cast<DType>(to) : DType::kUndefined;
  if (!IsKnown(t) || t == DType::kString) return Bad("to = ", to, " is no element type with bits");
  const DType from = c.input(0).dtype;
  if (from != DType::kUndefined && DTypeBits(from) != DTypeBits(t)) {
    return Bad("cannot see ", from, " as ", t, ", which has another size");
  }
  c.set_output(0, t, c.input(0).shape);
  return OkStatus();
}

Status InferEinsum(InferContext& c) {
  std::vector<int> ranks;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    if (!c.has_input(i)) return Bad("input ", i, " is absent");
    SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, i}));
    const SymShape* s = ShapeOf(c, i);
    if (!s) {
      c.set_output(0, c.input(0).dtype, std::nullopt);
      return OkStatus();
    }
    ranks.push_back(static_cast<int>(s->size()));
  }
  SLIPWAY_ASSIGN_OR_RETURN(const ops::EinsumPlan plan,
                           ops::ParseEinsum(c.attributes().String("equation", ""), ranks));
  std::vector<std::optional<Dim>> extent(static_cast<size_t>(ops::kEinsumLabels));
  for (int i = 0; i < plan.inputs; ++i) {
    const ops::EinsumTerm& t = plan.terms[static_cast<size_t>(i)];
    const SymShape shape = *ShapeOf(c, static_cast<size_t>(i));
    for (size_t d = 0; d < static_cast<size_t>(t.rank); ++d) {
      auto& e = extent[static_cast<size_t>(t.labels[d])];
      if (!e || e->Is(1)) {
        e = shape[d];
      } else if (!shape[d].Is(1)) {
        SLIPWAY_ASSIGN_OR_RETURN(e, Unify(c, *e, shape[d], "two dimensions with one letter"));
      }
    }
  }
  SymShape out;
  for (int d = 0; d < plan.output.rank; ++d)
    out.push_back(*extent[static_cast<size_t>(plan.output.labels[static_cast<size_t>(d)])]);
  c.set_output(0, c.input(0).dtype, std::move(out));
  return OkStatus();
}

Status InferDet(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 2, "the input"));
  const SymShape* x = ShapeOf(c, 0);
  if (!x) {
    c.set_output(0, c.input(0).dtype, std::nullopt);
    return OkStatus();
  }
  const SymShape out(x->begin(), x->end() - 2);
  const Dim a = (*x)[x->size() - 2], b = x->back();
  SLIPWAY_RETURN_IF_ERROR(Unify(c, a, b, "rows and columns").status());
  c.set_output(0, c.input(0).dtype, out);
  return OkStatus();
}

Status InferEyeLike(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireRank(c, 0, 2, "the input"));
  DType t = c.input(0).dtype;
  if (c.attributes().Has("dtype")) {
    const int64_t v = c.attributes().Int("dtype", 0);
    t = v > 0 && v < 256 ? static_cast<DType>(v) : DType::kUndefined;
    if (!IsKnown(t) || t == DType::kString) return Bad("dtype = ", v, " is no numeric type");
  }
  c.set_output(0, t, c.input(0).shape);
  return OkStatus();
}

Status InferLoss(InferContext& c) {
  const std::string_view reduction = c.attributes().String("reduction", "mean");
  if (reduction != "none" && reduction != "sum" && reduction != "mean")
    return Bad("reduction '", reduction, "' must be none, sum or mean");
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 2}));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 2, "the scores"));
  const SymShape *x = ShapeOf(c, 0), *target = ShapeOf(c, 1);
  const DType dtype = c.input(0).dtype;
  c.set_output(1, dtype, c.input(0).shape);  // log_prob
  if (x) SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 2, (*x)[1], "weight"));
  std::optional<SymShape> out;
  if (reduction != "none") out = SymShape{};
  if (x) {
    SymShape positions = *x;
    positions.erase(positions.begin() + 1);
    if (target) {
      const SymShape own = *target;
      if (own.size() != positions.size())
        return Bad("the target ", own, " must have the shape ", positions);
      for (size_t i = 0; i < own.size(); ++i) {
        SLIPWAY_ASSIGN_OR_RETURN(positions[i],
                                 Unify(c, positions[i], own[i], "shapes of scores and target"));
      }
    }
    if (reduction == "none") out = std::move(positions);
  } else if (target && reduction == "none") {
    out = *target;
  }
  c.set_output(0, dtype, std::move(out));
  return OkStatus();
}

Status InferRotaryEmbedding(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2}));
  const SymShape *x = ShapeOf(c, 0), *cosines = ShapeOf(c, 1), *sines = ShapeOf(c, 2);
  c.set_output(0, c.input(0).dtype, c.input(0).shape);
  const int64_t turned = c.attributes().Int("rotary_embedding_dim", 0),
                heads = c.attributes().Int("num_heads", 0);
  if (turned < 0 || turned > kMaxWindow || turned % 2 != 0)
    return Bad("rotary_embedding_dim = ", turned, " must be even and not negative");
  if (heads < 0 || heads > kMaxWindow) return Bad("num_heads = ", heads, " must not be negative");
  for (size_t i : {1, 2}) {
    SLIPWAY_RETURN_IF_ERROR(
        RequireMinRank(c, i, c.has_input(3) ? 2 : 3, i == 1 ? "cos_cache" : "sin_cache"));
  }
  if (cosines && sines && cosines->size() != sines->size())
    return Bad("cos_cache ", *cosines, " and sin_cache ", *sines, " must have one shape");
  if (!x) return OkStatus();
  if (x->size() != 3 && x->size() != 4) return Bad("X ", *x, " must have 3 or 4 dimensions");
  Dim size = x->back();
  if (x->size() == 3) {
    if (heads < 1) return Bad("num_heads must be given for the 3-D input ", *x);
    if (size.known() && size.value() % heads != 0)
      return Bad("num_heads = ", heads, " does not divide ", size, " features");
    size = FloorDiv(size, Dim(heads));
  }
  if (turned > 0) {
    if (size.known() && size.value() < turned)
      return Bad("rotary_embedding_dim = ", turned, " exceeds the head size ", size);
    size = Dim(turned);
  }
  if (size.known() && size.value() % 2 != 0) return Bad("the head size ", size, " must be even");
  if (cosines && size.known() && cosines->back().known() && !cosines->back().Is(size.value() / 2)) {
    return Bad("cos_cache ", *cosines, " must have ", size.value() / 2,
               " elements in its last dimension");
  }
  return OkStatus();
}

Status InferTfIdfVectorizer(InferContext& c) {
  const Attributes& a = c.attributes();
  const DType t = c.input(0).dtype;
  if (t != DType::kUndefined && t != DType::kInt32 && t != DType::kInt64)
    return Bad("X has type ", t, " but must be int32 or int64");
  const std::string_view mode = a.String("mode", "");
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF")
    return Bad("mode '", mode, "' must be TF, IDF or TFIDF");
  const int64_t least = a.Int("min_gram_length", 0), most = a.Int("max_gram_length", 0);
  if (least < 1 || most < least || a.Int("max_skip_count", 0) < 0)
    return Bad("min_gram_length, max_gram_length and max_skip_count are not in order");
  int64_t width = 0;
  for (int64_t i : a.Ints("ngram_indexes")) {
    if (i < 0 || i > kMaxWindow) return Bad("ngram_indexes holds ", i);
    width = std::max(width, i + 1);
  }
  if (width == 0) return Bad("ngram_indexes is empty");
  const SymShape* x = ShapeOf(c, 0);
  if (x && x->size() > 2) return Bad("X ", *x, " must be [length] or [batch, length]");
  if (!x) {
    c.set_output(0, DType::kFloat32, std::nullopt);
  } else if (x->size() == 2) {
    c.set_output(0, DType::kFloat32, SymShape{(*x)[0], Dim(width)});
  } else {
    c.set_output(0, DType::kFloat32, SymShape{Dim(width)});
  }
  return OkStatus();
}

}  // namespace slipway::ir
