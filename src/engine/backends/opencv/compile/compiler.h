#pragma once
// The compile side of opencv: see opencv/run.

#include <memory>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeOpencvCompiler();

}  // namespace slipway::backends
