#define SLIPWAY_ISA avx2
#include "engine/kernels/conv/conv_impl.h"
