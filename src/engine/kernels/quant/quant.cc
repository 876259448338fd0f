#include "engine/kernels/quant/quant.h"

namespace slipway::kernels {

const QuantKernels& GetQuant(Isa isa) {
  return isa == Isa::kAvx512 ? avx512::kQuant : isa == Isa::kAvx2 ? avx2::kQuant : baseline::kQuant;
}

}  // namespace slipway::kernels
