#define SLIPWAY_ISA avx2
#include "engine/kernels/rows/rows_impl.h"
