#define SLIPWAY_ISA avx2
#include "engine/kernels/attention/attention_impl.h"
