#define SLIPWAY_ISA avx512
#include "engine/kernels/rows/rows_impl.h"
