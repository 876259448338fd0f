#pragma once
// The elementwise kernel of an activation that is fused into another operator.

#include "base/dtype.h"
#include "engine/kernels/eltwise/eltwise.h"
#include "model/ops/activation.h"

namespace slipway::backends::x86 {

struct UnaryCall {
  kernels::UnaryKind kind = kernels::UnaryKind::kIdentity;
  float a = 0, b = 0;
};

inline UnaryCall FromActivation(const ops::Activation& act) {
  using ops::ActivationKind;
  switch (act.kind) {
    case ActivationKind::kNone:
      return {kernels::UnaryKind::kIdentity, 0, 0};
    case ActivationKind::kRelu:
      return {kernels::UnaryKind::kRelu, 0, 0};
    case ActivationKind::kClip:
      return {kernels::UnaryKind::kClip, act.a, act.b};
    case ActivationKind::kLeakyRelu:
      return {kernels::UnaryKind::kLeakyRelu, act.a, 0};
    case ActivationKind::kSigmoid:
      return {kernels::UnaryKind::kSigmoid, 0, 0};
    case ActivationKind::kHardSigmoid:
      return {kernels::UnaryKind::kHardSigmoid, act.a, act.b};
    case ActivationKind::kHardSwish:
      return {kernels::UnaryKind::kHardSwish, 0, 0};
    case ActivationKind::kSwish:
      return {kernels::UnaryKind::kSwish, act.a, 0};
    case ActivationKind::kGelu:
      return {kernels::UnaryKind::kGelu, 0, 0};
    case ActivationKind::kGeluTanh:
      return {kernels::UnaryKind::kGeluTanh, 0, 0};
    case ActivationKind::kTanh:
      return {kernels::UnaryKind::kTanh, 0, 0};
    case ActivationKind::kElu:
      return {kernels::UnaryKind::kElu, act.a, 0};
  }
  return {};
}

// Between float32 and a 16-bit type; of float16 null in a probe on other processors than ARM.
struct Conversions {
  void (*widen)(const uint16_t*, float*, int64_t);
  void (*narrow)(const float*, uint16_t*, int64_t);

  static Conversions Of(DType type, kernels::Isa isa) {
    const kernels::EltwiseKernels& k = kernels::GetEltwise(isa);
    if (type == DType::kFloat16) return {k.from_float16, k.to_float16};
    return {k.from_bfloat16, k.to_bfloat16};
  }
};

// A pass of its own over n elements that have just been written; nothing for no activation.
struct FusedActivation {
  kernels::UnaryFunction function = nullptr;
  float a = 0, b = 0;
  kernels::UnaryKind kind = kernels::UnaryKind::kIdentity;

  // `half`: results are rounded to bfloat16.
  static FusedActivation Of(const ops::Activation& activation, kernels::Isa isa,
                            bool half = false) {
    if (activation.kind == ops::ActivationKind::kNone) return {};
    const UnaryCall call = FromActivation(activation);
    if (half && call.kind == kernels::UnaryKind::kSwish)
      return {kernels::GetEltwise(isa).rough_swish, call.a, call.b, call.kind};
    return {kernels::GetEltwise(isa).unary[static_cast<int>(call.kind)], call.a, call.b, call.kind};
  }
  // Whether it is the greater of x and a x.
  bool IsLeaky() const {
    return function && kind == kernels::UnaryKind::kLeakyRelu && a >= 0 && a <= 1;
  }
  void operator()(float* y, int64_t n) const {
    if (function) function(y, y, n, a, b);
  }
};

}  // namespace slipway::backends::x86
