#pragma once
// Brings one node from the opset of its model to the semantics of ir::kOpset: attributes that
// became inputs, changed defaults, operators that were replaced or taken apart.
// https://github.com/onnx/onnx/blob/main/docs/Changelog.md

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"
#include "model/ir/opset.h"

namespace slipway::onnx {

// A node as the file has it, changed in place by its upgrade.
struct OldNode {
  std::string op, domain, name;
  int opset = 0;
  std::vector<ir::Value*> inputs;  // null = absent
  ir::Attributes attributes;
  std::map<std::string, ir::Tensor, std::less<>> tensors;  // tensor attributes
  std::vector<std::string> outputs;                        // names in the file, "" = absent
  std::vector<bool> used;                                  // whether anybody reads that output
  // Outputs that are no outputs of the finished node: null, or the value that takes the name.
  std::vector<ir::Value*> results;

  std::string Describe() const;
  ir::Value* input(size_t i) const { return i < inputs.size() ? inputs[i] : nullptr; }
  // Output i is `value`, made before this node.
  void SetResult(size_t i, ir::Value* value);
};

inline constexpr int kOldestOpset = ir::kOldestImportOpset;

class Upgrader {
 public:
  // `is_taken` says whether the file uses a name, so that values made here never take it.
  Upgrader(ir::Graph* graph, std::function<bool(std::string_view)> is_taken)
      : graph_(graph), is_taken_(std::move(is_taken)) {}

  // Whether an operator of the default domain can be imported at all.
  static bool Knows(std::string_view op);
  // Whether an operator of a vendor's domain is known and made of others (contrib.h).
  static bool KnowsContrib(std::string_view domain, std::string_view op);

  // Rewrites `node` into operators of the IR: adds what has to run before it to the graph and
  // leaves its last operator in `node`.
  Status Upgrade(OldNode* node);
  // Records the finished node where later steps need it.
  void Finished(const OldNode& old, ir::Node* node);
  // Rewrites which need shapes; call after shape inference. True when the graph changed.
  Result<bool> RewriteWithShapes();

  // Building blocks for upgrades.
  ir::Value* Constant(const OldNode& node, std::string_view hint, ir::Tensor tensor);
  ir::Value* Ints(const OldNode& node, std::string_view hint, std::span<const int64_t> values);
  ir::Value* Emit(const OldNode& node, std::string_view op, std::vector<ir::Value*> inputs,
                  ir::Attributes attributes = {}, std::string_view domain = "");
  // The outputs of a node with `count` of them.
  std::vector<ir::Value*> EmitMany(const OldNode& node, std::string_view op,
                                   std::vector<ir::Value*> inputs, size_t count,
                                   ir::Attributes attributes = {}, std::string_view domain = "");
  // The element type as far as it can be told before inference; kUndefined when it cannot.
  DType TypeOf(const ir::Value* value) const;
  // The same, by inference where the walk does not end in a known type.
  DType FindType(const ir::Value* value);
  // Whether it is a sequence, as far as that can be told now.
  bool IsSequence(const ir::Value* value);
  // The rank as far as it can be told now: inference runs when it has to, a limited number of
  // times. -1 when unknown.
  int64_t RankOf(const ir::Value* value);
  // A scalar of x's floating element type (float32 when unknown).
  ir::Value* ScalarLike(const OldNode& node, std::string_view hint, const ir::Value* x,
                        float value);

 private:
  std::string FreshName(const OldNode& node, std::string_view hint);

  ir::Graph* graph_;
  std::function<bool(std::string_view)> is_taken_;
  int inferences_ = 0;
  std::unordered_map<std::string, int> suffixes_;
  std::vector<ir::Node*>
      coerced_;  // Softmax and LogSoftmax of opset < 13, which see their input as a matrix
};

}  // namespace slipway::onnx
