#define SLIPWAY_ISA avx512
#include "engine/kernels/quant/quant_impl.h"
