#pragma once
// The compile side of the skeleton backend: see null/run.

#include <memory>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeNullCompiler();

}  // namespace slipway::backends
