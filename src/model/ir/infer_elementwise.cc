// Inference of operators whose output has the input's or the broadcast shape.

#include <algorithm>

#include "model/ir/infer_util.h"

namespace slipway::ir {
namespace {

// ai.onnx Add, Sub, ... on integers; nullopt when the value is not known as an expression.
std::optional<Dim> Arithmetic(std::string_view op, const Dim& a, const Dim& b) {
  if (op == "Add" || op == "Sum") return a + b;
  if (op == "Sub") return a - b;
  if (op == "Mul") return a * b;
  if (op == "Min") return Min(a, b);
  if (op == "Max") return Max(a, b);
  if (op == "Div") {
    if (b.Is(0)) return std::nullopt;
    if (a.known() && b.known()) {  // rounds toward zero
      const Dim q = FloorDiv(a, b);
      const Dim r = a - q * b;
      return q + Dim(q.value() < 0 && !r.Is(0) ? 1 : 0);
    }
    // Sizes are not negative, so both roundings agree.
    return SeemsNonNegative(a) && SeemsNonNegative(b) ? std::optional(FloorDiv(a, b))
                                                      : std::nullopt;
  }
  if (op == "Mod") {
    if (b.Is(0)) return std::nullopt;
    return a - FloorDiv(a, b) * b;
  }
  if (op == "Pow" && a.known() && b.known() && b.value() >= 0 && b.value() <= 62) {
    Dim p(1);
    for (int64_t i = 0; i < b.value(); ++i) p = p * a;
    return p;
  }
  return std::nullopt;
}

std::optional<bool> Comparison(std::string_view op, const Dim& a, const Dim& b) {
  const Dim d = a - b;
  if (d.overflowed()) return std::nullopt;
  if (!d.known()) {
    // Different expressions may still be equal for some sizes; only an order that always holds
    // decides.
    if (!SeemsNegative(d) && !SeemsNegative(b - a)) return std::nullopt;
    const bool less = SeemsNegative(d);
    if (op == "Equal") return false;
    if (op == "Less" || op == "LessOrEqual") return less;
    if (op == "Greater" || op == "GreaterOrEqual") return !less;
    return std::nullopt;
  }
  const int64_t v = d.value();
  if (op == "Equal") return v == 0;
  if (op == "Less") return v < 0;
  if (op == "LessOrEqual") return v <= 0;
  if (op == "Greater") return v > 0;
  if (op == "GreaterOrEqual") return v >= 0;
  return std::nullopt;
}

std::optional<bool> Logic(std::string_view op, const Dim& a, const Dim& b) {
  if (!a.known() || !b.known()) return std::nullopt;
  const bool x = !a.Is(0), y = !b.Is(0);
  if (op == "And") return x && y;
  if (op == "Or") return x || y;
  if (op == "Xor") return x != y;
  return std::nullopt;
}

// Folds f over the elements of all inputs, broadcast to `shape`; nothing when any element is
// unknown.
template <typename F>
void FoldElements(InferContext& c, const SymShape& shape, F&& f) {
  const auto extent = SmallExtent(shape);
  if (!extent) return;
  std::vector<Dim> folded;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    if (!c.has_input(i)) return;
    const auto own = c.elements(i);
    const auto own_extent = own && c.input(i).shape ? SmallExtent(*c.input(i).shape) : std::nullopt;
    if (!own_extent) return;
    const auto positions = BroadcastPositions(*own_extent, *extent);
    for (size_t k = 0; k < positions.size(); ++k) {
      if (positions[k] >= own->size()) return;
      const Dim& e = (*own)[positions[k]];
      if (i == 0) {
        folded.push_back(e);
      } else {
        const std::optional<Dim> r = f(folded[k], e);
        if (!r || r->overflowed()) return;
        folded[k] = *r;
      }
    }
  }
  c.set_elements(0, std::move(folded));
}

// The broadcast of all inputs' shapes; nullopt when a rank is unknown.
Result<std::optional<SymShape>> BroadcastAll(InferContext& c) {
  std::optional<SymShape> shape;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    if (!c.has_input(i)) return Bad("input ", i, " is absent");
    const SymShape* s = ShapeOf(c, i);
    if (!s) return std::optional<SymShape>();
    if (!shape) {
      shape = *s;
    } else {
      SLIPWAY_ASSIGN_OR_RETURN(shape, Broadcast(c, *shape, *s));
    }
  }
  return shape;
}

