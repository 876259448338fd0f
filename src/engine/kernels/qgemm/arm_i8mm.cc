#include <arm_neon.h>

#define SLIPWAY_ISA i8mm
#include "engine/kernels/qgemm/qgemm_impl.h"
