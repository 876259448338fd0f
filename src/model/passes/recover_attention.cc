#include <algorithm>
#include <cmath>

#include "model/passes/evaluate.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// softmax(scale * Q K^T + masks) V as found in the graph; Q, K (through `k_source` and `k_perm`)
// and V of rank 3 or 4.
struct Match {
  Value *q = nullptr, *v = nullptr;
  Value* k_source = nullptr;
  std::vector<int64_t> k_perm;
  double scale = 1;
  bool repeated = false;      // heads of K and V serve several of Q
  std::vector<Value*> masks;  // those that are no constants
  struct Selection {          // Where(condition, scores, value), or the other way round
    Value* condition;
    float value;
    bool keeps;  // the scores stay where the condition holds
  };
  std::vector<Selection> selections;
  std::vector<Tensor> constant_masks;
  std::vector<Node*> nodes;  // in no order, the last MatMul at the end
  Node* scores = nullptr;
};

// A constant c that is added to x reshaped from `from` to `to`, as a constant to add to x itself.
std::optional<Tensor> MaskBeforeReshape(const Tensor& c, const Dims& from, const Dims& to) {
  if (c.dims().rank() > to.rank()) return std::nullopt;
  Dims aligned;
  for (int i = c.dims().rank(); i < to.rank(); ++i) aligned.push_back(1);
  for (int64_t d : c.dims()) aligned.push_back(d);
  std::vector<int64_t> expand;
  Dims result;
  size_t i = 0, j = 0;
  while (i < from.size() || j < to.size()) {
    // The smallest group of dimensions that covers the same extent on both sides.
    size_t i0 = i, j0 = j;
    int64_t a = i < from.size() ? from[i++] : 1, b = j < to.size() ? to[j++] : 1;
    while (a != b) {
      if (a < b && i < from.size()) {
        a *= from[i++];
      } else if (b < a && j < to.size()) {
        b *= to[j++];
      } else {
        return std::nullopt;
      }
    }
    bool ones = true;
    for (size_t t = j0; t < j; ++t) ones &= aligned[t] == 1;
    for (size_t t = j0; t < j; ++t) expand.push_back(ones ? 1 : to[t]);
    for (size_t t = i0; t < i; ++t) result.push_back(ones ? 1 : from[t]);
  }
  std::vector<Tensor> inputs{c.Reshaped(aligned), Tensor::Vector<int64_t>(expand)};
  auto full = EvaluateOp("Expand", "", {}, inputs);
  if (!full.ok() || full->count() != result.count()) return std::nullopt;
  return full->Reshaped(result);
}

// What stands for `value` in a mask that is added: two of them must not reach -infinity, which
// would make NaN of a row that is masked twice.
float OutOf(double value) {
  return std::isinf(value) ? static_cast<float>(value) : static_cast<float>(std::max(value, -1e30));
}

bool IsScoreMatMul(const Node* node) { return node && node->Is("MatMul"); }

