#pragma once
// Operators on sequences and optionals on the way into a package: steps that the session runs.

#include "base/status.h"
#include "engine/format/package.h"
#include "model/ir/graph.h"

namespace slipway::compiler {

// Whether the session runs the node itself, as no backend sees sequences or optionals.
bool IsSequenceNode(const ir::Node& node);

// Of such a node. Unsupported when a package has no such step.
Result<format::PackageSequence> DescribeSequence(const ir::Node& node);

format::Container ContainerOf(const ir::Value& value);

}  // namespace slipway::compiler
