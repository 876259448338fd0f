// Inference of the quantization operators.

#include <cmath>

#include "model/ir/infer_util.h"
#include "model/ops/quantize.h"

namespace slipway::ir {
namespace {

struct Codes {
  int64_t bits;
  DType dtype;  // where the codes live
};

Result<Codes> ReadCodes(const InferContext& c, int64_t most) {
  const int64_t bits = c.attributes().Int("bits", 8);
  if (bits < 1 || bits > most) return Bad("bits = ", bits, " must lie in [1, ", most, "]");
  const std::string_view kind = c.attributes().String("kind", "affine");
  if (const DType small = ops::SmallFloatKind(kind); small != DType::kUndefined) {
    if (bits != DTypeBits(small))
      return Bad("bits = ", bits, " but kind ", kind, " has ", DTypeBits(small));
    if (c.has_input(2)) return Bad("kind ", kind, " has no zero point");
    return Codes{bits, small};
  }
  if (kind == "bipolar") {
    if (bits != 1 || c.attributes().Int("signed", 1) == 0)
      return Bad("bipolar codes have one bit and are signed");
    if (c.has_input(2)) return Bad("bipolar codes have no zero point");
    return Codes{bits, DType::kInt8};
  }
  if (kind != "affine" && kind != "power_of_two" && kind != "logarithmic") {
    return Bad("kind '", kind,
               "' must be affine, power_of_two, logarithmic, bipolar or a small float type");
  }
  const std::string_view rounding = c.attributes().String("rounding", "half_even");
  if (!ops::RoundingFromName(rounding)) return Bad("unknown rounding '", rounding, "'");
  const bool is_signed = c.attributes().Int("signed", 1) != 0;
  if (bits > 16) {
    if (bits != 32 || !is_signed)
      return Bad("bits = ", bits, " must be at most 16, or 32 and signed");
    return Codes{bits, DType::kInt32};
  }
  if (bits > 8) return Codes{bits, is_signed ? DType::kInt16 : DType::kUInt16};
  return Codes{bits, is_signed ? DType::kInt8 : DType::kUInt8};
}

// Scale and zero point: one element, a vector along axis, or blocked along axis.
Status CheckScale(InferContext& c, DType codes) {
  const int64_t group = c.attributes().Int("group", 0);
  if (group < 0 || group > kMaxWindow)
    return Bad("group = ", group, " must be 0 or the length of a block");
  const DType scale_type = c.input(1).dtype;
  if (scale_type != DType::kUndefined && !IsFloating(scale_type))
    return Bad("the scale has type ", scale_type, " but must be floating");
  if (c.has_input(2)) {
    const DType t = c.input(2).dtype;
    if (t != DType::kUndefined && t != codes)
      return Bad("the zero point has type ", t, " but the codes are ", codes);
  }
  const SymShape* x = ShapeOf(c, 0);
  for (size_t i : {1, 2}) {
    const SymShape* s = ShapeOf(c, i);
    const std::string_view what = i == 1 ? "scale" : "zero_point";
    if (!x || !s) continue;
    const Dim n = Count(*s);
    if (group == 0 && n.Is(1) && s->size() <= 1) continue;
    SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                             NormalizeAxis(c.attributes().Int("axis", 1), x->size()));
    if (group == 0) {
      SLIPWAY_RETURN_IF_ERROR(RequireVector(c, i, (*x)[axis], what));
      continue;
    }
    SymShape want = *x;
    want[axis] = CeilDiv((*x)[axis], Dim(group));
    bool good = s->size() == want.size();
    for (size_t d = 0; good && d < want.size(); ++d)
      good = !want[d].known() || !(*s)[d].known() || want[d] == (*s)[d];
    if (!good)
      return Bad(what, " has shape ", *s, " but blocks of ", group, " along dimension ", axis,
                 " need ", want);
  }
  const SymShape *scale = ShapeOf(c, 1), *zero = ShapeOf(c, 2);
  if (scale && zero) {
    const Dim a = Count(*scale), b = Count(*zero);
    if (a.known() && b.known() && !(a == b))
      return Bad("the scale ", *scale, " and the zero point ", *zero, " must have the same shape");
  }
  return OkStatus();
}

}  // namespace

Status InferQuantize(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const Codes codes, ReadCodes(c, 16));
  const DType x = c.input(0).dtype;
  if (x != DType::kUndefined && !IsFloating(x))
    return Bad("the input has type ", x, " but must be floating");
  SLIPWAY_RETURN_IF_ERROR(CheckScale(c, codes.dtype));
  c.set_output(0, codes.dtype, c.input(0).shape);
  return OkStatus();
}

Status InferDequantize(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const Codes codes, ReadCodes(c, 32));
  const DType x = c.input(0).dtype;
  if (x != DType::kUndefined && x != codes.dtype) {
    return Bad("the input has type ", x, " but bits = ", codes.bits,
               " and signed = ", c.attributes().Int("signed", 1), " mean ", codes.dtype);
  }
  SLIPWAY_RETURN_IF_ERROR(CheckScale(c, codes.dtype));
  c.set_output(0, c.input(1).dtype, c.input(0).shape);
  return OkStatus();
}

Status InferDynamicQuantizeLinear(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 0, DType::kFloat32, "the input"));
  c.set_output(0, DType::kUInt8, c.input(0).shape);
  c.set_output(1, DType::kFloat32, SymShape{});
  c.set_output(2, DType::kUInt8, SymShape{});
  return OkStatus();
}