// Walks from `value` up to the MatMul of Q and K.
bool WalkScores(Value* value, Match& m, int depth) {
  Node* node = value->producer();
  if (!node || depth > 8) return false;
  if (IsScoreMatMul(node)) {
    m.scores = node;
    m.nodes.push_back(node);
    return true;
  }
  if (node->Is("Mul") || node->Is("Div")) {
    ScalarOperand s = MatchScalarOperand(node, node->Is("Mul"));
    // Behind a mask only (walking up), so that the mask is not scaled.
    if (!s || !SameShape(s.other, value)) return false;
    m.scale *= node->Is("Mul") ? s.constant : 1 / s.constant;
    m.nodes.push_back(node);
    return WalkScores(s.other, m, depth + 1);
  }
  if (node->Is("Add")) {
    if (m.scale != 1) return false;
    for (size_t i = 0; i < 2; ++i) {
      Value *score = node->input(i), *mask = node->input(1 - i);
      if (score->is_constant() || !SameShape(score, value)) continue;
      Match attempt = m;
      attempt.nodes.push_back(node);
      if (mask->is_constant()) {
        attempt.constant_masks.push_back(*mask->constant());
      } else {
        attempt.masks.push_back(mask);
      }
      if (WalkScores(score, attempt, depth + 1)) {
        m = std::move(attempt);
        return true;
      }
    }
    return false;
  }
  if (node->Is("Where") && m.scale == 1) {
    for (bool keeps : {true, false}) {
      Value *score = node->input(keeps ? 1 : 2), *condition = node->input(0);
      auto value = ScalarOf(node->input(keeps ? 2 : 1));
      // Adding so large a number leaves nothing of a score below 1e22, so it is as good as putting
      // it in its place, also in a row that is masked whole. (Unless a mask of the same size is
      // added besides: such a row, which weights nothing anyway, then differs.)
      if (!value || *value > -1e30 || score->is_constant() || !SameShape(score, node->output()))
        continue;
      m.selections.push_back({condition, OutOf(*value), keeps});
      m.nodes.push_back(node);
      return WalkScores(score, m, depth + 1);
    }
    return false;
  }
  if (node->Is("Reshape")) {
    // A mask that is added in another shape (shifted windows): Reshape, Add, Reshape back.
    Node* add = ProducerOf(node->input(0), "Add");
    if (!add || m.scale != 1) return false;
    for (size_t i = 0; i < 2; ++i) {
      Node* there = ProducerOf(add->input(i), "Reshape");
      const Tensor* mask = add->constant_input(1 - i);
      if (!there || !mask || !SameShape(there->input(0), value)) continue;
      auto from = StaticDimsOf(value), to = StaticDimsOf(add->output());
      if (!from || !to || !SameShape(there->output(), add->output())) continue;
      auto moved = MaskBeforeReshape(*mask, *from, *to);
      if (!moved) continue;
      m.constant_masks.push_back(std::move(*moved));
      m.nodes.insert(m.nodes.end(), {node, add, there});
      return WalkScores(there->input(0), m, depth + 1);
    }
  }
  return false;
}

// Takes scalar factors off an operand.
Value* Unscaled(Value* value, Match& m) {
  while (true) {
    Node* node = value->producer();
    if (!node || !(node->Is("Mul") || node->Is("Div")) || !value->OnlyUser()) return value;
    ScalarOperand s = MatchScalarOperand(node, node->Is("Mul"));
    if (!s || !SameShape(s.other, value)) return value;
    m.scale *= node->Is("Mul") ? s.constant : 1 / s.constant;
    m.nodes.push_back(node);
    value = s.other;
  }
}

// [batch, groups, length, size] behind Unsqueeze or Reshape, Expand or Tile, and Reshape to [batch,
// groups * times, length, size] with each head `times` times in a row: the tensor before; null when
// `value` is made otherwise.
Value* BeforeRepeat(const Value* value) {
  Node* join = ProducerOf(value, "Reshape");
  Node* spread = join ? join->input(0)->producer() : nullptr;
  if (!spread || !(spread->Is("Expand") || spread->Is("Tile"))) return nullptr;
  Node* open = ProducerOf(spread->input(0), "Reshape");
  if (!open) open = ProducerOf(spread->input(0), "Unsqueeze");
  if (!open) return nullptr;
  Value* x = open->input(0);
  const auto &from = x->type().shape, &ones = open->output()->type().shape,
             &parts = spread->output()->type().shape, &to = value->type().shape;
  if (!from || !ones || !parts || !to || from->size() != 4 || ones->size() != 5 ||
      parts->size() != 5 || to->size() != 4)
    return nullptr;
  bool fits = (*ones)[2].Is(1) && (*to)[1] == (*from)[1] * (*parts)[2];
  for (size_t i : {0, 1, 2, 3}) {
    size_t j = i < 2 ? i : i + 1;
    fits &=
        (*from)[i] == (*ones)[j] && (*from)[i] == (*parts)[j] && (i == 1 || (*from)[i] == (*to)[i]);
  }
  return fits ? x : nullptr;
}

