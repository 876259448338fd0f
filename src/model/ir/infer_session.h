#pragma once
// What one run of shape inference over a graph and its bodies keeps. Internal to this folder.

#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "model/ir/graph.h"
#include "model/ir/infer.h"

namespace slipway::ir {

using Elements = std::vector<Dim>;

// What one run over a graph remembers beyond the types of values.
struct Session {
  std::unordered_set<std::string> bound;  // symbols of the graph's inputs
  std::unordered_set<std::string> used;   // every symbol name in use
  int64_t next = 0;
  int64_t body_nodes = 0;  // inferred in bodies so far, repetitions counted
  std::unordered_map<std::string, Dim> equal;  // data-dependent symbols found to be something else
  std::unordered_map<const Value*, Elements> elements;
  std::unordered_map<const Value*, Dim> lengths;  // of sequences

  bool Bound(const Dim& d) const {
    for (const std::string& s : d.Symbols()) {
      if (!bound.count(s)) return false;
    }
    return true;
  }
  Dim Fresh() {
    std::string name;
    do {
      name = "_u" + std::to_string(next++);
    } while (used.count(name));
    used.insert(name);
    return Dim::Symbol(name);
  }
  Dim Resolve(const Dim& d) const {
    if (equal.empty() || d.known()) return d;
    return d.Substitute([&](std::string_view s) -> std::optional<Dim> {
      auto it = equal.find(std::string(s));
      if (it == equal.end()) return std::nullopt;
      return it->second;
    });
  }
  void Resolve(Type& t) const {
    if (equal.empty() || !t.shape) return;
    for (Dim& d : *t.shape) d = Resolve(d);
  }
  // `d` is a data-dependent symbol alone.
  bool Replaceable(const Dim& d) const {
    if (d.known()) return false;
    const auto symbols = d.Symbols();
    return symbols.size() == 1 && !bound.count(symbols[0]) && d.ToString() == symbols[0];
  }
  void AssumeEqual(const Dim& left, const Dim& right) {
    Dim a = Resolve(left), b = Resolve(right);
    if (a == b || a.overflowed() || b.overflowed()) return;
    if (!Replaceable(a) || (Replaceable(b) && b.ToString() > a.ToString())) std::swap(a, b);
    if (!Replaceable(a) || (b.known() && b.value() < 0)) return;
    const std::string name = a.ToString();
    for (const std::string& s : b.Symbols()) {
      if (s == name) return;
    }
    for (auto& [unused, d] : equal) {
      d = d.Substitute(
          [&](std::string_view s) { return s == name ? std::optional<Dim>(b) : std::nullopt; });
    }
    equal[name] = b;
  }
};

// Adds the symbols of a type.
void CollectSymbols(const Type& type, std::unordered_set<std::string>& into);
// Only of a tensor: the symbols in the type of a sequence or an optional have no value of their own.
void CollectBound(const Type& type, std::unordered_set<std::string>& into);

// Infers all nodes of a graph whose inputs are typed, in order. `forget`: declared types of known
// operators' outputs do not count.
Status InferNodes(Graph& graph, Session& session, bool forget);

// The types of the outputs of a control-flow node from its inputs' resolved types: infers its
// bodies, which get new types throughout. Symbols made inside do not leave the bodies.
Result<std::vector<Type>> InferControlFlow(Node& node, Session& session);

}  // namespace slipway::ir
