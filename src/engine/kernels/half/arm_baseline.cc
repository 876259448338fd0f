#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/half/half_impl.h"
