#include "engine/kernels/eltwise/eltwise.h"

namespace slipway::kernels {

const EltwiseKernels& GetEltwise(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kAvx512 ? avx512::kEltwise
         : isa == Isa::kAvx2 ? avx2::kEltwise
                             : baseline::kEltwise;
#else
  (void)isa;
  return baseline::kEltwise;
#endif
}

}  // namespace slipway::kernels
