// QMatMul, Softmax, Quantize and QMatMul to QAttention, which never writes scores to memory. Scores
// may be codes between; a constant may be added to them, and, as Swin does, the sum rounded to
// codes and added to a mask of codes. Every code stays; transposes of the operands become orders in
// which they are read.

#include <algorithm>

#include "model/passes/pass.h"
#include "model/passes/qdq.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// The extents behind leading ones.
SymShape Trimmed(const SymShape& shape) {
  const auto first =
      std::find_if(shape.begin(), shape.end(), [](const Dim& d) { return !d.Is(1); });
  return SymShape(first, shape.end());
}

class Match {
 public:
  Match(Graph& graph, Node* second) : graph_(graph), second_(second) {}

  bool Find() {
    Node* quantize = Take(second_->input(0));
    const auto p =
        quantize && quantize->IsSlipway("Quantize") ? PerTensorParams(quantize) : std::nullopt;
    if (!p || DTypeBits(quantize->output()->dtype()) != 8 ||
        p->zero != second_->attributes.Int("a_zero_point", 0))
      return false;
    Set("p_scale", p->scale);
    Set("p_to", static_cast<int64_t>(quantize->output()->dtype()));
    Range("p", *p);
    Node* softmax = Take(quantize->input(0));
    if (!softmax || !softmax->Is("Softmax")) return false;
    const auto rank = RankOf(softmax->input(0));
    if (!rank || NormalAxis(softmax->attributes.Int("axis", -1), *rank) != *rank - 1) return false;
    Value* s = SkipReshapes(softmax->input(0));
    if (!Mask(s) || !Bias(s)) return false;
    Node* first = Take(s);
    if (first && first->IsSlipway("Dequantize")) {
      const auto q = PerTensorParams(first);
      Value* codes = first->input(0);
      first = Take(codes);
      if (!q || !first || !first->IsSlipway("QMatMul") ||
          q->zero != first->attributes.Int("y_zero_point", 0))
        return false;
      Set("s_scale", q->scale);
      Set("s_zero_point", int64_t{q->zero});
      Set("s_q_min", first->attributes.Int("q_min", -128));
      Set("s_q_max", first->attributes.Int("q_max", 127));
    } else if (!first || !first->IsSlipway("QMatMul") ||
               first->output()->dtype() != DType::kFloat32) {
      return false;
    }
    first_ = first;
    if (!SameShape(first->output(), second_->input(0))) return false;
    Set("q_zero_point", first->attributes.Int("a_zero_point", 0));
    Set("k_zero_point", first->attributes.Int("b_zero_point", 0));
    Set("v_zero_point", second_->attributes.Int("b_zero_point", 0));
    Set("s_multiplier", first->attributes.Float("multiplier", 1));
    Set("multiplier", second_->attributes.Float("multiplier", 1));
    for (const char* name : {"q_min", "q_max", "to", "y_zero_point"}) {
      if (const auto* value = second_->attributes.Find(name)) attributes_.Set(name, *value);
    }
    return true;
  }

  // `turned`: transposes of the operands and of the result are taken in.
  bool Make(bool turned, const std::function<bool(const Node&)>& supported) const {
    ir::Attributes attributes = attributes_;
    std::vector<Value*> inputs{first_->input(0), first_->input(1), second_->input(1), bias_, mask_};
    while (!inputs.back()) inputs.pop_back();
    std::vector<Node*> pieces = pieces_;
    const char* const names[3] = {"q_perm", "k_perm", "v_perm"};
    for (size_t i = 0; turned && i < 3; ++i) {
      Node* transpose = ProducerOf(inputs[i], "Transpose");
      const auto perm = PermOf(transpose);
      if (!perm || !inputs[i]->OnlyUser() || inputs[i]->is_output()) continue;
      attributes.Set(names[i], *perm);
      inputs[i] = transpose->input(0);
      pieces.push_back(transpose);
    }
    pieces.insert(pieces.end(), {first_, second_});
    if (Node* transpose = second_->output()->OnlyUser(); turned && transpose) {
      const auto perm = PermOf(transpose);
      if (perm && !second_->output()->is_output()) {
        attributes.Set("y_perm", *perm);
        pieces.push_back(transpose);
      }
    }
    return FuseIfSupported(graph_,
                           {.op = "QAttention",
                            .inputs = inputs,
                            .attributes = attributes,
                            .domain = ir::kSlipwayDomain},
                           second_, pieces, supported) != nullptr;
  }

