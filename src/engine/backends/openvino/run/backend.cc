#include "engine/backends/openvino/run/backend.h"

#include "engine/kernels/vendor/vendor.h"

namespace slipway::backends {

const slipway_backend* OpenvinoBackend() {
  // Which version runs is known when it is loaded.
  static const slipway_backend* backend = kernels::LazyBackend("openvino", "C API 2023.2");
  return backend;
}

}  // namespace slipway::backends
