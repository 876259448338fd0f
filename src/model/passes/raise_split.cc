// The queries, keys and values of a quantized transformer come out of one product, get a bias, an
// order of their own and a scale, and are rounded to codes apart. Here they part as early as they
// can, so that all that follows works on codes: Split goes up through constants, reshapes and
// transposes; scaling before a Quantize and tables go up through reshapes and transposes;
// dimensions of 1 that a transpose carries along are dropped. Nothing changes a value.

#include <algorithm>
#include <numeric>

#include "model/passes/evaluate.h"
#include "model/passes/pass.h"
#include "model/passes/qdq.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

bool IsCode(DType t) { return t == DType::kInt8 || t == DType::kUInt8; }
bool OnlyHere(const Value* v) { return v && v->OnlyUser() && !v->is_output(); }

// A constant, as it is or behind a Dequantize with one scale.
bool IsParameter(const Value* v) {
  if (v->is_constant()) return true;
  return DequantizedValue(v) && DequantizedValue(v).codes->is_constant();
}
// Which input of `node` is the variable one, the other being such a constant; -1: neither.
int VariableOf(const Node* node) {
  static const std::string_view kOps[] = {"Add", "Sub", "Mul", "Div"};
  if (!node || !node->domain().empty() || node->inputs().size() != 2 ||
      std::find(std::begin(kOps), std::end(kOps), node->op()) == std::end(kOps))
    return -1;
  const bool a = IsParameter(node->input(0)), b = IsParameter(node->input(1));
  return a == b ? -1 : a ? 1 : 0;
}

// Whether codes lie above `v`, past what Split goes up through.
bool ComesFromCodes(const Value* v) {
  for (int steps = 0; steps < 8; ++steps) {
    const Node* node = v->producer();
    if (!node) return false;
    if (node->IsSlipway("Dequantize") || IsCode(v->dtype())) return true;
    const int variable = VariableOf(node);
    if (variable < 0 && !node->Is("Reshape") && !node->Is("Transpose")) return false;
    v = node->input(static_cast<size_t>(std::max(variable, 0)));
  }
  return false;
}

// Whether a Concat reads `v`, or its codes.
bool Joins(const Value* v) {
  return std::any_of(v->uses().begin(), v->uses().end(), [](const Use& use) {
    return use.node->Is("Concat") || (use.node->IsSlipway("Quantize") && Joins(use.node->output()));
  });
}

class SplitUp {
 public:
  SplitUp(Graph& graph, Node* split) : graph_(graph), split_(split) {}

  bool Raise() {
    const auto sizes = SplitSizesOf(split_, &axis_);
    Value* x = split_->input(0);
    Node* above = x->producer();
    if (!sizes || !above || !OnlyHere(x)) return false;
    if (!IsCode(x->dtype()) && (x->dtype() != DType::kFloat32 || !ComesFromCodes(x))) return false;
    for (const Value* part : split_->outputs()) {
      if (!part || !part->type().shape || part->is_output()) return false;
      // Parts that are joined again, in another order, are no parts.
      if (Joins(part)) return false;
    }
    sizes_ = *sizes;
    if (const auto perm = PermOf(above)) return ThroughTranspose(above, *perm);
    if (above->Is("Reshape")) return ThroughReshape(above);
    const int variable = VariableOf(above);
    return variable >= 0 && ThroughConstant(above, static_cast<size_t>(variable));
  }

 private:
  // A Split of `x` with these sizes along `axis`.
  Node* Parts(Value* x, int64_t axis, const std::vector<int64_t>& sizes) {
    Node* made = graph_.AddNode({.op = "Split",
                                 .inputs = {x, AddInts(graph_, "", sizes)},
                                 .attributes = {{"axis", axis}},
                                 .name = split_->name() + "/raised",
                                 .outputs = std::vector<std::string>(sizes.size())},
                                split_);
    made->sources = split_->sources;
    for (size_t i = 0; i < sizes.size(); ++i) {
      SymShape shape = *x->type().shape;
      shape[static_cast<size_t>(axis)] = Dim(sizes[i]);
      made->output(i)->set_type({x->dtype(), std::move(shape)});
    }
    return made;
  }
  // `above` on each part: make(i) gives its inputs and attributes.
  template <typename F>
  bool Replace(Node* above, const F& make) {
    for (size_t i = 0; i < sizes_.size(); ++i) {
      Graph::NodeSpec spec = make(i);
      spec.op = above->op();
      spec.name = above->name();
      Value* old = split_->output(i);
      ReplaceValue(graph_, old, AddBefore(graph_, std::move(spec), old->type(), split_, above));
    }
    graph_.RemoveNode(split_);
    graph_.RemoveNode(above);
    return true;
  }

