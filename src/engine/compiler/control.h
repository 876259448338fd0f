#pragma once
// If, Loop and Scan on the way into a package: a body becomes a program of its own, which the
// session runs.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "engine/format/package.h"
#include "model/ir/graph.h"

namespace slipway::compiler {

// A copy of a body that one program can serve in every iteration: each dimension of an input that
// is no number is a symbol (equal dimensions, equal symbols), from which everything in the body is
// inferred anew. `graph` is the node's, inferred.
Result<std::unique_ptr<ir::Graph>> BodyToCompile(const ir::Node& node, std::string_view body);

// Everything but the indices of the bodies.
Result<format::PackageControl> DescribeControl(const ir::Node& node);

// How often the body runs, as far as constants and known extents tell; else 1.
int64_t KnownIterations(const ir::Node& node);

}  // namespace slipway::compiler
