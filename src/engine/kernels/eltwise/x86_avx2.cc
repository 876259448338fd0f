#define SLIPWAY_ISA avx2
#include "engine/kernels/eltwise/eltwise_impl.h"
