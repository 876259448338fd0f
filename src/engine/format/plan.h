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

// Who shares memory with whom, and when it is in use. Tensors joined by `alias` are one block of storage. Indices must be in range.
struct Liveness {
  // Per tensor: the tensor whose memory it uses. The root of its aliases, or the package output among them (its memory belongs to the caller).
  std::vector<int> owner;
  // Per owner: the first step that writes the block and the last that touches it; -1 when none does (inputs, constants, unused).
  std::vector<int> first, last;
};
Liveness ComputeLiveness(const PackageData& package);

// `tensor_bytes` and `workspace_bytes` at the concrete shapes; their sum must fit in 62 bits. Tensors live from the step that writes them to the last
// that reads them (aliases extend their root); a step's workspace lives during that step. Best-fit by decreasing size over the interval graph (as in
// Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference", arXiv:2001.03288: greedy by size),
// the best of three orders. Offsets are 64-byte aligned.
// Only arena blocks are placed: an alias of a package output lies in the output's memory.
MemoryPlan PlanMemory(const PackageData& package, std::span<const uint64_t> tensor_bytes,
                      std::span<const uint64_t> workspace_bytes);

// The same for a program that is planned piece by piece, as data-dependent extents become known: places the blocks that steps [begin, end) write first, and
// their workspaces, around those of earlier pieces that are still in use, which stay where `plan` has them. plan.arena_size is that of the earlier pieces on entry
// and grows when it must. The pieces must come in order.
void ExtendPlan(const PackageData& package, std::span<const uint64_t> tensor_bytes, std::span<const uint64_t> workspace_bytes, size_t begin,
                size_t end, MemoryPlan& plan);

// The most bytes (rounded up to 64 each) that are in use during any one step: no plan can be smaller.
uint64_t PlanLowerBound(const PackageData& package, std::span<const uint64_t> tensor_bytes,
                        std::span<const uint64_t> workspace_bytes);

// DataLoss (names the step) when two blocks in use at the same time share bytes of the arena or one leaves it.
Status CheckPlan(const PackageData& package, const MemoryPlan& plan, std::span<const uint64_t> tensor_bytes,
                 std::span<const uint64_t> workspace_bytes);

}  // namespace slipway::format
