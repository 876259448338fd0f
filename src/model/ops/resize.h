#pragma once
// Resize as tables, for kernels: which inputs an output reads along each axis, and their weights.

#include <vector>

#include "base/status.h"
#include "model/ops/kernel.h"

namespace slipway::ops {

struct ResizeAxis {
  int64_t in = 1, out = 1;
  bool identity = true;        // nothing happens along it; no tables
  int64_t taps = 1;            // of the output that has most; others are filled up with weight 0
  std::vector<int64_t> index;  // [out, taps], in [0, in): beyond the edge the edge is read
  std::vector<float> weight;   // [out, taps], rounded as QResize has it; none for nearest
};
struct ResizeTables {
  bool nearest = false;
  std::vector<ResizeAxis> axes;  // of every dimension
};

// Of a Resize or QResize: extents of input 0 and output 0, data of roi, scales and sizes,
// attributes. Errors: InvalidArgument as the operator has them, or nothing to resize; Unsupported:
// tf_crop_and_resize, or an axis with more than `most` entries.
Result<ResizeTables> TabulateResize(const OpContext& c, int64_t most);

}  // namespace slipway::ops
