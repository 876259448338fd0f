#pragma once

#include "slipway/backend.h"

namespace slipway::backends {

// The skeleton to copy: runs Identity and nothing else.
const slipway_backend* NullBackend();

}  // namespace slipway::backends