  bool ThroughTranspose(Node* above, const std::vector<int64_t>& perm) {
    if (!above->input(0)->type().shape) return false;
    Node* parts = Parts(above->input(0), perm[static_cast<size_t>(axis_)], sizes_);
    return Replace(above, [&](size_t i) {
      return Graph::NodeSpec{
          .op = "", .inputs = {parts->output(i)}, .attributes = above->attributes};
    });
  }

  // The dimension that is cut must be the first of those that a dimension before was taken apart
  // to.
  bool ThroughReshape(Node* above) {
    Value* x = above->input(0);
    const auto from = StaticDimsOf(x), to = StaticDimsOf(above->output());
    if (!from || !to || from->count() == 0) return false;
    const int axis = static_cast<int>(axis_);
    const int64_t outer = to->count(0, axis);
    int j = 0;
    while (j < from->rank() && (from->count(0, j) != outer || (*from)[static_cast<size_t>(j)] == 1))
      ++j;
    if (j == from->rank()) return false;
    int end = axis;
    while (end < to->rank() && to->count(axis, end) < (*from)[static_cast<size_t>(j)]) ++end;
    if (to->count(axis, end) != (*from)[static_cast<size_t>(j)]) return false;
    const int64_t each = to->count(axis + 1, end);
    std::vector<int64_t> sizes = sizes_;
    for (int64_t& s : sizes) s *= each;
    Node* parts = Parts(x, j, sizes);
    return Replace(above, [&](size_t i) {
      std::vector<int64_t> target(to->begin(), to->end());
      target[static_cast<size_t>(axis)] = sizes_[i];
      return Graph::NodeSpec{.op = "", .inputs = {parts->output(i), AddInts(graph_, "", target)}};
    });
  }

  bool ThroughConstant(Node* above, size_t variable) {
    Value *x = above->input(variable), *constant = above->input(1 - variable);
    if (!SameShape(x, above->output())) return false;
    const Dequantized d = DequantizedValue(constant);
    Value* stored = d ? d.codes : constant;
    const Tensor* whole = stored->constant();
    const int rank = *RankOf(x);
    const int64_t at = axis_ - (rank - whole->dims().rank());
    const bool cut = at >= 0 && whole->dims()[static_cast<size_t>(at)] != 1;
    std::vector<Tensor> pieces;
    if (cut) {
      int64_t first = 0;
      for (int64_t size : sizes_) {
        auto piece = EvaluateOp("Slice", "", {},
                                std::vector<Tensor>{*whole, Tensor::Vector<int64_t>({first}),
                                                    Tensor::Vector<int64_t>({first + size}),
                                                    Tensor::Vector<int64_t>({at})});
        if (!piece.ok()) return false;
        pieces.push_back(std::move(*piece));
        first += size;
      }
    }
    Node* parts = Parts(x, axis_, sizes_);
    return Replace(above, [&](size_t i) {
      Value* own = constant;
      if (cut) {
        own = graph_.AddConstant(stored->name(), std::move(pieces[i]));
        if (d) {
          const Node* like = constant->producer();
          std::vector<Value*> inputs = like->inputs();
          inputs[0] = own;
          own = AddBefore(graph_,
                          {.op = "Dequantize",
                           .inputs = inputs,
                           .attributes = like->attributes,
                           .domain = ir::kSlipwayDomain},
                          {DType::kFloat32, own->type().shape}, split_, like);
        }
      }
      Graph::NodeSpec spec{.op = "", .inputs = {own, own}, .attributes = above->attributes};
      spec.inputs[variable] = parts->output(i);
      return spec;
    });
  }

  Graph& graph_;
  Node* split_;
  int64_t axis_ = 0;
  std::vector<int64_t> sizes_;
};

// Quantize(f(move(x))) -> Quantize(move(f(x))), f of one variable and nothing else on the way.
bool RaiseFunction(Graph& graph, Node* quantize) {
  if (!quantize->IsSlipway("Quantize") || !PerTensorParams(quantize)) return false;
  Value* y = quantize->input(0);
  Node* f = y->producer();
  if (!f || !OnlyHere(y) || y->dtype() != DType::kFloat32 || !IsUnaryElementwise(f)) return false;
  const size_t data = f->input(0)->is_constant() ? 1 : 0;
  Value* moved = f->input(data);
  Node* move = moved->producer();
  if (!move || !OnlyHere(moved) || (!move->Is("Transpose") && !move->Is("Reshape"))) return false;
  Value* x = move->input(0);
  if (x->dtype() != DType::kFloat32 || !x->type().shape || DequantizedValue(x)) return false;
  std::vector<Value*> inputs = f->inputs();
  for (const Value* v : inputs) {
    if (v && v->is_constant() && v->constant()->dims().rank() > *RankOf(x)) return false;
  }
  inputs[data] = x;
  Value* made = AddBefore(
      graph, {.op = f->op(), .inputs = inputs, .attributes = f->attributes, .name = f->name()},
      x->type(), f, f);
  inputs = move->inputs();
  inputs[0] = made;
  Value* again = AddBefore(
      graph,
      {.op = move->op(), .inputs = inputs, .attributes = move->attributes, .name = move->name()},
      y->type(), f, move);
  const std::string f_name = f->name(), move_name = move->name();
  if (!ReplaceValue(graph, y, again)) return false;
  graph.RemoveNode(f);
  graph.RemoveNode(move);
  graph.Rename(made->producer(), f_name);
  graph.Rename(again->producer(), move_name);
  return true;
}

