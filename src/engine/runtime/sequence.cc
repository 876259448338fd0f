#include "engine/runtime/sequence.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "engine/format/sequence.h"
#include "engine/runtime/slices.h"

namespace slipway::runtime {

using format::SequenceOp;

namespace {

std::string Extents(std::span<const int64_t> dims) { return Dims(dims).ToString(); }

// Lists that were never written are empty sequences that are not there.
const ListPtr& Nothing() {
  static const ListPtr nothing = std::make_shared<List>(List{false, {}});
  return nothing;
}

}  // namespace

Result<ItemPtr> MakeItem(DType dtype, std::span<const int64_t> dims, const MemoryHooks& hooks,
                         const std::string& what) {
  const auto bytes = CheckedBytes(dtype, dims);
  if (!bytes || static_cast<uint64_t>(*bytes) > kMaxBlock)
    return ResourceExhausted(what + ": a tensor of " + Extents(dims) + " is too large");
  auto item = std::make_shared<Item>(hooks);
  item->dims = Dims(dims);
  item->bytes = static_cast<uint64_t>(*bytes);
  if (!item->memory.Reserve(item->bytes)) return NoMemory(item->bytes, what);
  item->data = item->memory.data();
  return item;
}

Result<ListPtr> OwnItems(const ListPtr& list, const MemoryHooks& hooks, const std::string& what) {
  if (!list || std::none_of(list->items.begin(), list->items.end(),
                            [](const ItemPtr& item) { return item->foreign; }))
    return list;
  auto own = std::make_shared<List>(*list);
  for (ItemPtr& item : own->items) {
    if (!item->foreign) continue;
    auto copy = std::make_shared<Item>(hooks);
    copy->dims = item->dims;
    copy->bytes = item->bytes;
    if (!copy->memory.Reserve(item->bytes)) return NoMemory(item->bytes, what);
    if (item->bytes > 0) std::memcpy(copy->memory.data(), item->data, item->bytes);
    copy->data = copy->memory.data();
    item = std::move(copy);
  }
  return ListPtr(std::move(own));
}

uint64_t BytesOf(const ListPtr& list) {
  uint64_t total = 0;
  for (const ItemPtr& item : list ? list->items : std::vector<ItemPtr>())
    total += item ? item->memory.capacity() : 0;
  return total;
}

SequenceRun::SequenceRun(const Package& package, size_t step,
                         std::span<const slipway_tensor> inputs, const MemoryHooks& hooks,
                         int64_t& iterations)
    : package_(package),
      step_(package.data().steps[step]),
      sequence_(*step_.sequence),
      inputs_(inputs),
      hooks_(hooks),
      iterations_(iterations) {}

const format::PackageTensor* SequenceRun::Tensor(size_t i) const {
  return i >= step_.inputs.size() || step_.inputs[i] < 0
             ? nullptr
             : &package_.data().tensors[static_cast<size_t>(step_.inputs[i])];
}

Status SequenceRun::CheckLists() const {
  for (size_t i = 0; i < step_.inputs.size(); ++i) {
    const format::PackageTensor* t = Tensor(i);
    if (!t || !t->is_container()) continue;
    const ListPtr& list = ListAt(i);
    if (!list) return InvalidArgument("input '" + t->name + "' has not been given");
    if (t->container == format::Container::kSequence && !list->present)
      return InvalidArgument("input '" + t->name +
                             "' must be a sequence but is an optional that holds nothing");
  }
  return OkStatus();
}

Result<int64_t> SequenceRun::Integer(size_t i) const {
  const slipway_tensor& t = inputs_[i];
  const size_t size = ElementBytes(t.dtype);
  if (t.bytes != size)
    return InvalidArgument("input " + std::to_string(i) + " must be one integer, is " +
                           Extents(DimsOf(t)));
  if (size == sizeof(int32_t)) {
    int32_t v;
    std::memcpy(&v, t.data, sizeof(v));
    return v;
  }
  int64_t v;
  std::memcpy(&v, t.data, sizeof(v));
  return v;
}

Result<size_t> SequenceRun::Position(size_t i, size_t count, size_t otherwise) const {
  if (!Has(i)) return otherwise;
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t at, Integer(i));
  const auto n = static_cast<int64_t>(Items(0).items.size());
  const int64_t from_front = at < 0 ? at + n : at;
  if (from_front < 0 || from_front >= static_cast<int64_t>(count))
    return InvalidArgument("position " + std::to_string(at) + " is outside of a sequence of " +
                           std::to_string(n) + " tensors");
  return static_cast<size_t>(from_front);
}

