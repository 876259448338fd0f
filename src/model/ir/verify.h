#pragma once
// Checks that a graph is well formed; run after import and, in tests and debug builds, after every pass.

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::ir {

// Producers come before consumers; use lists agree with inputs; names are unique; every operator is in the table with the right number of
// inputs and outputs, attributes of the right types and required ones present; types of constants match their tensors.
// The error names the first node or value at fault and what is wrong with it.
Status Verify(const Graph& graph);

}  // namespace slipway::ir
