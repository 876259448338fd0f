#pragma once
// A module by libtorch, and how its parts are replaced while it learns. Includes torch: for this
// folder's *.cc only.

#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "learn/call.h"
#include "learn/learn.h"
#include "model/interp/interpreter.h"

namespace slipway::learn {

inline bool IsFloat(DType t) {
  return t == DType::kFloat32 || t == DType::kFloat64 || t == DType::kFloat16 ||
         t == DType::kBFloat16;
}

// What the interpreter shall run: a graph of this node alone, whose inputs are all the node's.
struct Alone {
  ir::Graph graph;
  std::optional<interp::Interpreter> interpreter;
};
struct Step {
  const ir::Node* node;
  Function function;  // null: the interpreter
  bool floats;        // the results are; else the function is for codes that are numbers here
  std::vector<int> in, out;  // slots; -1: absent
  std::vector<int> dead;     // slots that nobody reads behind this step
  std::unique_ptr<Alone> alone;
};

class TorchModule : public Module {
 public:
  static Result<std::unique_ptr<TorchModule>> Make(const ir::Graph& graph,
                                                   const ModuleOptions& options);
  Result<std::vector<ir::Tensor>> Forward(std::span<const ir::Tensor> inputs) override;
  Result<Gradients> Backward(std::span<const ir::Tensor> inputs,
                             std::span<const ir::Tensor> output_gradients,
                             std::span<const std::string> values) override;

  // The outputs for inputs that are arrays already, with derivatives where the thread records them.
  Result<std::vector<at::Tensor>> RunArrays(std::span<const at::Tensor> inputs);
  // What `node` computes of its first input, instead of what its operator does. Null: as before.
  using Hook = std::function<at::Tensor(const at::Tensor&)>;
  void Replace(const ir::Node* node, Hook hook);
  // The array of a float constant, and another in its place; undefined: there is no such constant.
  at::Tensor Constant(const ir::Value* value) const;
  void SetConstant(const ir::Value* value, at::Tensor array);
  const at::TensorOptions& options() const { return options_; }
  const ir::Graph& graph() const { return *graph_; }
  DType TypeOf(const ir::Value* value) const {
    return types_[static_cast<size_t>(slots_.at(value))];
  }

 private:
  int SlotOf(const ir::Value* value) {
    return value ? slots_.try_emplace(value, static_cast<int>(slots_.size())).first->second : -1;
  }
  Result<std::vector<Cell>> Start(std::span<const ir::Tensor> inputs);
  // `asked`: slots that stay, and that get derivatives.
  Status Run(std::vector<Cell>& cells, const std::vector<bool>& asked);
  Status RunAlone(Step& step, std::vector<Cell>& cells);
  Result<ir::Tensor> OnHost(const Cell& cell, const ir::Value& value) const;
  Result<ir::Tensor> OutputOf(const Cell& cell, const ir::Value& value) const;
  // Numbers that stand for integers: Quantize makes them.
  bool IsCode(int slot, const Cell& cell) const {
    return cell.array.defined() && !IsFloat(types_[static_cast<size_t>(slot)]);
  }
  bool is_double() const { return options_.dtype() == at::kDouble; }
  Cell CellOf(const ir::Tensor& tensor) const;

  const ir::Graph* graph_ = nullptr;
  at::TensorOptions options_;
  std::unordered_map<const ir::Value*, int> slots_;
  std::vector<DType> types_;  // of slots
  std::vector<Step> steps_;
  std::vector<std::pair<int, Cell>> constants_;
  // Of a run with gradients: nodes on the way that the interpreter ran on values with derivatives.
  std::vector<const ir::Node*> cut_;
  std::unordered_map<const ir::Node*, Hook> hooks_;
};

}  // namespace slipway::learn
