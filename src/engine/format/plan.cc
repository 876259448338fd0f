#include "engine/format/plan.h"

#include <algorithm>
#include <functional>
#include <map>

#include "base/aligned.h"

namespace slipway::format {
namespace {

uint64_t Align(uint64_t x) { return (x + kAlignment - 1) / kAlignment * kAlignment; }

// One block to place: an arena tensor with its aliases, or a step's workspace.
struct Block {
  uint64_t size = 0;  // aligned
  uint64_t offset = 0;
  int first = 0, last = 0;
  int tensor = -1, step = -1;  // which of the two it is
};

std::vector<Block> Blocks(const PackageData& package, std::span<const uint64_t> tensor_bytes,
                          std::span<const uint64_t> workspace_bytes) {
  const Liveness live = ComputeLiveness(package);
  std::vector<Block> blocks;
  for (size_t i = 0; i < package.tensors.size(); ++i) {
    if (live.owner[i] != static_cast<int>(i) || package.tensors[i].kind != TensorKind::kArena || live.first[i] < 0) continue;
    if (tensor_bytes[i] == 0) continue;
    blocks.push_back({Align(tensor_bytes[i]), 0, live.first[i], live.last[i], static_cast<int>(i), -1});
  }
  for (size_t s = 0; s < package.steps.size(); ++s) {
    if (workspace_bytes[s] == 0) continue;
    blocks.push_back({Align(workspace_bytes[s]), 0, static_cast<int>(s), static_cast<int>(s), -1, static_cast<int>(s)});
  }
  return blocks;
}

// The smallest gap between the blocks in `neighbours` (sorted by offset) that holds `size`; behind them when there is none.
uint64_t BestFit(const std::vector<const Block*>& neighbours, uint64_t size) {
  uint64_t best = 0, best_gap = UINT64_MAX, end = 0;
  for (const Block* b : neighbours) {
    if (b->offset > end) {
      uint64_t gap = b->offset - end;
      if (gap >= size && gap < best_gap) {
        best = end;
        best_gap = gap;
      }
    }
    end = std::max(end, b->offset + b->size);
  }
  return best_gap == UINT64_MAX ? end : best;
}

// Places in the given order around `placed` (sorted by offset); returns the arena's size.
uint64_t Place(std::vector<Block*>& order, std::vector<const Block*> placed) {
  uint64_t arena = 0;
  std::vector<const Block*> neighbours;
  for (Block* b : order) {
    neighbours.clear();
    for (const Block* p : placed) {
      if (p->first <= b->last && b->first <= p->last) neighbours.push_back(p);
    }
    b->offset = BestFit(neighbours, b->size);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), b,
                                   [](const Block* x, const Block* y) { return x->offset < y->offset; }),
                  b);
    arena = std::max(arena, b->offset + b->size);
  }
  return arena;
}

uint64_t LowerBound(size_t steps, const std::vector<Block>& blocks) {
  std::vector<int64_t> change(steps + 1, 0);
  for (const Block& b : blocks) {
    change[static_cast<size_t>(b.first)] += static_cast<int64_t>(b.size);
    change[static_cast<size_t>(b.last) + 1] -= static_cast<int64_t>(b.size);
  }
  int64_t used = 0, peak = 0;
  for (int64_t c : change) peak = std::max(peak, used += c);
  return static_cast<uint64_t>(peak);
}

}  // namespace

Liveness ComputeLiveness(const PackageData& package) {
  const size_t n = package.tensors.size();
  Liveness live;
  live.owner.resize(n);
  live.first.assign(n, -1);
  live.last.assign(n, -1);
  auto root = [&](size_t i) { return package.tensors[i].alias < 0 ? static_cast<int>(i) : package.tensors[i].alias; };
  std::vector<int> output(n, -1);  // per root: the package output among its aliases
  for (size_t i = 0; i < n; ++i) {
    if (package.tensors[i].kind == TensorKind::kOutput) output[static_cast<size_t>(root(i))] = static_cast<int>(i);
  }
  for (size_t i = 0; i < n; ++i) {
    int r = root(i);
    live.owner[i] = output[static_cast<size_t>(r)] >= 0 ? output[static_cast<size_t>(r)] : r;
  }
  for (size_t s = 0; s < package.steps.size(); ++s) {
    const int step = static_cast<int>(s);
    for (int t : package.steps[s].inputs) {
      if (t >= 0) live.last[static_cast<size_t>(live.owner[static_cast<size_t>(t)])] = step;
    }
    for (int t : package.steps[s].outputs) {
      if (t < 0) continue;
      auto owner = static_cast<size_t>(live.owner[static_cast<size_t>(t)]);
      if (live.first[owner] < 0) live.first[owner] = step;
      live.last[owner] = step;
    }
  }
  return live;
}

MemoryPlan PlanMemory(const PackageData& package, std::span<const uint64_t> tensor_bytes,
                      std::span<const uint64_t> workspace_bytes) {
  MemoryPlan plan;
  ExtendPlan(package, tensor_bytes, workspace_bytes, 0, package.steps.size(), plan);
  return plan;
}

