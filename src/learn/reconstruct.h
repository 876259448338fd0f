#pragma once

#include "learn/learn.h"

namespace slipway::learn {

// Engine::Reconstruct.
Result<ReconstructResult> ReconstructBlock(const ir::Graph& block,
                                           std::span<const std::string> rounding,
                                           std::span<const std::string> scales,
                                           const ReconstructData& data,
                                           const ReconstructOptions& options,
                                           const std::function<bool(int64_t)>& progress);

}  // namespace slipway::learn
