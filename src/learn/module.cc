// Modules: graphs run node by node.

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_map>

#include "learn/torch_module.h"
#include "model/ir/infer.h"

namespace slipway::learn {
namespace {

at::ScalarType ScalarOf(DType t) {
  switch (t) {
    case DType::kFloat32:
      return at::kFloat;
    case DType::kFloat64:
      return at::kDouble;
    case DType::kFloat16:
      return at::kHalf;
    case DType::kBFloat16:
      return at::kBFloat16;
    case DType::kInt8:
      return at::kChar;
    case DType::kUInt8:
      return at::kByte;
    case DType::kInt16:
      return at::kShort;
    case DType::kInt32:
      return at::kInt;
    case DType::kInt64:
      return at::kLong;
    case DType::kBool:
      return at::kBool;
    default:
      return at::ScalarType::Undefined;
  }
}

Function FindOperator(const ir::Node& node) {
  for (const auto table : {ElementwiseOperators(), TensorOperators(), NetworkOperators()}) {
    for (const Operator& op : table) {
      if (node.Is(op.name, op.domain)) return op.function;
    }
  }
  return nullptr;
}

Result<std::unique_ptr<Alone>> MakeAlone(const ir::Node& node) {
  auto alone = std::make_unique<Alone>();
  ir::Graph::NodeSpec spec = {.op = node.op(),
                              .attributes = node.attributes,
                              .domain = node.domain(),
                              .name = node.name(),
                              .outputs = {}};
  for (const ir::Value* in : node.inputs()) {
    if (!in) {
      spec.inputs.push_back(nullptr);
      continue;
    }
    // The shape may differ from run to run.
    const ir::Type type = {.dtype = in->dtype(), .shape = {}, .container = in->type().container};
    spec.inputs.push_back(in->is_constant() ? alone->graph.AddConstant("", *in->constant())
                                            : alone->graph.AddInput("", type));
  }
  for (const ir::Value* out : node.outputs()) spec.outputs.push_back(out ? "" : "-");
  ir::Node* copy = alone->graph.AddNode(std::move(spec));
  for (const auto& [name, body] : node.subgraphs) copy->subgraphs[name] = body->Clone();
  for (ir::Value* out : copy->outputs()) {
    if (out) alone->graph.AddOutput(out);
  }
  SLIPWAY_ASSIGN_OR_RETURN(alone->interpreter, interp::Interpreter::Create(alone->graph));
  return alone;
}

}  // namespace

Cell TorchModule::CellOf(const ir::Tensor& tensor) const {
  Cell cell;
  if (IsFloat(tensor.dtype()))
    cell.array = ToArray(tensor, options_);
  else
    cell.host = tensor;
  return cell;
}

Result<ir::Tensor> TorchModule::OnHost(const Cell& cell, const ir::Value& value) const {
  if (cell.host.present()) return cell.host;
  return ToHost(cell.array, types_[static_cast<size_t>(slots_.at(&value))]);
}

Result<ir::Tensor> TorchModule::OutputOf(const Cell& cell, const ir::Value& value) const {
  if (is_double() && cell.array.defined() &&
      IsFloat(types_[static_cast<size_t>(slots_.at(&value))]))
    return ToHost(cell.array, DType::kFloat64);
  return OnHost(cell, value);
}

Result<std::unique_ptr<TorchModule>> TorchModule::Make(const ir::Graph& graph,
                                                       const ModuleOptions& options) {
  auto made = std::make_unique<TorchModule>();
  TorchModule& m = *made;
  m.graph_ = &graph;
  m.options_ = at::TensorOptions(options.float64 ? at::kDouble : at::kFloat)
                   .device(options.cuda ? at::kCUDA : at::kCPU);
  // Element types decide who computes; those that are not declared are inferred on a copy.
  const std::unique_ptr<ir::Graph> inferred = graph.Clone();
  SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(*inferred));
  const auto type_of = [&](const ir::Value* value) {
    if (value->dtype() != DType::kUndefined) return value->dtype();
    const ir::Value* twin = inferred->FindValue(value->name());
    return twin ? twin->dtype() : DType::kUndefined;
  };
  const auto place = [&](const ir::Value* value) {
    const int slot = m.SlotOf(value);
    if (slot >= 0 && static_cast<size_t>(slot) == m.types_.size())
      m.types_.push_back(type_of(value));
    return slot;
  };
  for (const ir::Value* value : graph.inputs()) {
    place(value);
    if (value->type().is_container())
      return Unsupported("learning: input " + value->name() + " is no tensor");
  }
  std::unordered_map<int, size_t> last;
  for (const auto& node : graph.nodes()) {
    Step step{.node = node.get(), .function = nullptr, .floats = false};
    for (const ir::Value* in : node->inputs()) {
      const bool fresh = in && !m.slots_.contains(in);
      const int slot = place(in);
      step.in.push_back(slot);
      if (!in) continue;
      last[slot] = m.steps_.size();
      if (fresh && in->is_constant())
        m.constants_.push_back({slot, m.CellOf(in->constant()->Aligned())});
    }
    for (const ir::Value* out : node->outputs()) {
      if (out && type_of(out) == DType::kUndefined && !out->type().is_container())
        return Unsupported("learning: the element type of " + out->name() + " is not known");
      step.out.push_back(place(out));
    }
    const ir::Value* out = node->output();
    if (out && !out->type().is_container()) {
      step.function = FindOperator(*node);
      step.floats = node->IsSlipway("Quantize") || IsFloat(type_of(out));
    }
    m.steps_.push_back(std::move(step));
  }
  for (const ir::Value* value : graph.outputs()) {
    const int slot = place(value);
    last.erase(slot);
    if (value->is_constant())
      m.constants_.push_back({slot, m.CellOf(value->constant()->Aligned())});
  }
  for (const auto& [slot, step] : last) m.steps_[step].dead.push_back(slot);
  return made;
}

