#include "engine/kernels/recurrent/recurrent.h"

namespace slipway::kernels {

void PackRecurrent(const float* w, int64_t hidden, int64_t k, std::span<const int> gates, int lanes,
                   float* packed) {
  const auto count = static_cast<int64_t>(gates.size());
  const int64_t blocks = (hidden + lanes - 1) / lanes;
  for (int64_t first = 0, some; first < blocks; first += some) {
    some = RecurrentGroup(static_cast<int>(count), blocks - first);
    for (int64_t row = 0; row < k; ++row) {
      for (int64_t block = first; block < first + some; ++block) {
        for (const int gate : gates) {
          for (int64_t unit = block * lanes; unit < (block + 1) * lanes; ++unit)
            *packed++ = unit < hidden ? w[(gate * hidden + unit) * k + row] : 0.0f;
        }
      }
    }
  }
}

const RecurrentKernels& GetRecurrent(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kAvx512 ? avx512::kRecurrent
         : isa == Isa::kAvx2 ? avx2::kRecurrent
                             : baseline::kRecurrent;
#else
  (void)isa;
  return baseline::kRecurrent;
#endif
}

}  // namespace slipway::kernels
