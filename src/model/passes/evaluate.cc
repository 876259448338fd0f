#include "model/passes/evaluate.h"

#include "model/ir/infer.h"
#include "model/ir/schema.h"
#include "model/ops/kernel.h"

namespace slipway::passes {

using ir::Tensor;
using ir::Type;

Result<std::vector<Tensor>> EvaluateNode(const ir::Node& node, std::span<const Tensor> inputs) {
  if (!node.schema() || !node.schema()->kernel || !node.subgraphs.empty()) {
    return Unsupported(node.Describe() + " cannot be evaluated on its own");
  }
  std::vector<Tensor> aligned;
  std::vector<Type> types;
  std::vector<const Tensor*> constants;
  for (const Tensor& t : inputs) {
    aligned.push_back(t.present() ? t.Aligned() : t);
    Type type;
    if (t.present()) {
      type.dtype = t.dtype();
      type.shape = SymShape(t.dims().begin(), t.dims().end());
    }
    types.push_back(std::move(type));
  }
  for (const Tensor& t : aligned) constants.push_back(t.present() ? &t : nullptr);
  SLIPWAY_ASSIGN_OR_RETURN(std::vector<Type> made, ir::InferNode(node, types, constants));

  std::vector<Tensor> outputs(node.outputs().size());
  std::vector<ops::TensorView> in, out;
  for (const Tensor& t : aligned) in.push_back(t.present() ? t.view() : ops::TensorView{});
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!node.output(i)) {
      out.push_back({});
      continue;
    }
    auto dims = i < made.size() ? made[i].StaticDims() : std::nullopt;
    if (!dims)
      return Unsupported(node.Describe() + " has an output whose extent only the data decides");
    SLIPWAY_ASSIGN_OR_RETURN(outputs[i], Tensor::Allocate(made[i].dtype, *dims));
    out.push_back(outputs[i].view());
  }
  ops::OpContext context;
  context.inputs = in;
  context.outputs = out;
  context.attributes = &node.attributes;
  Status status = node.schema()->kernel(context);
  if (!status.ok()) return std::move(status).With(node.Describe());
  return outputs;
}

Result<Tensor> EvaluateOp(std::string_view op, std::string_view domain,
                          const ir::Attributes& attributes, std::span<const Tensor> inputs) {
  ir::Graph graph;
  std::vector<ir::Value*> values;
  for (const Tensor& t : inputs) values.push_back(t.present() ? graph.AddConstant("", t) : nullptr);
  ir::Node* node = graph.AddNode({.op = std::string(op),
                                  .inputs = values,
                                  .attributes = attributes,
                                  .domain = std::string(domain)});
  SLIPWAY_ASSIGN_OR_RETURN(std::vector<Tensor> outputs, EvaluateNode(*node, inputs));
  return std::move(outputs[0]);
}

}  // namespace slipway::passes