Result<std::vector<Cell>> TorchModule::Start(std::span<const ir::Tensor> inputs) {
  SLIPWAY_RETURN_IF_ERROR(interp::CheckInputs(*graph_, inputs));
  std::vector<Cell> cells(slots_.size());
  for (const auto& [slot, cell] : constants_) cells[static_cast<size_t>(slot)] = cell;
  for (size_t i = 0; i < inputs.size(); ++i)
    cells[static_cast<size_t>(slots_.at(graph_->inputs()[i]))] = CellOf(inputs[i].Aligned());
  return cells;
}

Status TorchModule::RunAlone(Step& step, std::vector<Cell>& cells) {
  if (!step.alone) {
    SLIPWAY_ASSIGN_OR_RETURN(step.alone, MakeAlone(*step.node));
  }
  std::vector<ir::Tensor> given;
  bool derivative = false, codes = false;
  for (size_t i = 0; i < step.in.size(); ++i) {
    const ir::Value* value = step.node->inputs()[i];
    if (!value) continue;
    const Cell& cell = cells[static_cast<size_t>(step.in[i])];
    derivative |= cell.array.defined() && cell.array.requires_grad();
    codes |= IsCode(step.in[i], cell);
    if (value->is_constant()) continue;
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor host, OnHost(cell, *value));
    given.push_back(std::move(host));
  }
  if (derivative && (codes || step.floats)) cut_.push_back(step.node);
  SLIPWAY_ASSIGN_OR_RETURN(auto results, step.alone->interpreter->Run(given));
  size_t at = 0;
  for (const int slot : step.out) {
    if (slot >= 0) cells[static_cast<size_t>(slot)] = CellOf(results[at++]);
  }
  return OkStatus();
}

namespace {
// The first line of what torch says.
Status Failed(const ir::Node& node, const std::exception& e) {
  const std::string_view text = e.what();
  return InvalidArgument(node.Describe() + ": " + std::string(text.substr(0, text.find('\n'))));
}
}  // namespace

void TorchModule::Replace(const ir::Node* node, Hook hook) {
  if (hook)
    hooks_[node] = std::move(hook);
  else
    hooks_.erase(node);
}

at::Tensor TorchModule::Constant(const ir::Value* value) const {
  const auto slot = slots_.find(value);
  for (const auto& [at, cell] : constants_) {
    if (slot != slots_.end() && at == slot->second) return cell.array;
  }
  return {};
}
void TorchModule::SetConstant(const ir::Value* value, at::Tensor array) {
  const auto slot = slots_.find(value);
  for (auto& [at, cell] : constants_) {
    if (slot != slots_.end() && at == slot->second) cell = {std::move(array), {}};
  }
}

