#include "deploy/diff.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "deploy/inspect.h"
#include "model/ir/stats.h"

namespace slipway::deploy {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

std::string PortText(const Value* v) { return v->name() + ": " + v->type().ToString(); }

void Ports(const char* kind, const std::vector<Value*>& a, const std::vector<Value*>& b,
           std::vector<std::string>* out) {
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const std::string left = i < a.size() ? PortText(a[i]) : "(none)";
    const std::string right = i < b.size() ? PortText(b[i]) : "(none)";
    if (left != right) out->push_back(std::string(kind) + " " + left + " -> " + right);
  }
}

class Differ {
 public:
  Differ(const Graph& a, const Graph& b) : a_(a), b_(b) {}

  ModelDiff Run() {
    out_.same_structure = ir::StructureHash(a_, true) == ir::StructureHash(b_, true);
    Ports("input", a_.inputs(), b_.inputs(), &out_.ports);
    Ports("output", a_.outputs(), b_.outputs(), &out_.ports);
    size_t named = 0;
    for (const auto& n : a_.nodes()) named += b_.FindNode(n->name()) != nullptr;
    by_position_ = out_.same_structure && named * 2 < a_.nodes().size() &&
                   a_.nodes().size() == b_.nodes().size();
    Pair();
    Nodes();
    Weights();
    Operators();
    return std::move(out_);
  }

 private:
  void Pair() {
    auto other = b_.nodes().begin();
    for (const auto& n : a_.nodes()) {
      const Node* m = by_position_ ? (other++)->get() : b_.FindNode(n->name());
      if (!m) {
        out_.only_first.push_back(n->Describe());
        continue;
      }
      pairs_.push_back({n.get(), m});
      taken_[m] = true;
    }
    for (const auto& m : b_.nodes()) {
      if (!taken_.contains(m.get())) out_.only_second.push_back(m->Describe());
    }
  }

  std::string OperandName(const Value* v) const { return v ? v->name() : "(absent)"; }

  void Nodes() {
    for (const auto& [n, m] : pairs_) {
      std::vector<std::string> what;
      if (n->FullOp() != m->FullOp()) what.push_back(n->FullOp() + " -> " + m->FullOp());
      if (!(n->attributes == m->attributes)) what.push_back(Attributes(*n, *m));
      if (!by_position_) {
        for (size_t i = 0; i < std::max(n->inputs().size(), m->inputs().size()); ++i) {
          const std::string left = OperandName(n->input(i)), right = OperandName(m->input(i));
          if (left != right)
            what.push_back("input " + std::to_string(i) + ": " + left + " -> " + right);
        }
      }
      for (size_t i = 0; i < std::min(n->outputs().size(), m->outputs().size()); ++i) {
        const Value *v = n->output(i), *w = m->output(i);
        if (v && w && !(v->type() == w->type()))
          what.push_back("output " + v->type().ToString() + " -> " + w->type().ToString());
      }
      if (what.empty()) {
        ++out_.same_nodes;
        continue;
      }
      std::string text;
      for (const std::string& w : what) text += (text.empty() ? "" : "; ") + w;
      out_.changed.push_back({n->name(), text});
    }
  }

  static std::string Attributes(const Node& n, const Node& m) {
    ir::Attributes left, right;
    for (const auto& [name, value] : n.attributes.entries()) {
      const auto* other = m.attributes.Find(name);
      if (!other || !(*other == value)) left.Set(name, value);
    }
    for (const auto& [name, value] : m.attributes.entries()) {
      const auto* other = n.attributes.Find(name);
      if (!other || !(*other == value)) right.Set(name, value);
    }
    return "attributes " + AttributeText(left) + " -> " + AttributeText(right);
  }

  void Weights() {
    std::unordered_map<const Value*, bool> seen;
    auto compare = [&](const Value* v, const Value* w) {
      seen[w] = true;
      const ir::Tensor &s = *v->constant(), &t = *w->constant();
      if (s.dtype() != t.dtype() || !(s.dims() == t.dims())) {
        out_.weights_retyped.push_back(
            {v->name(), v->type().ToString() + " -> " + w->type().ToString()});
        return;
      }
      if (std::equal(s.bytes().begin(), s.bytes().end(), t.bytes().begin(), t.bytes().end())) {
        ++out_.same_weights;
        return;
      }
      WeightChange c{v->name(), w->type().ToString(), s.count()};
      const auto x = s.ToDoubles(), y = t.ToDoubles();
      double norm = 0, gap = 0;
      for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
        const double d = std::abs(x[i] - y[i]);
        c.different += !(x[i] == y[i]);
        if (!(d <= c.largest)) c.largest = d;
        norm += x[i] * x[i];
        gap += d * d;
      }
      c.relative = norm > 0 ? std::sqrt(gap / norm) : gap > 0 ? INFINITY : 0;
      out_.weights_changed.push_back(std::move(c));
    };
    if (by_position_) {
      for (const auto& [n, m] : pairs_) {
        for (size_t i = 0; i < n->inputs().size(); ++i) {
          if (n->constant_input(i) && m->constant_input(i) && !seen.contains(m->input(i)))
            compare(n->input(i), m->input(i));
        }
      }
      return;
    }
    for (const auto& v : a_.values()) {
      if (!v->is_constant()) continue;
      const Value* w = b_.FindValue(v->name());
      if (w && w->is_constant())
        compare(v.get(), w);
      else
        out_.weights_only_first.push_back(PortText(v.get()));
    }
    for (const auto& w : b_.values()) {
      if (w->is_constant() && !seen.contains(w.get()))
        out_.weights_only_second.push_back(PortText(w.get()));
    }
  }

  void Operators() {
    std::map<std::string, std::pair<int, int>> counts;
    for (const auto& n : a_.nodes()) ++counts[n->FullOp()].first;
    for (const auto& n : b_.nodes()) ++counts[n->FullOp()].second;
    for (const auto& [op, c] : counts) {
      if (c.first != c.second) out_.operators[op] = c;
    }
  }

  const Graph &a_, &b_;
  ModelDiff out_;
  bool by_position_ = false;
  std::vector<std::pair<const Node*, const Node*>> pairs_;
  std::unordered_map<const Node*, bool> taken_;
};

}  // namespace

ModelDiff Diff(const Graph& first, const Graph& second) { return Differ(first, second).Run(); }

}  // namespace slipway::deploy