Result<ItemPtr> SequenceRun::Copy(size_t i) const {
  const slipway_tensor& t = inputs_[i];
  if (t.is_constant) {
    auto item = std::make_shared<Item>(hooks_);
    item->dims = Dims(DimsOf(t));
    item->bytes = t.bytes;
    item->data = static_cast<const uint8_t*>(t.data);
    item->foreign = true;
    return item;
  }
  SLIPWAY_ASSIGN_OR_RETURN(ItemPtr item, MakeItem(static_cast<DType>(t.dtype), DimsOf(t), hooks_,
                                                  "a tensor of a sequence"));
  if (item->bytes > 0) std::memcpy(item->memory.data(), t.data, item->bytes);
  return item;
}

Result<size_t> SequenceRun::Axis(size_t rank) const {
  const auto n = static_cast<int64_t>(rank);
  const int64_t axis = sequence_.axis < 0 ? sequence_.axis + n : sequence_.axis;
  if (axis < 0 || axis >= n)
    return InvalidArgument("axis " + std::to_string(sequence_.axis) + " is outside of rank " +
                           std::to_string(rank));
  return static_cast<size_t>(axis);
}

Result<std::vector<int64_t>> SequenceRun::Sizes(int64_t extent) const {
  int64_t each = 1;
  if (Has(1) && inputs_[1].rank == 1) {
    if (inputs_[1].dims[0] > format::kMaxSequence)
      return ResourceExhausted("would give " + std::to_string(inputs_[1].dims[0]) +
                               " pieces; a sequence holds at most " +
                               std::to_string(format::kMaxSequence));
    std::vector<int64_t> sizes(static_cast<size_t>(inputs_[1].dims[0]));
    const size_t size = ElementBytes(inputs_[1].dtype);
    int64_t sum = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      slipway_tensor one = inputs_[1];
      one.data = static_cast<uint8_t*>(one.data) + i * size;
      int32_t narrow = 0;
      if (size == sizeof(narrow)) {
        std::memcpy(&narrow, one.data, sizeof(narrow));
        sizes[i] = narrow;
      } else {
        std::memcpy(&sizes[i], one.data, sizeof(int64_t));
      }
      const auto next = sizes[i] < 0 ? std::nullopt : CheckedAdd(sum, sizes[i]);
      if (!next)
        return InvalidArgument("size " + std::to_string(sizes[i]) + " of a piece is impossible");
      sum = *next;
    }
    if (sum != extent)
      return InvalidArgument("the sizes of its pieces add up to " + std::to_string(sum) +
                             " but the axis has " + std::to_string(extent));
    return sizes;
  }
  if (Has(1)) {
    if (inputs_[1].rank != 0)
      return InvalidArgument("its sizes must be one integer or a vector, are " +
                             Extents(DimsOf(inputs_[1])));
    SLIPWAY_ASSIGN_OR_RETURN(each, Integer(1));
    if (each < 1)
      return InvalidArgument("size " + std::to_string(each) + " of a piece is impossible");
  }
  const int64_t count = extent / each + (extent % each != 0 ? 1 : 0);
  if (count > format::kMaxSequence)
    return ResourceExhausted("would give " + std::to_string(count) +
                             " pieces; a sequence holds at most " +
                             std::to_string(format::kMaxSequence));
  std::vector<int64_t> sizes(static_cast<size_t>(count), each);
  if (extent % each != 0) sizes.back() = extent % each;
  return sizes;
}

Status SequenceRun::Split(const slipway_tensor& output) {
  const slipway_tensor& x = inputs_[0];
  SLIPWAY_ASSIGN_OR_RETURN(const size_t axis, Axis(static_cast<size_t>(x.rank)));
  SLIPWAY_ASSIGN_OR_RETURN(const auto sizes, Sizes(x.dims[axis]));
  const Strides strides(DimsOf(x), axis, ElementBytes(x.dtype));
  std::vector<ItemPtr> items;
  items.reserve(sizes.size());
  size_t at = 0;
  for (const int64_t size : sizes) {
    Dims dims(DimsOf(x));
    dims[axis] = size;
    SLIPWAY_ASSIGN_OR_RETURN(
        ItemPtr item, MakeItem(static_cast<DType>(x.dtype), dims, hooks_, "a piece of its input"));
    CutSlices(strides, static_cast<const uint8_t*>(x.data), at, static_cast<size_t>(size),
              item->memory.data());
    at += static_cast<size_t>(size);
    if (!Has(1) && !sequence_.keepdims) {
      item->dims = Dims();
      for (size_t d = 0; d < dims.size(); ++d) {
        if (d != axis) item->dims.push_back(dims[d]);
      }
    }
    items.push_back(std::move(item));
  }
  return Make(output, std::move(items));
}

