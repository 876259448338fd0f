#include "engine/kernels/resize/resize.h"

#include <algorithm>
#include <cstddef>

#include "engine/kernels/resize/table.h"

namespace slipway::kernels {

void ResizeColumnTable::MakeLine(Isa isa) {
  if (isa == Isa::kBaseline || out == 0) return;
  const int64_t n = isa >= Isa::kAvx512 ? 16 : 8, vectors = (out + n - 1) / n;
  std::vector<int32_t> first(static_cast<size_t>(vectors)),
      at(static_cast<size_t>(vectors * taps * n));
  std::vector<float> w(at.size());
  for (int64_t v = 0; v < vectors; ++v) {
    const int64_t begin = v * n, end = std::min(out, begin + n);
    const auto [lo, hi] = std::minmax_element(index.begin() + static_cast<ptrdiff_t>(begin * taps),
                                              index.begin() + static_cast<ptrdiff_t>(end * taps));
    const int64_t base = std::min<int64_t>(*lo, std::max<int64_t>(0, in - n));
    if (*hi - base >= n) return;
    first[static_cast<size_t>(v)] = static_cast<int32_t>(base);
    for (int64_t o = begin; o < end; ++o) {
      for (int64_t k = 0; k < taps; ++k) {
        const auto to = static_cast<size_t>((v * taps + k) * n + o - begin),
                   i = static_cast<size_t>(o * taps + k);
        at[to] = static_cast<int32_t>(index[i] - base);
        w[to] = weight[i];
      }
    }
  }
  lanes = n;
  start = std::move(first);
  from = std::move(at);
  line = std::move(w);
}

const ResizeKernels& GetResize(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return avx512::kResize;
  return isa == Isa::kAvx2 ? avx2::kResize : baseline::kResize;
#else
  (void)isa;
  return baseline::kResize;
#endif
}

}  // namespace slipway::kernels
