#pragma once
// Products of float16 on 64-bit ARM: see kernels/half.

#include "engine/backends/x86/run/step.h"
#include "engine/kernels/half/half.h"
#include "model/ops/activation.h"

namespace slipway::backends::x86 {

// y = activation(x * w + bias + residual), inputs 0 to 3, all float16; `rows`: as PackHalf has it.
// All shapes have been checked.
Status BuildHalf(Builder& b, const kernels::HalfShape& shape, bool rows,
                 const ops::Activation& activation);

}  // namespace slipway::backends::x86
