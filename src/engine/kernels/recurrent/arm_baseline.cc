#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/recurrent/recurrent_impl.h"
