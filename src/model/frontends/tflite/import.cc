#include "model/frontends/tflite/import.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "base/aligned.h"
#include "base/checked.h"
#include "base/mapped_file.h"
#include "model/frontends/tflite/builder.h"
#include "model/ir/infer.h"
#include "model/ir/verify.h"

namespace slipway::tflite {
namespace {

constexpr size_t kMostListed = 30;

const HandlerTable& Handlers() {
  static const HandlerTable table = [] {
    HandlerTable t;
    AddConvolutions(&t);
    AddElementwise(&t);
    AddMovement(&t);
    AddIndexing(&t);
    AddReductions(&t);
    AddRecurrent(&t);
    AddControl(&t);
    return t;
  }();
  return table;
}

// Why an operator without handler has none, with the remedy.
std::string WhyNot(const OperatorInfo& op) {
  using B = fb::BuiltinOperator;
  switch (op.code) {
    case B::CALL_ONCE:
    case B::VAR_HANDLE:
    case B::READ_VARIABLE:
    case B::ASSIGN_VARIABLE:
      return "resource variables are not supported; freeze the variables before converting";
    case B::CALL:
      return "calls of sub-graphs are not supported; convert with the functions inlined";
    case B::HASHTABLE:
    case B::HASHTABLE_FIND:
    case B::HASHTABLE_IMPORT:
    case B::HASHTABLE_SIZE:
    case B::HASHTABLE_LOOKUP:
    case B::LSH_PROJECTION:
    case B::SKIP_GRAM:
      return "tables and strings are not supported; do text processing outside the model";
    case B::RANDOM_STANDARD_NORMAL:
    case B::RANDOM_UNIFORM:
    case B::MULTINOMIAL:
      return "random operators are not supported; pass random numbers as an input";
    case B::CUSTOM:
      if (op.custom.starts_with("Flex"))
        return "TensorFlow (Flex) operators are not supported; convert with TFLITE_BUILTINS only";
      return "the custom operator is not known; cut the model before it";
    default:
      return "the operator is not supported (docs/tflite.md lists those that are); cut the model "
             "before it or replace it";
  }
}

}  // namespace

Handler FindHandler(const OperatorInfo& info) {
  if (info.code == fb::BuiltinOperator::CUSTOM)
    return info.custom == "TFLite_Detection_PostProcess" ? &DetectionPostProcess : nullptr;
  auto it = Handlers().find(info.code);
  return it == Handlers().end() ? nullptr : it->second;
}

void Builder::NameSignature() {
  // One signature names inputs and outputs; of several the one that servers take.
  const SignatureInfo* chosen = model_.signatures.size() == 1 ? &model_.signatures[0] : nullptr;
  for (const SignatureInfo& s : model_.signatures) {
    if (s.key == "serving_default") chosen = &s;
  }
  if (!chosen) return;
  graph_->metadata["signature"] = std::string(chosen->key.substr(0, 500));
  for (const auto& [index, name] : chosen->outputs) {
    if (!name.empty()) signature_names_.try_emplace(index, name);
  }
  for (const auto& [index, name] : chosen->inputs) {
    if (!name.empty()) signature_names_[index] = name;
  }
}

Result<ir::Type> Builder::InputType(int32_t index, const std::string& name) {
  const TensorInfo& t = tensor(index);
  if (t.dtype == DType::kUndefined || t.dtype == DType::kInt4) {
    return slipway::Unsupported("input '" + name + "' has type " + TypeName(t.type) +
                                ", which is not supported; do that part of the model outside");
  }
  ir::Type type;
  type.dtype = t.dtype;
  SymShape shape;
  for (size_t i = 0; i < t.shape.size(); ++i) {
    if (t.signature.empty() || t.signature[i] >= 0) {
      shape.push_back(t.shape[i]);
    } else {
      // Leading dimensions that vary are the batch, one for all inputs.
      shape.push_back(Dim::Symbol(i == 0 && t.shape.size() > 1
                                      ? "batch"
                                      : name.substr(0, 200) + "_dim" + std::to_string(i)));
    }
  }
  if (auto given = options_.input_shapes.find(name); given != options_.input_shapes.end()) {
    const auto& dims = given->second;
    if (dims.size() != shape.size()) {
      return InvalidArgument("the shape given for input '" + name + "' has " +
                             std::to_string(dims.size()) + " dimensions, the model's is " +
                             slipway::ToString(shape));
    }
    if (!CheckedBytes(t.dtype, dims))
      return InvalidArgument("the shape given for input '" + name + "' is impossible");
    shape.assign(dims.begin(), dims.end());
  }
  type.shape = std::move(shape);
  return type;
}

Status Builder::AddInputs() {
  std::set<std::string> names;
  for (int32_t index : subgraph_.inputs) {
    Place& place = places_[static_cast<size_t>(index)];
    const std::string name = TensorName(index);
    if (place.raw || place.real)
      return InvalidArgument("tensor '" + name + "' is listed twice as an input");
    if (tensor(index).constant) continue;  // some converters list constants
    SLIPWAY_ASSIGN_OR_RETURN(ir::Type type, InputType(index, name));
    names.insert(name);
    const bool real = options_.float_io && IsQuantized(index);
    if (real) type.dtype = DType::kFloat32;
    Value* input = graph_->AddInput(name, std::move(type));
    SLIPWAY_RETURN_IF_ERROR(inferer_.AddInput(*input));
    label_ = name;
    if (IsQuantized(index) && tensor(index).quantization.scale.size() == 1) {
      graph_->metadata["quantization." + input->name()] =
          std::to_string(tensor(index).quantization.scale[0]) + " " +
          std::to_string(
              tensor(index).quantization.zero.empty() ? 0 : tensor(index).quantization.zero[0]);
    }
    place.raw = real ? Quantize(input, tensor(index)) : input;
    produced_[static_cast<size_t>(index)] = true;
    if (failed()) return status_;
  }
  for (const auto& [name, dims] : options_.input_shapes) {
    if (names.contains(name)) continue;
    std::string list;
    for (const std::string& n : names) list += (list.empty() ? "'" : ", '") + n + "'";
    return InvalidArgument("a shape is given for input '" + name +
                           "', which the model does not have; its inputs are " + list);
  }
  return OkStatus();
}

Status Builder::AddOperator(size_t index) {
  const OperatorInfo& info = subgraph_.operators[index];
  label_ = info.outputs.empty() ? OperatorName(info) + "_" + std::to_string(index)
                                : TensorName(info.outputs[0]);
  for (int32_t o : info.outputs) {
    if (produced_[static_cast<size_t>(o)])
      return InvalidArgument("operator " + std::to_string(index) + " (" + OperatorName(info) +
                             ") computes tensor '" + TensorName(o) +
                             "', which is an input or computed before");
  }
  Op op(*this, info);
  FindHandler(info)(op);
  if (status_.ok()) {
    for (int32_t o : info.outputs) {
      const Place& place = places_[static_cast<size_t>(o)];
      if (!place.raw && !place.real) {
        Fail(slipway::Unsupported("output tensor '" + TensorName(o) +
                                  "' is one that the operator gives only in other modes"));
      }
    }
  }
  return status_.With("operator " + std::to_string(index) + " (" + OperatorName(info) + ", '" +
                      label_ + "')");
}

Status Builder::AddOutputs() {
  if (subgraph_.outputs.empty()) return InvalidArgument("the model has no outputs");
  std::set<Value*> used;
  auto add = [&](Value* v, const std::string& name) {
    if (v->is_input() || v->is_constant() || !used.insert(v).second) v = Emit("Identity", {v});
    graph_->AddOutput(v);
    used.insert(v);
    // Whoever has the name now is inside the model.
    if (Value* other = graph_->FindValue(name);
        other && other != v && !other->is_input() && !other->is_output())
      graph_->Rename(other, name + "_inner");
    graph_->Rename(v, name);
  };
  for (int32_t index : subgraph_.outputs) {
    const std::string name = TensorName(index);
    label_ = name;
    const bool quantized = IsQuantized(index);
    add(options_.float_io && quantized ? Real(index) : Raw(index), name);
    if (failed()) return status_.With("output '" + name + "'");
    if (quantized && tensor(index).quantization.scale.size() == 1) {
      graph_->metadata["quantization." + graph_->outputs().back()->name()] =
          std::to_string(tensor(index).quantization.scale[0]) + " " +
          std::to_string(
              tensor(index).quantization.zero.empty() ? 0 : tensor(index).quantization.zero[0]);
    }
  }
  for (const auto& [index, next] : next_states_) {
    label_ = TensorName(index) + "_next";
    add(IsQuantized(index) ? Quantize(next, tensor(index)) : next, label_);
  }
  return status_;
}

Value* Builder::State(int32_t index, bool one_step) {
  if (is_body_) {
    Fail(slipway::Unsupported("the state '" + TensorName(index) +
                              "' is inside of a branch or loop, which is not supported; carry it "
                              "as a variable of the loop"));
    return Float(0);
  }
  Place& place = places_[static_cast<size_t>(index)];
  if (place.raw || place.real) return Real(index);
  const TensorInfo& t = tensor(index);
  const std::string name = TensorName(index);
  const bool input =
      options_.states == States::kInputs || (options_.states == States::kAuto && one_step);
  if (input) {
    auto type = InputType(index, name);
    if (type.ok() && !t.constant) {
      Value* v = graph_->AddInput(name, std::move(*type));
      Status added = inferer_.AddInput(*v);
      if (!added.ok()) Fail(std::move(added));
      place.raw = v;
      produced_[static_cast<size_t>(index)] = true;
      return Real(index);
    }
    if (!type.ok()) Fail(type.status());
  }
  if (t.constant) return Real(index);  // states as a graph input or constant of older converters
  auto zeros = Tensor::Allocate(DType::kFloat32, t.shape);
  if (!zeros.ok() || t.shape.count() > int64_t{1} << 28) {
    Fail(ResourceExhausted("the state '" + name + "' of shape " + t.shape.ToString() +
                           " is too large"));
    return Float(0);
  }
  std::memset(zeros->mutable_data(), 0, zeros->bytes().size());
  return Constant(std::move(*zeros));
}

void Builder::SetState(int32_t index, Value* next) {
  const Place& place = places_[static_cast<size_t>(index)];
  if (place.raw && place.raw->is_input()) next_states_.emplace_back(index, next);
}

// All unknown operators at once, before any work.
Status Builder::CheckOperators() {
  std::map<std::string, std::pair<size_t, std::string>> unknown;
  for (size_t i = 0; i < subgraph_.operators.size() && unknown.size() < kMostListed; ++i) {
    const OperatorInfo& op = subgraph_.operators[i];
    if (FindHandler(op)) continue;
    const std::string tensor = op.outputs.empty() ? "" : ", '" + TensorName(op.outputs[0]) + "'";
    unknown.try_emplace(OperatorName(op) + " (operator " + std::to_string(i) + tensor + ")", i,
                        WhyNot(op));
  }
  if (!unknown.empty()) {
    std::map<std::string, std::string> reasons;  // remedy -> operators
    for (const auto& [what, why] : unknown)
      reasons[why.second] += (reasons[why.second].empty() ? "" : ", ") + what;
    std::string text;
    for (const auto& [why, operators] : reasons)
      text += (text.empty() ? "" : "; ") + operators + ": " + why;
    return slipway::Unsupported(text);
  }
  return OkStatus();
}

Status Builder::AddOperators() {
  nesting_->operators += subgraph_.operators.size();
  if (nesting_->operators > options_.limits.operators) {
    return ResourceExhausted("its sub-graphs expand to more than " +
                             std::to_string(options_.limits.operators) + " operators");
  }
  for (size_t i = 0; i < subgraph_.operators.size(); ++i) SLIPWAY_RETURN_IF_ERROR(AddOperator(i));
  return AddOutputs();
}

Status Builder::Run() {
  SLIPWAY_RETURN_IF_ERROR(CheckOperators());
  NameSignature();
  SLIPWAY_RETURN_IF_ERROR(AddInputs());
  return AddOperators();
}

namespace {

Result<std::unique_ptr<ir::Graph>> Import(Bytes bytes, std::shared_ptr<const void> owner,
                                          const ImportOptions& options) {
  SLIPWAY_ASSIGN_OR_RETURN(const Model model, ReadModel(bytes, options.limits));
  auto graph = std::make_unique<ir::Graph>();
  auto text = [](std::string_view s) {
    std::string out(s.substr(0, 1000));
    out.erase(std::find(out.begin(), out.end(), '\0'), out.end());
    return out;
  };
  if (!model.subgraphs[0].name.empty()) graph->name = text(model.subgraphs[0].name);
  graph->metadata["format"] = "tflite";
  graph->metadata["schema_version"] = std::to_string(model.version);
  if (!model.description.empty()) graph->metadata["description"] = text(model.description);
  for (const auto& [name, value] : model.metadata) {
    if (name == "min_runtime_version")
      graph->metadata["min_runtime_version"] =
          text({reinterpret_cast<const char*>(value.data()), value.size()});
  }
  Builder builder(model, model.subgraphs[0], std::move(owner), options, graph.get());
  SLIPWAY_RETURN_IF_ERROR(builder.Run());
  graph->RemoveUnused();
  SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(*graph));
  SLIPWAY_RETURN_IF_ERROR(ir::Verify(*graph));
  return graph;
}

}  // namespace

Result<std::unique_ptr<ir::Graph>> ImportTflite(const std::string& path,
                                                const ImportOptions& options) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    return InvalidArgument("'" + path + "' is not a file; give the path of a TensorFlow Lite file");
  SLIPWAY_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  auto graph = Import(file->bytes(), file, options);
  if (!graph.ok()) return std::move(graph).status().With("'" + path + "'");
  return graph;
}

Result<std::unique_ptr<ir::Graph>> ImportTfliteBytes(std::span<const uint8_t> bytes,
                                                     std::shared_ptr<const void> owner,
                                                     const ImportOptions& options) {
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 16 == 0)
    return Import(bytes, std::move(owner), options);
  auto copy = std::make_shared<AlignedBuffer>(bytes.size());
  if (!bytes.empty()) std::memcpy(copy->data(), bytes.data(), bytes.size());
  return Import({copy->data(), bytes.size()}, copy, options);
}

}  // namespace slipway::tflite
