#define SLIPWAY_ISA avx512
#include "engine/kernels/qgemm/qgemm_impl.h"
