#define SLIPWAY_ISA avx512vnni
#include "engine/kernels/depthwise/qdepthwise_impl.h"
