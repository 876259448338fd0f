#pragma once
// The compile side of a backend in a shared library (slipway/compiler.h) as one of ours. Every
// answer is checked here.

#include <memory>
#include <string>

#include "engine/backends/compile.h"
#include "slipway/compiler.h"

namespace slipway::backends {

// `entry` is the library's slipway_compiler_main, `plugin` how messages call it, `run_side` the
// name of its slipway_backend or empty. Errors: Unsupported (another version of the interface),
// InvalidArgument (what a compile side must say and this one does not).
Result<std::unique_ptr<CompileBackend>> MakePluginCompiler(slipway_compiler_entry entry,
                                                           const std::string& plugin,
                                                           const std::string& run_side);
// Of what the entry has answered.
Result<std::unique_ptr<CompileBackend>> MakePluginCompiler(const slipway_compiler* compiler,
                                                           const std::string& plugin,
                                                           const std::string& run_side);

}  // namespace slipway::backends
