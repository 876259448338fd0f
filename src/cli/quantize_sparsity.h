#pragma once
// What `slipway quantize` prints of pruning.

#include <nlohmann/json.hpp>
#include <string>

#include "deploy/sparsify.h"

namespace slipway::cli {

// Layers with their zeros, errors and sizes for weights of `bits`, those that stay dense, and
// whether the platform gains from it.
std::string ShowSparsity(const deploy::SparseModel& sparse, int bits,
                         const compiler::Platform& platform, nlohmann::json& json);

}  // namespace slipway::cli
