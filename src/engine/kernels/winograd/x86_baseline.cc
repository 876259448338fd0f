#define SLIPWAY_ISA baseline
#include "engine/kernels/winograd/winograd_impl.h"
