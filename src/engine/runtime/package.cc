#include "engine/runtime/package.h"

#include <algorithm>
#include <cstddef>

#include "base/aligned.h"
#include "base/cpu.h"
#include "engine/format/control.h"
#include "engine/format/sequence.h"

namespace slipway::runtime {
namespace {

Status CheckCpu(const format::PackageData& data) {
  const CpuInfo& cpu = ThisCpu();
  if (data.arch != "any" && data.arch != cpu.arch) {
    return Unsupported("package '" + data.name + "' is for " + data.arch + ", this processor is " + cpu.arch +
                       "; compile it for a platform of this processor");
  }
  const uint64_t missing = data.required_features & ~cpu.features;
  if (missing != 0) {
    std::string names = FeatureNames(missing);
    return Unsupported("package '" + data.name + "' needs instructions that this CPU lacks: " +
                       (names == "none" ? "unknown to this runtime (bits " + std::to_string(missing) + ")" : names) +
                       "; compile it for a platform without them");
  }
  return OkStatus();
}

std::string Names(const Registry& registry) {
  std::string names;
  for (const slipway_backend* b : registry.backends()) names += (names.empty() ? "" : ", ") + std::string(b->name);
  return names.empty() ? "none" : names;
}

}  // namespace

slipway_tensor DescribeTensor(const format::PackageTensor& tensor, std::span<const int64_t> dims, uint64_t bytes) {
  slipway_tensor t{};
  t.dtype = static_cast<uint32_t>(tensor.dtype);
  t.layout = static_cast<uint32_t>(tensor.layout);
  t.rank = static_cast<int32_t>(dims.size());
  std::copy(dims.begin(), dims.end(), t.dims);
  t.bytes = bytes;
  return t;
}

slipway_step StepView(const format::PackageStep& step, std::span<const slipway_tensor> inputs,
                      std::span<const slipway_tensor> outputs) {
  slipway_step s{};
  s.struct_size = sizeof(s);
  s.name = step.name.c_str();
  s.blob = step.blob.data();
  s.blob_size = step.blob.size();
  s.num_inputs = static_cast<uint32_t>(inputs.size());
  s.num_outputs = static_cast<uint32_t>(outputs.size());
  s.inputs = inputs.data();
  s.outputs = outputs.data();
  return s;
}

Result<std::shared_ptr<const Package>> Package::Load(const std::string& path, const Registry& registry) {
  SLIPWAY_ASSIGN_OR_RETURN(format::PackageData data, format::ReadPackage(path));
  auto package = Make(std::move(data), registry);
  if (!package.ok()) return package.status().With("'" + path + "'");
  return package;
}

Result<std::shared_ptr<const Package>> Package::FromMemory(std::span<const uint8_t> bytes, std::shared_ptr<const void> owner,
                                                           const Registry& registry) {
  if (reinterpret_cast<uintptr_t>(bytes.data()) % kAlignment != 0) {
    return InvalidArgument("package in memory: its address must be a multiple of 64; copy it to aligned memory");
  }
  SLIPWAY_ASSIGN_OR_RETURN(format::PackageData data, format::ParsePackage(bytes, std::move(owner)));
  return Make(std::move(data), registry);
}

Result<std::shared_ptr<const Package>> Package::Make(format::PackageData data, const Registry& registry) {
  SLIPWAY_RETURN_IF_ERROR(CheckCpu(data));
  return MakeProgram(std::move(data), registry);
}

Result<std::shared_ptr<const Package>> Package::MakeProgram(format::PackageData data, const Registry& registry) {
  std::shared_ptr<Package> package(new Package);
  package->data_ = std::move(data);
  for (format::PackageData& body : package->data_.programs) {
    const std::string name = body.name;
    auto made = MakeProgram(std::move(body), registry);
    if (!made.ok()) return made.status().With("body '" + name + "'");
    package->programs_.push_back(std::move(*made));
  }
  package->data_.programs.clear();
  package->liveness_ = format::ComputeLiveness(package->data_);
  SLIPWAY_ASSIGN_OR_RETURN(package->phases_, format::ComputePhases(package->data_));
  for (const format::PackageTensor& t : package->data_.tensors) {
    std::vector<std::string> names;
    for (const Dim& d : t.shape) names.push_back(d.known() ? "" : d.ToString());
    package->dim_names_.push_back(std::move(names));
  }
  SLIPWAY_RETURN_IF_ERROR(package->LoadSteps(registry));
  return std::shared_ptr<const Package>(std::move(package));
}

const uint8_t* Package::ConstantData(size_t i) const {
  const format::PackageTensor& t = data_.tensors[i];
  const format::PackageTensor& root = t.alias < 0 ? t : data_.tensors[static_cast<size_t>(t.alias)];
  return root.kind == format::TensorKind::kConstant ? root.data.data() : nullptr;
}

// The compiler writes which plugin brought a backend.
static std::string Remedy(const format::PackageData& package, const std::string& backend) {
  const auto it = package.provenance.find("plugin." + backend);
  if (it == package.provenance.end()) return "load its plugin or compile for another platform";
  return "it comes with the plugin " + it->second.substr(0, 200) + ": load that with --plugin FILE (slipway_load_plugin), or compile for another platform";
}

Status Package::LoadSteps(const Registry& registry) {
  std::vector<const slipway_backend*> backends;
  for (const format::PackageBackend& b : data_.backends) {
    backends.push_back(registry.Find(b.name));
    if (!backends.back()) {
      return Unsupported("package '" + data_.name + "' needs the backend '" + b.name + "', this runtime has: " + Names(registry) +
                         "; " + Remedy(data_, b.name));
    }
    if (b.abi > SLIPWAY_BACKEND_ABI_VERSION) {
      return Unsupported("package '" + data_.name + "' needs version " + std::to_string(b.abi) + " of the backend '" + b.name +
                         "', this runtime has " + std::to_string(SLIPWAY_BACKEND_ABI_VERSION) + "; update the runtime");
    }
  }
  auto describe = [&](int index) {
    if (index < 0) return slipway_tensor{};
    const format::PackageTensor& t = data_.tensors[static_cast<size_t>(index)];
    Dims dims;
    bool known = true;
    for (const Dim& d : t.shape) {
      dims.push_back(d.known() ? d.value() : -1);
      known = known && d.known();
    }
    const int64_t bytes = known && !t.is_container() ? format::LayoutBytes(t.dtype, dims, t.layout).value_or(0) : 0;
    slipway_tensor out = DescribeTensor(t, dims, static_cast<uint64_t>(bytes));
    if (const format::PackageTensor& root = t.alias < 0 ? t : data_.tensors[static_cast<size_t>(t.alias)];
        root.kind == format::TensorKind::kConstant) {
      out.is_constant = 1;
      out.data = const_cast<uint8_t*>(ConstantData(static_cast<size_t>(index)));
    }
    return out;
  };
  steps_.resize(data_.steps.size());  // the destructor unloads those that were loaded
  for (size_t s = 0; s < steps_.size(); ++s) {
    const format::PackageStep& step = data_.steps[s];
    LoadedStep& loaded = steps_[s];
    if (step.control || step.sequence) {
      for (int t : step.inputs) loaded.inputs.push_back(describe(t));
      for (int t : step.outputs) loaded.outputs.push_back(describe(t));
      loaded.description =
          std::string(step.control ? format::ControlName(step.control->kind) : format::SequenceOpName(step.sequence->op)) + " '" + step.name + "'";
      continue;
    }
    loaded.backend = backends[static_cast<size_t>(step.backend)];
    loaded.description = "step '" + step.name + "' (" + step.op + " on " + loaded.backend->name + ")";
    if (step.data_dims) {
      const size_t known = offsetof(slipway_backend, output_dims) + sizeof(loaded.backend->output_dims);
      if (loaded.backend->struct_size < known || !loaded.backend->output_dims) {
        return Unsupported(loaded.description + ": this backend gives no extents that depend on data; update it, or compile for another platform");
      }
    }
    for (int t : step.inputs) loaded.inputs.push_back(describe(t));
    for (int t : step.outputs) loaded.outputs.push_back(describe(t));
    slipway_step view = StepView(step, loaded.inputs, loaded.outputs);
    slipway_error error{};
    const int code = loaded.backend->load(loaded.backend->context, &view, &loaded.program, &error);
    if (code != 0) return FromBackend(code, error).With(loaded.description);
    loaded.loaded = true;
  }
  return OkStatus();
}

Package::~Package() {
  for (LoadedStep& s : steps_) {
    if (s.loaded) s.backend->unload(s.backend->context, s.program);
  }
}

}  // namespace slipway::runtime
