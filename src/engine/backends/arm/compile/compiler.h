#pragma once
// The compile side of the "arm" backend, for packages that run on 64-bit ARM; it compiles on any
// machine.

#include <memory>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeArmCompiler();

}  // namespace slipway::backends
