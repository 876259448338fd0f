#pragma once
// Which nodes decide the extent of a tensor by their inputs' data.

#include <set>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::compiler {

// Nodes with a shape function (ops::FindShapeFunction) and If, Loop and Scan, whose outputs' extents do not follow from the extents of the graph's
// inputs and from constants: the runtime asks for them in the middle of a run. A Reshape whose target is made of sizes alone
// is none. Declared extents of values are not believed here: what the data say is compared with them in the run.
Result<std::set<const ir::Node*>> NodesWithDataShapes(const ir::Graph& graph);

}  // namespace slipway::compiler
