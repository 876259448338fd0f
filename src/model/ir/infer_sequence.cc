// Types of sequences and optionals of tensors.
// https://onnx.ai/onnx/operators/onnx__SequenceInsert.html and its neighbours

#include <algorithm>
#include <string>

#include "base/checked.h"
#include "model/ir/infer_util.h"
#include "model/ir/text.h"

namespace slipway::ir {
namespace {

// Input i is a sequence, or of a type that nobody knows.
Status RequireSequence(const InferContext& c, size_t i) {
  const Type& t = c.input(i);
  if (t.is_sequence() || (t.dtype == DType::kUndefined && !t.is_container())) return OkStatus();
  return Bad("input ", i, " is ", t, " but must be a sequence");
}
Status RequireTensor(const InferContext& c, size_t i) {
  const Type& t = c.input(i);
  if (!t.is_container()) return OkStatus();
  return Bad("input ", i, " is ", t, " but must be a tensor");
}

Type SequenceOf(DType dtype, std::optional<SymShape> shape) {
  return {dtype, std::move(shape), Container::kSequence};
}

// The shape of one tensor out of a container: sizes that may differ are new ones.
std::optional<SymShape> Taken(InferContext& c, const Type& t) {
  std::optional<SymShape> shape = t.shape;
  if (!shape) return shape;
  for (Dim& d : *shape) {
    if (!d.known() && !c.bound(d)) d = c.fresh_symbol();
  }
  return shape;
}

// What fits both.
std::optional<SymShape> Join(InferContext& c, const std::optional<SymShape>& a,
                             const std::optional<SymShape>& b) {
  if (!a || !b || a->size() != b->size()) return std::nullopt;
  SymShape out = *a;
  for (size_t i = 0; i < out.size(); ++i) {
    if (!(out[i] == (*b)[i])) out[i] = c.fresh_symbol();
  }
  return out;
}

// The index at input i, when there is one, into `length` places: a scalar, counted from the end
// when negative. `ends`: one past the end is a place too.
Status CheckPosition(InferContext& c, size_t i, const std::optional<Dim>& length, bool end) {
  if (!c.has_input(i)) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(RequireTensor(c, i));
  SLIPWAY_RETURN_IF_ERROR(RequireScalar(c, i, "position"));
  SLIPWAY_ASSIGN_OR_RETURN(auto at, KnownIntVector(c, i, "position"));
  if (!at || at->size() != 1 || !length || !length->known()) return OkStatus();
  const int64_t n = length->value(), p = (*at)[0];
  if (p >= -n && (end ? p <= n : p < n)) return OkStatus();
  return Bad("position ", p, " is outside of a sequence of ", n, " tensors");
}

// Inputs from `first` on are tensors of one element type; returns it.
Result<DType> OneElementType(const InferContext& c, size_t first, DType dtype) {
  for (size_t i = first; i < c.num_inputs(); ++i) {
    if (!c.has_input(i)) return Bad("input ", i, " is absent");
    SLIPWAY_RETURN_IF_ERROR(RequireTensor(c, i));
    const DType t = c.input(i).dtype;
    if (dtype == DType::kUndefined) dtype = t;
    if (t != DType::kUndefined && t != dtype)
      return Bad("input ", i, " is ", t, " but the sequence is of ", dtype, "; cast it");
  }
  return dtype;
}

Status SequenceEmpty(InferContext& c) {
  const int64_t to = c.attributes().Int("dtype", 1);
  const DType t = to > 0 && to < 256 ? static_cast<DType>(to) : DType::kUndefined;
  if (t == DType::kString)
    return Unsupported("it is a sequence of strings; remove the string part of the model");
  if (!IsKnown(t)) return Bad("dtype = ", to, " is no element type of ONNX TensorProto");
  c.set_output(0, SequenceOf(t, std::nullopt));
  c.set_length(0, Dim(0));
  return OkStatus();
}

Status SequenceConstruct(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType dtype, OneElementType(c, 0, DType::kUndefined));
  std::optional<SymShape> shape = c.input(0).shape;
  for (size_t i = 1; i < c.num_inputs(); ++i) shape = Join(c, shape, c.input(i).shape);
  c.set_output(0, SequenceOf(dtype, std::move(shape)));
  c.set_length(0, Dim(static_cast<int64_t>(c.num_inputs())));
  return OkStatus();
}

Status SequenceInsert(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireSequence(c, 0));
  SLIPWAY_RETURN_IF_ERROR(RequireTensor(c, 1));
  const Type &sequence = c.input(0), &tensor = c.input(1);
  SLIPWAY_RETURN_IF_ERROR(SameDtype(c, {0, 1}));
  const auto n = c.length(0);
  SLIPWAY_RETURN_IF_ERROR(CheckPosition(c, 2, n, true));
  const DType dtype = sequence.dtype != DType::kUndefined ? sequence.dtype : tensor.dtype;
  const bool first = n && n->Is(0);
  c.set_output(0, SequenceOf(dtype, first ? tensor.shape : Join(c, sequence.shape, tensor.shape)));
  if (n) c.set_length(0, *n + Dim(1));
  return OkStatus();
}

