#define SLIPWAY_ISA avx512
#include "engine/kernels/conv/conv_impl.h"
