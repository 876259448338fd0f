// IF and WHILE: sub-graphs as the bodies of If and Loop (model/ir/control.h).

#include <algorithm>

#include "model/frontends/tflite/builder.h"
#include "model/ir/control.h"

namespace slipway::tflite {

Builder::Builder(const Builder& outer, const SubGraphInfo& subgraph, const ImportOptions& options,
                 ir::Graph* graph)
    : Builder(outer.model_, subgraph, outer.owner_, options, graph) {
  nesting_ = outer.nesting_;
  is_body_ = true;
  declared_hold_ = outer.declared_hold_;
}

std::vector<Value*> Builder::EmitControl(std::string_view op, std::vector<Value*> inputs,
                                         Attributes attributes,
                                         std::map<std::string, std::unique_ptr<ir::Graph>> bodies,
                                         size_t outputs) {
  ir::Node* node = graph_->AddNode({.op = std::string(op),
                                    .inputs = std::move(inputs),
                                    .attributes = std::move(attributes),
                                    .name = label_,
                                    .outputs = std::vector<std::string>(outputs)});
  node->sources = {label_};
  node->subgraphs = std::move(bodies);
  Status inferred = inferer_.AddNode(*node);
  if (!inferred.ok()) Fail(std::move(inferred));
  return node->outputs();
}

std::unique_ptr<ir::Graph> Builder::Body(
    int32_t index, const Given& given, bool varies,
    const std::vector<std::pair<std::string, ir::Type>>& formal) {
  if (failed()) return nullptr;
  const auto fail = [&](Status status) {
    Fail(std::move(status).With("sub-graph " + std::to_string(index)));
    return nullptr;
  };
  if (index < 0 || static_cast<size_t>(index) >= model_.subgraphs.size())
    return fail(InvalidArgument("there is none, of " + std::to_string(model_.subgraphs.size())));
  std::vector<int32_t>& path = nesting_->path;
  if (std::find(path.begin(), path.end(), index) != path.end())
    return fail(InvalidArgument("it contains itself"));
  if (path.size() > static_cast<size_t>(ir::kMaxBodyDepth))
    return fail(ResourceExhausted("branches and loops are nested deeper than " +
                                  std::to_string(ir::kMaxBodyDepth)));
  const SubGraphInfo& info = model_.subgraphs[static_cast<size_t>(index)];
  auto graph = std::make_unique<ir::Graph>();
  if (!info.name.empty()) graph->name = std::string(info.name.substr(0, 500));
  for (const auto& [name, type] : formal) graph->AddInput(name, type);
  ImportOptions options = options_;
  options.float_io = false;
  options.input_shapes.clear();
  Builder inner(*this, info, options, graph.get());
  path.push_back(index);
  Status status = inner.CheckOperators();
  if (status.ok()) status = inner.AddBodyInputs(*this, given, varies);
  if (status.ok()) status = inner.AddOperators();
  path.pop_back();
  if (!status.ok()) return fail(std::move(status));
  return graph;
}

Status Builder::AddBodyInputs(const Builder& outer, const Given& given, bool varies) {
  if (given.size() != subgraph_.inputs.size()) {
    return InvalidArgument("it has " + std::to_string(subgraph_.inputs.size()) +
                           " inputs but is given " + std::to_string(given.size()));
  }
  for (size_t i = 0; i < given.size(); ++i) {
    const int32_t index = subgraph_.inputs[i];
    const auto& [outside, value] = given[i];
    const std::string name = TensorName(index);
    Place& place = places_[static_cast<size_t>(index)];
    if (place.raw) return InvalidArgument("tensor '" + name + "' is listed twice as an input");
    if (!(tensor(index).quantization == outer.tensor(outside).quantization)) {
      return slipway::Unsupported("input '" + name + "' is quantized otherwise than '" +
                                  outer.TensorName(outside) +
                                  "', which it is given; quantize both alike");
    }
    SLIPWAY_ASSIGN_OR_RETURN(ir::Type type, InputType(index, name));
    const ir::Type& from = value->type();
    if (from.dtype != type.dtype) {
      return InvalidArgument("input '" + name + "' is " + DTypeName(type.dtype) +
                             " but is given '" + outer.TensorName(outside) + "', which is " +
                             DTypeName(from.dtype));
    }
    if (!varies && from.shape) {
      type.shape = from.shape;
    } else if (!declared_hold_ && from.shape && from.shape->size() == type.shape->size()) {
      for (size_t d = 0; d < type.shape->size(); ++d) {
        if (!((*from.shape)[d] == (*type.shape)[d]))
          (*type.shape)[d] = Dim::Symbol(name.substr(0, 200) + "_dim" + std::to_string(d));
      }
    }
    place.raw = graph_->AddInput(name, std::move(type));
    SLIPWAY_RETURN_IF_ERROR(inferer_.AddInput(*place.raw));
    produced_[static_cast<size_t>(index)] = true;
  }
  return OkStatus();
}

namespace {

using B = fb::BuiltinOperator;
using Bodies = std::map<std::string, std::unique_ptr<ir::Graph>>;

// The inputs from `first` on.
Builder::Given Given(Op& op, size_t first) {
  Builder::Given given;
  for (size_t i = first; i < op.num_inputs(); ++i) given.emplace_back(op.in_index(i), op.Raw(i));
  return given;
}

// `values` and those of the inputs behind them.
std::vector<Value*> With(std::vector<Value*> values, const Builder::Given& given) {
  for (const auto& [tensor, value] : given) values.push_back(value);
  return values;
}

bool CheckCount(Op& op, const char* what, size_t has, size_t needs) {
  if (has == needs) return true;
  op.Invalid("its " + std::string(what) + " has " + std::to_string(has) + " outputs but needs " +
             std::to_string(needs));
  return false;
}

void If(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_IfOptions());
  const Builder::Given given = Given(op, 1);
  Bodies bodies;
  bodies["then_branch"] = op.b.Body(o.then_subgraph_index(), given, false);
  bodies["else_branch"] = op.b.Body(o.else_subgraph_index(), given, false);
  if (op.b.failed()) return;
  for (const auto& [name, body] : bodies) {
    if (!CheckCount(op, name.c_str(), body->outputs().size(), op.num_outputs())) return;
  }
  const auto results =
      op.b.EmitControl("If", With({op.Raw(0)}, given), {}, std::move(bodies), op.num_outputs());
  for (size_t i = 0; i < results.size(); ++i) op.SetRaw(results[i], i);
}

// The condition's sub-graph is computed in front of the loop and at the end of its body, each time
// as the branch of an If that is always taken: a pass puts it in place.
Bodies Always(const ir::Graph& condition) {
  Bodies bodies;
  bodies["then_branch"] = condition.Clone();
  bodies["else_branch"] = condition.Clone();
  return bodies;
}

void While(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_WhileOptions());
  const Builder::Given given = Given(op, 0);
  const auto condition = op.b.Body(o.cond_subgraph_index(), given, true);
  auto body = op.b.Body(
      o.body_subgraph_index(), given, true,
      {{"iteration", {DType::kInt64, SymShape{}}}, {"condition", {DType::kBool, SymShape{}}}});
  if (op.b.failed() || !CheckCount(op, "condition", condition->outputs().size(), 1) ||
      !CheckCount(op, "body", body->outputs().size(), given.size()))
    return;
  if (op.num_outputs() != given.size()) {
    return op.Invalid("it has " + std::to_string(given.size()) + " inputs but " +
                      std::to_string(op.num_outputs()) + " outputs; there must be as many");
  }
  const ir::Tensor yes = ir::Tensor::Scalar<bool>(true);
  Value* first =
      op.b.EmitControl("If", With({op.b.Constant(yes)}, given), {}, Always(*condition), 1)[0];

  std::vector<Value*> inputs = {body->AddConstant("always", yes)};
  inputs.insert(inputs.end(), body->outputs().begin(), body->outputs().end());
  ir::Node* again = body->AddNode({.op = "If", .inputs = inputs, .name = "condition"});
  again->subgraphs = Always(*condition);
  body->AddOutput(again->output());
  for (size_t i = inputs.size(); i-- > 1;) body->SetOutput(i, body->outputs()[i - 1]);
  body->SetOutput(0, again->output());

  Bodies bodies;
  bodies["body"] = std::move(body);
  const auto results = op.b.EmitControl("Loop", With({nullptr, first}, given),
                                        {{"carried", static_cast<int64_t>(given.size())}},
                                        std::move(bodies), given.size());
  for (size_t i = 0; i < results.size(); ++i) op.SetRaw(results[i], i);
}

}  // namespace

void AddControl(HandlerTable* table) {
  (*table)[B::IF] = If;
  (*table)[B::WHILE] = While;
}

}  // namespace slipway::tflite
