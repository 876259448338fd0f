#include "engine/backends/opencv/run/backend.h"

#include "engine/kernels/vendor/vendor.h"

namespace slipway::backends {

const slipway_backend* OpencvBackend() {
  static const slipway_backend* backend =
      kernels::LazyBackend("opencv", "OpenCV " SLIPWAY_OPENCV_VERSION);
  return backend;
}

}  // namespace slipway::backends