Result<std::vector<at::Tensor>> TorchModule::RunArrays(std::span<const at::Tensor> inputs) {
  if (inputs.size() != graph_->inputs().size())
    return InvalidArgument("the graph has " + std::to_string(graph_->inputs().size()) +
                           " inputs, not " + std::to_string(inputs.size()));
  std::vector<Cell> cells(slots_.size());
  for (const auto& [slot, cell] : constants_) cells[static_cast<size_t>(slot)] = cell;
  for (size_t i = 0; i < inputs.size(); ++i)
    cells[static_cast<size_t>(slots_.at(graph_->inputs()[i]))].array = inputs[i];
  cut_.clear();
  SLIPWAY_RETURN_IF_ERROR(Run(cells, std::vector<bool>(cells.size(), false)));
  if (!cut_.empty())
    return Unsupported(cut_[0]->Describe() + " has no derivative, and lies behind what is learned");
  std::vector<at::Tensor> outputs;
  for (const ir::Value* value : graph_->outputs()) {
    Cell& cell = cells[static_cast<size_t>(slots_.at(value))];
    outputs.push_back(cell.array.defined() ? cell.array : ToArray(cell.host.Aligned(), options_));
  }
  return outputs;
}

Status TorchModule::Run(std::vector<Cell>& cells, const std::vector<bool>& asked) {
  std::vector<Cell> in;
  for (Step& step : steps_) {
    bool done = false;
    in.clear();
    bool codes = false;
    for (const int slot : step.in) {
      in.push_back(slot < 0 ? Cell() : cells[static_cast<size_t>(slot)]);
      codes |= slot >= 0 && IsCode(slot, in.back());
    }
    if (const auto hook = hooks_.find(step.node); hook != hooks_.end()) {
      try {
        cells[static_cast<size_t>(step.out[0])] = {hook->second(in[0].array), {}};
        done = true;
      } catch (const std::exception& e) {
        return Failed(*step.node, e);
      }
    } else if (step.function && (step.floats || codes)) {
      try {
        Outputs outputs = step.function({*step.node, in, options_});
        done = !outputs.empty();
        for (size_t i = 0; done && i < step.out.size(); ++i) {
          if (step.out[i] < 0) continue;
          if (i >= outputs.size())
            return Internal(step.node->Describe() + ": an output is missing");
          cells[static_cast<size_t>(step.out[i])] = {std::move(outputs[i]), {}};
        }
      } catch (const std::exception& e) {
        return Failed(*step.node, e);
      }
    }
    if (!done) {
      SLIPWAY_RETURN_IF_ERROR(RunAlone(step, cells));
    }
    for (const int slot : step.out) {
      if (slot < 0 || !asked[static_cast<size_t>(slot)]) continue;
      at::Tensor& array = cells[static_cast<size_t>(slot)].array;
      if (array.defined() && !array.requires_grad()) array = array.detach().requires_grad_(true);
    }
    for (const int slot : step.dead) {
      if (!asked[static_cast<size_t>(slot)]) cells[static_cast<size_t>(slot)] = {};
    }
  }
  return OkStatus();
}

Result<std::vector<ir::Tensor>> TorchModule::Forward(std::span<const ir::Tensor> inputs) {
  const at::NoGradGuard guard;
  SLIPWAY_ASSIGN_OR_RETURN(auto cells, Start(inputs));
  SLIPWAY_RETURN_IF_ERROR(Run(cells, std::vector<bool>(cells.size(), false)));
  std::vector<ir::Tensor> outputs;
  for (const ir::Value* value : graph_->outputs()) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out,
                             OutputOf(cells[static_cast<size_t>(slots_.at(value))], *value));
    outputs.push_back(std::move(out));
  }
  return outputs;
}

