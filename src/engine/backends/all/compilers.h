#pragma once
// Every compile-side backend of this build, explicitly listed.

#include <memory>
#include <vector>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::vector<std::unique_ptr<CompileBackend>> MakeCompilers();

}  // namespace slipway::backends
