#pragma once
// Asks oneDNN at compile time which implementation it would use for a node.

#include <optional>
#include <string>

#include "engine/backends/compile.h"

namespace slipway::backends::onednn {

// The name of the implementation ("jit_1x1:avx512_core"), or the reason why there is none. Symbolic
// dimensions count as 1 (or as their declared minimum). nullopt when shapes do not allow to ask, or
// when the target is not this machine's architecture.
std::optional<Result<std::string>> Probe(const ir::Node& node, const Candidate& candidate,
                                         const Target& target);

}  // namespace slipway::backends::onednn
