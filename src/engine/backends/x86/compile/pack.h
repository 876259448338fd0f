#pragma once
// Weights that the package holds as their kernel reads them.

#include "engine/backends/compile.h"

namespace slipway::backends::x86 {

// Puts the node's packed weights into the step instead of its input 1 (run/step.h says how), where
// its kernel packs and target.prepack wants it.
Status PackWeights(const ir::Node& node, const Candidate& candidate, const Target& target,
                   StepSpec& step);

}  // namespace slipway::backends::x86
