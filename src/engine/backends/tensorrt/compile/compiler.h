#pragma once
// The compile side of tensorrt: see tensorrt/run.

#include <memory>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeTensorrtCompiler();

}  // namespace slipway::backends
