#include "engine/kernels/thin/thin.h"

namespace slipway::kernels {

const ThinKernels& GetThin(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kAvx512 ? avx512::kThin : isa == Isa::kAvx2 ? avx2::kThin : baseline::kThin;
#else
  (void)isa;
  return baseline::kThin;
#endif
}

}  // namespace slipway::kernels
