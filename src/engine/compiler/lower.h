#pragma once
// From an assigned graph to the tensors and steps of a package: layout conversions, views, in-place
// reuse and the memory plan.

#include <map>

#include "base/status.h"
#include "engine/compiler/assign.h"
#include "engine/compiler/coded_constants.h"
#include "engine/compiler/compile.h"

namespace slipway::compiler {

// What a control node's step says beside its operands; its bodies are programs of the package.
using Controls = std::map<const ir::Node*, format::PackageControl>;
using Sequences = std::map<const ir::Node*, format::PackageSequence>;

// `coded`: constants that the package has as integers. Fills result.package (tensors, steps, plan), conversions, peak_bytes and constant_bytes. `helper`
// is the backend that runs conversions and copies; it must be in the package's reach on every
// target (reference).
Status Lower(const ir::Graph& graph, const Assignment& assignment, const backends::Target& target,
             const CostModel& cost, const backends::CompileBackend& helper, const Controls& controls,
             const Sequences& sequences, const CodedConstants& coded, CompileResult& result);

}  // namespace slipway::compiler
