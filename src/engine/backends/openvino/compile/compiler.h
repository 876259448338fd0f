#pragma once
// The compile side of openvino: see openvino/run.

#include <memory>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeOpenvinoCompiler();

}  // namespace slipway::backends
