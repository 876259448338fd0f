#pragma once
// Sequences and optionals of a session, and the operators on them. What the operators mean is
// written in model/interp/sequence.cc; this gives the same results. Internal to this folder.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/dims.h"
#include "engine/runtime/block.h"
#include "engine/runtime/package.h"

namespace slipway::runtime {

// A tensor in a sequence: dense, row-major. It does not change once a step has made it, so
// sequences share it.
struct Item {
  explicit Item(const MemoryHooks& hooks) : memory(hooks) {}
  Dims dims;
  Block memory;
  uint64_t bytes = 0;
  const uint8_t* data = nullptr;  // in `memory`, or a constant of the package
  bool foreign = false;           // the caller may write to it, or nobody may
};
using ItemPtr = std::shared_ptr<Item>;

// What a sequence or an optional holds. An optional tensor that is there is one item.
struct List {
  bool present = true;
  std::vector<ItemPtr> items;
};
// Null: nothing has been put there. A slipway_tensor of a container has the address of its ListPtr
// as data.
using ListPtr = std::shared_ptr<const List>;

// `dims` must have a size (CheckedBytes). ResourceExhausted names `what`.
Result<ItemPtr> MakeItem(DType dtype, std::span<const int64_t> dims, const MemoryHooks& hooks,
                         const std::string& what);
// The same list with items that nobody else writes to.
Result<ListPtr> OwnItems(const ListPtr& list, const MemoryHooks& hooks, const std::string& what);
uint64_t BytesOf(const ListPtr& list);

// One run of a sequence step.
class SequenceRun {
 public:
  // `iterations`: what is left of this run's; moving many tensors costs some.
  SequenceRun(const Package& package, size_t step, std::span<const slipway_tensor> inputs,
              const MemoryHooks& hooks, int64_t& iterations);

  // The extent of the output that is a tensor, as the data decide it.
  Status Extent(slipway_tensor& output) const;
  Status Run(const slipway_tensor& output);

 private:
  const format::PackageTensor* Tensor(size_t i) const;
  bool Has(size_t i) const { return Tensor(i) != nullptr; }
  const ListPtr& ListAt(size_t i) const { return *static_cast<const ListPtr*>(inputs_[i].data); }
  const List& Items(size_t i) const { return *ListAt(i); }
  Status CheckLists() const;
  Result<int64_t> Integer(size_t i) const;
  Result<size_t> Position(size_t i, size_t count, size_t otherwise) const;
  Result<ItemPtr> Copy(size_t i) const;
  Result<std::vector<int64_t>> Sizes(int64_t extent) const;
  Result<size_t> Axis(size_t rank) const;
  // The output's extent of a Concat, whose items fit.
  Result<Dims> Concatenated(size_t* axis) const;
  // The tensor that an At or GetElement gives.
  struct Source {
    std::span<const int64_t> dims;
    const void* data;
  };
  Result<Source> Taken() const;
  Status Make(const slipway_tensor& output, std::vector<ItemPtr> items, bool present = true);
  Status Split(const slipway_tensor& output);

  const Package& package_;
  const format::PackageStep& step_;
  const format::PackageSequence& sequence_;
  const std::span<const slipway_tensor> inputs_;
  const MemoryHooks& hooks_;
  int64_t& iterations_;
};

}  // namespace slipway::runtime
