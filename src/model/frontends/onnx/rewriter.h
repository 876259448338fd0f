#pragma once
// Replaces one node by others: used by the exporter's expansions.

#include <string>
#include <vector>

#include "model/ir/graph.h"

namespace slipway::onnx {

class Rewriter {
 public:
  Rewriter(ir::Graph* graph, ir::Node* node)
      : graph_(graph),
        node_(node),
        dtype_(node->output() ? node->output()->dtype() : DType::kUndefined) {}

  // A new node before the old one. Its value's element type follows from the operator and its first
  // operand where that is known, else it is the old output's.
  ir::Value* Op(std::string_view op, std::vector<ir::Value*> inputs,
                ir::Attributes attributes = {}, std::string_view domain = "") {
    ir::Node* made = graph_->AddNode({.op = std::string(op),
                                      .inputs = std::move(inputs),
                                      .attributes = std::move(attributes),
                                      .domain = std::string(domain),
                                      .name = node_->name() + "/" + std::string(op),
                                      .outputs = {node_->name() + "/" + std::string(op)}},
                                     node_);
    made->sources = node_->sources;
    made->output()->set_type({TypeOf(*made), std::nullopt});
    return made->output();
  }
  ir::Value* Constant(std::string_view hint, ir::Tensor tensor) {
    return graph_->AddConstant(node_->name() + "/" + std::string(hint), std::move(tensor));
  }
  ir::Value* Ints(const std::vector<int64_t>& values) {
    return Constant("ints", ir::Tensor::Vector<int64_t>(values));
  }
  // A scalar of the old output's element type.
  ir::Value* Scalar(double value) {
    if (dtype_ == DType::kFloat64) return Constant("scalar", ir::Tensor::Scalar<double>(value));
    ir::Value* single = Constant("scalar", ir::Tensor::Scalar<float>(static_cast<float>(value)));
    if (dtype_ == DType::kFloat32 || dtype_ == DType::kUndefined) return single;
    return Op("Cast", {single}, {{"to", static_cast<int64_t>(dtype_)}});
  }
  // Output i > 0 of the old node is now `value`.
  void Replace(size_t i, ir::Value* value) {
    ir::Value* old = node_->output(i);
    if (!old) return;
    value->set_type(old->type());
    graph_->ReplaceAllUses(old, value);
    renames_.push_back({value, old->name()});
  }
  // Removes the old node; `last`, made here, takes its first output's uses and its names. Returns
  // the value that stands there now.
  ir::Value* Finish(ir::Value* last) {
    ir::Node* made = last->producer();
    ir::Value* old = node_->output(0);
    if (!old) {  // nobody wants it
      graph_->RemoveNode(node_);
      for (auto& [value, wanted] : renames_) graph_->Rename(value, wanted);
      return last;
    }
    const std::string name = node_->name(), output = old->name();
    const ir::Type type = old->type();
    graph_->ReplaceAllUses(old, last);
    graph_->RemoveNode(node_);
    // A node cannot be renamed: it is made again, now that its name is free.
    ir::Node* again = graph_->AddNode({.op = made->op(),
                                       .inputs = made->inputs(),
                                       .attributes = made->attributes,
                                       .domain = made->domain(),
                                       .name = name,
                                       .outputs = {output}},
                                      made);
    again->sources = made->sources;
    again->output()->set_type(type);
    graph_->ReplaceAllUses(last, again->output());
    graph_->RemoveNode(made);
    for (auto& [value, wanted] : renames_) graph_->Rename(value, wanted);
    return again->output();
  }

 private:
  DType TypeOf(const ir::Node& n) const {
    const std::string& op = n.op();
    if (op == "Shape" || op == "Size") return DType::kInt64;
    if (op == "Cast") return static_cast<DType>(n.attributes.Int("to", 0));
    if (op == "Less" || op == "Greater" || op == "Equal" || op == "Or" || op == "Not")
      return DType::kBool;
    if (op == "DequantizeLinear") return dtype_;
    const ir::Value* data = n.input(op == "Where" ? 1 : 0);
    return data && data->dtype() != DType::kUndefined ? data->dtype() : dtype_;
  }

  ir::Graph* graph_;
  ir::Node* node_;
  DType dtype_;
  std::vector<std::pair<ir::Value*, std::string>> renames_;
};

}  // namespace slipway::onnx
