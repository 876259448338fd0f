#define SLIPWAY_ISA avx512bf16
#include "engine/kernels/attention/attention_impl.h"
