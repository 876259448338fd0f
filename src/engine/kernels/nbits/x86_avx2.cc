#define SLIPWAY_ISA avx2
#include "engine/kernels/nbits/nbits_impl.h"
