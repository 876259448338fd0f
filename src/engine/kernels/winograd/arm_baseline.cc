#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/winograd/winograd_impl.h"
