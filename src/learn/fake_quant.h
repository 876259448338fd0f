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

// The rectified sigmoid clip(1.2 sigmoid - 0.1, 0, 1) of AdaRound, h; and alpha of which h is
// `fraction`.
at::Tensor InverseRectifiedSigmoid(const at::Tensor& fraction);

// Roundings between a code and the next, learned by Adam (Kingma and Ba, 2015) in one pass over
// the weights: scale * clamp(base + h(alpha), lo, hi). All arrays alike, contiguous float32.
struct Roundings {
  at::Tensor base, scale, lo, hi, alpha, m, v;  // m, v: Adam's
  int64_t steps = 0;
};
void SoftRound(const Roundings& r, at::Tensor& weights);
// gradient: of the weights. The regulariser strength * (1 - |2 h - 1|^beta) of each is added where
// beta is positive.
void LearnRoundings(Roundings& r, const at::Tensor& gradient, double rate, double strength,
                    double beta);

// The sum of importance * (y - target)^2 over all elements, times `factor`; a derivative for y.
// `importance` may be undefined.
at::Tensor SquaredError(const at::Tensor& y, const at::Tensor& target, const at::Tensor& importance,
                        double factor);

// The samples `picked` (count of them) of an array [samples, ...], channels last where it has four
// dimensions; elements with probability `share` are those of `mixed` (which may be undefined).
at::Tensor PickSamples(const at::Tensor& from, const int64_t* picked, int64_t count,
                       const at::Tensor& mixed = {}, double share = 0, uint32_t key = 0);

}  // namespace slipway::learn
