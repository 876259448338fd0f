#include "engine/kernels/rows/rows.h"

namespace slipway::kernels {

const RowKernels& GetRows(Isa isa) {
  return isa == Isa::kAvx512 ? avx512::kRows : isa == Isa::kAvx2 ? avx2::kRows : baseline::kRows;
}

}  // namespace slipway::kernels
