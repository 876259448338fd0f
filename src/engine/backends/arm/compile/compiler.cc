#include "engine/backends/arm/compile/compiler.h"

#include "engine/backends/x86/compile/compiler.h"

namespace slipway::backends {

std::unique_ptr<CompileBackend> MakeArmCompiler() { return MakeNativeCompiler("arm", "aarch64"); }

}  // namespace slipway::backends
