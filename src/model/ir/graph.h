#pragma once
// The intermediate representation: ONNX's Graph / Node / Value with one opset (kOpset), typed
// attributes, symbolic dimensions and shared constants. Nodes are kept in an order in which they
// can run. Everything is owned by its Graph; pointers stay valid until the object is removed.

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/dim.h"
#include "base/status.h"
#include "model/ir/opset.h"
#include "model/ir/tensor.h"
#include "model/ops/attributes.h"

namespace slipway::ir {

using ops::Attributes;
using ops::AttributeValue;

class Graph;
class Node;
struct OpSchema;

// Of a sequence or an optional, dtype and shape are those of the tensors in it. A symbol there that
// no tensor of the graph has in its shape stands for a size that differs from tensor to tensor.
struct Type {
  DType dtype = DType::kUndefined;
  std::optional<SymShape> shape;  // nullopt: rank unknown
  Container container = Container::kTensor;

  bool is_container() const { return container != Container::kTensor; }
  bool is_sequence() const { return container == Container::kSequence; }
  bool is_optional() const {
    return container == Container::kOptional || container == Container::kOptionalSequence;
  }
  // A tensor of known type and rank. This and the next two are never true of a container.
  bool known() const {
    return !is_container() && dtype != DType::kUndefined && shape.has_value();
  }
  // All dimensions are integers.
  bool IsStatic() const;
  // The extent when IsStatic() and rank <= kMaxRank, else nullopt.
  std::optional<Dims> StaticDims() const;
  // What a sequence or an optional holds; itself for a tensor.
  Type Element() const;
  // "float32[N, 3, 224, 224]", "int64[?]" when the rank is unknown, "seq(float32[?])",
  // "optional(seq(int64[]))"
  std::string ToString() const;
  friend bool operator==(const Type&, const Type&) = default;
};

struct Use {
  Node* node;
  int index;  // which input of node
  friend bool operator==(const Use&, const Use&) = default;
};

// One value of the graph, a tensor, a sequence or an optional: an input, a constant (always a
// tensor), or the output of a node. Names are unique within a
// graph.
class Value {
 public:
  const std::string& name() const { return name_; }
  const Type& type() const { return type_; }
  void set_type(Type type) { type_ = std::move(type); }
  DType dtype() const { return type_.dtype; }

  Node* producer() const { return producer_; }  // null for inputs and constants
  int producer_index() const { return producer_index_; }
  bool is_constant() const { return constant_.present(); }
  bool is_input() const { return is_input_; }
  const Tensor* constant() const { return constant_.present() ? &constant_ : nullptr; }
  // In no particular order (but the same one in every run): a use that goes leaves its place to the
  // last.
  const std::vector<Use>& uses() const { return uses_; }
  bool is_output() const { return output_uses_ > 0; }
  bool IsUsed() const { return !uses_.empty() || output_uses_ > 0; }
  // The one consuming node when there is exactly one use and the value is no graph output; else
  // null.
  Node* OnlyUser() const;

 private:
  friend class Graph;
  friend class Node;
  std::string name_;
  Type type_;
  Node* producer_ = nullptr;
  int producer_index_ = 0;
  bool is_input_ = false;
  int output_uses_ = 0;
  Tensor constant_;
  std::vector<Use> uses_;
};

class Node {
 public:
  const std::string& name() const { return name_; }
  const std::string& op() const { return op_; }
  const std::string& domain() const { return domain_; }
  bool Is(std::string_view op, std::string_view domain = "") const {
    return op_ == op && domain_ == domain;
  }
  bool IsSlipway(std::string_view op) const { return Is(op, kSlipwayDomain); }
  std::string FullOp() const { return domain_.empty() ? op_ : domain_ + "." + op_; }
  // "Conv node 'layer1/conv'": how errors name it.
  std::string Describe() const { return FullOp() + " node '" + name_ + "'"; }
  const OpSchema* schema() const {
    return schema_;
  }  // null when the operator table does not know it

  // Absent optional inputs and outputs are null.
  const std::vector<Value*>& inputs() const { return inputs_; }
  const std::vector<Value*>& outputs() const { return outputs_; }
  Value* input(size_t i) const { return i < inputs_.size() ? inputs_[i] : nullptr; }
  Value* output(size_t i = 0) const { return i < outputs_.size() ? outputs_[i] : nullptr; }
  const Tensor* constant_input(size_t i) const { return input(i) ? input(i)->constant() : nullptr; }

