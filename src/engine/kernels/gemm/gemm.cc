#include "engine/kernels/gemm/gemm.h"

#include <algorithm>

namespace slipway::kernels {
namespace {

// Of the second-level cache, for a block of rows beside the panel of weights that runs over it.
constexpr int64_t kBlockBytes = 640 << 10;
// But at least so many tiles, though they come from the third level then: the weights come from
// there, or from memory, once for each block (measured with K from 768 to 4096 on a Zen 4 core).
constexpr int64_t kTiles = 15;
// Weights that stay in it while the rows go by one tile at a time.
constexpr int64_t kWeightBytes = 256 << 10;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

GemmPart GemmPlan::Part(int64_t i) const {
  const int64_t rows = i % row_parts, columns = i / row_parts;
  const int64_t panels = CeilDiv(n, panel);
  return {m * rows / row_parts, m * (rows + 1) / row_parts, panels * columns / column_parts * panel,
          std::min(n, panels * (columns + 1) / column_parts * panel)};
}

GemmPlan PlanGemm(const GemmKernels& kernels, int64_t m, int64_t k, int64_t n, int threads) {
  GemmPlan p{.m = m, .n = n, .panel = kernels.panel()};
  const int64_t depth = std::max<int64_t>(kernels.depth_bytes(k), 1);
  const int64_t panels = kernels.panels(n);
  // Few weights stay in the cache as they are, and rows need only be copied for one tile; else the
  // panels of weights run over as many rows as the cache holds, but over some tiles of them at
  // least.
  const bool stay = depth * n <= kWeightBytes;
  const int64_t most =
      stay ? kernels.rows : std::max<int64_t>(kBlockBytes / depth, kTiles * kernels.rows);
  if (threads > 1) {
    // Ten microseconds of work at least for each part.
    const double macs = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    const int64_t wanted = static_cast<int64_t>(std::clamp(macs / (1 << 19), 1.0, 2.0 * threads));
    // Where rows are cut, every part reads all weights; where columns are, it copies all rows.
    const int64_t rows = std::min(wanted, m / (4 * kernels.rows));
    const bool wide = !stay && panels >= 8 * threads && m < threads * kTiles * kernels.rows;
    if (rows >= threads && !wide) {
      p.row_parts = rows / threads * threads;
    } else {
      p.column_parts = std::min({panels, wanted, n < 768 * threads ? int64_t{threads} : wanted});
    }
  }
  const int64_t rows = CeilDiv(m, p.row_parts);
  p.step = CeilDiv(rows, CeilDiv(rows, most));
  p.buffer_bytes = CeilDiv(p.step * depth, 64) * 64;
  return p;
}

const GemmKernels& GetGemm(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kBaseline ? baseline::kGemm : isa == Isa::kAvx2 ? avx2::kGemm : avx512::kGemm;
#else
  (void)isa;
  return baseline::kGemm;
#endif
}

const GemmKernels* GetGemmBf16(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kAvx512Bf16 ? &avx512bf16::kGemm : nullptr;
#else
  (void)isa;
  return nullptr;
#endif
}

}  // namespace slipway::kernels
