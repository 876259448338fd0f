#pragma once
// Sequences and optionals of tensors in packages (format version 4): steps that the session runs
// itself, on values that no backend sees.

#include <string>

#include "base/status.h"
#include "engine/format/package.h"

namespace slipway::format {

// Longer sequences are refused.
inline constexpr int64_t kMaxSequence = int64_t{1} << 20;

// "sequence", "optional", ...
const char* ContainerName(Container container);
// "an optional"
std::string WithArticle(Container container);
// "SequenceAt"
const char* SequenceOpName(SequenceOp op);

// What holds tensors has no extent, layout, alias or constant data of its own; sequence steps have
// the inputs and outputs of their operator, of one element type, plain; backends get tensors
// only. Indices of tensors are in range. DataLoss names the tensor or step.
Status CheckSequences(const PackageData& package);

}  // namespace slipway::format
