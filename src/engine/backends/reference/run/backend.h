#pragma once

#include "slipway/backend.h"

namespace slipway::backends {

// Every operator of model/ops as plain loops, and the packages' own operators Reorder and Copy.
const slipway_backend* ReferenceBackend();

}  // namespace slipway::backends
