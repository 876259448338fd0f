#define SLIPWAY_ISA avx512
#include "engine/kernels/resize/resize_impl.h"
