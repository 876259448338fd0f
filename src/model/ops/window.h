#pragma once
// The geometry of a sliding window (convolution, pooling) over 1, 2 or 3 spatial dimensions,
// resolved from attributes and extents.

#include <cstdint>
#include <span>

#include "base/dims.h"
#include "base/status.h"
#include "model/ops/attributes.h"

namespace slipway::ops {

// A window of more taps than this is damage: no operator could finish.
constexpr int64_t kMaxTaps = int64_t{1} << 24;

// Always three spatial dimensions [depth, height, width]; those that the operator does not have lie
// in front with extent 1.
struct Window {
  int spatial = 0;  // how many the operator really has
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1};
  int64_t kernel[3] = {1, 1, 1}, stride[3] = {1, 1, 1}, dilation[3] = {1, 1, 1};
  int64_t pad_begin[3] = {0, 0, 0}, pad_end[3] = {0, 0, 0};

  int64_t InCount() const { return in[0] * in[1] * in[2]; }
  int64_t OutCount() const { return out[0] * out[1] * out[2]; }
  int64_t KernelCount() const { return kernel[0] * kernel[1] * kernel[2]; }
  // One element in, one element out, same place: a convolution is then a matrix product.
  bool IsPointwise() const;
  // Output positions [lo, hi) of dimension d at which tap k lies inside the input.
  void ValidRange(int d, int64_t k, int64_t* lo, int64_t* hi) const;
};

// From auto_pad, pads, strides, dilations and the extents of X and Y ([N, C, spatial...]); Y's
// extent already reflects ceil_mode. `kernel`: the spatial extent of the weights, or empty to read
// the attribute kernel_shape. Nothing allocates on success. InvalidArgument: rank outside 3..5,
// lists of the wrong length, values out of range (kernel, stride, dilation in [1, 2^31), pads in
// (-2^31, 2^31), kMaxTaps), an unknown auto_pad.
Result<Window> ResolveWindow(const Attributes& attributes, const Dims& x, const Dims& y,
                             std::span<const int64_t> kernel = {});

// As above for ConvTranspose: X is the small side and Y the large one; pads follow from
// output_shape / auto_pad where these are given. The window describes the forward convolution Y ->
// X, so in[] is Y's extent and out[] is X's.
Result<Window> ResolveTransposedWindow(const Attributes& attributes, const Dims& x, const Dims& y,
                                       std::span<const int64_t> kernel);

}  // namespace slipway::ops
