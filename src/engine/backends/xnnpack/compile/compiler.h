#pragma once

#include <memory>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeXnnpackCompiler();

}  // namespace slipway::backends
