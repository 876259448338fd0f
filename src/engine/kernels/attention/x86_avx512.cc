#define SLIPWAY_ISA avx512
#include "engine/kernels/attention/attention_impl.h"