Result<Module::Gradients> TorchModule::Backward(std::span<const ir::Tensor> inputs,
                                                std::span<const ir::Tensor> output_gradients,
                                                std::span<const std::string> values) {
  if (output_gradients.size() != graph_->outputs().size())
    return InvalidArgument("there are " + std::to_string(graph_->outputs().size()) +
                           " outputs and " + std::to_string(output_gradients.size()) +
                           " gradients of them");
  SLIPWAY_ASSIGN_OR_RETURN(auto cells, Start(inputs));
  std::vector<bool> kept(cells.size(), false);
  std::vector<int> asked;
  for (const std::string& name : values) {
    const ir::Value* value = graph_->FindValue(name);
    const auto slot = value ? slots_.find(value) : slots_.end();
    if (slot == slots_.end()) return NotFound("the graph has no value '" + name + "'");
    if (!IsFloat(types_[static_cast<size_t>(slot->second)]))
      return InvalidArgument("'" + name + "' is " +
                             std::string(DTypeName(types_[static_cast<size_t>(slot->second)])) +
                             "; only floating-point values have gradients");
    asked.push_back(slot->second);
    kept[static_cast<size_t>(slot->second)] = true;
    Cell& cell = cells[static_cast<size_t>(slot->second)];
    if (cell.array.defined() && !value->producer())
      cell.array = cell.array.detach().requires_grad_(true);
  }
  cut_.clear();
  const at::AutoGradMode grad(true);
  SLIPWAY_RETURN_IF_ERROR(Run(cells, kept));
  if (!cut_.empty())
    return Unsupported(cut_[0]->Describe() +
                       " has no derivative, and lies between a value that was "
                       "asked for and an output");
  Gradients result;
  std::vector<at::Tensor> heads, seeds, wanted;
  for (size_t i = 0; i < output_gradients.size(); ++i) {
    const ir::Value& value = *graph_->outputs()[i];
    const Cell& cell = cells[static_cast<size_t>(slots_.at(&value))];
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out, OutputOf(cell, value));
    if (output_gradients[i].present()) {
      if (output_gradients[i].dims() != out.dims())
        return InvalidArgument("the gradient of " + value.name() + " has extents " +
                               output_gradients[i].dims().ToString() + ", not " +
                               out.dims().ToString());
      if (cell.array.defined() && cell.array.requires_grad()) {
        heads.push_back(cell.array);
        seeds.push_back(ToArray(output_gradients[i].Aligned(), options_));
      }
    }
    result.outputs.push_back(std::move(out));
  }
  for (const int slot : asked) wanted.push_back(cells[static_cast<size_t>(slot)].array);
  std::vector<at::Tensor> gradients(wanted.size());
  if (!heads.empty() && !wanted.empty()) {
    try {
      gradients = torch::autograd::grad(heads, wanted, seeds, false, false, /*allow_unused=*/true);
    } catch (const std::exception& e) {
      const std::string_view text = e.what();
      return Internal("gradients: " + std::string(text.substr(0, text.find('\n'))));
    }
  }
  const DType type = is_double() ? DType::kFloat64 : DType::kFloat32;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const at::Tensor g = gradients[i].defined() ? gradients[i] : at::zeros_like(wanted[i]);
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor host, ToHost(g, type));
    result.values.push_back(std::move(host));
  }
  return result;
}

at::Tensor ToArray(const ir::Tensor& tensor, const at::TensorOptions& options) {
  std::vector<int64_t> shape(tensor.dims().begin(), tensor.dims().end());
  const at::ScalarType type = ScalarOf(tensor.dtype());
  if (type == at::ScalarType::Undefined) {  // widened one by one
    TORCH_CHECK(tensor.dtype() == DType::kUInt16, "elements of type ", DTypeName(tensor.dtype()));
    at::Tensor y = at::empty(shape, at::kDouble);
    double* to = y.data_ptr<double>();
    for (int64_t i = 0; i < tensor.count(); ++i) to[i] = tensor.data<uint16_t>()[i];
    return y.to(options);
  }
  // A copy: nobody else may see what happens to it.
  return at::from_blob(const_cast<uint8_t*>(tensor.bytes().data()), shape, at::TensorOptions(type))
      .to(options, /*non_blocking=*/false, /*copy=*/true);
}

Result<ir::Tensor> ToHost(const at::Tensor& array, DType dtype) {
  Dims dims;
  for (const int64_t d : array.sizes()) dims.push_back(d);
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor tensor, ir::Tensor::Allocate(dtype, dims));
  const at::Tensor flat = array.detach().to(at::kCPU);
  if (dtype == DType::kUInt16) {
    const at::Tensor numbers = flat.to(at::kInt).contiguous();
    auto* to = reinterpret_cast<uint16_t*>(tensor.mutable_data());
    for (int64_t i = 0; i < tensor.count(); ++i)
      to[i] = static_cast<uint16_t>(numbers.data_ptr<int32_t>()[i]);
    return tensor;
  }
  const at::ScalarType type = ScalarOf(dtype);
  if (type == at::ScalarType::Undefined)
    return Unsupported("learning: values of type " + std::string(DTypeName(dtype)));
  const at::Tensor dense = flat.to(type).contiguous();
  std::memcpy(tensor.mutable_data(), dense.data_ptr(), tensor.bytes().size());
  return tensor;
}

at::Tensor Call::Array(size_t i) const {
  return in[i].array.defined() ? in[i].array : ToArray(in[i].host.Aligned(), options);
}
at::Tensor Call::Indices(size_t i) const {
  return in[i].array.defined() ? in[i].array.to(at::kLong)
                               : ToArray(in[i].host.Aligned(), options.dtype(at::kLong));
}
std::vector<int64_t> Call::Ints(size_t i) const {
  const at::Tensor v = Indices(i).to(at::kCPU).contiguous();
  const int64_t* from = v.data_ptr<int64_t>();
  return {from, from + v.numel()};
}

}  // namespace slipway::learn