// The same of a table.
bool RaiseLookup(Graph& graph, Node* lookup) {
  if (!lookup->IsSlipway("QLookup") || RankOf(lookup->input(1)) != 1) return false;
  Node* move = lookup->input(0)->producer();
  if (!move || !OnlyHere(lookup->input(0)) || (!move->Is("Transpose") && !move->Is("Reshape")))
    return false;
  Value *x = move->input(0), *y = lookup->output();
  if (!x->type().shape) return false;
  Value* made = AddBefore(graph,
                          {.op = "QLookup",
                           .inputs = {x, lookup->input(1)},
                           .domain = ir::kSlipwayDomain,
                           .name = lookup->name()},
                          {y->dtype(), x->type().shape}, lookup, lookup);
  std::vector<Value*> inputs = move->inputs();
  inputs[0] = made;
  Value* again = AddBefore(
      graph,
      {.op = move->op(), .inputs = inputs, .attributes = move->attributes, .name = move->name()},
      y->type(), lookup, move);
  const std::string lookup_name = lookup->name(), move_name = move->name();
  if (!ReplaceValue(graph, y, again)) return false;
  graph.RemoveNode(lookup);
  graph.RemoveNode(move);
  graph.Rename(made->producer(), lookup_name);
  graph.Rename(again->producer(), move_name);
  return true;
}

// Reshape(Transpose(x)) that drops dimensions of 1 -> Transpose(Reshape(x)) of the others.
bool DropOnes(Graph& graph, Node* reshape) {
  if (!reshape->Is("Reshape") || !IsCode(reshape->output()->dtype())) return false;
  Node* transpose = reshape->input(0)->producer();
  const auto perm = PermOf(transpose);
  if (!perm || !OnlyHere(reshape->input(0))) return false;
  Value* x = transpose->input(0);
  const auto from = StaticDimsOf(x), to = StaticDimsOf(reshape->output());
  if (!from || !to || to->rank() >= from->rank()) return false;
  const auto extent = [&](int64_t d) { return (*from)[static_cast<size_t>(d)]; };
  // What stays must stand in the order that the reshape gives it.
  std::vector<int64_t> kept;
  for (int64_t d : *perm) {
    if (extent(d) != 1) kept.push_back(d);
  }
  if (static_cast<int>(kept.size()) != to->rank()) return false;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (extent(kept[i]) != (*to)[i]) return false;
  }
  std::vector<int64_t> sorted = kept, order, target;
  std::sort(sorted.begin(), sorted.end());
  for (int64_t d : sorted) target.push_back(extent(d));
  for (int64_t d : kept)
    order.push_back(std::lower_bound(sorted.begin(), sorted.end(), d) - sorted.begin());
  Value* flat = AddBefore(graph,
                          {.op = "Reshape",
                           .inputs = {x, AddInts(graph, "", target)},
                           .name = reshape->name() + "/dropped"},
                          {x->dtype(), SymShape(target.begin(), target.end())}, transpose, reshape);
  Fuse(graph, {.op = "Transpose", .inputs = {flat}, .attributes = {{"perm", order}}}, transpose,
       {transpose, reshape});
  return true;
}

}  // namespace

Result<int> RaiseSplit(ir::Graph& graph, const PassOptions&) {
  int changes = 0;
  // Up to the codes at once: the passes behind would take the constants for themselves.
  for (int sweep = 0; sweep < 16; ++sweep) {
    const int made = VisitNodes(graph, [&](Node* node) {
      if (node->Is("Split")) return SplitUp(graph, node).Raise();
      return RaiseFunction(graph, node) || RaiseLookup(graph, node) || DropOnes(graph, node);
    });
    if (made == 0) break;
    graph.RemoveUnused();
    changes += made;
  }
  return changes;
}

}  // namespace slipway::passes
