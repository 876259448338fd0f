#include "engine/backends/xnnpack/run/backend.h"

#include "engine/kernels/vendor/vendor.h"

namespace slipway::backends {

const slipway_backend* XnnpackBackend() {
  static const slipway_backend* backend =
      kernels::LazyBackend("xnnpack", "XNNPACK " SLIPWAY_XNNPACK_VERSION);
  return backend;
}

}  // namespace slipway::backends
