#define SLIPWAY_ISA avx2
#include "engine/kernels/bits/bits_impl.h"
