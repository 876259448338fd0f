#pragma once
// Packages by hand, for tests and fuzzing: tensors and steps in the order of the calls.

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/format/op_desc.h"
#include "engine/format/package.h"
#include "engine/format/plan.h"

namespace slipway::format {

class PackageMaker {
 public:
  PackageData data;

  PackageMaker() {
    data.name = "test";
    data.provenance = {{"platform", "reference"}, {"tool_version", "test"}};
  }

  static Dim Sym(const char* name) { return Dim::Symbol(name); }

  int Input(const std::string& name, DType dtype, SymShape shape) {
    data.inputs.push_back(Add(name, dtype, std::move(shape), TensorKind::kInput));
    return data.inputs.back();
  }
  int Output(const std::string& name, DType dtype, SymShape shape, int alias = -1) {
    data.outputs.push_back(Add(name, dtype, std::move(shape), TensorKind::kOutput, alias));
    return data.outputs.back();
  }
  int Arena(const std::string& name, DType dtype, SymShape shape, int alias = -1, Layout layout = Layout::kPlain) {
    return Add(name, dtype, std::move(shape), TensorKind::kArena, alias, layout);
  }
  template <typename T>
  int Constant(const std::string& name, SymShape shape, const std::vector<T>& values) {
    int index = Add(name, DTypeOf<T>::value, std::move(shape), TensorKind::kConstant);
    auto bytes = std::make_shared<std::vector<uint8_t>>(values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(bytes->data(), values.data(), bytes->size());
    data.tensors.back().data = *bytes;
    data.owners.push_back(bytes);
    return index;
  }
  PackageStep& Step(const std::string& name, const std::string& domain, const std::string& op, std::vector<int> inputs,
                    std::vector<int> outputs, ops::Attributes attributes = {}, const std::string& backend = "reference") {
    PackageStep step;
    step.backend = Backend(backend);
    step.name = name;
    step.op = domain.empty() ? op : domain + "." + op;
    step.kernel = "plain";
    step.blob = EncodeOp({domain, op, std::move(attributes)});
    step.inputs = std::move(inputs);
    step.outputs = std::move(outputs);
    step.sources = {name};
    data.steps.push_back(std::move(step));
    return data.steps.back();
  }
  int Backend(const std::string& name) {
    for (size_t i = 0; i < data.backends.size(); ++i) {
      if (data.backends[i].name == name) return static_cast<int>(i);
    }
    data.backends.push_back({name, 1, "1"});
    return static_cast<int>(data.backends.size() - 1);
  }
  // Static shapes: offsets and the arena as the compiler would write them.
  void Plan() {
    std::vector<uint64_t> bytes, workspace;
    for (const PackageTensor& t : data.tensors) {
      Dims dims;
      for (const Dim& d : t.shape) dims.push_back(d.value());
      bytes.push_back(static_cast<uint64_t>(*LayoutBytes(t.dtype, dims, t.layout)));
    }
    for (const PackageStep& s : data.steps) workspace.push_back(s.workspace);
    MemoryPlan plan = PlanMemory(data, bytes, workspace);
    data.static_plan = true;
    data.arena_size = plan.arena_size;
    for (size_t i = 0; i < data.tensors.size(); ++i) data.tensors[i].offset = plan.tensor_offsets[i];
    for (size_t s = 0; s < data.steps.size(); ++s) data.steps[s].workspace_offset = plan.workspace_offsets[s];
  }

 private:
  int Add(const std::string& name, DType dtype, SymShape shape, TensorKind kind, int alias = -1, Layout layout = Layout::kPlain) {
    PackageTensor t;
    t.name = name;
    t.dtype = dtype;
    t.shape = std::move(shape);
    t.kind = kind;
    t.alias = alias;
    t.layout = layout;
    data.tensors.push_back(std::move(t));
    return static_cast<int>(data.tensors.size() - 1);
  }
};

}  // namespace slipway::format
