#include "engine/backends/onnxruntime/run/backend.h"

#include "engine/kernels/vendor/vendor.h"

namespace slipway::backends {

const slipway_backend* OnnxruntimeBackend() {
  // Which version runs is known when it is loaded.
  static const slipway_backend* backend = kernels::LazyBackend("onnxruntime", "C API 12");
  return backend;
}

}  // namespace slipway::backends
