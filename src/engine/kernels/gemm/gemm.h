#pragma once
// Many rows times a packed matrix, in float32 or in bfloat16 with float32 sums:
//
//   y[m, n] = activation(z[m, n] + bias[n] + sum over k of x[m, k] * w[k, n])
//
// Register tiles of up to rows() rows by two vectors of columns run over the whole of k; a block of
// rows of x is copied beforehand so that a tile reads it as one stream (rows that lie a multiple of
// 4096 bytes apart would push one another out of the first-level cache). The order of the loops
// follows Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication (TOMS 2008).
//
// Every element is one chain of sums in the order of k, so that it does not depend on how rows and
// columns are shared out.

#include <cstdint>

#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

enum class GemmType : uint8_t { kFloat32, kBFloat16 };

// y[i] = f(x[i], a, b) for i < n, y = x: a row of eltwise.h.
using GemmActivation = void (*)(const float* x, float* y, int64_t n, float a, float b);

struct GemmCall {
  const void* x = nullptr;  // [m, k], rows x_stride elements apart
  int64_t x_stride = 0;
  GemmType x_type = GemmType::kFloat32;  // float32 products take float32 only
  const void* w = nullptr;               // packed, 64-byte aligned
  const void* bias = nullptr;            // [n] or null
  GemmType bias_type = GemmType::kFloat32;
  const void* z = nullptr;  // [m, n] or null; may be y
  int64_t z_stride = 0;
  GemmType z_type = GemmType::kFloat32;
  void* y = nullptr;  // [m, n], apart from x
  int64_t y_stride = 0;
  GemmType y_type = GemmType::kFloat32;
  int64_t m = 0, k = 0, n = 0;
  GemmActivation activation = nullptr;
  float a = 0, b = 0;
};

// Rows [row, row_end) by columns [column, column_end); column a multiple of the panel's width.
struct GemmPart {
  int64_t row, row_end, column, column_end;
};

struct GemmKernels {
  GemmType type;  // of the products: bfloat16 takes bfloat16 weights
  int rows;       // of a tile
  int lanes;      // a panel is two vectors wide; the last may be one

  // Rounds and orders the panels [panel, end) of w, [k, n] or transposed [n, k], of type `type`.
  void (*pack)(const void* w, int64_t k, int64_t n, bool transposed, void* packed, int64_t panel,
               int64_t end);
  // One part, in blocks of `step` rows; `buffer` holds a block (GemmPlan::buffer_bytes), 64-byte
  // aligned.
  void (*run)(const GemmCall& call, const GemmPart& part, int64_t step, void* buffer);

  int64_t panel() const { return 2 * lanes; }
  int64_t panels(int64_t n) const { return (n + panel() - 1) / panel(); }
  // Of a row of x in a block, or of a column of packed weights. k < 2^40.
  int64_t depth_bytes(int64_t k) const {
    if (k == 0) return 16;
    return type == GemmType::kFloat32 ? (k + 3) / 4 * 16 : (k + 7) / 8 * 16;
  }
  // Depends on the shape and the instruction set only. k * n < 2^40.
  int64_t packed_bytes(int64_t k, int64_t n) const {
    return depth_bytes(k) * ((n + lanes - 1) / lanes * lanes);
  }
};

// How a product is cut for threads and caches.
struct GemmPlan {
  int64_t m = 0, n = 0, panel = 0;
  int64_t row_parts = 1, column_parts = 1;
  int64_t step = 1;          // rows of a block
  int64_t buffer_bytes = 0;  // for each thread at work

  int64_t parts() const { return row_parts * column_parts; }
  GemmPart Part(int64_t i) const;
};
// Parts of about equal work for this many threads. m, n > 0.
GemmPlan PlanGemm(const GemmKernels& kernels, int64_t m, int64_t k, int64_t n, int threads);

// Products of float32, of BestIsa().
const GemmKernels& GetGemm(Isa isa);
// Products of bfloat16, of BestBfloat16Isa(); null where the CPU has none.
const GemmKernels* GetGemmBf16(Isa isa);

namespace baseline {
extern const GemmKernels kGemm;
}
namespace avx2 {
extern const GemmKernels kGemm;
}
namespace avx512 {
extern const GemmKernels kGemm;
}
namespace avx512bf16 {
extern const GemmKernels kGemm;
}

}  // namespace slipway::kernels
