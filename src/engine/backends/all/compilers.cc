#include "engine/backends/all/compilers.h"

#include "engine/backends/null/compile/compiler.h"
#include "engine/backends/reference/compile/compiler.h"
#if SLIPWAY_HAS_X86
#include "engine/backends/x86/compile/compiler.h"
#endif
#if SLIPWAY_HAS_ARM
#include "engine/backends/arm/compile/compiler.h"
#endif
#if SLIPWAY_HAS_ONEDNN
#include "engine/backends/onednn/compile/compiler.h"
#endif
#if SLIPWAY_HAS_ONNXRUNTIME
#include "engine/backends/onnxruntime/compile/compiler.h"
#endif
#if SLIPWAY_HAS_OPENCV
#include "engine/backends/opencv/compile/compiler.h"
#endif
#if SLIPWAY_HAS_OPENVINO
#include "engine/backends/openvino/compile/compiler.h"
#endif
#if SLIPWAY_HAS_TENSORRT
#include "engine/backends/tensorrt/compile/compiler.h"
#endif
#if SLIPWAY_HAS_XNNPACK
#include "engine/backends/xnnpack/compile/compiler.h"
#endif

namespace slipway::backends {

std::vector<std::unique_ptr<CompileBackend>> MakeCompilers() {
  std::vector<std::unique_ptr<CompileBackend>> out;
#if SLIPWAY_HAS_X86
  out.push_back(MakeX86Compiler());
#endif
#if SLIPWAY_HAS_ARM
  out.push_back(MakeArmCompiler());
#endif
#if SLIPWAY_HAS_ONEDNN
  out.push_back(MakeOnednnCompiler());
#endif
#if SLIPWAY_HAS_ONNXRUNTIME
  out.push_back(MakeOnnxruntimeCompiler());
#endif
#if SLIPWAY_HAS_OPENCV
  out.push_back(MakeOpencvCompiler());
#endif
#if SLIPWAY_HAS_OPENVINO
  out.push_back(MakeOpenvinoCompiler());
#endif
#if SLIPWAY_HAS_TENSORRT
  out.push_back(MakeTensorrtCompiler());
#endif
#if SLIPWAY_HAS_XNNPACK
  out.push_back(MakeXnnpackCompiler());
#endif
  out.push_back(MakeReferenceCompiler());
  out.push_back(MakeNullCompiler());
  return out;
}

}  // namespace slipway::backends
