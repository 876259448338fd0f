// The part of a session that is about sequences and optionals.

#include <algorithm>
#include <chrono>

#include "base/checked.h"
#include "engine/format/sequence.h"
#include "engine/runtime/session.h"

namespace slipway::runtime {
namespace {

std::string Quoted(std::string_view name) { return "'" + std::string(name) + "'"; }

}  // namespace

Result<Session::Io*> Session::FindContainer(std::string_view name, bool outputs_too) {
  const format::PackageData& data = package_->data();
  Io* io = FindIo(inputs_, data, name);
  if (!io && outputs_too) io = FindIo(outputs_, data, name);
  if (!io)
    return NotFound("no input " + std::string(outputs_too ? "or output " : "") + Quoted(name));
  if (IsContainer(io->tensor)) return io;
  return InvalidArgument(
      Quoted(name) + " is a tensor, no sequence and no optional; use the functions for tensors");
}

Result<int64_t> Session::Length(std::string_view name) {
  SLIPWAY_ASSIGN_OR_RETURN(const Io* io, FindContainer(name, true));
  const ListPtr& list = lists_[static_cast<size_t>(io->tensor)];
  if (!list)
    return InvalidArgument(Quoted(name) + " has not been given yet; set its length, or run first");
  return list->present ? static_cast<int64_t>(list->items.size()) : -1;
}

Status Session::SetLength(std::string_view input, int64_t length) {
  SLIPWAY_ASSIGN_OR_RETURN(const Io* io, FindContainer(input, false));
  const format::Container container = Tensor(io->tensor).container;
  const bool sequence = container != format::Container::kOptional;
  if (length < (container == format::Container::kSequence ? 0 : -1) ||
      length > (sequence ? format::kMaxSequence : 1) || (!sequence && length == 0)) {
    return InvalidArgument(
        "input " + Quoted(input) + ", length " + std::to_string(length) + ": " +
        (sequence ? "a sequence has 0 to " + std::to_string(format::kMaxSequence) + " tensors"
                  : "an optional tensor has 1, or -1 when it is not there"));
  }
  ListPtr& to = lists_[static_cast<size_t>(io->tensor)];
  auto list = std::make_shared<List>();
  list->present = length >= 0;
  if (to) list->items = to->items;
  list->items.resize(static_cast<size_t>(std::max<int64_t>(length, 0)));
  to = std::move(list);
  return OkStatus();
}

Result<slipway_tensor> Session::SetItem(std::string_view input, int64_t index,
                                        std::span<const int64_t> dims) {
  SLIPWAY_ASSIGN_OR_RETURN(const Io* io, FindContainer(input, false));
  const format::PackageTensor& tensor = Tensor(io->tensor);
  ListPtr& to = lists_[static_cast<size_t>(io->tensor)];
  const std::string what = "input " + Quoted(input) + ", tensor " + std::to_string(index);
  if (!to || index < 0 || static_cast<size_t>(index) >= to->items.size()) {
    return InvalidArgument(what + ": the input holds " + std::to_string(to ? to->items.size() : 0) +
                           " tensors; set its length first");
  }
  if (dims.size() > static_cast<size_t>(kMaxRank) || !CheckedBytes(tensor.dtype, dims)) {
    return InvalidArgument(what + ": the extent of " + std::to_string(dims.size()) +
                           " dimensions is impossible");
  }
  SLIPWAY_ASSIGN_OR_RETURN(ItemPtr item, MakeItem(tensor.dtype, dims, options_.memory, what));
  item->foreign = true;
  auto list = std::make_shared<List>(*to);
  list->items[static_cast<size_t>(index)] = item;
  to = std::move(list);
  return Item(input, index);
}

Result<slipway_tensor> Session::Item(std::string_view name, int64_t index) {
  SLIPWAY_ASSIGN_OR_RETURN(const Io* io, FindContainer(name, true));
  const ListPtr& list = lists_[static_cast<size_t>(io->tensor)];
  if (!list || index < 0 || static_cast<size_t>(index) >= list->items.size() ||
      !list->items[static_cast<size_t>(index)]) {
    return InvalidArgument(Quoted(name) + ", tensor " + std::to_string(index) + ": " +
                           Quoted(name) + " holds " +
                           std::to_string(list ? list->items.size() : 0) +
                           " tensors, of which an input's must be set first");
  }
  const struct Item& item = *list->items[static_cast<size_t>(index)];
  slipway_tensor t = DescribeTensor(Tensor(io->tensor), item.dims, item.bytes);
  t.data = const_cast<uint8_t*>(item.data);
  return t;
}

Status Session::CheckLists() const {
  for (const Io& io : inputs_) {
    if (!IsContainer(io.tensor)) continue;
    const ListPtr& list = lists_[static_cast<size_t>(io.tensor)];
    const std::string& name = Tensor(io.tensor).name;
    if (!list) {
      return InvalidArgument("input " + Quoted(name) + " is a value of kind '" +
                             format::ContainerName(Tensor(io.tensor).container) +
                             "' that has not been given; set its length and its tensors first");
    }
    for (size_t i = 0; i < list->items.size(); ++i) {
      if (!list->items[i])
        return InvalidArgument("input " + Quoted(name) + ", tensor " + std::to_string(i) +
                               ": not given; set it first");
    }
  }
  return OkStatus();
}

Status Session::OwnOutputs() {
  for (const Io& io : outputs_) {
    if (!IsContainer(io.tensor)) continue;
    ListPtr& list = lists_[static_cast<size_t>(io.tensor)];
    SLIPWAY_ASSIGN_OR_RETURN(
        list, OwnItems(list, options_.memory, "output " + Quoted(Tensor(io.tensor).name)));
  }
  return OkStatus();
}

Status Session::RunSequence(size_t s) {
  BoundStep& bound = steps_[s];
  const auto start = std::chrono::steady_clock::now();
  SequenceRun run(*package_, s, bound.inputs, options_.memory, shared_->iterations);
  const Status status = run.Run(bound.outputs[0]);
  if (!status.ok()) return status.With(package_->steps()[s].description);
  if (options_.profile) {
    Count(s, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
                 .count());
  }
  return OkStatus();
}

}  // namespace slipway::runtime
