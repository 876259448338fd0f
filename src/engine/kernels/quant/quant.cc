#include "engine/kernels/quant/quant.h"

namespace slipway::kernels {

const QuantKernels& GetQuant(Isa isa) {
  return isa == Isa::kAvx512 ? avx512::kQuant : isa == Isa::kAvx2 ? avx2::kQuant : baseline::kQuant;
}

namespace {
bool HasVbmi(Isa isa) {
  static const bool vbmi = __builtin_cpu_supports("avx512vbmi");
  return isa == Isa::kAvx512 && vbmi;
}
}  // namespace

LookupFunction GetLookup(Isa isa) {
  return HasVbmi(isa) ? avx512::kLookupVbmi : GetQuant(isa).lookup;
}
ChannelLookupFunction GetChannelLookup(Isa isa) {
  return HasVbmi(isa) ? avx512::kChannelLookupVbmi : GetQuant(isa).channel_lookup;
}

}  // namespace slipway::kernels
