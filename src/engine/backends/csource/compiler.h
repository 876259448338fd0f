#pragma once
// The compile side that decides what goes into a C file. Its packages are for GenerateSource; no
// runtime has this backend.

#include <memory>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeCsourceCompiler();

}  // namespace slipway::backends
