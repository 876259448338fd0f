#pragma once
// Conversion between the layouts of engine/format/layout.h.

#include "base/dims.h"
#include "base/dtype.h"
#include "base/parallel.h"
#include "base/status.h"
#include "engine/format/layout.h"

namespace slipway::kernels {

// Converts a tensor of `dims` (logical order) from `src` in layout `from` to `dst` in layout `to`; the memory must not overlap. Channels that a blocked
// `to` pads are set to zero, those that a blocked `from` pads are not read. Loops run on `parallel` (null: this thread); nothing is allocated.
// Unsupported: elements that are not 1, 2, 4 or 8 bytes (unless the layouts are equal), or a non-plain layout of a rank below 3.
Status CheckReorder(DType dtype, const Dims& dims, format::Layout from, format::Layout to);
// After CheckReorder.
void Reorder(DType dtype, const Dims& dims, format::Layout from, const void* src, format::Layout to, void* dst, Parallel* parallel);

// Copies bytes on the threads of `parallel`.
void ParallelCopy(const void* src, void* dst, int64_t bytes, Parallel* parallel);

}  // namespace slipway::kernels
