#pragma once
// The compile side of onnxruntime: see onnxruntime/run.

#include <memory>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeOnnxruntimeCompiler();

}  // namespace slipway::backends
