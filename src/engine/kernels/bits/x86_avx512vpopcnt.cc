#define SLIPWAY_ISA avx512popcnt
#include "engine/kernels/bits/bits_impl.h"
