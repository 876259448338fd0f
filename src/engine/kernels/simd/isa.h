#pragma once
// The instruction sets that kernels are compiled for. A family compiles one source (its
// *_impl.h) once for each in x86_baseline.cc, x86_avx2.cc and x86_avx512.cc, and picks a table of
// functions by BestIsa() when a package is loaded. Families with 8-bit products have an
// x86_avx512vnni.cc too (AVX-512 with its VNNI) and pick by BestIntegerIsa(); families with
// products of bfloat16 have an x86_avx512bf16.cc and pick by BestBfloat16Isa(). On ARM there is
// arm_baseline.cc, arm_dotprod.cc and arm_i8mm.cc of families with 8-bit products, and arm_fp16.cc
// of those with products of float16.

#include "base/cpu.h"

namespace slipway::kernels {

enum class Isa : unsigned char {
  kBaseline = 0,
  kAvx2 = 1,
  kAvx512 = 2,
  kAvx512Vnni = 3,
  kAvx512Bf16 = 4,
  // ARM: baseline is NEON; kernels of integer products have more levels.
  kArmDotprod = 16,
  kArmI8mm = 17,
  kArmFp16 = 18
};

// The best this CPU has, as narrowed by SLIPWAY_CPU_FEATURES.
inline Isa BestIsa() {
  if (HasFeature(CpuFeature::kAvx512)) return Isa::kAvx512;
  return HasFeature(CpuFeature::kAvx2) ? Isa::kAvx2 : Isa::kBaseline;
}
inline Isa BestIntegerIsa() {
#if defined(__aarch64__)
  if (!HasFeature(CpuFeature::kArmDotprod)) return Isa::kBaseline;
  return HasFeature(CpuFeature::kArmI8mm) ? Isa::kArmI8mm : Isa::kArmDotprod;
#endif
  const Isa best = BestIsa();
  return best == Isa::kAvx512 && HasFeature(CpuFeature::kAvx512Vnni) ? Isa::kAvx512Vnni : best;
}
inline Isa BestBfloat16Isa() {
  const Isa best = BestIsa();
  return best == Isa::kAvx512 && HasFeature(CpuFeature::kAvx512Bf16) ? Isa::kAvx512Bf16 : best;
}
// Of float16: on ARM with FEAT_FP16, else by way of float32.
inline Isa BestHalfIsa() {
  return HasFeature(CpuFeature::kArmFp16) ? Isa::kArmFp16 : Isa::kBaseline;
}
inline const char* IsaName(Isa isa) {
  if (isa == Isa::kArmFp16) return "fp16";
  if (isa == Isa::kArmI8mm) return "i8mm";
  if (isa == Isa::kArmDotprod) return "dotprod";
  if (isa == Isa::kAvx512Bf16) return "avx512bf16";
  if (isa == Isa::kAvx512Vnni) return "avx512vnni";
  return isa == Isa::kAvx512 ? "avx512" : isa == Isa::kAvx2 ? "avx2" : "baseline";
}

}  // namespace slipway::kernels
