// What If, Loop and Scan take in and give out without need: results that nobody reads, values that
// go around a loop unchanged or for themselves only, captured values that no body reads, that are
// constants, or that come in twice.

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "model/ir/control.h"
#include "model/passes/inline_body.h"
#include "model/passes/pass.h"

namespace slipway::passes {
namespace {

class Trim {
 public:
  Trim(Graph& graph, Node* node, const ir::ControlForm& form)
      : graph_(graph),
        node_(node),
        form_(form),
        is_if_(node->op() == "If"),
        first_(node->op() == "Loop" ? 2 : 0) {
    for (std::string_view name : ir::BodyNames(node->domain(), node->op()))
      bodies_.push_back(node->subgraphs.at(std::string(name)).get());
  }

  // Whether it changed anything; the node may be another one then.
  bool Run() {
    bool changed = false;
    if (!is_if_) changed |= FreeInvariants();
    changed |= DropResults();
    changed |= TrimCaptured();
    return changed;
  }

 private:
  Value* BodyInput(size_t body, size_t node_input) const {
    return bodies_[body]->inputs()[node_input - form_.unseen];
  }

  // A carried value that the body hands on as it is: a captured one. What comes out went in.
  bool FreeInvariants() {
    bool changed = false;
    for (size_t k = 0; k < form_.carried; ++k) {
      Graph& body = *bodies_[0];
      Value* inside = body.inputs()[first_ + k];
      std::unordered_set<const Node*> copies;
      const Value* result = body.outputs()[form_.first_result + k];
      while (const Node* copy = ProducerOf(result, "Identity")) {
        copies.insert(copy);
        result = copy->input(0);
      }
      if (result != inside) continue;
      Value* outside = node_->input(first_ + k);
      const std::vector<Use> uses = inside->uses();
      Value* captured = nullptr;
      for (const Use& use : uses) {
        if (copies.contains(use.node)) continue;
        if (!captured) captured = ir::AddCapture(node_, outside)[0];
        body.SetInput(use.node, static_cast<size_t>(use.index), captured);
        changed = true;
      }
      if (Value* out = node_->output(k); out && out->IsUsed()) {
        ReplaceOutput(graph_, node_, k, outside);
        changed = true;
      }
    }
    return changed;
  }

  // Which carried values matter to anything but themselves.
  std::vector<bool> LiveCarried() const {
    const Graph& body = *bodies_[0];
    std::vector<bool> live(form_.carried, false);
    std::unordered_set<const Value*> seen;
    std::vector<const Value*> work;
    const auto want = [&](const Value* v) {
      if (v && seen.insert(v).second) work.push_back(v);
    };
    for (size_t i = 0; i < form_.first_result; ++i) want(body.outputs()[i]);
    for (size_t i = form_.carried; i < node_->outputs().size(); ++i) {
      if (node_->output(i) && node_->output(i)->IsUsed())
        want(body.outputs()[form_.first_result + i]);
    }
    for (size_t k = 0; k < form_.carried; ++k) {
      if (node_->output(k) && node_->output(k)->IsUsed()) {
        live[k] = true;
        want(body.outputs()[form_.first_result + k]);
      }
    }
    for (bool more = true; more;) {
      more = false;
      while (!work.empty()) {
        const Value* v = work.back();
        work.pop_back();
        if (!v->producer()) continue;
        for (const Value* in : v->producer()->inputs()) want(in);
      }
      for (size_t k = 0; k < form_.carried; ++k) {
        if (live[k] || !seen.contains(body.inputs()[first_ + k])) continue;
        live[k] = more = true;
        want(body.outputs()[form_.first_result + k]);
      }
    }
    return live;
  }

