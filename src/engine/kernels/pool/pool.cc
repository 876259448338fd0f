#include "engine/kernels/pool/pool.h"

namespace slipway::kernels {

const PoolKernels* GetPool(Isa isa, bool bfloat16) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return bfloat16 ? &avx512::kPoolBf16 : &avx512::kPool;
  if (bfloat16) return nullptr;
  return isa == Isa::kAvx2 ? &avx2::kPool : &baseline::kPool;
#else
  (void)isa;
  return bfloat16 ? nullptr : &baseline::kPool;
#endif
}

const PoolKernels* GetPoolF16() {
#if defined(__aarch64__)
  return &baseline::kPoolF16;
#else
  static constexpr PoolKernels kNone = {};
  return &kNone;
#endif
}

}  // namespace slipway::kernels
