#define SLIPWAY_ISA baseline
#include "engine/kernels/resize/resize_impl.h"
