#pragma once
// What the inference of RNN, GRU and LSTM asks their kernels.

#include <string_view>

namespace slipway::ops {

// Whether `name` is an activation that the recurrent operators know, in any case.
bool IsRecurrentFunction(std::string_view name);

}  // namespace slipway::ops
