#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "engine/kernels/attention/attention_impl.h"
