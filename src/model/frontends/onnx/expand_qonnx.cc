// Quantize and Dequantize as QONNX's Quant, which keeps real numbers between nodes
// (https://github.com/fastmachinelearning/qonnx/tree/main/docs/qonnx-custom-ops).

#include <algorithm>

#include "model/frontends/onnx/expand.h"
#include "model/frontends/onnx/rewriter.h"
#include "model/ops/quantize.h"

namespace slipway::onnx {
namespace {

using ir::Attributes;
using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

// QONNX's name of a rounding mode; null when it has none.
const char* RoundingName(ops::QuantRounding rounding) {
  switch (rounding) {
    case ops::QuantRounding::kHalfEven:
      return "ROUND";
    case ops::QuantRounding::kHalfAway:
      return "HALF_UP";
    case ops::QuantRounding::kHalfToZero:
      return "HALF_DOWN";
    case ops::QuantRounding::kCeil:
      return "CEIL";
    case ops::QuantRounding::kFloor:
      return "FLOOR";
    case ops::QuantRounding::kToZero:
      return "DOWN";
    case ops::QuantRounding::kFromZero:
      return "UP";
    case ops::QuantRounding::kHalfUp:
      return nullptr;
  }
  return nullptr;
}

Status Refuse(const Node& n, const std::string& what) {
  return Unsupported(n.Describe() + ": QONNX cannot hold " + what +
                     "; export to ONNX (--to onnx) instead");
}

// The Quantize and Dequantize agree in everything that decides what a code means.
bool SameCodes(const Node& q, const Node& d) {
  for (const char* name : {"bits", "signed", "group"}) {
    const int64_t fallback = name[0] == 'b' ? 8 : name[0] == 's' ? 1 : 0;
    if (q.attributes.Int(name, fallback) != d.attributes.Int(name, fallback)) return false;
  }
  if (q.attributes.String("kind", "affine") != d.attributes.String("kind", "affine")) return false;
  auto same = [](const Value* a, const Value* b) {
    if (a == b) return true;
    if (!a || !b || !a->constant() || !b->constant()) return false;
    const auto x = a->constant()->bytes(), y = b->constant()->bytes();
    return a->dtype() == b->dtype() && std::equal(x.begin(), x.end(), y.begin(), y.end());
  };
  if (q.input(1) && q.input(1)->type().shape && !q.input(1)->type().shape->empty() &&
      q.attributes.Int("axis", 1) != d.attributes.Int("axis", 1))
    return false;
  return same(q.input(1), d.input(1)) && same(q.input(2), d.input(2));
}

// A constant operand as float32 of a shape that broadcasts along x's axis.
Result<Value*> Operand(Rewriter& r, const Node& n, const Value* v, const Value* x,
                       const char* name) {
  const Tensor* t = v ? v->constant() : nullptr;
  if (v && !t) return Refuse(n, std::string("a computed ") + name);
  const std::vector<double> values = t ? t->ToDoubles() : std::vector<double>{0};
  const std::vector<float> floats(values.begin(), values.end());
  Dims dims;
  if (floats.size() != 1) {
    if (!x->type().shape)
      return Unsupported(n.Describe() + ": the rank of its input must be known");
    const auto rank = static_cast<int64_t>(x->type().shape->size());
    int64_t axis = n.attributes.Int("axis", 1);
    if (axis < 0) axis += rank;
    for (int64_t i = 0; i < rank; ++i)
      dims.push_back(i == axis ? static_cast<int64_t>(floats.size()) : 1);
  }
  return r.Constant(name, Tensor::Of<float>(dims, floats));
}

// The real values of a Dequantize whose codes are constant.
Result<Tensor> RealValues(const Node& n) {
  const Tensor* codes = n.constant_input(0);
  const Tensor* scale = n.constant_input(1);
  const Tensor* zero = n.input(2) ? n.constant_input(2) : nullptr;
  if (!scale || (n.input(2) && !zero)) return Refuse(n, "a computed scale");
  const auto c = codes->ToDoubles(), s = scale->ToDoubles();
  const auto z = zero ? zero->ToDoubles() : std::vector<double>(s.size(), 0.0);
  const Dims& dims = codes->dims();
  int64_t axis = n.attributes.Int("axis", 1), inner = 1, extent = 1;
  if (s.size() != 1) {
    if (axis < 0) axis += dims.rank();
    if (axis < 0 || axis >= dims.rank() ||
        dims[static_cast<size_t>(axis)] != static_cast<int64_t>(s.size()))
      return InvalidArgument(n.Describe() + ": its scale does not fit its codes");
    extent = dims[static_cast<size_t>(axis)];
    inner = dims.count(static_cast<int>(axis) + 1, dims.rank());
  }
  if (z.size() != s.size() || s.empty() || c.size() != static_cast<size_t>(dims.count()))
    return InvalidArgument(n.Describe() + ": its zero point does not fit its scale");
  std::vector<float> real(c.size());
  for (size_t i = 0; i < c.size(); ++i) {
    const auto at = static_cast<size_t>(static_cast<int64_t>(i) / inner % extent);
    real[i] = static_cast<float>(c[i] - z[at]) * static_cast<float>(s[at]);
  }
  return Tensor::Of<float>(dims, real);
}

Status Convert(Graph* g, Node* d) {
  const Attributes& a = d->attributes;
  const std::string kind(a.String("kind", "affine"));
  if (kind == "logarithmic" || ops::SmallFloatKind(kind) != DType::kUndefined)
    return Refuse(*d, "codes of kind " + kind);
  if (a.Int("group", 0) != 0) return Refuse(*d, "scales a block");
  Value* codes = d->input(0);
  Node* q = codes->producer();
  Value* x = nullptr;
  const int64_t bits = a.Int("bits", 8);
  Rewriter r(g, d);
  const char* rounding = "ROUND";
  bool narrow = a.Int("narrow", 0) != 0;
  if (codes->constant()) {
    SLIPWAY_ASSIGN_OR_RETURN(Tensor real, RealValues(*d));
    x = r.Constant("real", std::move(real));
    // float32 does not hold every wide code: a bias stays a constant.
    if (bits > 16) {
      r.Finish(r.Op("Identity", {x}));
      return OkStatus();
    }
  } else if (q && q->IsSlipway("Quantize")) {
    if (!SameCodes(*q, *d)) return Refuse(*d, "codes that are read by another scale");
    auto parsed = ops::ParseQuant(q->attributes);
    if (!parsed.ok()) return std::move(parsed).status();
    rounding = RoundingName(parsed->rounding);
    if (!rounding) return Refuse(*q, "rounding half_up");
    if (parsed->precision != DType::kUndefined) return Refuse(*q, "a precision of the division");
    narrow = parsed->narrow;
    x = q->input(0);
  } else {
    return Refuse(*d, "codes that are no constant and not made by a Quantize");
  }
  SLIPWAY_ASSIGN_OR_RETURN(Value * scale, Operand(r, *d, d->input(1), x, "scale"));
  SLIPWAY_ASSIGN_OR_RETURN(Value * zero, Operand(r, *d, d->input(2), x, "zero_point"));
  if (kind == "bipolar") {
    r.Finish(r.Op("BipolarQuant", {x, scale}, {}, kQonnxDomain));
    return OkStatus();
  }
  Value* width = r.Constant("bits", Tensor::Scalar<float>(static_cast<float>(bits)));
  r.Finish(r.Op("Quant", {x, scale, zero, width},
                {{"narrow", int64_t{narrow}},
                 {"rounding_mode", std::string(rounding)},
                 {"signed", int64_t{a.Int("signed", 1) != 0}}},
                kQonnxDomain));
  return OkStatus();
}

}  // namespace

Status ExpandToQonnx(Graph* graph) {
  for (const auto& node : graph->nodes()) {
    for (const auto& [key, body] : node->subgraphs)
      SLIPWAY_RETURN_IF_ERROR(
          ExpandToQonnx(body.get()).With(node->Describe() + ", body '" + key + "'"));
  }
  for (Node* n : graph->NodeList()) {
    if (n->IsSlipway("Dequantize") && n->output()) SLIPWAY_RETURN_IF_ERROR(Convert(graph, n));
  }
  graph->RemoveUnused();
  for (Node* n : graph->NodeList()) {
    if (n->IsSlipway("Quantize")) return Refuse(*n, "codes as such");
  }
  return OkStatus();
}

}  // namespace slipway::onnx
