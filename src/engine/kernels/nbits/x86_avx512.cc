#define SLIPWAY_ISA avx512
#include "engine/kernels/nbits/nbits_impl.h"
