#include "engine/kernels/eltwise/eltwise.h"

namespace slipway::kernels {

const EltwiseKernels& GetEltwise(Isa isa) {
  return isa == Isa::kAvx512 ? avx512::kEltwise
         : isa == Isa::kAvx2 ? avx2::kEltwise
                             : baseline::kEltwise;
}

}  // namespace slipway::kernels
