// Loops and sequences: one that appends a tensor in each iteration and is joined behind the loop is
// a stacked output; one that was cut outside and is read inside of a body is the tensor itself.

#include <algorithm>

#include "model/ir/control.h"
#include "model/passes/inline_body.h"
#include "model/passes/pass.h"
#include "model/passes/sequences.h"

namespace slipway::passes {
namespace {

// --- appended in each iteration ---

class Stack {
 public:
  Stack(Graph& graph, Node* loop, size_t k)
      : graph_(graph), loop_(loop), body_(*loop->subgraphs.at("body")), k_(k) {}

  // The loop that takes the place of the old one; null when nothing can be done.
  Node* Run() {
    const auto items = ItemsOf(loop_->input(2 + k_));
    Value* out = loop_->output(k_);
    if (!items || !items->empty() || !out || out->is_output() || out->uses().empty())
      return nullptr;
    Value *in = body_.inputs()[2 + k_], *result = body_.outputs()[1 + k_];
    Node* insert = ProducerOf(result, "SequenceInsert");
    if (!insert || insert->input(0) != in || insert->input(2) || in->uses().size() != 1 ||
        in->is_output() || !result->uses().empty() ||
        std::count(body_.outputs().begin(), body_.outputs().end(), result) != 1)
      return nullptr;
    each_ = insert->input(1);
    users_.clear();
    for (const Use& use : out->uses()) users_.push_back(use.node);
    if (!AllCanUse()) return nullptr;
    body_.RemoveOutput(1 + k_);
    body_.AddOutput(each_);
    body_.RemoveNode(insert);
    body_.RemoveValue(in);
    Value* stacked = Rebuild();
    for (Node* user : users_) Rewrite(user, stacked);
    return stacked->producer();
  }

 private:
  // A stacked output wants tensors of one extent: the types say so, or a reader does.
  bool AllCanUse() const {
    bool alike = each_->type().IsStatic();
    for (const Node* n : users_)
      alike |= n->Is("ConcatFromSequence") && n->attributes.Int("new_axis", 0) != 0;
    const auto rank = RankOf(each_);
    for (const Node* n : users_) {
      if (!n->output()) return false;
      if (n->Is("ConcatFromSequence")) {
        const bool stack = n->attributes.Int("new_axis", 0) != 0;
        const int64_t axis = n->attributes.Int("axis", 0);
        if (stack && axis == 0) continue;
        if (!rank || *rank + 1 > kMaxRank) return false;
        const int64_t normal = NormalAxis(axis, *rank + (stack ? 1 : 0));
        if (normal < 0 || normal >= *rank + (stack ? 1 : 0)) return false;
        if (stack) continue;
        const auto dims = StaticDimsOf(each_);  // of which -1 stands for one
        if (!dims || dims->count() == 0) return false;
      } else if (n->Is("SequenceAt")) {
        const auto position = RankOf(n->input(1));
        if (!alike || !position || *position > 1) return false;
      } else if (!n->Is("SequenceLength") || !alike) {
        return false;
      }
    }
    return true;
  }

  // The loop without carried value k and with one more stacked output, which is returned.
  Value* Rebuild() {
    std::vector<Value*> inputs = loop_->inputs();
    inputs.erase(inputs.begin() + 2 + static_cast<ptrdiff_t>(k_));
    ir::Attributes attributes = loop_->attributes;
    attributes.Set("carried", attributes.Int("carried", 0) - 1);
    Graph::NodeSpec spec{.op = "Loop",
                         .inputs = std::move(inputs),
                         .attributes = std::move(attributes),
                         .name = loop_->name(),
                         .outputs = {}};
    for (size_t i = 0; i < loop_->outputs().size(); ++i) {
      if (i != k_) spec.outputs.push_back(loop_->output(i) ? "" : "-");
    }
    spec.outputs.push_back(loop_->output(k_)->name() + "_stacked");
    Node* made = graph_.AddNode(std::move(spec), loop_);
    made->sources = loop_->sources;
    made->subgraphs = std::move(loop_->subgraphs);
    std::vector<std::pair<Value*, std::string>> names;
    for (size_t i = 0, to = 0; i < loop_->outputs().size(); ++i) {
      if (i == k_) continue;
      Value *old = loop_->output(i), *now = made->output(to++);
      if (!old) continue;
      now->set_type(old->type());
      names.emplace_back(now, old->name());
      graph_.ReplaceAllUses(old, now);
    }
    const std::string name = loop_->name();
    Value* stacked = made->outputs().back();
    stacked->set_type({each_->dtype(), std::nullopt});
    for (Node* user : users_) graph_.SetInput(user, 0, stacked);
    graph_.RemoveNode(loop_);
    graph_.Rename(made, name);
    for (const auto& [value, wanted] : names) graph_.Rename(value, wanted);
    return stacked;
  }