static Status SetBroadcast(InferContext& c, DType to) {
  const SymShape *a = ShapeOf(c, 0), *b = ShapeOf(c, 1);
  std::optional<SymShape> out;
  if (a && b) {
    SLIPWAY_ASSIGN_OR_RETURN(out, Broadcast(c, *a, *b));
  }
  c.set_output(0, to, std::move(out));
  return OkStatus();
}

Status InferQBinary(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType to, QuantizedOutput(c));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 0, "a_zero_point"));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 1, "b_zero_point"));
  return SetBroadcast(c, to);
}

Status InferMulQuantize(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType to, QuantizedOutput(c));
  if (to == DType::kFloat32) return Bad("to = 1 (float32) must be uint8 (2) or int8 (3)");
  const float scale = c.attributes().Float("scale", 0);
  if (!(scale > 0) || std::isinf(scale)) return Bad("scale is ", scale, " but must be positive");
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 0, DType::kFloat32, "the first factor"));
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 1, DType::kFloat32, "the second factor"));
  return SetBroadcast(c, to);
}

Status InferQLayerNorm(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType to, QuantizedOutput(c));
  if (c.has_input(2)) {
    SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 0, "a_zero_point"));
    SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 2, "b_zero_point"));
    const SymShape *a = ShapeOf(c, 0), *b = ShapeOf(c, 2);
    if (a && b && a->size() != b->size()) return Bad("X ", *a, " and B ", *b, " differ");
    for (size_t d = 0; a && b && d < a->size(); ++d)
      SLIPWAY_RETURN_IF_ERROR(Unify(c, (*a)[d], (*b)[d], "X and B").status());
  } else {
    SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 0, DType::kFloat32, "the input"));
  }
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 1, DType::kFloat32, "the weight"));
  SLIPWAY_RETURN_IF_ERROR(RequireMinRank(c, 0, 1, "the input"));
  if (to == DType::kFloat32) return Bad("to = 1 (float32) must be uint8 (2) or int8 (3)");
  if (const SymShape* x = ShapeOf(c, 0); x && c.has_input(1))
    SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 1, x->back(), "the weight"));
  c.set_output(0, to, c.input(0).shape);
  return OkStatus();
}

Status InferQUnary(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType to, QuantizedOutput(c));
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 0, "x_zero_point"));
  c.set_output(0, to, c.input(0).shape);
  return OkStatus();
}

Status InferQAffine(InferContext& c) {
  SLIPWAY_ASSIGN_OR_RETURN(const DType to, QuantizedOutput(c));
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 0, DType::kFloat32, "multiplier"));
  SLIPWAY_RETURN_IF_ERROR(RequireDtype(c, 1, DType::kFloat32, "offset"));
  std::optional<SymShape> out;
  bool known = true;
  size_t axis = 0;
  for (size_t i = 2; i < c.num_inputs(); ++i) {
    if (!c.has_input(i)) return Bad("input ", i, " is absent");
    SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, i, ""));
    const SymShape* s = ShapeOf(c, i);
    if (!s) {
      known = false;
      continue;
    }
    if (!out) {
      SLIPWAY_ASSIGN_OR_RETURN(axis, NormalizeAxis(c.attributes().Int("axis", 1), s->size()));
      out = *s;
      continue;
    }
    if (s->size() != out->size())
      return Bad("input ", i, " has shape ", *s, " but earlier pieces have ", out->size(),
                 " dimensions");
    for (size_t d = 0; d < s->size(); ++d) {
      if (d == axis) {
        (*out)[d] = (*out)[d] + (*s)[d];
      } else {
        SLIPWAY_ASSIGN_OR_RETURN(
            (*out)[d], Unify(c, (*out)[d], (*s)[d],
                             "dimension " + std::to_string(d) + " of input " + std::to_string(i)));
      }
    }
  }
  if (!known && out) (*out)[axis] = c.fresh_symbol();
  c.set_output(0, to, out);
  if (!known || !out) return OkStatus();
  for (size_t i : {0, 1}) {
    const SymShape* v = ShapeOf(c, i);
    if (v && v->size() == 1 && (*v)[0].Is(1)) continue;
    SLIPWAY_RETURN_IF_ERROR(RequireVector(c, i, (*out)[axis], i == 0 ? "multiplier" : "offset"));
  }
  return OkStatus();
}

Status InferQLookup(InferContext& c) {
  SLIPWAY_RETURN_IF_ERROR(CheckCodes(c, 0, "x_zero_point"));
  const SymShape *x = ShapeOf(c, 0), *table = ShapeOf(c, 1);
  if (table && table->size() == 2) {
    if (!(*table)[1].Is(256)) return Bad("a table has ", (*table)[1], " elements instead of 256");
    if (x) {
      SLIPWAY_ASSIGN_OR_RETURN(const size_t axis,
                               NormalizeAxis(c.attributes().Int("axis", -1), x->size()));
      SLIPWAY_RETURN_IF_ERROR(Unify(c, (*x)[axis], (*table)[0], "channels of the table").status());
    }
  } else {
    SLIPWAY_RETURN_IF_ERROR(RequireVector(c, 1, Dim(256), "table"));
  }
  c.set_output(0, c.input(1).dtype, c.input(0).shape);
  return OkStatus();
}

}  // namespace slipway::ir
