#include <bit>
#include <unordered_map>

#include "base/hash.h"
#include "model/ir/schema.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// Of a large constant only the ends are hashed: equal ones are rare but for shared weights, and
// what hashes alike is compared whole.
constexpr size_t kHashedBytes = 16 << 10;

uint64_t HashOf(const Tensor& t) {
  auto bytes = t.bytes();
  uint64_t type = Hash64(t.dims().ToString(), static_cast<uint64_t>(t.dtype()));
  if (bytes.size() <= 2 * kHashedBytes) return HashCombine(Hash64(bytes), type);
  return HashCombine(HashCombine(Hash64(bytes.first(kHashedBytes)), type),
                     Hash64(bytes.last(kHashedBytes)));
}

bool SameConstant(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.dims() == b.dims() &&
         std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin(), b.bytes().end());
}

int MergeConstants(Graph& graph) {
  std::unordered_map<uint64_t, std::vector<Value*>> seen;
  std::vector<Value*> constants;
  for (const auto& v : graph.values()) {
    if (v->is_constant() && !v->is_output() && v->IsUsed()) constants.push_back(v.get());
  }
  int merged = 0;
  for (Value* v : constants) {
    const Tensor& t = *v->constant();
    std::vector<Value*>& bucket = seen[HashOf(t)];
    bool found = false;
    for (Value* other : bucket) {
      if (!SameConstant(t, *other->constant())) continue;
      graph.ReplaceAllUses(v, other);
      graph.RemoveValue(v);
      ++merged;
      found = true;
      break;
    }
    if (!found) bucket.push_back(v);
  }
  return merged;
}

struct ValueHash {
  uint64_t operator()(int64_t v) const { return static_cast<uint64_t>(v); }
  uint64_t operator()(float v) const { return std::bit_cast<uint32_t>(v); }
  uint64_t operator()(const std::string& v) const { return Hash64(v); }
  template <typename T>
  uint64_t operator()(const std::vector<T>& values) const {
    uint64_t h = values.size();
    for (const T& v : values) h = HashCombine(h, (*this)(v));
    return h;
  }
};

uint64_t KeyOf(const Node* node) {
  uint64_t key = HashCombine(Hash64(node->op()), Hash64(node->domain()));
  for (const Value* v : node->inputs()) key = HashCombine(key, reinterpret_cast<uintptr_t>(v));
  for (const auto& [name, value] : node->attributes.entries())
    key = HashCombine(HashCombine(key, Hash64(name)), std::visit(ValueHash{}, value));
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
    if (!node->schema() || !node->subgraphs.empty() || ir::IsRandom(*node)) continue;
    std::vector<Node*>& bucket = seen[KeyOf(node)];
    Node* same = nullptr;
    for (Node* other : bucket) {
      if (!SameNode(node, other)) continue;
      same = other;
      break;
    }
    bool possible = same != nullptr;
    for (size_t i = 0; same && i < node->outputs().size(); ++i) {
      Value *a = node->output(i), *b = same->output(i);
      possible &= !(a && a->is_output() && b->is_output());
    }
    if (!possible) {
      if (!same) bucket.push_back(node);  // of equal ones the first stands for all
      continue;
    }
    for (size_t i = 0; i < node->outputs().size(); ++i) {
      if (node->output(i)) ReplaceValue(graph, node->output(i), same->output(i));
    }
    constexpr size_t kMostSources = 128;  // as in Fuse
    for (const std::string& s : node->sources) {
      if (same->sources.size() < kMostSources) same->sources.push_back(s);
    }
    graph.RemoveNode(node);
    ++changes;
  }
  return changes;
}

}  // namespace slipway::passes
