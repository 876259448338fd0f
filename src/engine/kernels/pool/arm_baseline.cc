#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/pool/pool_impl.h"
