#include "engine/kernels/quant/quant.h"

namespace slipway::kernels {

const QuantKernels& GetQuant(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kAvx512 ? avx512::kQuant : isa == Isa::kAvx2 ? avx2::kQuant : baseline::kQuant;
#else
  (void)isa;
  return baseline::kQuant;
#endif
}

#if defined(__x86_64__)
namespace {
bool HasVbmi(Isa isa) {
  static const bool vbmi = __builtin_cpu_supports("avx512vbmi");
  return isa == Isa::kAvx512 && vbmi;
}
}  // namespace
#endif

LookupFunction GetLookup(Isa isa) {
#if defined(__x86_64__)
  return HasVbmi(isa) ? avx512::kLookupVbmi : GetQuant(isa).lookup;
#else
  (void)isa;
  return GetQuant(isa).lookup;
#endif
}
ChannelLookupFunction GetChannelLookup(Isa isa) {
#if defined(__x86_64__)
  return HasVbmi(isa) ? avx512::kChannelLookupVbmi : GetQuant(isa).channel_lookup;
#else
  (void)isa;
  return GetQuant(isa).channel_lookup;
#endif
}

}  // namespace slipway::kernels
