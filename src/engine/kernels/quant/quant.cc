#include "engine/kernels/quant/quant.h"

namespace slipway::kernels {

const QuantKernels& GetQuant(Isa isa) {
  return isa == Isa::kAvx512 ? avx512::kQuant : isa == Isa::kAvx2 ? avx2::kQuant : baseline::kQuant;
}

LookupFunction GetLookup(Isa isa) {
  static const bool vbmi = __builtin_cpu_supports("avx512vbmi");
  return isa == Isa::kAvx512 && vbmi ? avx512::kLookupVbmi : GetQuant(isa).lookup;
}

}  // namespace slipway::kernels
