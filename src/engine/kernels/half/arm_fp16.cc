#include <arm_neon.h>

#define SLIPWAY_ISA fp16
#include "engine/kernels/half/half_impl.h"
