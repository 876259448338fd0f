#include <algorithm>

#include "model/passes/evaluate.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

using Perm = std::vector<int64_t>;

// Transpose of a Transpose is one Transpose (remove-identity takes it when nothing moves).
bool MergePair(Graph& graph, Node* node) {
  auto outer = PermOf(node);
  if (!outer) return false;
  Node* inner = node->input(0)->producer();
  auto first = PermOf(inner);
  if (!first || first->size() != outer->size()) return false;
  Perm both;
  for (int64_t p : *outer) both.push_back((*first)[static_cast<size_t>(p)]);
  Fuse(graph, {.op = "Transpose", .inputs = {inner->input(0)}, .attributes = {{"perm", both}}},
       node, {inner, node});
  return true;
}

// Only dimensions of extent 1 change their place: the same bytes under another shape.
bool ToReshape(Graph& graph, Node* node) {
  auto perm = PermOf(node);
  if (!perm) return false;
  const auto& shape = node->input(0)->type().shape;
  if (!shape || shape->size() != perm->size()) return false;
  int64_t last = -1;
  bool moves = false;
  for (size_t i = 0; i < perm->size(); ++i) {
    int64_t p = (*perm)[i];
    moves |= p != static_cast<int64_t>(i);
    if ((*shape)[static_cast<size_t>(p)].Is(1)) continue;
    if (p < last) return false;
    last = p;
  }
  if (!moves) return false;
  auto target = ReshapeTarget(shape, Permuted(*shape, *perm));
  if (!target) return false;
  Value* constant = AddInts(graph, "", *target);
  Fuse(graph, {.op = "Reshape", .inputs = {node->input(0), constant}}, node, {node});
  return true;
}

// f(Transpose(x)) -> Transpose(f(x)), where the Transpose then meets another one.
bool SinkUnary(Graph& graph, Node* node) {
  if (!IsUnaryElementwise(node) || node->output()->is_output() || !LeadsToTranspose(node->output()))
    return false;
  size_t data = node->input(0)->is_constant() ? 1 : 0;
  Node* transpose = ProducerOf(node->input(data), "Transpose");
  auto perm = PermOf(transpose);
  if (!perm || !node->input(data)->OnlyUser() || !transpose->input(0)->type().shape) return false;
  std::vector<Value*> inputs = node->inputs();
  inputs[data] = transpose->input(0);
  Node* inner = graph.AddNode(
      {.op = node->op(), .inputs = inputs, .attributes = node->attributes, .name = node->name()},
      node);
  inner->sources = node->sources;
  inner->output()->set_type({node->output()->dtype(), *transpose->input(0)->type().shape});
  Fuse(graph, {.op = "Transpose", .inputs = {inner->output()}, .attributes = {{"perm", *perm}}},
       transpose, {transpose, node});
  return true;
}

// The operand of a binary operator as it stands before a Transpose by `perm`: the input of such a
// Transpose, or a constant. Null when it is neither. `constant` becomes the tensor to use when it
// is one.
bool Untransposed(Value* operand, const Perm& perm, const Node* user, Value** before,
                  Tensor* constant) {
  if (const Tensor* t = operand->constant()) {
    if (t->count() == 1 && t->dims().rank() <= static_cast<int>(perm.size())) {
      *before = operand;
      return true;
    }
    // Align to the full rank, then undo the permutation.
    Dims dims;
    for (size_t i = static_cast<size_t>(t->dims().rank()); i < perm.size(); ++i) dims.push_back(1);
    for (int64_t d : t->dims()) dims.push_back(d);
    if (dims.size() != perm.size() || t->bytes().size() > 1 << 20) return false;
    Perm inverse(perm.size());
    for (size_t i = 0; i < perm.size(); ++i)
      inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
    auto moved =
        EvaluateOp("Transpose", "", {{"perm", inverse}}, std::vector<Tensor>{t->Reshaped(dims)});
    if (!moved.ok()) return false;
    *constant = std::move(*moved);
    return true;
  }
  Node* transpose = ProducerOf(operand, "Transpose");
  if (PermOf(transpose) != perm) return false;
  for (const Use& use : operand->uses()) {
    if (use.node != user) return false;
  }
  if (operand->is_output()) return false;
  *before = transpose->input(0);
  return true;
}

// op(Transpose(a), Transpose(b)) -> Transpose(op(a, b)), also with a constant b where a Transpose
// follows.
bool SinkBinary(Graph& graph, Node* node) {
  static const std::vector<std::string_view> kOps = {"Add", "Sub", "Mul", "Div",
                                                     "Min", "Max", "Pow"};
  if (!node->domain().empty() || node->inputs().size() != 2 || IsUnaryElementwise(node) ||
      node->output()->is_output() ||
      std::find(kOps.begin(), kOps.end(), node->op()) == kOps.end()) {
    return false;
  }
  Node* transpose = ProducerOf(node->input(0), "Transpose");
  if (!transpose) transpose = ProducerOf(node->input(1), "Transpose");
  auto perm = PermOf(transpose);
  if (!perm || RankOf(node->output()) != static_cast<int>(perm->size())) return false;
  bool constant = node->input(0)->is_constant() || node->input(1)->is_constant();
  if (constant && !LeadsToTranspose(node->output())) return false;
  std::vector<Value*> inputs(2);
  Tensor tensors[2];
  for (size_t i = 0; i < 2; ++i) {
    if (!Untransposed(node->input(i), *perm, node, &inputs[i], &tensors[i])) return false;
  }
  for (size_t i = 0; i < 2; ++i) {
    if (tensors[i].present()) inputs[i] = graph.AddConstant(node->input(i)->name(), tensors[i]);
  }
  std::vector<Node*> replaced;
  for (size_t i = 0; i < 2; ++i) {
    if (node->input(i)->producer()) replaced.push_back(node->input(i)->producer());
  }
  replaced.push_back(node);
  Node* inner = graph.AddNode(
      {.op = node->op(), .inputs = inputs, .attributes = node->attributes, .name = node->name()},
      node);
  inner->sources = node->sources;
  SymShape shape(perm->size());
  for (size_t i = 0; i < perm->size(); ++i) {
    shape[static_cast<size_t>((*perm)[i])] = (*node->output()->type().shape)[i];
  }
  inner->output()->set_type({node->output()->dtype(), shape});
  Fuse(graph, {.op = "Transpose", .inputs = {inner->output()}, .attributes = {{"perm", *perm}}},
       transpose, replaced);
  return true;
}

}  // namespace

Result<int> CleanupTranspose(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) {
    return MergePair(graph, node) || ToReshape(graph, node) || SinkUnary(graph, node) ||
           SinkBinary(graph, node);
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