// Heads of keys and values that are repeated for groups of queries.
void UnrepeatHeads(Match& m) {
  if (m.k_perm != std::vector<int64_t>{0, 1, 2, 3}) return;
  Value *k = BeforeRepeat(m.k_source), *v = BeforeRepeat(m.v);
  if (!k || !v || !((*k->type().shape)[1] == (*v->type().shape)[1])) return;
  m.k_source = k;
  m.v = v;
  m.repeated = true;
}

std::optional<Match> MatchAttention(Node* softmax) {
  Value* in = softmax->input(0);
  auto rank = RankOf(in);
  if (!rank || (*rank != 3 && *rank != 4) || in->dtype() != DType::kFloat32) return std::nullopt;
  if (NormalAxis(softmax->attributes.Int("axis", -1), *rank) != *rank - 1) return std::nullopt;
  Node* out = softmax->output()->OnlyUser();
  if (!out || !out->Is("MatMul") || out->input(0) != softmax->output()) return std::nullopt;
  Match m;
  if (!WalkScores(in, m, 0)) return std::nullopt;
  m.v = out->input(1);
  m.q = Unscaled(m.scores->input(0), m);
  Value* k = Unscaled(m.scores->input(1), m);
  Node* transpose = ProducerOf(k, "Transpose");
  if (auto perm = PermOf(transpose)) {
    if (static_cast<int>(perm->size()) != *rank) return std::nullopt;
    m.k_perm = *perm;
    m.k_source = Unscaled(transpose->input(0), m);
    if (k->OnlyUser()) m.nodes.push_back(transpose);
  } else {
    // The keys lie transposed already.
    for (int i = 0; i < *rank; ++i) m.k_perm.push_back(i);
    m.k_source = k;
  }
  std::swap(m.k_perm[m.k_perm.size() - 1], m.k_perm[m.k_perm.size() - 2]);
  UnrepeatHeads(m);
  m.nodes.push_back(softmax);
  m.nodes.push_back(out);
  if (m.scale <= 0 || !IsSelfContained(m.nodes)) return std::nullopt;
  return m;
}

// Q, K and V have the same batch and fit each other. In four dimensions a head of K and V may serve
// several of Q: grouped queries.
bool ShapesFit(const Match& m, const SymShape& k) {
  if (!m.q->type().shape || !m.v->type().shape) return false;
  const SymShape &q = *m.q->type().shape, &v = *m.v->type().shape;
  size_t n = q.size();
  if (k.size() != n || v.size() != n || !(q[0] == k[0]) || !(q[0] == v[0])) return false;
  if (n == 4) {
    const Dim &heads = q[1], &groups = k[1];
    bool grouped = heads.known() && groups.known() && groups.value() > 0 &&
                   heads.value() % groups.value() == 0 &&
                   (m.repeated || groups.value() == 1 || groups == heads);
    if (!(groups == v[1]) || (!(heads == groups) && !grouped)) return false;
  }
  return q[n - 1] == k[n - 1] && k[n - 2] == v[n - 2];
}

// A mask must reach along the whole last dimension: a shorter one means something else to
// Attention.
bool MaskFits(const SymShape& mask, const SymShape& scores) {
  if (mask.size() < 2 || mask.size() > scores.size() || !(mask.back() == scores.back()))
    return false;
  for (size_t i = 0; i + 1 < mask.size(); ++i) {
    const Dim& want = scores[scores.size() - mask.size() + i];
    if (!mask[i].Is(1) && !(mask[i] == want)) return false;
  }
  return true;
}

