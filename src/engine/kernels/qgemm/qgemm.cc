#include "engine/kernels/qgemm/qgemm.h"

#include <algorithm>
#include <cstring>

namespace slipway::kernels {

const QGemmKernels& GetQGemm(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kAvx512Vnni:
      return avx512vnni::kQGemm;
    case Isa::kAvx512:
    case Isa::kAvx512Bf16:
      return avx512::kQGemm;
    case Isa::kAvx2:
      return avx2::kQGemm;
    default:
      break;
  }
  return baseline::kQGemm;
#else
  if (isa == Isa::kArmI8mm) return i8mm::kQGemm;
  return isa == Isa::kArmDotprod ? dotprod::kQGemm : baseline::kQGemm;
#endif
}

void QGemmPack(const int8_t* w, int64_t k, int64_t n, int64_t k_stride, int64_t n_stride,
               int8_t* packed, int32_t* sums) {
#if defined(__aarch64__)
  const Isa isa = BestIntegerIsa();
  const int64_t depth = (k + kQGemmPackedDepth - 1) / kQGemmPackedDepth * kQGemmPackedDepth;
  std::memset(packed, 0, static_cast<size_t>(QGemmPackedBytes(k, n)));
  for (int64_t j = 0; j < n; ++j) {
    int32_t sum = 0;
    for (int64_t i = 0; i < k; ++i) {
      const int8_t v = w[i * k_stride + j * n_stride];
      packed[QGemmPlace(isa, depth, i, j)] = v;
      sum += v;
    }
    if (sums) sums[j] = sum;
  }
#else
  const int64_t steps = (k + 3) / 4;
  if (sums) std::fill_n(sums, n, 0);
  if (k % 4 != 0 || n % kQGemmBlock != 0)
    std::memset(packed, 0, static_cast<size_t>(QGemmPackedBytes(k, n)));
  for (int64_t j = 0; j < n; ++j) {
    int8_t* to = packed + j / kQGemmBlock * steps * 64 + j % kQGemmBlock * 4;
    const int8_t* from = w + j * n_stride;
    int32_t sum = 0;
    for (int64_t i = 0; i < k; ++i) {
      const int8_t v = from[i * k_stride];
      to[i / 4 * 64 + i % 4] = v;
      sum += v;
    }
    if (sums) sums[j] = sum;
  }
#endif
}

}  // namespace slipway::kernels
