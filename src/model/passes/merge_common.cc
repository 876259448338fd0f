#include <unordered_map>

#include "base/hash.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// Larger constants are weights: equal ones are rare, and comparing all of them costs a pass over
// the model.
constexpr size_t kMaxConstantBytes = 64 << 10;

bool SameConstant(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.dims() == b.dims() &&
         std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin(), b.bytes().end());
}

int MergeConstants(Graph& graph) {
  std::unordered_map<uint64_t, std::vector<Value*>> seen;
  std::vector<Value*> constants;
  for (const auto& v : graph.values()) {
    if (v->is_constant() && !v->is_output() && v->IsUsed() &&
        v->constant()->bytes().size() <= kMaxConstantBytes) {
      constants.push_back(v.get());
    }
  }
  int merged = 0;
  for (Value* v : constants) {
    const Tensor& t = *v->constant();
    uint64_t key = HashCombine(Hash64(t.bytes()),
                               Hash64(t.dims().ToString(), static_cast<uint64_t>(t.dtype())));
    bool found = false;
    for (Value* other : seen[key]) {
      if (!SameConstant(t, *other->constant())) continue;
      graph.ReplaceAllUses(v, other);
      graph.RemoveValue(v);
      ++merged;
      found = true;
      break;
    }
    if (!found) seen[key].push_back(v);
  }
  return merged;
}

uint64_t KeyOf(const Node* node) {
  uint64_t key = HashCombine(Hash64(node->op()), Hash64(node->domain()));
  for (const Value* v : node->inputs()) key = HashCombine(key, reinterpret_cast<uintptr_t>(v));
  return HashCombine(key, node->outputs().size());
}

bool SameNode(const Node* a, const Node* b) {
  if (a->op() != b->op() || a->domain() != b->domain() || a->inputs() != b->inputs() ||
      a->outputs().size() != b->outputs().size() || !(a->attributes == b->attributes)) {
    return false;
  }
  for (size_t i = 0; i < a->outputs().size(); ++i) {
    if ((a->output(i) == nullptr) != (b->output(i) == nullptr)) return false;
  }
  return true;
}

}  // namespace

Result<int> MergeCommon(ir::Graph& graph, const PassOptions&) {
  int changes = MergeConstants(graph);
  std::unordered_map<uint64_t, std::vector<Node*>> seen;
  for (Node* node : graph.NodeList()) {
    if (!node->schema() || !node->subgraphs.empty()) continue;
    std::vector<Node*>& bucket = seen[KeyOf(node)];
    Node* same = nullptr;
    for (Node* other : bucket) {
      if (SameNode(node, other)) same = other;
    }
    bool possible = same != nullptr;
    for (size_t i = 0; same && i < node->outputs().size(); ++i) {
      Value *a = node->output(i), *b = same->output(i);
      possible &= !(a && a->is_output() && b->is_output());
    }
    if (!possible) {
      bucket.push_back(node);
      continue;
    }
    for (size_t i = 0; i < node->outputs().size(); ++i) {
      if (node->output(i)) ReplaceValue(graph, node->output(i), same->output(i));
    }
    for (const std::string& s : node->sources) same->sources.push_back(s);
    graph.RemoveNode(node);
    ++changes;
  }
  return changes;
}

}  // namespace slipway::passes
