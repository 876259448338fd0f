#define SLIPWAY_ISA avx2
#include "engine/kernels/qgemm/qgemm_impl.h"
