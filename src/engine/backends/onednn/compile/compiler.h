#pragma once
// The compile side of the "onednn" backend: which nodes it takes, in which layouts, at which price.

#include <memory>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeOnednnCompiler();

}  // namespace slipway::backends
