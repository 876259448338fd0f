#pragma once
// Quantization in floating point with derivatives, in one pass over the elements each way.
// Includes torch: for this folder's *.cc only.

#include <ATen/ATen.h>

#include <cstdint>

namespace slipway::learn {

// Codes, less their zero point: lo to hi.
struct Codes {
  float lo = 0, hi = 0;
};

// s * clamp(round(x / s), lo, hi) for float32 x and a scalar s; elements with probability `drop`
// stay x. Derivatives: straight through inside of the range, those of LSQ for s. `key` chooses the
// elements.
at::Tensor QuantizeStep(const at::Tensor& x, const at::Tensor& scale, Codes codes, double drop,
                        uint32_t key);

// scale * clamp(base + h(alpha), lo, hi), h the rectified sigmoid clip(1.2 sigmoid - 0.1, 0, 1) of
// AdaRound; all like alpha. With a derivative for alpha.
at::Tensor SoftRound(const at::Tensor& alpha, const at::Tensor& base, const at::Tensor& scale,
                     const at::Tensor& lo, const at::Tensor& hi);
at::Tensor RectifiedSigmoid(const at::Tensor& alpha);
// alpha of which h is `fraction`.
at::Tensor InverseRectifiedSigmoid(const at::Tensor& fraction);

// Elements of `a` with probability `share`, else of `b`.
at::Tensor Mix(const at::Tensor& a, const at::Tensor& b, double share, uint32_t key);

}  // namespace slipway::learn
