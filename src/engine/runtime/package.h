#pragma once
// A package made ready to run: validated, its backends found, its steps loaded. Immutable and shared by any number of sessions.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/format/package.h"
#include "engine/format/phases.h"
#include "engine/format/plan.h"
#include "engine/runtime/registry.h"
#include "slipway/backend.h"

namespace slipway::runtime {

class Package {
 public:
  // Errors: those of format::ReadPackage; Unsupported when the package is for another processor, needs instructions this CPU lacks, or a backend
  // that `registry` does not have; what a backend's load says, with the step's name.
  static Result<std::shared_ptr<const Package>> Load(const std::string& path, const Registry& registry);
  // `bytes` are 64-byte aligned and live as long as `owner`, or as the package when that is null.
  static Result<std::shared_ptr<const Package>> FromMemory(std::span<const uint8_t> bytes, std::shared_ptr<const void> owner,
                                                           const Registry& registry);
  ~Package();
  Package(const Package&) = delete;
  Package& operator=(const Package&) = delete;

  struct LoadedStep {
    const slipway_backend* backend = nullptr;  // null: a control or sequence step, which the session runs itself
    void* program = nullptr;
    bool loaded = false;
    std::vector<slipway_tensor> inputs, outputs;  // as load saw them: dims -1 where not known, data of constants
    std::string description;                      // "step 'conv1' (Conv on x86)"
  };

  // Without the bodies' programs: they are in programs().
  const format::PackageData& data() const { return data_; }
  const std::vector<std::shared_ptr<const Package>>& programs() const { return programs_; }
  const std::vector<LoadedStep>& steps() const { return steps_; }
  const format::Liveness& liveness() const { return liveness_; }
  const format::Phases& phases() const { return phases_; }
  // Text of tensor i's dynamic dimensions ("" where known); lives as long as the package.
  const std::vector<std::string>& dim_names(size_t tensor) const { return dim_names_[tensor]; }
  // The bytes behind a constant or a view of one; null for everything else.
  const uint8_t* ConstantData(size_t tensor) const;

 private:
  Package() = default;
  static Result<std::shared_ptr<const Package>> Make(format::PackageData data, const Registry& registry);
  // What the constructor of a root and of a body have in common.
  static Result<std::shared_ptr<const Package>> MakeProgram(format::PackageData data, const Registry& registry);
  Status LoadSteps(const Registry& registry);

  format::PackageData data_;
  std::vector<std::shared_ptr<const Package>> programs_;
  format::Liveness liveness_;
  format::Phases phases_;
  std::vector<LoadedStep> steps_;
  std::vector<std::vector<std::string>> dim_names_;
};

// Fills everything but data.
slipway_tensor DescribeTensor(const format::PackageTensor& tensor, std::span<const int64_t> dims, uint64_t bytes);
slipway_step StepView(const format::PackageStep& step, std::span<const slipway_tensor> inputs, std::span<const slipway_tensor> outputs);

}  // namespace slipway::runtime
