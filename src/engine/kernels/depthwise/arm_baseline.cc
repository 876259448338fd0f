#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "base/cpu.h"
#include "engine/kernels/depthwise/depthwise_impl.h"
