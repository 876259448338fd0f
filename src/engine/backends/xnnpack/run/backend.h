#pragma once
// XNNPACK's operators, one step a node, behind a shared library of their own.

#include "slipway/backend.h"

namespace slipway::backends {

const slipway_backend* XnnpackBackend();

}  // namespace slipway::backends
