#define SLIPWAY_ISA avx512
#include "engine/kernels/winograd/winograd_impl.h"