Status SameDtypeAll(const InferContext& c) {
  for (size_t i = 1; i < c.num_inputs(); ++i) SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, i}));
  return OkStatus();
}

DType FirstKnownDtype(const InferContext& c) {
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    if (c.has_input(i) && c.input(i).dtype != DType::kUndefined) return c.input(i).dtype;
  }
  return DType::kUndefined;
}

// Scale and bias of a normalisation over channels (dimension 1).
Status ChannelParameters(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 2, "the input"));
  const SymShape* x = ShapeOf(c, 0);
  if (!x) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 1, (*x)[1], "scale"));
  return RequireVector(c, 2, (*x)[1], "bias");
}

Status CheckScatterND(const InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 2}));
  const std::string_view reduction = c.attributes().String("reduction", "none");
  if (reduction != "none" && reduction != "add" && reduction != "mul" && reduction != "max" &&
      reduction != "min") {
    return Bad("reduction '", reduction, "' must be none, add, mul, max or min");
  }
  const SymShape *data = ShapeOf(c, 0), *indices = ShapeOf(c, 1), *updates = ShapeOf(c, 2);
  if (!data || !indices || !updates) return OkStatus();
  if (data->empty() || indices->empty()) return Bad("data and indices need at least one dimension");
  const Dim& last = indices->back();
  if (!last.known()) return OkStatus();
  if (last.value() < 1 || last.value() > static_cast<int64_t>(data->size())) {
    return Bad("the last dimension of indices is ", last, " but must lie in [1, ", data->size(),
               "]");
  }
  SymShape want(indices->begin(), indices->end() - 1);
  want.insert(want.end(), data->begin() + last.value(), data->end());
  bool good = want.size() == updates->size();
  for (size_t i = 0; good && i < want.size(); ++i) {
    good = !want[i].known() || !(*updates)[i].known() || want[i] == (*updates)[i];
  }
  if (!good) return Bad("updates have shape ", *updates, " but must have ", want);
  return OkStatus();
}

Status CheckScatterElements(const InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 2}));
  const std::string_view reduction = c.attributes().String("reduction", "none");
  if (reduction != "none" && reduction != "add" && reduction != "mul" && reduction != "max" &&
      reduction != "min") {
    return Bad("reduction '", reduction, "' must be none, add, mul, max or min");
  }
  const SymShape *data = ShapeOf(c, 0), *indices = ShapeOf(c, 1), *updates = ShapeOf(c, 2);
  if (data) {
    SLIPWAY_RETURN_IF_ERROR(
        NormalizeAxis(c.attributes().Int("axis", 0), data->size()).status());
  }
  if (data && indices && data->size() != indices->size())
    return Bad("data ", *data, " and indices ", *indices, " must have as many dimensions");
  if (!indices || !updates) return OkStatus();
  bool good = indices->size() == updates->size();
  for (size_t i = 0; good && i < indices->size(); ++i) {
    good = !(*indices)[i].known() || !(*updates)[i].known() || (*indices)[i] == (*updates)[i];
  }
  if (!good) return Bad("updates ", *updates, " must have the shape of indices ", *indices);
  return OkStatus();
}

Status CheckTensorScatter(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1}));
  const std::string_view mode = c.attributes().String("mode", "linear");
  if (mode != "linear" && mode != "circular")
    return Bad("mode '", mode, "' must be linear or circular");
  const SymShape *past = ShapeOf(c, 0), *update = ShapeOf(c, 1);
  if (!past) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                           NormalizeAxis(c.attributes().Int("axis", -2), past->size()));
  if (axis == 0) return Bad("axis must not be the batch dimension 0");
  SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 2, (*past)[0], "write_indices"));
  if (!update) return OkStatus();
  bool good = past->size() == update->size();
  for (size_t i = 0; good && i < past->size(); ++i) {
    const Dim &a = (*past)[i], &b = (*update)[i];
    good = !a.known() || !b.known() || (i == axis ? b.value() <= a.value() : a == b);
  }
  if (!good)
    return Bad("update ", *update, " must have the shape of past_cache ", *past,
               " but for a length of at most its own along dimension ", axis);
  return OkStatus();
}

