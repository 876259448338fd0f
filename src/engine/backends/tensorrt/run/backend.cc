#include "engine/backends/tensorrt/run/backend.h"

#include "engine/kernels/vendor/vendor.h"

namespace slipway::backends {

const slipway_backend* TensorrtBackend() {
  // Which version runs is known when it is loaded.
  static const slipway_backend* backend = kernels::LazyBackend(
      "tensorrt", "TensorRT 10",
      "this library is built only where TensorRT 10 and the CUDA runtime are found, and needs "
      "libnvinfer, libnvonnxparser and libcudart where it runs: docs/tensorrt.md");
  return backend;
}

}  // namespace slipway::backends
