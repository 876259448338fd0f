#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/eltwise/eltwise_impl.h"