Status SequenceErase(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireSequence(c, 0));
  const auto n = c.length(0);
  if (n && n->Is(0)) return Bad("the sequence holds no tensor that could be erased");
  SLIPWAY_RETURN_IF_ERROR(CheckPosition(c, 1, n, false));
  c.set_output(0, SequenceOf(c.input(0).dtype, c.input(0).shape));
  if (n) c.set_length(0, *n - Dim(1));
  return OkStatus();
}

Status SequenceAt(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireSequence(c, 0));
  SLIPWAY_RETURN_IF_ERROR(CheckPosition(c, 1, c.length(0), false));
  c.set_output(0, c.input(0).dtype, Taken(c, c.input(0)));
  return OkStatus();
}

Status SequenceLength(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireSequence(c, 0));
  c.set_output(0, DType::kInt64, SymShape{});
  if (auto n = c.length(0)) c.set_elements(0, {std::move(*n)});
  return OkStatus();
}

Status SplitToSequence(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireTensor(c, 0));
  if (c.has_input(1)) SLIPWAY_RETURN_IF_ERROR(RequireTensor(c, 1));
  const Type& x = c.input(0);
  const int64_t keep = c.attributes().Int("keepdims", 1);
  if (keep != 0 && keep != 1) return Bad("keepdims = ", keep, " must be 0 or 1");
  SLIPWAY_ASSIGN_OR_RETURN(auto sizes, KnownIntVector(c, 1, "split"));
  const SymShape* split = ShapeOf(c, 1);
  const bool each = split && split->empty();  // a scalar: one size for all but the last
  if (sizes) {
    for (int64_t s : *sizes) {
      if (s < (each ? 1 : 0)) return Bad("split = ", s, " is no size of a piece");
    }
  }
  if (!x.shape) {
    c.set_output(0, SequenceOf(x.dtype, std::nullopt));
    if (split && split->size() == 1) c.set_length(0, (*split)[0]);
    return OkStatus();
  }
  SymShape shape = *x.shape;
  SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                           NormalizeAxis(c.attributes().Int("axis", 0), shape.size()));
  const Dim whole = shape[axis];
  if (!c.has_input(1)) {
    shape[axis] = Dim(1);
    if (!keep) shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
    c.set_output(0, SequenceOf(x.dtype, std::move(shape)));
    c.set_length(0, whole);
    return OkStatus();
  }
  Dim piece = c.fresh_symbol();
  if (each && sizes && sizes->size() == 1) {
    const int64_t size = (*sizes)[0];
    if (size == 1) {
      piece = Dim(1);
      c.set_length(0, whole);
    } else if (whole.known()) {
      const int64_t n = whole.value();
      if (n % size == 0) piece = Dim(size);
      if (n <= size) piece = whole;
      c.set_length(0, Dim(n / size + (n % size != 0 ? 1 : 0)));
    }
  } else if (split && split->size() == 1) {
    c.set_length(0, (*split)[0]);
    if (sizes) {
      int64_t sum = 0;
      for (int64_t s : *sizes) {
        const auto next = CheckedAdd(sum, s);
        if (!next) return Bad("the sizes in 'split' are too large");
        sum = *next;
      }
      if (whole.known() && !whole.Is(sum))
        return Bad("the sizes in 'split' add up to ", sum, " but the axis has ", whole);
      if (!sizes->empty() &&
          std::all_of(sizes->begin(), sizes->end(), [&](int64_t s) { return s == (*sizes)[0]; }))
        piece = Dim((*sizes)[0]);
    }
  }
  shape[axis] = piece;
  c.set_output(0, SequenceOf(x.dtype, std::move(shape)));
  return OkStatus();
}