// All masks as one value; null when there is none, nullopt when they do not fit.
std::optional<Value*> JoinMasks(Graph& graph, const Match& m, const SymShape& scores,
                                Node* before) {
  Tensor joined;
  std::vector<Tensor> constants = m.constant_masks;
  // Selections are joined by their minimum: what two of them take out is out as far as the rest.
  Tensor chosen;
  bool computed = false;
  for (const Match::Selection& s : m.selections) {
    if (s.value != m.selections[0].value) return std::nullopt;
    if (!s.condition->is_constant()) {
      computed = true;
      continue;
    }
    Tensor in = Tensor::Scalar<float>(0), out = Tensor::Scalar<float>(s.value);
    std::vector<Tensor> inputs{*s.condition->constant(), s.keeps ? in : out, s.keeps ? out : in};
    auto mask = EvaluateOp("Where", "", {}, inputs);
    if (mask.ok() && chosen.present())
      mask = EvaluateOp("Min", "", {}, std::vector<Tensor>{chosen, *mask});
    if (!mask.ok()) return std::nullopt;
    chosen = std::move(*mask);
  }
  if (chosen.present() && !computed) {
    constants.push_back(std::move(chosen));
    chosen = Tensor();
  }
  if (chosen.present() && !MaskFits(SymShape(chosen.dims().begin(), chosen.dims().end()), scores))
    return std::nullopt;
  for (const Tensor& t : constants) {
    if (t.dtype() != DType::kFloat32) return std::nullopt;
    if (!joined.present()) {
      joined = t;
      continue;
    }
    auto sum = EvaluateOp("Add", "", {}, std::vector<Tensor>{joined, t});
    if (!sum.ok()) return std::nullopt;
    joined = std::move(*sum);
  }
  if (joined.present() && joined.dims().rank() >= 1 &&
      !MaskFits(SymShape(joined.dims().begin(), joined.dims().end()), scores)) {
    // Spread over the keys, and over two dimensions at least.
    if (joined.dims().rank() > static_cast<int>(scores.size()) || !scores.back().known())
      return std::nullopt;
    std::vector<Tensor> inputs{joined, Tensor::Vector<int64_t>({1, scores.back().value()})};
    auto spread = EvaluateOp("Expand", "", {}, inputs);
    if (!spread.ok() || !MaskFits(SymShape(spread->dims().begin(), spread->dims().end()), scores))
      return std::nullopt;
    joined = std::move(*spread);
  }
  for (Value* mask : m.masks) {
    if (!mask->type().shape || !MaskFits(*mask->type().shape, scores) ||
        mask->dtype() != DType::kFloat32)
      return std::nullopt;
  }
  for (const Match::Selection& s : m.selections) {
    if (!s.condition->is_constant() &&
        (!s.condition->type().shape || !MaskFits(*s.condition->type().shape, scores)))
      return std::nullopt;
  }
  if (joined.present() && joined.dims().rank() < 2) return std::nullopt;
  auto join = [&](const char* op, Value* a, Value* b) {
    if (!a || !b) return a ? a : b;
    // Each dimension is 1 or that of the scores, so they fit each other too.
    SymShape shapes[] = {*a->type().shape, *b->type().shape};
    return AddBefore(graph, {.op = op, .inputs = {a, b}, .name = m.scores->name() + "/mask"},
                     {DType::kFloat32, BroadcastShape(shapes)}, before, m.scores);
  };
  Value* selected = nullptr;
  for (const Match::Selection& s : m.selections) {
    if (s.condition->is_constant()) continue;
    Value* out = graph.AddConstant(m.scores->name() + "_out", Tensor::Scalar<float>(s.value));
    Value* in = graph.AddConstant(m.scores->name() + "_in", Tensor::Scalar<float>(0));
    selected = join("Min", selected,
                    AddBefore(graph,
                              {.op = "Where",
                               .inputs = {s.condition, s.keeps ? in : out, s.keeps ? out : in},
                               .name = m.scores->name() + "/mask"},
                              {DType::kFloat32, *s.condition->type().shape}, before, m.scores));
  }
  if (chosen.present())
    selected = join("Min", selected, graph.AddConstant(m.scores->name() + "_chosen", chosen));
  Value* mask = nullptr;
  for (Value* v : m.masks) mask = join("Add", mask, v);
  if (joined.present())
    mask = join("Add", mask, graph.AddConstant(m.scores->name() + "_mask", joined));
  mask = join("Add", mask, selected);
  return mask;
}

