#include <algorithm>

#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

using Perm = std::vector<int64_t>;

// A Transpose that only `user` reads.
std::optional<Perm> OwnTranspose(const Value* value, const Node* user, Node** transpose) {
  *transpose = ProducerOf(value, "Transpose");
  auto perm = PermOf(*transpose);
  if (!perm || value->OnlyUser() != user || !(*transpose)->input(0)->type().shape ||
      (*transpose)->input(0)->type().shape->size() != perm->size())
    return std::nullopt;
  return perm;
}

// The axes in `value` (constant, counted behind the Transpose) as they are before it.
std::optional<std::vector<int64_t>> AxesBefore(const Value* value, const Perm& perm) {
  auto axes = IntsOf(value);
  if (!axes) return std::nullopt;
  for (int64_t& a : *axes) {
    a = NormalAxis(a, static_cast<int>(perm.size()));
    if (a < 0 || a >= static_cast<int64_t>(perm.size())) return std::nullopt;
    a = perm[static_cast<size_t>(a)];
  }
  return axes;
}

std::optional<int64_t> AxisBefore(const Node* node, const char* name, int64_t otherwise,
                                  const Perm& perm) {
  int64_t axis = NormalAxis(node->attributes.Int(name, otherwise), static_cast<int>(perm.size()));
  if (axis < 0 || axis >= static_cast<int64_t>(perm.size())) return std::nullopt;
  return perm[static_cast<size_t>(axis)];
}

// op(Transpose(x)) -> Transpose(op'(x)).
void Swap(Graph& graph, Node* node, Node* main, std::vector<Node*> transposes, const Perm& perm,
          std::vector<Value*> inputs, ir::Attributes attributes, SymShape shape) {
  Value* inner = AddBefore(graph,
                           {.op = node->op(),
                            .inputs = std::move(inputs),
                            .attributes = std::move(attributes),
                            .name = node->name()},
                           {node->output()->dtype(), std::move(shape)}, node, node);
  transposes.push_back(node);
  Fuse(graph, {.op = "Transpose", .inputs = {inner}, .attributes = {{"perm", perm}}}, main,
       transposes);
}

SymShape Unpermuted(const SymShape& shape, const Perm& perm) {
  return Permuted(shape, InversePerm(perm));
}

// Reductions make the tensor smaller: the Transpose behind them moves less.
bool Reduce(Graph& graph, Node* node, Node* transpose, const Perm& perm) {
  if (!node->input(1)) return false;
  auto axes = AxesBefore(node->input(1), perm);
  if (!axes || axes->empty()) return false;
  std::sort(axes->begin(), axes->end());
  std::vector<Value*> inputs{transpose->input(0), AddInts(graph, "", *axes)};
  const SymShape& out = *node->output()->type().shape;
  if (node->attributes.Int("keepdims", 1)) {
    Swap(graph, node, transpose, {transpose}, perm, inputs, node->attributes,
         Unpermuted(out, perm));
    return true;
  }
  // What stays, in the order of before and in that behind.
  auto reduced = [&](int64_t a) { return std::find(axes->begin(), axes->end(), a) != axes->end(); };
  std::vector<int64_t> kept, left;
  for (int64_t p : perm) {
    if (!reduced(p)) kept.push_back(p);
  }
  left = kept;
  std::sort(left.begin(), left.end());
  Perm smaller;
  for (int64_t p : kept) smaller.push_back(std::find(left.begin(), left.end(), p) - left.begin());
  if (smaller.size() != out.size() || smaller.empty()) return false;
  Swap(graph, node, transpose, {transpose}, smaller, inputs, node->attributes,
       Unpermuted(out, smaller));
  return true;
}

bool Slice(Graph& graph, Node* node, Node* transpose, const Perm& perm) {
  // Named axes; without them the first ones are meant.
  std::vector<Value*> inputs = node->inputs();
  auto starts = IntsOf(node->input(1));
  if (!starts) return false;
  std::vector<int64_t> axes;
  if (node->input(3)) {
    auto given = AxesBefore(node->input(3), perm);
    if (!given) return false;
    axes = *given;
  } else {
    if (starts->size() > perm.size()) return false;
    axes.assign(perm.begin(), perm.begin() + static_cast<ptrdiff_t>(starts->size()));
  }
  inputs[0] = transpose->input(0);
  inputs.resize(std::max<size_t>(inputs.size(), 4));
  inputs[3] = AddInts(graph, "", axes);
  Swap(graph, node, transpose, {transpose}, perm, inputs, node->attributes,
       Unpermuted(*node->output()->type().shape, perm));
  return true;
}

bool Pad(Graph& graph, Node* node, Node* transpose, const Perm& perm) {
  auto pads = IntsOf(node->input(1));
  if (!pads || node->input(3) || pads->size() != 2 * perm.size()) return false;
  std::vector<int64_t> moved(pads->size());
  for (size_t i = 0; i < perm.size(); ++i) {
    size_t p = static_cast<size_t>(perm[i]);
    moved[p] = (*pads)[i];
    moved[p + perm.size()] = (*pads)[i + perm.size()];
  }
  std::vector<Value*> inputs = node->inputs();
  inputs[0] = transpose->input(0);
  inputs[1] = AddInts(graph, "", moved);
  Swap(graph, node, transpose, {transpose}, perm, inputs, node->attributes,
       Unpermuted(*node->output()->type().shape, perm));
  return true;
}

bool Concat(Graph& graph, Node* node) {
  std::vector<Node*> transposes;
  std::vector<Value*> inputs;
  Perm perm;
  for (Value* v : node->inputs()) {
    Node* transpose = nullptr;
    auto own = OwnTranspose(v, node, &transpose);
    if (!own || (!transposes.empty() && *own != perm)) return false;
    perm = *own;
    transposes.push_back(transpose);
    inputs.push_back(transpose->input(0));
  }
  auto axis = AxisBefore(node, "axis", 0, perm);
  if (!axis) return false;
  Swap(graph, node, transposes[0], transposes, perm, inputs, {{"axis", *axis}},
       Unpermuted(*node->output()->type().shape, perm));
  return true;
}

bool Sink(Graph& graph, Node* node) {
  if (!node->domain().empty() || !node->output() || node->inputs().empty() || !node->input(0) ||
      node->output()->is_output() || !node->output()->type().shape)
    return false;
  const std::string& op = node->op();
  if (op == "Concat") return Concat(graph, node);
  Node* transpose = nullptr;
  auto perm = OwnTranspose(node->input(0), node, &transpose);
  if (!perm) return false;
  if (op == "ReduceMean" || op == "ReduceSum" || op == "ReduceMax" || op == "ReduceMin")
    return Reduce(graph, node, transpose, *perm);
  if (op == "Slice") return Slice(graph, node, transpose, *perm);
  // These do not make it smaller: only where the Transpose meets another one.
  if (!LeadsToTranspose(node->output())) return false;
  if (op == "Pad") return Pad(graph, node, transpose, *perm);
  if (op == "Softmax" || op == "LogSoftmax") {
    auto axis = AxisBefore(node, "axis", -1, *perm);
    if (!axis) return false;
    Swap(graph, node, transpose, {transpose}, *perm, {transpose->input(0)}, {{"axis", *axis}},
         *transpose->input(0)->type().shape);
    return true;
  }
  return false;
}

}  // namespace

Result<int> SinkTranspose(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) { return Sink(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
