#pragma once
// Scaled dot-product attention of one head, softmax(q k' * scale + mask) v, in float32 or in
// bfloat16 (products of bfloat16 with float32 sums, softmax in float32, its result rounded). A few
// queries at a time, whose scores against all keys stay in the cache; k is transposed and v copied
// to a compact form once a head.

#include <cstdint>

#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

// Queries that are worked on together, at most.
inline constexpr int64_t kAttentionRows = 12;

struct AttentionShape {
  int64_t queries = 0, keys = 0;
  int64_t size = 0, v_size = 0;  // of a row of q and k, and of v and y
  float scale = 1;
  bool causal = false;  // query i sees keys up to i

  bool Valid() const;  // positive, and what is computed from them fits 2^44 bytes
  // Between the rows of intermediates: an odd number of cache lines, so that a column of them is
  // spread over all sets of the cache.
  int64_t key_floats() const { return ((keys + 15) / 16 | 1) * 16; }
  int64_t value_floats() const { return ((v_size + 15) / 16 | 1) * 16; }
  int64_t workspace_floats() const {  // of a thread, to be 64-byte aligned
    return size * key_floats() + keys * value_floats() +
           kAttentionRows * (key_floats() + value_floats());
  }
};

// One head; q, k, v and y of the function's type, rows `..._row` numbers apart.
struct AttentionCall {
  const void *q, *k, *v;
  void* y;
  int64_t q_row, k_row, v_row, y_row;
  const float* mask;  // added to the scores, or null
  int64_t mask_row;   // 0: the same for all queries
  int64_t mask_key;   // 1, or 0: one value a query
};

// Queries [row, end). A result does not depend on how they are cut. A query that sees no key (all
// masked by -infinity) gives 0.
using AttentionFunction = void (*)(const AttentionShape& shape, const AttentionCall& call,
                                   float* workspace, int64_t row, int64_t end);

// float32, of BestIsa().
AttentionFunction GetAttention(Isa isa);
// bfloat16, of BestBfloat16Isa(); null where the CPU has none. `size` and the rows of q and k must
// be even.
AttentionFunction GetAttentionBf16(Isa isa);

namespace baseline {
extern const AttentionFunction kAttention;
}
namespace avx2 {
extern const AttentionFunction kAttention;
}
namespace avx512 {
extern const AttentionFunction kAttention;
}
namespace avx512bf16 {
extern const AttentionFunction kAttention;
}

}  // namespace slipway::kernels
