#define SLIPWAY_ISA avx2
#include "engine/kernels/thin/thin_impl.h"