void ExtendPlan(const PackageData& package, std::span<const uint64_t> tensor_bytes, std::span<const uint64_t> workspace_bytes, size_t begin,
                size_t end, MemoryPlan& plan) {
  plan.tensor_offsets.resize(package.tensors.size(), 0);
  plan.workspace_offsets.resize(package.steps.size(), 0);
  std::vector<Block> blocks = Blocks(package, tensor_bytes, workspace_bytes), fixed;
  const int first = static_cast<int>(begin), last = static_cast<int>(end);
  for (const Block& b : blocks) {
    if (b.tensor < 0 || b.first >= first || b.last < first) continue;
    fixed.push_back(b);
    fixed.back().offset = plan.tensor_offsets[static_cast<size_t>(b.tensor)];
  }
  std::erase_if(blocks, [&](const Block& b) { return b.first < first || b.first >= last; });
  std::sort(fixed.begin(), fixed.end(), [](const Block& x, const Block& y) { return x.offset < y.offset; });
  std::vector<const Block*> placed;
  for (const Block& b : fixed) placed.push_back(&b);
  const uint64_t bound = fixed.empty() ? LowerBound(package.steps.size(), blocks) : 0;
  uint64_t arena = UINT64_MAX;
  // Greedy by size is best most of the time; on some graphs another order packs tighter, and all are cheap.
  auto area = [](const Block& b) { return b.size * static_cast<uint64_t>(b.last - b.first + 1); };
  const std::function<bool(const Block&, const Block&)> orders[] = {
      [](const Block& a, const Block& b) { return a.size != b.size ? a.size > b.size : a.first < b.first; },
      [&](const Block& a, const Block& b) { return area(a) > area(b); },
      [](const Block& a, const Block& b) { return a.first != b.first ? a.first < b.first : a.size > b.size; },
  };
  std::vector<Block> best;
  for (const auto& before : orders) {
    std::vector<Block*> order;
    for (Block& b : blocks) order.push_back(&b);
    // stable_sort: equal blocks keep the order of tensors and steps, so that every machine makes the same plan.
    std::stable_sort(order.begin(), order.end(), [&](const Block* a, const Block* b) { return before(*a, *b); });
    const uint64_t size = Place(order, placed);
    if (size < arena) {
      arena = size;
      best = blocks;
    }
    if (size == bound) break;
  }
  plan.arena_size = std::max(plan.arena_size, arena);
  for (const Block& b : best) {
    if (b.tensor >= 0) plan.tensor_offsets[static_cast<size_t>(b.tensor)] = b.offset;
    if (b.step >= 0) plan.workspace_offsets[static_cast<size_t>(b.step)] = b.offset;
  }
  for (size_t i = 0; i < package.tensors.size(); ++i) {
    const PackageTensor& t = package.tensors[i];
    if (t.alias >= 0) plan.tensor_offsets[i] = plan.tensor_offsets[static_cast<size_t>(t.alias)] + static_cast<uint64_t>(std::max<int64_t>(t.part, 0));
  }
}

uint64_t PlanLowerBound(const PackageData& package, std::span<const uint64_t> tensor_bytes,
                        std::span<const uint64_t> workspace_bytes) {
  return LowerBound(package.steps.size(), Blocks(package, tensor_bytes, workspace_bytes));
}

Status CheckPlan(const PackageData& package, const MemoryPlan& plan, std::span<const uint64_t> tensor_bytes,
                 std::span<const uint64_t> workspace_bytes) {
  std::vector<Block> blocks = Blocks(package, tensor_bytes, workspace_bytes);
  std::vector<std::vector<Block*>> begins(package.steps.size()), ends(package.steps.size());
  auto describe = [&](const Block& b) {
    return b.tensor >= 0 ? "tensors[" + std::to_string(b.tensor) + "] '" + package.tensors[static_cast<size_t>(b.tensor)].name + "'"
                         : "steps[" + std::to_string(b.step) + "] '" + package.steps[static_cast<size_t>(b.step)].name + "'.workspace";
  };
  for (Block& b : blocks) {
    b.offset = b.tensor >= 0 ? plan.tensor_offsets[static_cast<size_t>(b.tensor)] : plan.workspace_offsets[static_cast<size_t>(b.step)];
    b.size = b.tensor >= 0 ? tensor_bytes[static_cast<size_t>(b.tensor)] : workspace_bytes[static_cast<size_t>(b.step)];
    if (b.offset % kAlignment != 0) return DataLoss(describe(b) + ": offset " + std::to_string(b.offset) + " is not a multiple of 64");
    if (b.offset > plan.arena_size || b.size > plan.arena_size - b.offset) {
      return DataLoss(describe(b) + ": bytes " + std::to_string(b.offset) + " + " + std::to_string(b.size) +
                      " leave the arena of " + std::to_string(plan.arena_size) + " bytes");
    }
    begins[static_cast<size_t>(b.first)].push_back(&b);
    ends[static_cast<size_t>(b.last)].push_back(&b);
  }
  std::map<uint64_t, const Block*> active;  // by offset; disjoint
  for (size_t s = 0; s < package.steps.size(); ++s) {
    for (const Block* b : begins[s]) {
      auto next = active.lower_bound(b->offset);
      const Block* clash = nullptr;
      if (next != active.end() && next->first < b->offset + b->size) clash = next->second;
      if (next != active.begin()) {
        const Block* before = std::prev(next)->second;
        if (before->offset + before->size > b->offset) clash = before;
      }
      if (clash) {
        return DataLoss("steps[" + std::to_string(s) + "] '" + package.steps[s].name + "': " + describe(*b) +
                        " overlaps " + describe(*clash) + " in the arena");
      }
      active.emplace(b->offset, b);
    }
    for (const Block* b : ends[s]) active.erase(b->offset);
  }
  return OkStatus();
}

}  // namespace slipway::format
