#define SLIPWAY_ISA avx2
#include "engine/kernels/recurrent/recurrent_impl.h"
