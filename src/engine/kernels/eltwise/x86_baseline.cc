#define SLIPWAY_ISA baseline
#include "engine/kernels/eltwise/eltwise_impl.h"