  Attributes attributes;
  // Bodies of If, Loop and Scan by attribute name. A body is closed: values it captures from
  // outside are passed as further inputs of the node behind the formal ones, in the order of the
  // body's further inputs (control.h); constants from outside are constants of the body that share
  // their bytes.
  std::map<std::string, std::unique_ptr<Graph>> subgraphs;
  // The names of the nodes of the imported model that this node stands for (grows when passes
  // fuse); for reports.
  std::vector<std::string> sources;

  Graph* graph() const { return graph_; }

 private:
  friend class Graph;
  std::string name_, op_, domain_;
  const OpSchema* schema_ = nullptr;
  std::vector<Value*> inputs_, outputs_;
  std::vector<size_t> slots_;  // where in inputs_[i]->uses_ this use is
  Graph* graph_ = nullptr;
  std::list<std::unique_ptr<Node>>::iterator self_;
};

class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  std::string name = "graph";
  std::map<std::string, std::string>
      metadata;  // producer, doc string and the like; kept through the road
  // Declared ranges of symbols [min, max]; a symbol without one is [1, 2^31-1].
  std::map<std::string, std::pair<int64_t, int64_t>> symbol_ranges;

  // --- building ---
  // A wanted name that is taken gets a numbered suffix; an empty one gets a generated name.
  Value* AddInput(std::string_view name, Type type);
  Value* AddConstant(std::string_view name, Tensor tensor);
  void AddOutput(Value* value);
  struct NodeSpec {
    std::string op;
    std::vector<Value*> inputs;  // null = absent
    Attributes attributes = {};
    std::string domain = {};
    std::string name = {};
    std::vector<std::string> outputs = {""};  // wanted names; "-" = absent optional output
  };
  // Appends, or inserts before `before`.
  Node* AddNode(NodeSpec spec, Node* before = nullptr);

  // --- changing ---
  void SetInput(Node* node, size_t index, Value* value);  // index may be one past the end
  void RemoveInput(Node* node, size_t index);             // erases the position
  // All uses of `from`, graph outputs included, become uses of `to`.
  void ReplaceAllUses(Value* from, Value* to);
  void SetOutput(size_t index, Value* value);
  void RemoveOutput(size_t index);  // of the graph: erases the position
  // The inputs in another order; `inputs` must hold each of them once.
  void OrderInputs(std::vector<Value*> inputs) { inputs_ = std::move(inputs); }
  // None of its outputs may be used. Values that become unused stay until RemoveUnused().
  void RemoveNode(Node* node);
  // Removes a value that is neither used nor produced (an input or constant).
  void RemoveValue(Value* value);
  // Removes nodes whose results nobody uses and constants nobody reads; graph inputs stay. Returns
  // how many nodes went.
  int RemoveUnused();
  // Turns an input into a constant (binding a fixed input) or replaces a constant's bytes; the type
  // follows the tensor.
  void SetConstant(Value* value, Tensor tensor);
  void MoveBefore(Node* node, Node* before);
  void Rename(Value* value, std::string_view name);
  void Rename(Node* node, std::string_view name);
  // Re-orders the nodes so that producers come first, keeping the order otherwise. InvalidArgument
  // names a cycle.
  Status SortTopologically();

  // --- reading ---
  const std::list<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  const std::vector<Value*>& inputs() const { return inputs_; }
  const std::vector<Value*>& outputs() const { return outputs_; }
  // Every value, in creation order.
  const std::list<std::unique_ptr<Value>>& values() const { return values_; }
  Value* FindValue(std::string_view name) const;
  Node* FindNode(std::string_view name) const;
  // A snapshot, safe to iterate while nodes are added and removed (check that a node is still there
  // before touching it).
  std::vector<Node*> NodeList() const;

  std::unique_ptr<Graph> Clone() const;

 private:
  Value* NewValue(std::string_view wanted);
  std::string UniqueValueName(std::string_view wanted);
  std::string UniqueNodeName(std::string_view wanted);
  void DropUse(Node* node, size_t index);

  std::list<std::unique_ptr<Node>> nodes_;
  std::list<std::unique_ptr<Value>> values_;
  std::vector<Value*> inputs_, outputs_;
  std::unordered_map<std::string, Value*> value_names_;
  std::unordered_map<std::string, Node*> node_names_;
  std::unordered_map<Value*, std::list<std::unique_ptr<Value>>::iterator> value_places_;
  std::unordered_map<std::string, int> suffixes_;
};

}  // namespace slipway::ir
