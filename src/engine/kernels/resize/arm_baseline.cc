#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/resize/resize_impl.h"
