#include <cstdlib>

#include "engine/backends/cts/harness.h"
#include "engine/backends/null/compile/compiler.h"
#include "engine/backends/null/run/backend.h"
#include "engine/backends/reference/compile/compiler.h"
#include "engine/backends/reference/run/backend.h"

#if SLIPWAY_HAS_ONEDNN
#include "engine/backends/onednn/compile/compiler.h"
#include "engine/backends/onednn/run/backend.h"
#endif
#if SLIPWAY_HAS_ONNXRUNTIME
#include "engine/backends/onnxruntime/compile/compiler.h"
#include "engine/backends/onnxruntime/run/backend.h"
#endif
#if SLIPWAY_HAS_OPENCV
#include "engine/backends/opencv/compile/compiler.h"
#include "engine/backends/opencv/run/backend.h"
#endif
#if SLIPWAY_HAS_OPENVINO
#include "engine/backends/openvino/compile/compiler.h"
#include "engine/backends/openvino/run/backend.h"
#endif
#if SLIPWAY_HAS_TENSORRT
#include "engine/backends/tensorrt/compile/compiler.h"
#include "engine/backends/tensorrt/run/backend.h"
#endif
#if SLIPWAY_HAS_XNNPACK
#include "engine/backends/xnnpack/compile/compiler.h"
#include "engine/backends/xnnpack/run/backend.h"
#endif
#if SLIPWAY_HAS_X86
#include "engine/backends/x86/compile/compiler.h"
#include "engine/backends/x86/run/backend.h"
#endif

namespace slipway::cts {

std::vector<Backend> Backends() {
  using namespace slipway::backends;  // NOLINT: a list of factories
  std::vector<Backend> all = {
    {.name = "reference", .compiler = MakeReferenceCompiler, .run = ReferenceBackend()},
        {.name = "null", .compiler = MakeNullCompiler, .run = NullBackend()},
#if SLIPWAY_HAS_ONEDNN
        {.name = "onednn",
         .compiler = MakeOnednnCompiler,
         .run = OnednnBackend(),
         .exact_integers = false},
#endif
#if SLIPWAY_HAS_OPENCV
        // OpenCV's reader gets what our compile side wrote, which a hash holds together.
        {.name = "opencv",
         .compiler = MakeOpencvCompiler,
         .run = OpencvBackend(),
         .checks_shapes = false},
#endif
#if SLIPWAY_HAS_XNNPACK
        {.name = "xnnpack",
         .compiler = MakeXnnpackCompiler,
         .run = XnnpackBackend(),
         .exact_integers = false},
#endif
#if SLIPWAY_HAS_X86
        {.name = "x86", .compiler = MakeX86Compiler, .run = X86Backend()},
#endif
  };
#if SLIPWAY_HAS_ONNXRUNTIME
  // Its library is not part of the build: scripts/setup dev brings it for tests. Its reader gets what our
  // compile side wrote, which a hash holds together.
  if (std::getenv("SLIPWAY_ONNXRUNTIME")) {
    all.push_back({.name = "onnxruntime",
                   .compiler = MakeOnnxruntimeCompiler,
                   .run = OnnxruntimeBackend(),
                   .checks_shapes = false});
  }
#endif
#if SLIPWAY_HAS_OPENVINO
  // Nor is OpenVINO's: the test has a double of it, tests/doubles/openvino_c.cc.
  if (std::getenv("SLIPWAY_OPENVINO")) {
    all.push_back({.name = "openvino",
                   .compiler = MakeOpenvinoCompiler,
                   .run = OpenvinoBackend(),
                   .checks_shapes = false});
  }
#endif
#if SLIPWAY_HAS_TENSORRT
  // Its library is built only where its SDK is found; the test has one for a double of the SDK.
  if (std::getenv("SLIPWAY_TEST_TENSORRT")) {
    all.push_back({.name = "tensorrt",
                   .compiler = MakeTensorrtCompiler,
                   .run = TensorrtBackend(),
                   .checks_shapes = false});
  }
#endif
  return all;
}

}  // namespace slipway::cts
