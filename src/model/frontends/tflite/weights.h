#pragma once
// Operands of weighted operators.

#include "model/frontends/tflite/builder.h"

namespace slipway::tflite {

// Input i as real numbers with its dimensions permuted; constants are rearranged at once, quantized
// ones stay codes behind a Dequantize.
Value* Weights(Op& op, size_t i, const Ints& perm);

// Input i as real numbers: integers count in steps of the scale of input x times the scales of
// input w.
Value* Bias(Op& op, size_t i, size_t x, size_t w);

}  // namespace slipway::tflite
