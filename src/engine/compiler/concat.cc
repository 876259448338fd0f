#include "engine/compiler/concat.h"

#include <algorithm>
#include <map>
#include <optional>

#include "engine/format/op_desc.h"
#include "engine/format/plan.h"

namespace slipway::compiler {
namespace {

using format::Layout;
using format::PackageData;
using format::PackageStep;
using format::PackageTensor;
using format::TensorKind;

std::optional<Dims> StaticDims(const PackageTensor& t) {
  Dims dims;
  for (const Dim& d : t.shape) {
    if (!d.known()) return std::nullopt;
    dims.push_back(d.value());
  }
  return dims;
}

std::optional<uint64_t> BytesOf(const PackageTensor& t) {
  const auto dims = StaticDims(t);
  const auto bytes =
      dims && !t.is_container() ? format::LayoutBytes(t.dtype, *dims, t.layout) : std::nullopt;
  return bytes ? std::optional<uint64_t>(static_cast<uint64_t>(*bytes)) : std::nullopt;
}

// Whether pieces along the axis lie one behind the other.
bool IsStretch(Layout layout, const Dims& dims, int axis) {
  if (layout == Layout::kPlain) return dims.count(0, axis) == 1;
  if (layout == Layout::kChannelsLast)
    return axis == 1 ? dims[0] == 1 && dims.count(2, dims.rank()) == 1
                     : axis >= 2 && dims[0] == 1 && dims.count(2, axis) == 1;
  return axis == 1 && dims[0] == 1;
}

class Placement {
 public:
  explicit Placement(PackageData& package) : p_(package), has_output_(package.tensors.size()) {
    for (const PackageTensor& t : p_.tensors) {
      if (t.kind == TensorKind::kOutput && t.alias >= 0)
        has_output_[static_cast<size_t>(t.alias)] = true;
    }
  }

  // False, with nothing changed, when it cannot be.
  bool Place(const PackageStep& step) {
    if (step.op != "Concat" || step.outputs.size() != 1 || step.inputs.size() < 2 ||
        step.outputs[0] < 0)
      return false;
    const int out = step.outputs[0];
    const PackageTensor& y = Tensor(out);
    const auto dims = StaticDims(y);
    const auto all = BytesOf(y);
    const auto op = format::DecodeOp(step.blob);
    if (!IsFree(out) || y.alias >= 0 || !dims || !all || !op.ok() || DTypeBits(y.dtype) % 8 != 0)
      return false;
    int64_t axis = op->attributes.Int("axis", 0);
    if (axis < 0) axis += dims->rank();
    if (axis < 0 || axis >= dims->rank() || !IsStretch(y.layout, *dims, static_cast<int>(axis)))
      return false;
    const int block = format::ChannelBlock(y.layout);
    // Where the memory of each piece begins in y.
    struct Stretch {
      uint64_t begin, end;
      int root;
    };
    std::vector<Stretch> stretches;
    std::map<int, int64_t> shifts;  // of roots
    uint64_t at = 0;
    for (int i : step.inputs) {
      if (i < 0) return false;
      const PackageTensor& x = Tensor(i);
      const auto x_dims = StaticDims(x);
      const auto bytes = BytesOf(x);
      const int root = Root(i);
      if (!x_dims || !bytes || *bytes == 0 || x.layout != y.layout || x.dtype != y.dtype ||
          !IsFree(i) || !IsFree(root) || at % format::kSegmentAlignment != 0 || root == out ||
          (block > 1 && (*x_dims)[1] % block != 0))
        return false;
      const int64_t shift = static_cast<int64_t>(at) - std::max<int64_t>(x.part, 0);
      if (shift < 0 || !shifts.emplace(root, shift).second) {
        if (shift < 0 || shifts.at(root) != shift) return false;
      }
      stretches.push_back({at, at + *bytes, root});
      at += *bytes;
    }
    if (at != *all) return false;
    for (const auto& [root, shift] : shifts) {
      const auto begin = static_cast<uint64_t>(shift), end = begin + *BytesOf(Tensor(root));
      if (end > *all) return false;
      for (const Stretch& s : stretches) {
        if (s.root != root && s.begin < end && begin < s.end) return false;
      }
    }
    for (size_t i = 0; i < p_.tensors.size(); ++i) {
      PackageTensor& t = p_.tensors[i];
      const auto it = shifts.find(Root(static_cast<int>(i)));
      if (it == shifts.end()) continue;
      t.part = it->second + std::max<int64_t>(t.part, 0);
      moved_.push_back(static_cast<int>(i));
    }
    for (int i : moved_) p_.tensors[static_cast<size_t>(i)].alias = out;
    moved_.clear();
    return true;
  }

 private:
  PackageTensor& Tensor(int i) { return p_.tensors[static_cast<size_t>(i)]; }
  int Root(int i) {
    const int alias = Tensor(i).alias;
    return alias < 0 ? i : alias;
  }
  bool IsFree(int i) {
    return Tensor(i).kind == TensorKind::kArena && !Tensor(i).is_container() &&
           !has_output_[static_cast<size_t>(i)];
  }

  PackageData& p_;
  std::vector<bool> has_output_;  // per root: its memory is the caller's
  std::vector<int> moved_;
};

// As if the marked steps were not there.
uint64_t ArenaBytes(const PackageData& package, const std::vector<bool>& dropped) {
  PackageData rest;
  rest.tensors = package.tensors;
  std::vector<uint64_t> bytes, workspace;
  for (const PackageTensor& t : rest.tensors) bytes.push_back(BytesOf(t).value_or(0));
  for (size_t s = 0; s < package.steps.size(); ++s) {
    if (dropped[s]) continue;
    PackageStep step;
    step.inputs = package.steps[s].inputs;
    step.outputs = package.steps[s].outputs;
    rest.steps.push_back(std::move(step));
    workspace.push_back(package.steps[s].workspace);
  }
  return format::PlanMemory(rest, bytes, workspace).arena_size;
}

}  // namespace

std::vector<bool> PlacePieces(PackageData& package) {
  const size_t n = package.steps.size();
  std::vector<bool> dropped(n, false);
  bool any = false;
  for (const PackageStep& s : package.steps) {
    if (s.data_dims) return dropped;
    any |= s.op == "Concat";
  }
  if (!any) return dropped;
  for (const PackageTensor& t : package.tensors) {
    if (!t.is_container() && !StaticDims(t)) return dropped;
  }
  const uint64_t before = ArenaBytes(package, dropped);
  const std::vector<PackageTensor> as_they_were = package.tensors;
  Placement all(package);
  for (size_t s = 0; s < n; ++s) dropped[s] = all.Place(package.steps[s]);
  if (ArenaBytes(package, dropped) <= before) return dropped;
  // One by one, without those that keep much memory for long.
  package.tensors = as_they_were;
  dropped.assign(n, false);
  Placement some(package);
  for (size_t s = 0; s < n; ++s) {
    if (package.steps[s].op != "Concat") continue;
    std::vector<PackageTensor> keep = package.tensors;
    dropped[s] = some.Place(package.steps[s]);
    if (!dropped[s] || ArenaBytes(package, dropped) <= before) continue;
    package.tensors = std::move(keep);
    dropped[s] = false;
  }
  return dropped;
}

}  // namespace slipway::compiler
