#pragma once
// Which weights of a layer are zero, as data: the texts that platforms, configurations and the
// command line share. quant/sparsity makes weights so.

#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace slipway::compiler {

// N:M: of every M input channels of one output channel and one tap (of a linear layer: of every M
// inputs of one output, the reduction dimension) at most N are not zero. 2:4 so is what NVIDIA's
// sparse tensor cores need: kernel weights [K, C, R, S] have two zeros in w[k, 4i..4i+3, r, s]
// (TensorRT's developer guide, "Sparsity"; its tensor cores are described by Mishra et al., 2021).
//
// block:RxC@RATIO: a tile of R output channels by C input channels of one tap is zero as a whole or
// not at all; at least the given share of them is.
struct SparsityPattern {
  bool block = false;
  int keep = 2, group = 4;    // N and M
  int rows = 0, columns = 0;  // R and C
  double ratio = 0;           // of blocks that are zero; 0: not given (a platform's list)

  // Input channels that lie together in it, M or C.
  int span() const { return block ? columns : group; }
  std::string ToString() const;
};

// "2:4", "block:8x4@0.5". InvalidArgument says what a pattern may be; `any_ratio`: blocks without a
// ratio are one too.
Result<SparsityPattern> ParseSparsity(std::string_view text, bool any_ratio = false);
// Whether `platform` (texts of a platform's `sparsity`) has the pattern, whatever the ratio.
bool Gains(std::span<const std::string> platform, const SparsityPattern& pattern);

}  // namespace slipway::compiler