Status ConcatFromSequence(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireSequence(c, 0));
  const int64_t stack = c.attributes().Int("new_axis", 0);
  if (stack != 0 && stack != 1) return Bad("new_axis = ", stack, " must be 0 or 1");
  const Type& sequence = c.input(0);
  const auto n = c.length(0);
  if (n && n->Is(0))
    return Bad("the sequence holds no tensor, so that nothing can be concatenated");
  if (!sequence.shape) {
    c.set_output(0, sequence.dtype, std::nullopt);
    return OkStatus();
  }
  // The sizes of all tensors agree here, whatever they are.
  SymShape shape = *Taken(c, sequence);
  const bool new_axis = stack != 0;
  SLIPWAY_ASSIGN_OR_RETURN(const size_t axis, NormalizeAxis(c.attributes().Int("axis", 0),
                                                            shape.size() + (new_axis ? 1 : 0)));
  if (new_axis) {
    shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), n ? *n : c.fresh_symbol());
  } else {
    Dim& d = shape[axis];
    const bool same = d.known() || d == (*sequence.shape)[axis];
    d = n && same ? d * *n : c.fresh_symbol();
  }
  c.set_output(0, sequence.dtype, std::move(shape));
  return OkStatus();
}

Status Optional(InferContext& c) {
  Type t;
  if (c.has_input(0)) {
    t = c.input(0);
  } else {
    const std::string_view type = c.attributes().String("type", "");
    if (type.empty()) return Bad("has neither an input nor a type");
    auto parsed = ParseTypeText(type);
    if (!parsed.ok()) return std::move(parsed).status().With("attribute 'type'");
    t = std::move(*parsed);
  }
  if (t.is_optional()) return Bad("an optional cannot hold ", t);
  t.container = t.is_sequence() ? Container::kOptionalSequence : Container::kOptional;
  c.set_output(0, std::move(t));
  return OkStatus();
}

Status OptionalHasElement(InferContext& c) {
  c.set_output(0, DType::kBool, SymShape{});
  if (!c.has_input(0)) {
    c.set_elements(0, {Dim(0)});
  } else if (const Type& t = c.input(0); t.dtype != DType::kUndefined && !t.is_optional()) {
    c.set_elements(0, {Dim(1)});
  }
  return OkStatus();
}

Status OptionalGetElement(InferContext& c) {
  Type t = c.input(0).Element();
  if (c.input(0).is_sequence()) t.container = Container::kSequence;
  if (!t.is_container() && c.input(0).is_container()) t.shape = Taken(c, t);
  c.set_output(0, std::move(t));
  if (auto n = c.length(0)) c.set_length(0, std::move(*n));
  return OkStatus();
}

struct Row {
  std::string_view op;
  Status (*infer)(InferContext&);
};
constexpr Row kRows[] = {
    {"SequenceEmpty", SequenceEmpty},
    {"SequenceConstruct", SequenceConstruct},
    {"SequenceInsert", SequenceInsert},
    {"SequenceErase", SequenceErase},
    {"SequenceAt", SequenceAt},
    {"SequenceLength", SequenceLength},
    {"SplitToSequence", SplitToSequence},
    {"ConcatFromSequence", ConcatFromSequence},
    {"Optional", Optional},
    {"OptionalHasElement", OptionalHasElement},
    {"OptionalGetElement", OptionalGetElement},
};

}  // namespace

Status InferSequence(InferContext& c) {
  for (const Row& row : kRows) {
    if (row.op == c.op()) return row.infer(c);
  }
  return Internal(std::string(c.op()) + " is no operator of sequences");
}

}  // namespace slipway::ir
