#pragma once
// A program in phases: pieces that run with extents known when they begin. The first phase knows what follows from the inputs' shapes; each step with
// `data_dims` begins another, when its backend has said its outputs' extents.

#include <vector>

#include "base/status.h"
#include "engine/format/package.h"

namespace slipway::format {

struct Phases {
  std::vector<int> begin;   // per phase: its first step; begin[0] = 0
  std::vector<int> tensor;  // per tensor: the phase that knows its extent
  // The steps of phase p: [begin[p], End(p)).
  int End(size_t p, size_t steps) const { return p + 1 < begin.size() ? begin[p + 1] : static_cast<int>(steps); }
};

// The symbol when the dimension is one alone, else null. `text` is storage for it.
const std::string* PlainSymbol(const Dim& dim, std::string& text);

// DataLoss names the step or tensor: an output of a data_dims step has a dimension that is neither a new symbol alone nor an expression of known ones; another
// step or a block of memory uses a tensor before its extent is known; a symbol is never bound. The program's indices and order must be valid.
Result<Phases> ComputePhases(const PackageData& package);

}  // namespace slipway::format
