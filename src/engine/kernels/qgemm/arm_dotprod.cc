#include <arm_neon.h>

#define SLIPWAY_ISA dotprod
#include "engine/kernels/qgemm/qgemm_impl.h"