  // Takes results that nobody needs out of the bodies, and the node's list of outputs with them.
  bool DropResults() {
    const std::vector<bool> live = is_if_ ? std::vector<bool>() : LiveCarried();
    std::vector<bool> keep(node_->outputs().size());
    for (size_t i = 0; i < keep.size(); ++i) {
      const Value* v = node_->output(i);
      keep[i] = i < form_.carried ? live[i] : v && v->IsUsed();
    }
    const auto kept = static_cast<size_t>(std::count(keep.begin(), keep.end(), true));
    // A node of which nobody reads anything is remove-dead's.
    const bool any = std::any_of(node_->outputs().begin(), node_->outputs().end(),
                                 [](const Value* v) { return v && v->IsUsed(); });
    if (kept == keep.size() || !any) return false;
    for (Graph* body : bodies_) {
      for (size_t i = keep.size(); i-- > 0;) {
        if (!keep[i]) body->RemoveOutput(form_.first_result + i);
      }
      body->RemoveUnused();  // dead carried values end in nothing now
      for (size_t k = form_.carried; k-- > 0;) {
        if (!keep[k]) body->RemoveValue(body->inputs()[first_ + k]);
      }
    }
    std::vector<Value*> inputs;
    for (size_t i = 0; i < node_->inputs().size(); ++i) {
      const bool carried = i >= first_ && i < first_ + form_.carried && !is_if_;
      if (!carried || keep[i - first_]) inputs.push_back(node_->input(i));
    }
    Rebuild(std::move(inputs), keep);
    return true;
  }

  void Rebuild(std::vector<Value*> inputs, const std::vector<bool>& keep) {
    ir::Attributes attributes = node_->attributes;
    if (!is_if_) {
      attributes.Set("carried", static_cast<int64_t>(std::count(
                                    keep.begin(),
                                    keep.begin() + static_cast<ptrdiff_t>(form_.carried), true)));
    }
    for (const char* list : {"scan_output_axes", "scan_output_directions"}) {
      if (!attributes.Has(list)) continue;
      std::vector<int64_t> values;
      for (size_t i = form_.carried; i < keep.size(); ++i) {
        if (keep[i]) values.push_back(ir::ScanAxis(*node_, list, i - form_.carried));
      }
      attributes.Set(list, std::move(values));
    }
    Graph::NodeSpec spec{.op = node_->op(),
                         .inputs = std::move(inputs),
                         .attributes = std::move(attributes),
                         .domain = node_->domain(),
                         .name = node_->name(),
                         .outputs = {}};
    for (size_t i = 0; i < keep.size(); ++i) {
      if (keep[i]) spec.outputs.push_back(node_->output(i) ? "" : "-");
    }
    Node* made = graph_.AddNode(std::move(spec), node_);
    made->sources = node_->sources;
    made->subgraphs = std::move(node_->subgraphs);
    std::vector<std::pair<Value*, std::string>> names;
    for (size_t i = 0, to = 0; i < keep.size(); ++i) {
      if (!keep[i]) continue;
      Value *old = node_->output(i), *now = made->output(to++);
      if (!old) continue;
      now->set_type(old->type());
      names.emplace_back(now, old->name());
      graph_.ReplaceAllUses(old, now);
    }
    const std::string name = node_->name();
    graph_.RemoveNode(node_);
    graph_.Rename(made, name);
    for (const auto& [value, wanted] : names) graph_.Rename(value, wanted);
    node_ = made;
    auto form = ir::FormOf(*made);
    if (form.ok()) form_ = *form;
  }

  bool TrimCaptured() {
    bool changed = false;
    std::unordered_map<const Value*, size_t> seen;
    for (size_t i = form_.formal; i < node_->inputs().size();) {
      Value* outside = node_->input(i);
      const auto [first, is_new] = seen.try_emplace(outside, i);
      bool needed = false;
      for (size_t b = 0; b < bodies_.size(); ++b) {
        Value* inside = BodyInput(b, i);
        if (!inside->IsUsed()) continue;
        if (!is_new) {
          bodies_[b]->ReplaceAllUses(inside, BodyInput(b, first->second));
        } else if (outside->is_constant()) {
          bodies_[b]->ReplaceAllUses(
              inside, bodies_[b]->AddConstant(outside->name(), *outside->constant()));
        } else {
          needed = true;
        }
      }
      if (needed) {
        ++i;
        continue;
      }
      if (is_new) seen.erase(first);
      ir::RemoveCapture(node_, i);
      changed = true;
    }
    return changed;
  }

  Graph& graph_;
  Node* node_;
  ir::ControlForm form_;
  const bool is_if_;
  const size_t first_;  // input of a loop's first carried value
  std::vector<Graph*> bodies_;
};

}  // namespace

Result<int> TrimControl(ir::Graph& graph, const PassOptions&) {
  return VisitNodes(graph, [&](Node* node) {
    if (!ir::IsControlFlow(*node)) return false;
    const auto form = ir::FormOf(*node);
    return form.ok() && Trim(graph, node, *form).Run();
  });
}

}  // namespace slipway::passes
