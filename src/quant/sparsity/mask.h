#pragma once
// Which weights of one layer a sparsity pattern leaves, and which values those take.

#include <cstdint>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "engine/compiler/sparsity_pattern.h"

namespace slipway::quant {

using compiler::SparsityPattern;
class InputStatistics;

// Weights of one layer (of one group of a convolution) as a matrix: a row for each output channel,
// columns tap after tap with the input channels of a tap together, so that an N:M group and a row
// of a block are neighbours.
struct WeightShape {
  int64_t rows = 0, channels = 0, taps = 1;
  int64_t columns() const { return channels * taps; }
};

// A byte for each weight, 1: it stays. The largest magnitudes of each N:M group; of blocks those
// with the least mean squares go until the ratio of the weights is gone. Of equals the first stays.
std::vector<uint8_t> MagnitudeMask(std::span<const float> weights, const WeightShape& shape,
                                   const SparsityPattern& pattern);

struct Pruned {
  std::vector<uint8_t> mask;
  std::vector<float> weights;  // zero where the mask is
};
// By what the layer's outputs lose on its inputs, those that remain making up for those that go:
// N:M group by group along the columns as SparseGPT (Frantar and Alistarh, 2023) does, by
// w^2 / [H^-1]_jj of the columns not yet passed; blocks one by one, each time the one of the least
// w_B^T ([H^-1]_BB)^-1 w_B a weight, then made up for in w and taken out of H^-1 (the optimal brain
// surgeon: Hassibi and Stork, 1993), or in large layers all by their first cost. The remaining
// weights are then the least-squares solution on their mask (to a relative residual of 1e-6, or
// fewer steps where a layer is large), H damped by `damping` times its mean diagonal. Inputs that
// are always 0 cost nothing. Unavailable: H is not positive definite even so. Does not depend on
// the pool.
Result<Pruned> PruneByInputs(std::span<const float> weights, const WeightShape& shape,
                             const SparsityPattern& pattern, const InputStatistics& inputs,
                             double damping, Parallel* pool);

// Whether the zeros (1 in `zero`) are as the pattern wants them, or more.
bool Satisfies(std::span<const uint8_t> zero, const WeightShape& shape,
               const SparsityPattern& pattern);
// Weights that a compressed form holds: N of every group, or those of the blocks that stay.
int64_t StoredWeights(const WeightShape& shape, const SparsityPattern& pattern);
// Bits that say where they lie: of N:M ceil(log2 M) for each (as NVIDIA's metadata: 2 of 2:4), of
// blocks one for each block.
int64_t IndexBits(const WeightShape& shape, const SparsityPattern& pattern);

}  // namespace slipway::quant
