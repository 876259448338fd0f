#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "base/cpu.h"
#include "engine/kernels/conv/conv_impl.h"
