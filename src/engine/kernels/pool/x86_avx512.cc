#define SLIPWAY_ISA avx512
#include "engine/kernels/pool/pool_impl.h"
