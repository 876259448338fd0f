#pragma once
// Packages of one kernel, conversion or crossing each, for deploy/tune.h.

#include <optional>
#include <set>
#include <string>

#include "deploy/runner.h"

namespace slipway::deploy {

// One way to run one node.
struct KernelTask {
  const ir::Node* node;
  std::string backend, kernel;
};

// With 1 for each dynamic extent, whose symbols `dynamic` has. Nothing where data decide an extent,
// or a container is.
std::optional<ir::Type> TypeAtOne(const ir::Type& type, const std::set<std::string>& dynamic);

// Medians in milliseconds where the platform runs. An error when it cannot run alone, which says
// why.
Result<double> MeasureKernel(const KernelTask& task, const std::set<std::string>& dynamic,
                             const compiler::Platform& platform,
                             const compiler::CompileOptions& options);
// `type` is static here and below.
Result<double> MeasureConversion(const ir::Type& type, format::Layout from, format::Layout to,
                                 const compiler::Platform& platform, int threads);
// What a tensor costs that enters a step of the backend, and what one costs that leaves it, with
// the price of calling it at all: nearly every step has an output, many have several inputs. From
// four packages of elementwise nodes, timed in turns.
struct HandOver {
  double in = 0, out = 0;
};
Result<HandOver> MeasureHandOver(const ir::Type& type, const std::string& backend,
                                 const compiler::Platform& platform,
                                 const compiler::CompileOptions& options);

}  // namespace slipway::deploy