Result<Dims> SequenceRun::Concatenated(size_t* axis) const {
  const auto& items = Items(0).items;
  if (items.empty())
    return InvalidArgument("the sequence holds no tensor, so that nothing can be concatenated");
  const bool stack = sequence_.new_axis;
  const Dims& first = items[0]->dims;
  SLIPWAY_ASSIGN_OR_RETURN(*axis, Axis(first.size() + (stack ? 1 : 0)));
  if (stack && first.rank() >= kMaxRank)
    return InvalidArgument("the result has too many dimensions");
  int64_t extent = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const Dims& d = items[i]->dims;
    bool fits = d.rank() == first.rank();
    for (size_t k = 0; fits && k < d.size(); ++k) fits = d[k] == first[k] || (!stack && k == *axis);
    if (!fits)
      return InvalidArgument("tensor " + std::to_string(i) + " of the sequence is " + d.ToString() +
                             ", which does not fit the first, " + first.ToString());
    const auto sum = CheckedAdd(extent, stack ? 1 : d[*axis]);
    if (!sum) return InvalidArgument("the result is too large");
    extent = *sum;
  }
  Dims dims;
  for (size_t k = 0; k < first.size(); ++k) {
    if (stack && k == *axis) dims.push_back(extent);
    dims.push_back(!stack && k == *axis ? extent : first[k]);
  }
  if (stack && *axis == first.size()) dims.push_back(extent);
  return dims;
}

Result<SequenceRun::Source> SequenceRun::Taken() const {
  if (sequence_.op == SequenceOp::kAt) {
    const auto& items = Items(0).items;
    SLIPWAY_ASSIGN_OR_RETURN(const size_t at, Position(1, items.size(), 0));
    return Source{items[at]->dims, items[at]->data};
  }
  if (!Tensor(0)->is_container()) return Source{DimsOf(inputs_[0]), inputs_[0].data};
  if (!Items(0).present || Items(0).items.size() != 1)
    return InvalidArgument("its input holds nothing; ask OptionalHasElement before");
  return Source{Items(0).items[0]->dims, Items(0).items[0]->data};
}

Status SequenceRun::Extent(slipway_tensor& output) const {
  SLIPWAY_RETURN_IF_ERROR(CheckLists());
  Dims dims;
  if (sequence_.op == SequenceOp::kConcat) {
    size_t axis = 0;
    SLIPWAY_ASSIGN_OR_RETURN(dims, Concatenated(&axis));
  } else if (sequence_.op == SequenceOp::kAt || sequence_.op == SequenceOp::kGetElement) {
    SLIPWAY_ASSIGN_OR_RETURN(const Source source, Taken());
    dims = Dims(source.dims);
  } else {
    return OkStatus();  // a scalar
  }
  if (dims.rank() != output.rank)
    return InvalidArgument("its result " + dims.ToString() + " has " + std::to_string(dims.rank()) +
                           " dimensions, the package expects " + std::to_string(output.rank));
  std::copy(dims.begin(), dims.end(), output.dims);
  return OkStatus();
}

Status SequenceRun::Make(const slipway_tensor& output, std::vector<ItemPtr> items, bool present) {
  constexpr size_t kItemsPerIteration = 16;
  iterations_ -= static_cast<int64_t>(items.size() / kItemsPerIteration);
  if (iterations_ < 0) {
    return ResourceExhausted(
        "too many tensors were moved between sequences; use a loop's stacked outputs instead of a "
        "sequence, or raise max_iterations");
  }
  if (static_cast<int64_t>(items.size()) > format::kMaxSequence)
    return ResourceExhausted("a sequence of " + std::to_string(items.size()) +
                             " tensors; at most " + std::to_string(format::kMaxSequence) +
                             " are possible");
  *static_cast<ListPtr*>(output.data) =
      std::make_shared<const List>(List{present, std::move(items)});
  return OkStatus();
}

