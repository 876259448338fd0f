#include "model/frontends/onnx/bodies.h"

#include <array>
#include <limits>

#include "model/frontends/onnx/tensor_proto.h"
#include "model/ir/control.h"

namespace slipway::onnx {

using ir::Container;
using ir::Graph;
using ir::Tensor;
using ir::Type;
using ir::Value;

namespace {

constexpr std::array<std::string_view, 1> kBody = {"body"};

Value* Add(Graph* graph, const OldNode& node, const char* op, std::vector<Value*> inputs,
           ir::Attributes attributes = {}, ir::Node* before = nullptr) {
  const std::string name = node.name + "/" + op;
  ir::Node* made = graph->AddNode({.op = op,
                                   .inputs = std::move(inputs),
                                   .attributes = std::move(attributes),
                                   .name = name,
                                   .outputs = {name}},
                                  before);
  made->sources = {node.name};
  return made->output();
}

Status UnknownType(const OldNode& node, size_t output) {
  return Unsupported(node.Describe() + ": the element type of its body's output " +
                     std::to_string(output) + " is not known; declare it in the model");
}

// `y`, which covers the first `length` steps, with zeros for the others up to `steps`.
Value* PadSteps(Graph* graph, const OldNode& node, Value* y, DType dtype, Value* length,
                Value* steps) {
  Value* zero = graph->AddConstant(node.name + "/zero", Tensor::Vector<int64_t>({0}));
  Value* one = graph->AddConstant(node.name + "/one", Tensor::Vector<int64_t>({1}));
  Value* end = graph->AddConstant(node.name + "/end",
                                  Tensor::Vector<int64_t>({std::numeric_limits<int64_t>::max()}));
  Value* shape = Add(graph, node, "Shape", {y});
  Value* rest = Add(graph, node, "Slice", {shape, one, end, zero});
  Value* missing = Add(graph, node, "Sub", {steps, length});
  Value* extent = Add(graph, node, "Concat", {missing, rest}, {{"axis", int64_t{0}}});
  Value* zeros =
      Add(graph, node, "ConstantOfShape", {extent}, {{"dtype", static_cast<int64_t>(dtype)}});
  return Add(graph, node, "Concat", {y, zeros}, {{"axis", int64_t{0}}});
}

}  // namespace

std::span<const std::string_view> FileBodyNames(std::string_view op) {
  if (op == "SequenceMap") return kBody;
  return ir::BodyNames("", op);
}

Status ExpandSequenceMap(OldNode* node, Bodies* bodies, size_t formal, Upgrader* upgrader,
                         Upgrader* body_upgrader) {
  Graph& body = *bodies->at("body");
  const std::vector<Value*> inputs = node->inputs, elements = body.inputs(), ys = body.outputs();
  for (size_t i = 0; i < formal; ++i) {
    if (!inputs[i])
      return InvalidArgument(node->Describe() + ": its input " + std::to_string(i) + " is absent");
  }
  Value* iteration = body.AddInput(node->name + "/iteration", {DType::kInt64, SymShape{}});
  Value* condition = body.AddInput(node->name + "/condition", {DType::kBool, SymShape{}});
  std::vector<Value*> order = {iteration, condition};
  std::vector<Value*> outer = {upgrader->Emit(*node, "SequenceLength", {inputs[0]}), nullptr};
  std::vector<Value*> made;
  for (size_t i = 0; i < ys.size(); ++i) {
    const DType dtype = body_upgrader->FindType(ys[i]);
    if (!IsKnown(dtype)) return UnknownType(*node, i);
    order.push_back(
        body.AddInput(node->name + "/sequence", Type{dtype, std::nullopt, Container::kSequence}));
    outer.push_back(
        upgrader->Emit(*node, "SequenceEmpty", {}, {{"dtype", static_cast<int64_t>(dtype)}}));
    made.push_back(order.back());
  }
  ir::Node* first = body.nodes().empty() ? nullptr : body.nodes().front().get();
  for (size_t i = 0; i < elements.size(); ++i) {
    Value* element = elements[i];
    outer.push_back(inputs[i]);
    // Further inputs may also be tensors, which all iterations share.
    const bool sequence = i == 0 || (i < formal && upgrader->IsSequence(inputs[i]));
    if (!sequence) {
      order.push_back(element);
      continue;
    }
    Value* whole = body.AddInput(element->name() + "/sequence",
                                 Type{element->dtype(), std::nullopt, Container::kSequence});
    Value* at = Add(&body, *node, "SequenceAt", {whole, iteration}, {}, first);
    body.ReplaceAllUses(element, at);
    body.RemoveValue(element);
    order.push_back(whole);
  }
  body.OrderInputs(order);
  for (size_t i = 0; i < ys.size(); ++i)
    made[i] = Add(&body, *node, "SequenceInsert", {made[i], body.outputs()[i]});
  body.SetOutput(0, condition);
  for (size_t i = 1; i < ys.size(); ++i) body.SetOutput(i, made[i - 1]);
  body.AddOutput(made.back());
  node->op = "Loop";
  node->inputs = std::move(outer);
  node->attributes = ir::Attributes({{"carried", static_cast<int64_t>(ys.size())}});
  return OkStatus();
}

Status ExpandBatchScan(OldNode* node, Bodies* bodies, size_t formal, Upgrader* body_upgrader) {
  std::unique_ptr<Graph> inner = std::move(bodies->at("body"));
  auto batch = std::make_unique<Graph>();
  batch->name = node->name + "/batch";
  Value* lengths = node->inputs[0];
  const std::vector<Value*> outer(node->inputs.begin() + 1, node->inputs.end());
  const auto scanned = static_cast<size_t>(node->attributes.Int("num_scan_inputs", 0));
  const size_t states = formal - scanned, results = inner->outputs().size();

  std::vector<Value*> given, inputs(outer.begin(), outer.begin() + static_cast<ptrdiff_t>(formal));
  for (size_t i = 0; i < outer.size(); ++i) {
    if (i == formal && lengths) inputs.push_back(lengths);
    if (i >= formal) inputs.push_back(outer[i]);
  }
  if (outer.size() == formal && lengths) inputs.push_back(lengths);
  for (size_t i = 0; i < formal; ++i)
    given.push_back(batch->AddInput(inner->inputs()[i]->name(), {inner->inputs()[i]->dtype(), {}}));
  Value *length = nullptr, *steps = nullptr;
  if (lengths) {
    Value* scalar = batch->AddInput(node->name + "/length", {DType::kInt64, SymShape{}});
    Value* zero = batch->AddConstant(node->name + "/zero", Tensor::Vector<int64_t>({0}));
    length = Add(batch.get(), *node, "Unsqueeze", {scalar, zero});
    steps = Add(batch.get(), *node, "Shape", {given[states]},
                {{"start", int64_t{0}}, {"end", int64_t{1}}});
    for (size_t i = states; i < formal; ++i)
      given[i] = Add(batch.get(), *node, "Slice", {given[i], zero, length, zero});
  }
  for (size_t i = formal; i < inner->inputs().size(); ++i)
    given.push_back(batch->AddInput(inner->inputs()[i]->name(), inner->inputs()[i]->type()));

  std::vector<DType> types;
  for (size_t i = 0; lengths && i < results; ++i) {
    types.push_back(body_upgrader->FindType(inner->outputs()[i]));
    if (i >= states && !IsKnown(types[i])) return UnknownType(*node, i);
  }
  ir::Attributes attributes({{"carried", static_cast<int64_t>(states)},
                             {"num_scan_inputs", static_cast<int64_t>(scanned)}});
  if (const auto directions = node->attributes.Ints("directions"); !directions.empty())
    attributes.Set("scan_input_directions",
                   std::vector<int64_t>(directions.begin(), directions.end()));
  ir::Node* scan = batch->AddNode({.op = "Scan",
                                   .inputs = given,
                                   .attributes = std::move(attributes),
                                   .name = node->name,
                                   .outputs = std::vector<std::string>(results, node->name)});
  scan->sources = {node->name};
  scan->subgraphs["body"] = std::move(inner);
  for (size_t i = 0; i < results; ++i) {
    Value* y = scan->output(i);
    if (lengths && i >= states) y = PadSteps(batch.get(), *node, y, types[i], length, steps);
    batch->AddOutput(y);
  }
  (*bodies)["body"] = std::move(batch);
  node->inputs = std::move(inputs);
  node->attributes =
      ir::Attributes({{"carried", int64_t{0}},
                      {"num_scan_inputs", static_cast<int64_t>(formal + (lengths ? 1 : 0))}});
  return OkStatus();
}

}  // namespace slipway::onnx
