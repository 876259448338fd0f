#define SLIPWAY_ISA avx2
#include "engine/kernels/resize/resize_impl.h"
