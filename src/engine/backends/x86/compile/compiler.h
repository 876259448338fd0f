#pragma once
// The compile side of the "x86" backend.

#include <memory>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeX86Compiler();

}  // namespace slipway::backends