bool Recover(Graph& graph, Node* softmax) {
  auto m = MatchAttention(softmax);
  if (!m || !m->k_source->type().shape || !softmax->output()->type().shape) return false;
  // Keys without the batch or the heads broadcast: no attention that the operator has.
  if (m->k_source->type().shape->size() != m->k_perm.size()) return false;
  SymShape k_shape;
  for (int64_t p : m->k_perm)
    k_shape.push_back((*m->k_source->type().shape)[static_cast<size_t>(p)]);
  if (!ShapesFit(*m, k_shape)) return false;
  Node* tail = m->nodes.back();
  const SymShape scores = *softmax->output()->type().shape;
  bool three = scores.size() == 3;
  // Without a batch of its own the leading dimension counts the heads, as torch's
  // multi_head_attention_forward writes it. Where it is not known it becomes the batch: its masks
  // must then be the same for all.
  bool batch = three && !scores[0].known();
  auto alike = [](const SymShape& mask) { return mask.size() < 3 || mask[0].Is(1); };
  if (batch) {
    for (const Value* mask : m->masks) {
      if (!mask->type().shape || !alike(*mask->type().shape)) return false;
    }
    for (const Match::Selection& s : m->selections) {
      if (!s.condition->type().shape || !alike(*s.condition->type().shape)) return false;
    }
    for (const Tensor& t : m->constant_masks) {
      if (t.dims().rank() > 2 && t.dims()[0] != 1) return false;
    }
  }
  auto four = [&](const SymShape& s) {
    SymShape out = s;
    out.insert(out.begin() + (batch ? 1 : 0), Dim(1));
    return out;
  };
  SymShape y_shape = *tail->output()->type().shape;
  if (three && (!ReshapeTarget(m->q->type().shape, four(*m->q->type().shape)) ||
                !ReshapeTarget(k_shape, four(k_shape)) ||
                !ReshapeTarget(m->v->type().shape, four(*m->v->type().shape)) ||
                !ReshapeTarget(four(y_shape), y_shape))) {
    return false;
  }
  auto mask = JoinMasks(graph, *m, scores, tail);
  if (!mask) return false;

  Node* k = graph.AddNode({.op = "Transpose",
                           .inputs = {m->k_source},
                           .attributes = {{"perm", m->k_perm}},
                           .name = m->scores->name() + "/keys"},
                          tail);
  k->output()->set_type({DType::kFloat32, k_shape});
  std::vector<Value*> inputs{m->q, k->output(), m->v};
  if (three) {
    for (Value*& v : inputs)
      v = AddReshape(graph, v, four(*v->type().shape), tail, m->scores->name() + "/heads");
  }
  if (*mask) inputs.push_back(*mask);
  ir::Attributes attributes{{"scale", static_cast<float>(m->scale)}};
  Graph::NodeSpec attention{.op = "Attention", .inputs = inputs, .attributes = attributes};
  if (!three) {
    Fuse(graph, std::move(attention), m->scores, m->nodes);
    return true;
  }
  attention.name = m->scores->name() + "/attention";
  Node* made = graph.AddNode(std::move(attention), tail);
  for (const Node* n : m->nodes) {
    if (n->sources.empty()) made->sources.push_back(n->name());
    made->sources.insert(made->sources.end(), n->sources.begin(), n->sources.end());
  }
  made->output()->set_type({DType::kFloat32, four(y_shape)});
  Value* target = AddInts(graph, "", *ReshapeTarget(four(y_shape), y_shape));
  Fuse(graph, {.op = "Reshape", .inputs = {made->output(), target}}, tail, m->nodes);
  return true;
}

}  // namespace

Result<int> RecoverAttention(ir::Graph& graph, const PassOptions&) {
  int changes =
      VisitNodes(graph, [&](Node* node) { return node->Is("Softmax") && Recover(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
