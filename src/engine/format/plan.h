#pragma once
// Static memory planning: where every tensor and workspace lies in one arena, from the order of the steps. The compiler uses it when shapes are
// known, the runtime when it learns them; both get the same offsets.

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "engine/format/package.h"

namespace slipway::format {

struct MemoryPlan {
  std::vector<uint64_t> tensor_offsets;     // per tensor; meaningful for arena tensors
  std::vector<uint64_t> workspace_offsets;  // per step
  uint64_t arena_size = 0;                  // a multiple of 64
};

// `tensor_bytes` and `workspace_bytes` at the concrete shapes. Tensors live from the step that writes them to the last that reads them (aliases extend
// their root); a step's workspace lives during that step. Best-fit by decreasing size over the interval graph (as in Pisarchyk & Lee, "Efficient Memory
// Management for Deep Neural Net Inference", arXiv:2001.03288: greedy by size). Offsets are 64-byte aligned.
MemoryPlan PlanMemory(const PackageData& package, std::span<const uint64_t> tensor_bytes,
                      std::span<const uint64_t> workspace_bytes);

}  // namespace slipway::format
