#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/quant/quant_impl.h"
