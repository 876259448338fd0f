#pragma once
// What passes share: reading constants and patterns, and replacing nodes so that names, types and
// sources survive.

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/ir/graph.h"

namespace slipway::passes {

using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Type;
using ir::Use;
using ir::Value;

// --- reading ---

// The element of a constant that has exactly one; nullopt otherwise.
std::optional<double> ScalarOf(const Value* value);
inline bool IsScalar(const Value* value, double wanted) { return ScalarOf(value) == wanted; }
// |value - wanted| <= relative * |wanted|.
bool IsScalarNear(const Value* value, double wanted, double relative = 1e-6);
// The elements of an integer constant.
std::optional<std::vector<int64_t>> IntsOf(const Value* value);
// The elements of a float32 constant.
std::optional<std::vector<float>> FloatsOf(const Value* value);

// The node that makes `value` when it is the ONNX operator `op`; else null.
Node* ProducerOf(const Value* value, std::string_view op);
Node* SlipwayProducerOf(const Value* value, std::string_view op);
bool SameShape(const Value* a, const Value* b);  // both known and equal
std::optional<int> RankOf(const Value* value);
std::optional<Dims> StaticDimsOf(const Value* value);
inline int64_t NormalAxis(int64_t axis, int rank) { return axis < 0 ? axis + rank : axis; }

// The permutation of a Transpose, also where it is the default; nullopt when `node` is none (or
// null).
std::optional<std::vector<int64_t>> PermOf(const Node* node);
SymShape Permuted(const SymShape& shape, const std::vector<int64_t>& perm);
std::vector<int64_t> InversePerm(const std::vector<int64_t>& perm);
// The shape to which they broadcast; nullopt when it cannot be said (an unknown dimension against
// another one).
std::optional<SymShape> BroadcastShape(std::span<const SymShape> shapes);

// The ranges of a Slice with constant, positive steps, by axis; ends beyond a known extent are cut
// off.
struct SliceRange {
  int64_t start, end, step;
};
std::optional<std::map<int64_t, SliceRange>> SliceRangesOf(const Node* node);
// The sizes of the pieces of a Split along its axis (in range); nullopt when they are not known.
std::optional<std::vector<int64_t>> SplitSizesOf(const Node* node, int64_t* axis);

// For a two-input node with one constant scalar operand: the other operand and the constant.
struct ScalarOperand {
  Value* other = nullptr;
  double constant = 0;
  explicit operator bool() const { return other != nullptr; }
};
// Either side when `commutative`, else only the right one.
ScalarOperand MatchScalarOperand(const Node* node, bool commutative);

// x and c of a product c * x1 * x2 * ... spread over a tree of Mul and Div-by-constant nodes. Inner
// nodes count only when nobody else uses them. `nodes` lists the tree with the root last.
struct Product {
  double constant = 1;
  std::vector<Value*> factors;
  std::vector<Node*> nodes;
};
Product FlattenProduct(Node* root);

// Elementwise with one data input: any extra inputs are constants of one element.
bool IsUnaryElementwise(const Node* node);

// Whether the only consumer of `value`, past operators that a Transpose can move through, is a
// Transpose.
bool LeadsToTranspose(const Value* value);

// --- changing ---

// Calls visit(Node*) -> bool for every node of now, forward or backward, and counts how often it
// returned true. The visitor may add and remove nodes; nodes removed before their turn are passed
// over.
template <typename F>
int VisitNodes(Graph& graph, F&& visit, bool backward = false) {
  std::vector<std::string> names;
  for (const auto& node : graph.nodes()) names.push_back(node->name());
  if (backward) std::reverse(names.begin(), names.end());
  int changes = 0;
  for (const std::string& name : names) {
    Node* node = graph.FindNode(name);
    if (node && visit(node)) ++changes;
  }
  return changes;
}

// All uses of `from` become uses of `to`; a graph output keeps its name. False, with nothing
// changed, when that is impossible (both are graph outputs, or an input or constant would have to
// carry the output's name).
bool ReplaceValue(Graph& graph, Value* from, Value* to);
// The same and removes `node`, whose only used output is the first.
bool BypassNode(Graph& graph, Node* node, Value* to);

// Adds the node of `spec` where replaced.back() stands. It takes over the name of `main`, the uses,
// the name and the type of the first output of replaced.back(), and the sources of all of
// `replaced`; those of them that nobody needs any more are removed.
Node* Fuse(Graph& graph, Graph::NodeSpec spec, Node* main, const std::vector<Node*>& replaced);

// The same if `supported` says yes of the new node, asked of one that stands beside the pieces with
// the type of the result; else null, with nothing changed.
Node* FuseIfSupported(Graph& graph, const Graph::NodeSpec& spec, Node* main,
                      const std::vector<Node*>& replaced,
                      const std::function<bool(const Node&)>& supported);

// Adds a node with one output of the given type before `before`, with the sources of `like`.
Value* AddBefore(Graph& graph, Graph::NodeSpec spec, Type type, Node* before, const Node* like);

// Every output of `nodes` but those of the last one is used inside `nodes` only.
bool IsSelfContained(const std::vector<Node*>& nodes);

Value* AddFloats(Graph& graph, std::string_view name, const Dims& dims,
                 const std::vector<float>& values);
Value* AddInts(Graph& graph, std::string_view name, const std::vector<int64_t>& values);

// A Reshape of `value` to a constant target, before `before`; null when the target cannot be
// written as one (two unknown dimensions that are not where the input has them). `shape` becomes
// the type of the result.
Value* AddReshape(Graph& graph, Value* value, const SymShape& shape, Node* before,
                  std::string_view name = "");
// The constant target that turns `from` into `to`; nullopt when there is none.
std::optional<std::vector<int64_t>> ReshapeTarget(const std::optional<SymShape>& from,
                                                  const SymShape& to);

}  // namespace slipway::passes
