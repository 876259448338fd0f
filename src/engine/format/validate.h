#pragma once
// What running a package depends on beyond the ranges of single fields: aliases, the order of steps, the static plan.

#include "base/status.h"
#include "engine/format/package.h"

namespace slipway::format {

// `workspace`, offsets, indices of tensors in steps, inputs and outputs, and aliases may still be out of range here; dtypes, layouts and shapes
// may not. DataLoss names the field.
Status ValidateProgram(const PackageData& package);

// "tensors[3] 'conv1'"
std::string DescribeTensor(const PackageData& package, size_t index);
std::string DescribeStep(const PackageData& package, size_t index);

}  // namespace slipway::format
