#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/thin/thin_impl.h"
