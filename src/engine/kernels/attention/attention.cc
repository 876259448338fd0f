#include "engine/kernels/attention/attention.h"

#include <initializer_list>

#include "base/checked.h"

namespace slipway::kernels {

bool AttentionShape::Valid() const {
  constexpr int64_t kMost = int64_t{1} << 40;
  for (int64_t v : {queries, keys, size, v_size}) {
    if (v < 1 || v > kMost) return false;
  }
  for (int64_t v : {size + kAttentionRows, v_size + 31}) {
    const auto floats = CheckedMul(v, keys + 31);
    if (!floats || *floats > kMost) return false;
  }
  return true;
}

AttentionFunction GetAttention(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kBaseline ? baseline::kAttention
         : isa == Isa::kAvx2   ? avx2::kAttention
                               : avx512::kAttention;
#else
  (void)isa;
  return baseline::kAttention;
#endif
}

AttentionFunction GetAttentionBf16(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kAvx512Bf16 ? avx512bf16::kAttention : nullptr;
#else
  (void)isa;
  return nullptr;
#endif
}

}  // namespace slipway::kernels
