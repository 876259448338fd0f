#define SLIPWAY_ISA avx2
#include "engine/kernels/winograd/winograd_impl.h"
