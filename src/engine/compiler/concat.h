#pragma once
// Concatenations without copying.

#include <vector>

#include "engine/format/package.h"

namespace slipway::compiler {

// Lets the producers of the pieces of a concatenation write them where they belong, in the memory
// of its output, where that is one stretch of memory a piece in the tensors' layout (one image,
// whole blocks of channels), the plan is static and the arena does not grow. Nested concatenations,
// as in DenseNet, share one memory. Returns which steps have nothing left to do; their outputs are
// views. For packages whose tensors share memory by views only so far.
std::vector<bool> PlacePieces(format::PackageData& package);

}  // namespace slipway::compiler
