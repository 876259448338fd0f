#define SLIPWAY_ISA avx2
#include "engine/kernels/pool/pool_impl.h"
