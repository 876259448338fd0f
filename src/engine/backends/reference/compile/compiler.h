#pragma once
// The compile side of the "reference" backend: every operator that model/ops has a kernel for, on
// plain tensors, at its honest (low) price.

#include <memory>

#include "engine/backends/compile.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeReferenceCompiler();

}  // namespace slipway::backends
