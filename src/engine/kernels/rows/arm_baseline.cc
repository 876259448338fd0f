#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/rows/rows_impl.h"