Status SequenceRun::Run(const slipway_tensor& output) {
  SLIPWAY_RETURN_IF_ERROR(CheckLists());
  switch (sequence_.op) {
    case SequenceOp::kConstruct: {
      std::vector<ItemPtr> items;
      for (size_t i = 0; i < inputs_.size(); ++i) {
        SLIPWAY_ASSIGN_OR_RETURN(ItemPtr item, Copy(i));
        items.push_back(std::move(item));
      }
      return Make(output, std::move(items));
    }
    case SequenceOp::kInsert: {
      const auto& from = Items(0).items;
      SLIPWAY_ASSIGN_OR_RETURN(const size_t at, Position(2, from.size() + 1, from.size()));
      SLIPWAY_ASSIGN_OR_RETURN(ItemPtr item, Copy(1));
      std::vector<ItemPtr> items;
      items.reserve(from.size() + 1);
      items.assign(from.begin(), from.end());
      items.insert(items.begin() + static_cast<std::ptrdiff_t>(at), std::move(item));
      return Make(output, std::move(items));
    }
    case SequenceOp::kErase: {
      const auto& from = Items(0).items;
      if (from.empty()) return InvalidArgument("the sequence holds no tensor that could be erased");
      SLIPWAY_ASSIGN_OR_RETURN(const size_t at, Position(1, from.size(), from.size() - 1));
      std::vector<ItemPtr> items(from.begin(), from.end());
      items.erase(items.begin() + static_cast<std::ptrdiff_t>(at));
      return Make(output, std::move(items));
    }
    case SequenceOp::kSplit:
      return Split(output);
    case SequenceOp::kLength: {
      const auto n = static_cast<int64_t>(Items(0).items.size());
      std::memcpy(output.data, &n, sizeof(n));
      return OkStatus();
    }
    case SequenceOp::kHasElement: {
      const format::PackageTensor* t = Tensor(0);
      *static_cast<uint8_t*>(output.data) = t && (!t->is_container() || Items(0).present) ? 1 : 0;
      return OkStatus();
    }
    case SequenceOp::kOptional: {
      const format::PackageTensor* t = Tensor(0);
      if (!t) {
        *static_cast<ListPtr*>(output.data) = Nothing();
        return OkStatus();
      }
      if (t->is_container()) {
        *static_cast<ListPtr*>(output.data) = ListAt(0);
        return OkStatus();
      }
      SLIPWAY_ASSIGN_OR_RETURN(ItemPtr item, Copy(0));
      return Make(output, {std::move(item)});
    }
    case SequenceOp::kIdentity:
      *static_cast<ListPtr*>(output.data) = ListAt(0);
      return OkStatus();
    case SequenceOp::kConcat: {
      size_t axis = 0;
      SLIPWAY_ASSIGN_OR_RETURN(const Dims dims, Concatenated(&axis));
      if (!std::ranges::equal(dims, DimsOf(output)))
        return InvalidArgument("its result is " + dims.ToString() + ", the package expects " +
                               Extents(DimsOf(output)));
      iterations_ -= static_cast<int64_t>(Items(0).items.size() / 16);
      const Strides strides(dims, axis, ElementBytes(output.dtype));
      size_t at = 0;
      for (const ItemPtr& item : Items(0).items) {
        const size_t count = sequence_.new_axis ? 1 : static_cast<size_t>(item->dims[axis]);
        PutSlices(strides, item->data, at, count, static_cast<uint8_t*>(output.data));
        at += count;
      }
      return OkStatus();
    }
    case SequenceOp::kGetElement:
      if (Tensor(0)->container == format::Container::kSequence ||
          Tensor(0)->container == format::Container::kOptionalSequence) {
        if (!Items(0).present)
          return InvalidArgument("its input holds nothing; ask OptionalHasElement before");
        *static_cast<ListPtr*>(output.data) = ListAt(0);
        return OkStatus();
      }
      [[fallthrough]];
    case SequenceOp::kAt: {
      SLIPWAY_ASSIGN_OR_RETURN(const Source source, Taken());
      if (!std::ranges::equal(source.dims, DimsOf(output)))
        return InvalidArgument("its result is " + Extents(source.dims) + ", the package expects " +
                               Extents(DimsOf(output)));
      if (output.bytes > 0) std::memcpy(output.data, source.data, output.bytes);
      return OkStatus();
    }
  }
  return Internal("unknown operator on sequences");
}

}  // namespace slipway::runtime
