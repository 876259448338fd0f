#pragma once
// What convolutions, depthwise ones and pairs of them share.

#include <limits>
#include <vector>

#include "engine/backends/x86/run/activation.h"
#include "engine/backends/x86/run/step.h"

namespace slipway::backends::x86 {

// The bounds of a fused activation, or its function, in a call of winograd's or conv's.
template <typename Call>
void SetActivation(const ops::Activation& activation, kernels::Isa isa, Call& call,
                   bool half = false) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  call.low = -kInfinity;
  call.high = kInfinity;
  switch (activation.kind) {
    case ops::ActivationKind::kRelu:
      call.low = 0;
      break;
    case ops::ActivationKind::kClip:
      call.low = activation.a;
      call.high = activation.b;
      break;
    default: {
      const FusedActivation fused = FusedActivation::Of(activation, isa, half);
      call.activation = fused.function;
      call.a = fused.a;
      call.b = fused.b;
      if constexpr (requires { call.kind; }) call.kind = fused.kind;
    }
  }
}

// A constant of float32 or bfloat16; empty when absent.
std::vector<float> Floats(const Builder& b, size_t i);

}  // namespace slipway::backends::x86
