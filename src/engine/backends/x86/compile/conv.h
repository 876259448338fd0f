#pragma once
// The compile side of Conv, slipway.Conv and ConvTranspose: which of our kernels could run a node, and how fast.

#include "engine/backends/compile.h"

namespace slipway::backends::x86 {

bool IsConv(const ir::Node& node);
// Unsupported, with the reason, when there is no candidate.
Result<std::vector<Candidate>> ConvCandidates(const ir::Node& node, const Target& target);

}  // namespace slipway::backends::x86
