#pragma once
// The tables of resize.h. Apart from it, since the kernels' sources include no header with inline
// functions.

#include <vector>

#include "engine/kernels/resize/resize.h"

namespace slipway::kernels {

struct ResizeColumnTable {
  int64_t in = 0, out = 0, taps = 1, lanes = 0;
  std::vector<int32_t> index;
  std::vector<float> weight;
  bool doubled = false, pairs = false;
  std::vector<int32_t> start, from;
  std::vector<float> line;

  // Makes `start`, `from` and `line` where the inputs of each of the instruction set's vectors of
  // outputs lie in one vector.
  void MakeLine(Isa isa);
  // Columns [begin, end); valid while this lives and stays as it is.
  ResizeColumns View(int64_t begin, int64_t end) const {
    const int64_t at = begin * taps;
    return {in,    end - begin, taps,         index.data() + at, weight.data() + at, doubled,
            pairs, lanes,       start.data(), from.data(),       line.data()};
  }
  ResizeColumns View() const { return View(0, out); }
};

}  // namespace slipway::kernels
