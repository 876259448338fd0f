#define SLIPWAY_ISA avx512vnni
#include "engine/kernels/qgemm/qgemm_impl.h"