// What the operators that share "Same" demand of their attributes and further inputs.
Status CheckSame(InferContext& c) {
  const std::string_view op = c.op();
  const SymShape* x = ShapeOf(c, 0);
  const auto axis_in_range = [&](int64_t fallback) -> Status {
    if (!x) return OkStatus();
    return NormalizeAxis(c.attributes().Int("axis", fallback), x->size()).status();
  };
  if (op == "Softmax" || op == "LogSoftmax" || op == "Hardmax") return axis_in_range(-1);
  if (op == "LpNormalization") {
    const int64_t p = c.attributes().Int("p", 2);
    if (p != 1 && p != 2) return Bad("p = ", p, " must be 1 or 2");
    return axis_in_range(-1);
  }
  if (op == "Not") return RequireBool(c, 0);
  if (op == "Clip") {
    SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1, 2}));
    SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 1, "min"));
    return RequireScalar(c, 2, "max");
  }
  if (op == "PRelu") {
    SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1}));
    const SymShape* slope = ShapeOf(c, 1);
    return x && slope ? BroadcastsTo(*slope, *x, "slope") : OkStatus();
  }
  if (op == "RMSNormalization") {
    SLIPWAY_RETURN_IF_ERROR(axis_in_range(-1));
    const SymShape* scale = ShapeOf(c, 1);
    return x && scale ? BroadcastsTo(*scale, *x, "scale") : OkStatus();
  }
  if (op == "InstanceNormalization") return ChannelParameters(c);
  if (op == "GroupNormalization") {
    SLIPWAY_RETURN_IF_ERROR(ChannelParameters(c));
    const int64_t groups = c.attributes().Int("num_groups", 0);
    if (groups < 1) return Bad("num_groups = ", groups, " must be at least 1");
    if (x && (*x)[1].known() && (*x)[1].value() % groups != 0) {
      return Bad("num_groups = ", groups, " does not divide the ", (*x)[1], " channels");
    }
    return OkStatus();
  }
  if (op == "LRN") {
    if (c.attributes().Int("size", 0) < 1)
      return Bad("size = ", c.attributes().Int("size", 0), " must be at least 1");
    return RequireMinRank(c, 0, 2, "the input");
  }
  if (op == "Trilu") {
    SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 2, "the input"));
    SLIPWAY_RETURN_IF_ERROR(IntVector(c, 1, "k").status());
    return RequireScalar(c, 1, "k");
  }
  if (op == "CumSum" || op == "CumProd") {
    SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 1, "axis"));
    SLIPWAY_ASSIGN_OR_RETURN(auto axis, KnownIntVector(c, 1, "axis"));
    if (!x || !axis || axis->size() != 1) return OkStatus();
    return NormalizeAxis((*axis)[0], x->size()).status();
  }
  if (op == "ScatterND") return CheckScatterND(c);
  if (op == "ScatterElements") return CheckScatterElements(c);
  if (op == "TensorScatter") return CheckTensorScatter(c);
  if (op == "ReverseSequence") {
    const int64_t batch = c.attributes().Int("batch_axis", 1),
                  time = c.attributes().Int("time_axis", 0);
    if (batch < 0 || batch > 1 || time != 1 - batch)
      return Bad("batch_axis = ", batch, " and time_axis = ", time, " must be 0 and 1 or 1 and 0");
    SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 2, "the input"));
    return x ? RequireVector(c, 1, (*x)[static_cast<size_t>(batch)], "sequence_lens") : OkStatus();
  }
  return OkStatus();
}

void SameElements(InferContext& c) {
  const std::string_view op = c.op();
  if (op != "Identity" && op != "Neg" && op != "Not" && op != "Relu" && op != "Abs") return;
  auto e = c.elements(0);
  if (!e) return;
  for (Dim& d : *e) {
    if (op == "Neg") d = Dim(0) - d;
    if (op == "Relu") d = Max(d, Dim(0));
    if (op == "Abs" && !SeemsNonNegative(d)) {
      if (!d.known()) return;
      d = Dim(0) - d;
    }
    if (op == "Not") {
      if (!d.known()) return;
      d = Dim(d.Is(0) ? 1 : 0);
    }
  }
  c.set_elements(0, std::move(*e));
}

}  // namespace

Status InferSame(InferContext& c) {
  if (c.input(0).is_container()) {  // of Identity alone: the driver refuses them elsewhere
    c.set_output(0, c.input(0));
    if (auto n = c.length(0)) c.set_length(0, *n);
    return OkStatus();
  }
  SLIPWAY_RETURN_IF_ERROR(CheckSame(c));
  c.set_output(0, c.input(0).dtype, c.input(0).shape);
  SameElements(c);
  return OkStatus();
}

