// The backends that this build contains: one line each.

#include "engine/runtime/registry.h"

#if SLIPWAY_HAS_REFERENCE
#include "engine/backends/reference/run/backend.h"
#endif
#if SLIPWAY_HAS_NULL
#include "engine/backends/null/run/backend.h"
#endif
#if SLIPWAY_HAS_X86
#include "engine/backends/x86/run/backend.h"
#endif
#if SLIPWAY_HAS_ARM
#include "engine/backends/arm/run/backend.h"
#endif
#if SLIPWAY_HAS_ONEDNN
#include "engine/backends/onednn/run/backend.h"
#endif
#if SLIPWAY_HAS_ONNXRUNTIME
#include "engine/backends/onnxruntime/run/backend.h"
#endif
#if SLIPWAY_HAS_OPENCV
#include "engine/backends/opencv/run/backend.h"
#endif
#if SLIPWAY_HAS_OPENVINO
#include "engine/backends/openvino/run/backend.h"
#endif
#if SLIPWAY_HAS_TENSORRT
#include "engine/backends/tensorrt/run/backend.h"
#endif
#if SLIPWAY_HAS_XNNPACK
#include "engine/backends/xnnpack/run/backend.h"
#endif

namespace slipway::runtime {

Status RegisterBuiltinBackends(Registry& registry) {
#if SLIPWAY_HAS_REFERENCE
  SLIPWAY_RETURN_IF_ERROR(registry.Add(backends::ReferenceBackend()));
#endif
#if SLIPWAY_HAS_NULL
  SLIPWAY_RETURN_IF_ERROR(registry.Add(backends::NullBackend()));
#endif
#if SLIPWAY_HAS_X86
  SLIPWAY_RETURN_IF_ERROR(registry.Add(backends::X86Backend()));
#endif
#if SLIPWAY_HAS_ARM
  SLIPWAY_RETURN_IF_ERROR(registry.Add(backends::ArmBackend()));
#endif
#if SLIPWAY_HAS_ONEDNN
  SLIPWAY_RETURN_IF_ERROR(registry.Add(backends::OnednnBackend()));
#endif
#if SLIPWAY_HAS_ONNXRUNTIME
  SLIPWAY_RETURN_IF_ERROR(registry.Add(backends::OnnxruntimeBackend()));
#endif
#if SLIPWAY_HAS_OPENCV
  SLIPWAY_RETURN_IF_ERROR(registry.Add(backends::OpencvBackend()));
#endif
#if SLIPWAY_HAS_OPENVINO
  SLIPWAY_RETURN_IF_ERROR(registry.Add(backends::OpenvinoBackend()));
#endif
#if SLIPWAY_HAS_TENSORRT
  SLIPWAY_RETURN_IF_ERROR(registry.Add(backends::TensorrtBackend()));
#endif
#if SLIPWAY_HAS_XNNPACK
  SLIPWAY_RETURN_IF_ERROR(registry.Add(backends::XnnpackBackend()));
#endif
  return OkStatus();
}

}  // namespace slipway::runtime
