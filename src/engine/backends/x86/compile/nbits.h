#pragma once
// slipway.LinearNBits: weights that stay codes are packed when a model is compiled.

#include "engine/backends/compile.h"

namespace slipway::backends::x86 {

// Unsupported: codes, scales or zero points that are no constants; a width without a kernel.
Status SupportsNBits(const ir::Node& node);
Candidate NBitsCandidate(const ir::Node& node);
Result<StepSpec> CompileNBits(const ir::Node& node, const Candidate& candidate);

}  // namespace slipway::backends::x86
