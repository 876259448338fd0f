#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/nbits/nbits_impl.h"
