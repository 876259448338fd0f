#include "engine/backends/onnxruntime/compile/compiler.h"

#include "engine/backends/onnx_network.h"
#include "engine/backends/onnxruntime/run/backend.h"

namespace slipway::backends {

// What the conformance suite (engine/backends/cts) and ONNX's own cases found version 1.30 to
// refuse or to compute otherwise is declined for all readers of ONNX, in onnx_network.cc.
std::unique_ptr<CompileBackend> MakeOnnxruntimeCompiler() {
  return std::make_unique<OnnxNetworkCompiler>(OnnxruntimeBackend(), kOnnxruntimeMark);
}

}  // namespace slipway::backends
