#define SLIPWAY_ISA avx512
#include "engine/kernels/thin/thin_impl.h"
