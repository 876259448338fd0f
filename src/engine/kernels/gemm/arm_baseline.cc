#include <arm_neon.h>

#define SLIPWAY_ISA baseline
#include "base/cpu.h"
#include "engine/kernels/gemm/gemm_impl.h"

namespace slipway::kernels::baseline {
namespace {

#include "engine/kernels/gemm/arm_float_tile.h"

}  // namespace

FloatTile GetFloatTile() {
  return HasFeature(CpuFeature::kArmDotprod) ? TileOneByOne : TileInFours;
}

}  // namespace slipway::kernels::baseline
