#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/conv/conv_impl.h"
