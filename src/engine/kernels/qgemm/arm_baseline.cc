#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/qgemm/qgemm_impl.h"
