#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/bits/bits_impl.h"
