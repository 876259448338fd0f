// Layer normalisation in pieces, whose variance may be rounded to codes in the middle (which keeps
// recover-layernorm from it) and whose result is rounded to codes, to QLayerNorm. A sum of codes
// that it normalises is made in passing; where it is wanted as codes too, those come from codes,
// under the contract of QAdd.

#include "model/passes/integer_output.h"
#include "model/passes/norm_match.h"
#include "model/passes/pass.h"
#include "model/passes/qdq.h"

namespace slipway::passes {
namespace {

// ReduceMean over the last dimension, which stays as 1.
Value* MeanInput(const Value* v) {
  Node* mean = ProducerOf(v, "ReduceMean");
  if (!mean || !RankOf(mean->input(0))) return nullptr;
  return TrailingAxis(mean) == *RankOf(mean->input(0)) - 1 ? mean->input(0) : nullptr;
}

bool FuseOne(Graph& graph, Node* quantize, const std::function<bool(const Node&)>& supported) {
  const auto y = quantize->IsSlipway("Quantize") ? PerTensorParams(quantize) : std::nullopt;
  if (!y || DTypeBits(quantize->output()->dtype()) != 8) return false;
  std::vector<Node*> pieces{quantize};
  const auto take = [&](Node* node) {
    if (node) pieces.insert(pieces.begin(), node);
    return node;
  };
  Value *ratio = quantize->input(0), *weight = nullptr;
  if (Node* mul = ProducerOf(ratio, "Mul")) {
    const size_t constant = mul->input(0)->is_constant() ? 0 : 1;
    weight = mul->input(constant);
    ratio = mul->input(1 - constant);
    const Tensor* t = weight->constant();
    if (!t || t->dtype() != DType::kFloat32 || t->dims().rank() != 1) return false;
    take(mul);
  }
  Node* div = take(ProducerOf(ratio, "Div"));
  Node* root = take(div ? ProducerOf(div->input(1), "Sqrt") : nullptr);
  Node* add = take(root ? ProducerOf(root->input(0), "Add") : nullptr);
  if (!add) return false;
  const ScalarOperand sum = MatchScalarOperand(add, true);
  if (!sum) return false;
  ir::Attributes attributes{{"epsilon", static_cast<float>(sum.constant)},
                            {"scale", y->scale},
                            {"to", static_cast<int64_t>(quantize->output()->dtype())},
                            {"q_min", int64_t{y->q_min}},
                            {"q_max", int64_t{y->q_max}},
                            {"y_zero_point", int64_t{y->zero}}};
  Value* variance = sum.other;
  if (const Dequantized d = DequantizedValue(variance)) {
    Node* rounded = SlipwayProducerOf(d.codes, "Quantize");
    const auto v = rounded ? PerTensorParams(rounded) : std::nullopt;
    if (!v || !(*v == d.params)) return false;
    take(variance->producer());
    take(rounded);
    attributes.Set("v_scale", v->scale);
    attributes.Set("v_zero_point", int64_t{v->zero});
    attributes.Set("v_q_min", int64_t{v->q_min});
    attributes.Set("v_q_max", int64_t{v->q_max});
    variance = rounded->input(0);
  }
  const Value* squares = MeanInput(variance);
  if (!squares) return false;
  take(variance->producer());
  Node* square = take(ProducerOf(squares, "Mul"));
  Value* difference = div->input(0);
  if (!square || square->input(0) != difference || square->input(1) != difference) return false;
  Node* sub = take(ProducerOf(difference, "Sub"));
  if (!sub || MeanInput(sub->input(1)) != sub->input(0)) return false;
  take(sub->input(1)->producer());
  Value* x = sub->input(0);
  if (x->dtype() != DType::kFloat32 || !SameShape(x, quantize->output())) return false;
  const auto& shape = *x->type().shape;
  if (weight && !shape.back().Is(weight->constant()->count())) return false;
  if (!IsSelfContained(pieces)) return false;
  std::vector<Value*> inputs{x};
  if (weight) inputs.push_back(weight);
  // A sum of codes is made in passing, also where others want it whole.
  if (Node* sum = SlipwayProducerOf(x, "QAdd");
      sum && SameShape(sum->input(0), x) && SameShape(sum->input(1), x)) {
    inputs.resize(3);
    inputs[0] = sum->input(0);
    inputs[2] = sum->input(1);
    for (const char* name : {"a_multiplier", "a_zero_point", "b_multiplier", "b_zero_point"}) {
      if (const auto* value = sum->attributes.Find(name)) attributes.Set(name, *value);
    }
  }
  return FuseIfSupported(graph,
                         {.op = "QLayerNorm",
                          .inputs = inputs,
                          .attributes = attributes,
                          .domain = ir::kSlipwayDomain},
                         div, pieces, supported) != nullptr;
}

// A sum of codes that layer normalisation no longer reads is wanted as codes alone.
bool SumToCodes(Graph& graph, Node* quantize, const std::function<bool(const Node&)>& supported) {
  const auto y = quantize->IsSlipway("Quantize") ? PerTensorParams(quantize) : std::nullopt;
  Node* add = SlipwayProducerOf(quantize->input(0), "QAdd");
  if (!y || !add || !add->output()->OnlyUser() || add->output()->is_output()) return false;
  ir::Attributes attributes = add->attributes;
  Output out;
  out.params = y;
  out.q_min = y->q_min;
  out.q_max = y->q_max;
  Write(out, attributes);
  for (const char* name : {"a_multiplier", "b_multiplier"})
    attributes.Set(name, Ratio(static_cast<double>(add->attributes.Float(name, 1)), y->scale));
  return FuseIfSupported(graph,
                         {.op = "QAdd",
                          .inputs = add->inputs(),
                          .attributes = attributes,
                          .domain = ir::kSlipwayDomain},
                         add, {add, quantize}, supported) != nullptr;
}

}  // namespace

Result<int> FuseQLayerNorm(ir::Graph& graph, const PassOptions& options) {
  int changes =
      VisitNodes(graph, [&](Node* node) { return FuseOne(graph, node, options.supported); });
  changes +=
      VisitNodes(graph, [&](Node* node) { return SumToCodes(graph, node, options.supported); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
