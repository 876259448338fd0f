#define SLIPWAY_ISA avx512
#include "engine/kernels/recurrent/recurrent_impl.h"
