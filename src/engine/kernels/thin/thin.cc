#include "engine/kernels/thin/thin.h"

namespace slipway::kernels {

const ThinKernels& GetThin(Isa isa) {
  return isa == Isa::kAvx512 ? avx512::kThin : isa == Isa::kAvx2 ? avx2::kThin : baseline::kThin;
}

}  // namespace slipway::kernels
