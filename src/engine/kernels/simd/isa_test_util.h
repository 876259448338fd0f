#pragma once
// The instruction sets that the tests of kernels go through.

#include <vector>

#include "base/cpu.h"
#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

// Those of this CPU that have tables of float32 kernels, the baseline first.
inline std::vector<Isa> Isas() {
  std::vector<Isa> out = {Isa::kBaseline};
  if (HasFeature(CpuFeature::kAvx2)) out.push_back(Isa::kAvx2);
  if (HasFeature(CpuFeature::kAvx512)) out.push_back(Isa::kAvx512);
  return out;
}

}  // namespace slipway::kernels
