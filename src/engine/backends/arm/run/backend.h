#pragma once
// The run side of the "arm" backend (code level), for 64-bit ARM. Its operators are those of the
// x86 backend compiled for this processor: NEON where sources are written with vectors of floats,
// kernels of their own (arm_*.cc) for integer products, chosen by what the CPU has when a step is
// prepared.

#include "slipway/backend.h"

namespace slipway::backends {

const slipway_backend* ArmBackend();

}  // namespace slipway::backends
