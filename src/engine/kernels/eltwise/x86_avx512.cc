#define SLIPWAY_ISA avx512
#include "engine/kernels/eltwise/eltwise_impl.h"