 private:
  // What makes `v` when only this pattern reads it.
  Node* Take(const Value* v) {
    if (v->is_output() || !v->OnlyUser() || !v->producer()) return nullptr;
    pieces_.insert(pieces_.begin(), v->producer());
    return v->producer();
  }
  void Set(const char* name, ops::AttributeValue value) { attributes_.Set(name, std::move(value)); }
  void Range(const std::string& prefix, const QParams& p) {
    attributes_.Set(prefix + "_zero_point", int64_t{p.zero});
    attributes_.Set(prefix + "_q_min", int64_t{p.q_min});
    attributes_.Set(prefix + "_q_max", int64_t{p.q_max});
  }
  // Past reshapes that only add or drop leading dimensions of 1.
  Value* SkipReshapes(Value* v) {
    while (Node* reshape = ProducerOf(v, "Reshape")) {
      const auto &from = reshape->input(0)->type().shape, &to = v->type().shape;
      if (!v->OnlyUser() || v->is_output() || !from || !to || !(Trimmed(*from) == Trimmed(*to)))
        break;
      pieces_.insert(pieces_.begin(), reshape);
      v = reshape->input(0);
    }
    return v;
  }

  // fma(code(s) - zero, multiplier, constant): a mask. False: something that cannot be said.
  bool Mask(Value*& s) {
    Node* add = s->producer();
    if (!add || !add->IsSlipway("QAdd") || s->dtype() != DType::kFloat32) return true;
    const Tensor* mask = add->constant_input(1);
    if (!mask || !Take(s)) return false;
    Value* codes = SkipReshapes(add->input(0));
    Node* quantize = Take(codes);
    const auto t =
        quantize && quantize->IsSlipway("Quantize") ? PerTensorParams(quantize) : std::nullopt;
    if (!t || t->zero != add->attributes.Int("a_zero_point", 0)) return false;
    Set("t_scale", t->scale);
    Set("t_multiplier", add->attributes.Float("a_multiplier", 1));
    Range("t", *t);
    const auto zero = static_cast<int32_t>(add->attributes.Int("b_zero_point", 0));
    const float multiplier = add->attributes.Float("b_multiplier", 1);
    std::vector<float> values;
    for (int64_t code : mask->ToInts())
      values.push_back(static_cast<float>(static_cast<int32_t>(code) - zero) * multiplier);
    Dims dims = mask->dims();
    const auto rank = RankOf(codes);
    while (rank && dims.rank() > *rank && dims[0] == 1) dims = Dims(std::span(dims).subspan(1));
    mask_ = AddFloats(graph_, add->name() + "_mask", dims, values);
    s = SkipReshapes(quantize->input(0));
    return true;
  }
  bool Bias(Value*& s) {
    Node* add = ProducerOf(s, "Add");
    if (!add) return true;
    const size_t constant = add->input(0)->is_constant() ? 0 : 1;
    bias_ = add->input(constant);
    if (!bias_->is_constant() || bias_->dtype() != DType::kFloat32 || !Take(s)) return false;
    s = SkipReshapes(add->input(1 - constant));
    return true;
  }

  Graph& graph_;
  Node *first_ = nullptr, *second_;
  Value *bias_ = nullptr, *mask_ = nullptr;
  ir::Attributes attributes_;
  std::vector<Node*> pieces_;
};

bool FuseOne(Graph& graph, Node* second, const std::function<bool(const Node&)>& supported) {
  if (!second->IsSlipway("QMatMul") || !supported) return false;
  Match match(graph, second);
  return match.Find() && (match.Make(true, supported) || match.Make(false, supported));
}

}  // namespace

Result<int> FuseQAttention(ir::Graph& graph, const PassOptions& options) {
  const int changes =
      VisitNodes(graph, [&](Node* node) { return FuseOne(graph, node, options.supported); });
  graph.RemoveUnused();  // masks of what was not fused too
  return changes;
}

}  // namespace slipway::passes
