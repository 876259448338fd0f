#include "engine/kernels/rows/rows.h"

namespace slipway::kernels {

const RowKernels& GetRows(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kAvx512 ? avx512::kRows : isa == Isa::kAvx2 ? avx2::kRows : baseline::kRows;
#else
  (void)isa;
  return baseline::kRows;
#endif
}

}  // namespace slipway::kernels