Status InferDropout(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 1, "ratio"));
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, 2, "training_mode"));
  c.set_output(0, c.input(0).dtype, c.input(0).shape);
  c.set_output(1, DType::kBool, c.input(0).shape);
  if (auto e = c.elements(0)) c.set_elements(0, std::move(*e));
  return OkStatus();
}

Status InferCast(InferContext& c) {
  const int64_t to = c.attributes().Int("to", 0);
  const DType t = to > 0 && to < 256 ? static_cast<DType>(to) : DType::kUndefined;
  if (t == DType::kString || c.input(0).dtype == DType::kString) {
    return Unsupported(
        "casts from and to strings are not supported; remove the string part of the model");
  }
  if (!IsKnown(t)) return Bad("to = ", to, " is no element type of ONNX TensorProto");
  c.set_output(0, t, c.input(0).shape);
  if (!IsInteger(t) && t != DType::kBool) return OkStatus();
  auto e = c.elements(0);
  if (!e) return OkStatus();
  if (t == DType::kBool) {
    for (Dim& d : *e) {
      if (!d.known()) return OkStatus();
      d = Dim(d.Is(0) ? 0 : 1);
    }
  }
  c.set_elements(0, std::move(*e));
  return OkStatus();
}

Status InferBroadcast(InferContext& c) {
  const bool power = c.op() == "Pow";  // the exponent may have a type of its own
  if (!power) SLIPWAY_RETURN_IF_ERROR(SameDtypeAll(c));
  if (c.domain() == kSlipwayDomain) SLIPWAY_RETURN_IF_ERROR(CheckActivation(c));
  SLIPWAY_ASSIGN_OR_RETURN(auto shape, BroadcastAll(c));
  const DType dtype = power ? c.input(0).dtype : FirstKnownDtype(c);
  if (c.op() == "Mod" && IsFloating(dtype) && c.attributes().Int("fmod", 0) == 0) {
    return Bad("Mod of ", dtype, " needs fmod = 1");
  }
  if (dtype == DType::kBool) return Bad("the operator does not take bool; insert a Cast");
  c.set_output(0, dtype, shape);
  const std::string op(c.op());
  if (!shape || c.domain() != "" || (op == "Mod" && c.attributes().Int("fmod", 0) != 0))
    return OkStatus();
  FoldElements(c, *shape, [&](const Dim& a, const Dim& b) { return Arithmetic(op, a, b); });
  return OkStatus();
}

Status InferCompare(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(SameDtypeAll(c));
  const std::string op(c.op());
  const bool logic = op == "And" || op == "Or" || op == "Xor";
  if (logic) {
    for (size_t i = 0; i < 2; ++i) SLIPWAY_RETURN_IF_ERROR(RequireBool(c, i));
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto shape, BroadcastAll(c));
  c.set_output(0, DType::kBool, shape);
  if (!shape) return OkStatus();
  FoldElements(c, *shape, [&](const Dim& a, const Dim& b) -> std::optional<Dim> {
    const auto r = logic ? Logic(op, a, b) : Comparison(op, a, b);
    if (!r) return std::nullopt;
    return Dim(*r ? 1 : 0);
  });
  return OkStatus();
}

Status InferWhere(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireBool(c, 0));
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {1, 2}));
  SLIPWAY_ASSIGN_OR_RETURN(auto shape, BroadcastAll(c));
  c.set_output(0, c.input(1).dtype != DType::kUndefined ? c.input(1).dtype : c.input(2).dtype,
               shape);
  const auto extent = shape ? SmallExtent(*shape) : std::nullopt;
  const auto condition = c.elements(0), yes = c.elements(1), no = c.elements(2);
  if (!extent || !condition || !yes || !no) return OkStatus();
  std::vector<std::vector<size_t>> at;
  for (size_t i = 0; i < 3; ++i) {
    const auto own = SmallExtent(*c.input(i).shape);
    if (!own) return OkStatus();
    at.push_back(BroadcastPositions(*own, *extent));
  }
  std::vector<Dim> out;
  for (size_t k = 0; k < at[0].size(); ++k) {
    const Dim& chosen = (*condition)[at[0][k]];
    if (!chosen.known()) return OkStatus();
    out.push_back(chosen.Is(0) ? (*no)[at[2][k]] : (*yes)[at[1][k]]);
  }
  c.set_elements(0, std::move(out));
  return OkStatus();
}

}  // namespace slipway::ir
