#pragma once
// Pooling of float32, bfloat16 and float16 over windows and whole images, and the scaling of channels, where
// the channels of a pixel lie together: in blocks of channels ([batch, channels / block,
// spatial..., block]) or channels last. Sums are float32, in an order that depends on the shape
// only.

#include <cstdint>

#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

// A plane is a block of channels of an image, or an image whose channels lie last; its pixels have
// `pixel` elements. Spatial extents are [depth, height, width]; those that are not there are 1.
struct PoolShape {
  int64_t planes = 0, pixel = 0;
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1}, kernel[3] = {1, 1, 1}, stride[3] = {1, 1, 1},
          dilation[3] = {1, 1, 1};
  int64_t pad_begin[3] = {0, 0, 0}, pad_end[3] = {0, 0, 0};

  int64_t Rows() const { return planes * out[0] * out[1]; }
};

enum class PoolKind : uint8_t {
  kMax,            // of a window without an element: minus infinity
  kAverage,        // over the elements inside the image; of none: 0
  kAveragePadded,  // divided by the taps inside image and padding
};

struct PoolKernels {
  // Rows [begin, end) of outputs of all planes; y must not overlap x.
  void (*windows)(const PoolShape& shape, PoolKind kind, const void* x, void* y, int64_t begin,
                  int64_t end);
  // y[c] = the sum of x[p * stride + c] over p < pixels, for c < channels.
  void (*sums)(const void* x, int64_t pixels, int64_t stride, float* y, int64_t channels);
  // y[p * stride + c] = x[p * stride + c] * factors[c] for p < pixels, c < channels; y may be x.
  void (*scale)(const void* x, int64_t pixels, int64_t stride, const float* factors, void* y,
                int64_t channels);
};

// bfloat16: with AVX-512 only, else null.
const PoolKernels* GetPool(Isa isa, bool bfloat16);
// float16, widened and rounded by NEON; without functions on other processors than 64-bit ARM.
const PoolKernels* GetPoolF16();

namespace baseline {
extern const PoolKernels kPool, kPoolF16;
}
namespace avx2 {
extern const PoolKernels kPool;
}
namespace avx512 {
extern const PoolKernels kPool, kPoolBf16;
}

}  // namespace slipway::kernels
