#pragma once
// The compile side of the "x86" backend, and of others with the same operators.

#include <memory>
#include <string>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeX86Compiler();
// For a processor `arch` whose run side is x86/run compiled for it, under this name.
std::unique_ptr<CompileBackend> MakeNativeCompiler(std::string name, std::string arch);

}  // namespace slipway::backends
