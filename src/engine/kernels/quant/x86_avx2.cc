#define SLIPWAY_ISA avx2
#include "engine/kernels/quant/quant_impl.h"