  // The stacked tensor with its first axis at `axis`.
  Value* Moved(Value* stacked, int64_t axis, int rank, Node* before) {
    if (axis == 0) return stacked;
    std::vector<int64_t> perm;
    for (int64_t d = 1; d < rank; ++d) perm.push_back(d);
    perm.insert(perm.begin() + axis, 0);
    return AddBefore(graph_,
                     {.op = "Transpose", .inputs = {stacked}, .attributes = {{"perm", perm}}},
                     {stacked->dtype(), std::nullopt}, before, before);
  }

  void Rewrite(Node* n, Value* stacked) {
    Value* y;
    if (n->Is("ConcatFromSequence")) {
      const bool stack = n->attributes.Int("new_axis", 0) != 0;
      const int64_t axis = n->attributes.Int("axis", 0);
      if (stack && axis == 0) {
        y = stacked;
      } else {
        const int rank = *RankOf(each_) + 1;
        const int64_t normal = NormalAxis(axis, stack ? rank : rank - 1);
        y = Moved(stacked, normal, rank, n);
        if (!stack) {
          const Dims dims = *StaticDimsOf(each_);
          std::vector<int64_t> target(dims.begin(), dims.end());
          target[static_cast<size_t>(normal)] = -1;
          y = AddBefore(
              graph_,
              {.op = "Reshape", .inputs = {y, AddInts(graph_, n->name() + "_target", target)}},
              n->output()->type(), n, n);
        }
      }
    } else if (n->Is("SequenceAt")) {
      Value* position = n->input(1);
      if (*RankOf(position) == 1) position = AddReshape(graph_, position, SymShape{}, n);
      y = AddBefore(
          graph_,
          {.op = "Gather", .inputs = {stacked, position}, .attributes = {{"axis", int64_t{0}}}},
          n->output()->type(), n, n);
    } else {
      Value* one = AddBefore(graph_,
                             {.op = "Shape",
                              .inputs = {stacked},
                              .attributes = {{"start", int64_t{0}}, {"end", int64_t{1}}}},
                             {DType::kInt64, SymShape{Dim(1)}}, n, n);
      y = AddReshape(graph_, one, SymShape{}, n);
    }
    ReplaceOutput(graph_, n, 0, y);
  }

  Graph& graph_;
  Node* loop_;
  Graph& body_;
  const size_t k_;
  Value* each_ = nullptr;  // of the body: what is appended
  std::vector<Node*> users_;
};

bool StackAll(Graph& graph, Node* node) {
  const auto form = ir::FormOf(*node);
  bool changed = false;
  // From the last on, so that those in front keep their places.
  for (size_t k = form.ok() ? form->carried : 0; k-- > 0;) {
    Node* made = Stack(graph, node, k).Run();
    if (!made) continue;
    node = made;
    changed = true;
  }
  return changed;
}

// --- cut outside, read inside ---

const Node* SplitOf(const Value* sequence) {
  const Node* split = sequence ? ProducerOf(sequence, "SplitToSequence") : nullptr;
  return split && !split->input(1) ? split : nullptr;
}

// Whether everything that a body does with the sequence can be done with the tensor.
bool ReadsOnly(const Value* inside) {
  if (inside->is_output()) return false;
  return std::all_of(inside->uses().begin(), inside->uses().end(), [](const Use& use) {
    if (use.index != 0 || !use.node->output()) return false;
    if (use.node->Is("SequenceLength")) return true;
    const auto rank = use.node->Is("SequenceAt") ? RankOf(use.node->input(1)) : std::nullopt;
    return rank && *rank <= 1;
  });
}

bool OpenCaptured(Node* node) {
  const auto form = ir::FormOf(*node);
  if (!form.ok()) return false;
  for (size_t i = form->formal; i < node->inputs().size(); ++i) {
    const Node* split = SplitOf(node->input(i));
    if (!split || !RankOf(split->input(0))) continue;
    const auto bodies = ir::BodyNames(node->domain(), node->op());
    const bool all = std::all_of(bodies.begin(), bodies.end(), [&](std::string_view name) {
      return ReadsOnly(node->subgraphs.at(std::string(name))->inputs()[i - form->unseen]);
    });
    if (!all) continue;
    const std::vector<Value*> tensors = ir::AddCapture(node, split->input(0));
    for (size_t b = 0; b < bodies.size(); ++b) {
      Graph& body = *node->subgraphs.at(std::string(bodies[b]));
      Value* inside = body.inputs()[i - form->unseen];
      const std::vector<Use> uses = inside->uses();
      for (const Use& use : uses) {
        Node* reader = use.node;
        Value* y = reader->Is("SequenceLength")
                       ? CountPieces(body, tensors[b], *split, reader)
                       : PieceOf(body, tensors[b], *split, reader->input(1),
                                 reader->output()->type(), reader);
        ReplaceOutput(body, reader, 0, y);
        body.RemoveNode(reader);
      }
    }
    ir::RemoveCapture(node, i);
    return true;
  }
  return false;
}

}  // namespace

Result<int> StackSequences(ir::Graph& graph, const PassOptions&) {
  const int changes = VisitNodes(graph, [&](Node* node) {
    if (!ir::IsControlFlow(*node)) return false;
    return OpenCaptured(node) || (node->Is("Loop") && StackAll(graph, node));
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
