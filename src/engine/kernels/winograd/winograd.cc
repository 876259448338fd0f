#include "engine/kernels/winograd/winograd.h"

#include <initializer_list>

#include "base/checked.h"

namespace slipway::kernels {

bool WinogradShape::Valid() const {
  constexpr int64_t kMost = int64_t{1} << 31;
  if ((block != 8 && block != 16) || (tile != 2 && tile != 4)) return false;
  for (int64_t v :
       {images, groups, in_channels, out_channels, height, width, out_height, out_width}) {
    if (v < 1 || v > kMost) return false;
  }
  if (pad_top < 0 || pad_left < 0 || pad_top > kMost || pad_left > kMost) return false;
  if (in_channels % block != 0 || out_channels % block != 0) return false;
  // Everything below counts floats of whole tiles or weights: 2^40 of them are more than a machine
  // has.
  constexpr int64_t kFloats = int64_t{1} << 40;
  const auto fits = [](std::initializer_list<int64_t> extents) {
    int64_t count = 1;
    for (int64_t v : extents) {
      const auto product = CheckedMul(count, v);
      if (!product || *product > kFloats) return false;
      count = *product;
    }
    return true;
  };
  return fits({images, groups, in_channels + out_channels, out_height + 4, out_width + 4}) &&
         fits({groups, in_channels, out_channels});
}

const WinogradKernels& GetWinograd(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kAvx512 ? avx512::kWinograd
         : isa == Isa::kAvx2 ? avx2::kWinograd
                             : baseline::kWinograd;
#else
  (void)isa;
  return baseline::kWinograd;
#endif
}

}  // namespace slipway::kernels
