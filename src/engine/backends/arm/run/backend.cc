#include "engine/backends/arm/run/backend.h"

#include "engine/backends/x86/run/backend.h"

namespace slipway::backends {

const slipway_backend* ArmBackend() {
  static const slipway_backend backend = x86::NativeBackend("arm");
  return &backend;
}

}  // namespace slipway::backends
