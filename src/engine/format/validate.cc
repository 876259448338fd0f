#include "engine/format/validate.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include "base/checked.h"
#include "engine/format/control.h"
#include "engine/format/phases.h"
#include "engine/format/plan.h"
#include "engine/format/sequence.h"

namespace slipway::format {
namespace {

// More than any device has; keeps sums of sizes far from overflow.
constexpr uint64_t kMaxBytes = uint64_t{1} << 46;

std::optional<uint64_t> StaticBytes(const PackageTensor& t) {
  if (t.is_container()) return 0;
  Dims dims;
  for (const Dim& d : t.shape) {
    if (!d.known()) return std::nullopt;
    dims.push_back(d.value());
  }
  auto bytes = LayoutBytes(t.dtype, dims, t.layout);
  return bytes ? std::optional<uint64_t>(static_cast<uint64_t>(*bytes)) : std::nullopt;
}

bool InRange(int index, size_t size) { return index >= 0 && static_cast<size_t>(index) < size; }

Status CheckPart(const PackageData& p, size_t i) {
  const PackageTensor& t = p.tensors[i];
  auto fail = [&](const std::string& what) { return DataLoss(DescribeTensor(p, i) + ".part: " + what); };
  if (!p.static_plan) return fail("needs a static plan");
  if (!InRange(t.alias, p.tensors.size())) return fail("of tensor " + std::to_string(t.alias) + ", which is out of range");
  const PackageTensor& root = p.tensors[static_cast<size_t>(t.alias)];
  if (root.alias >= 0) return fail("of an alias; chains are not allowed");
  if (t.kind != TensorKind::kArena || root.kind != TensorKind::kArena) return fail("only of arena tensors");
  if (t.is_container() || root.is_container()) return fail("what holds tensors has none");
  if (t.part < 0 || t.part % static_cast<int64_t>(kSegmentAlignment) != 0) return fail(std::to_string(t.part) + " is no multiple of 64");
  const auto bytes = StaticBytes(t), all = StaticBytes(root);
  if (!bytes || !all) return fail("needs known dimensions");
  const auto begin = static_cast<uint64_t>(t.part);
  if (begin > *all || *bytes > *all - begin) return fail("ends behind the " + std::to_string(*all) + " bytes of " + DescribeTensor(p, static_cast<size_t>(t.alias)));
  return OkStatus();
}

Status CheckAliases(const PackageData& p) {
  std::vector<int> outputs_of_root(p.tensors.size(), -1);
  for (size_t i = 0; i < p.tensors.size(); ++i) {
    const PackageTensor& t = p.tensors[i];
    auto fail = [&](const std::string& what) { return DataLoss(DescribeTensor(p, i) + ".alias: " + what); };
    if (t.alias < -1) return fail("negative index " + std::to_string(t.alias));
    if (t.part != -1) SLIPWAY_RETURN_IF_ERROR(CheckPart(p, i));
    if (t.alias >= 0 && t.part == -1) {
      if (!InRange(t.alias, p.tensors.size())) return fail("index " + std::to_string(t.alias) + " is out of range");
      if (static_cast<size_t>(t.alias) >= i) return fail("must name an earlier tensor");
      const PackageTensor& root = p.tensors[static_cast<size_t>(t.alias)];
      if (root.alias >= 0) return fail("names an alias; chains are not allowed");
      if (t.kind == TensorKind::kInput) return fail("a package input has its own memory");
      if (t.kind == TensorKind::kConstant && root.kind != TensorKind::kConstant) return fail("a constant may alias a constant only");
      if (t.kind == TensorKind::kOutput && (root.kind == TensorKind::kInput || root.kind == TensorKind::kConstant)) {
        return fail("a package output cannot share an input's or a constant's memory; it needs a Copy step");
      }
      auto a = StaticBytes(t), b = StaticBytes(root);
      if (a && b && *a != *b) return fail(std::to_string(*a) + " bytes share the memory of " + std::to_string(*b));
    }
    if (t.kind == TensorKind::kOutput) {
      int& first = outputs_of_root[t.alias < 0 ? i : static_cast<size_t>(t.alias)];
      if (first >= 0) return fail("two package outputs share memory");
      first = static_cast<int>(i);
    }
  }
  for (size_t i = 0; i < p.tensors.size(); ++i) {
    const PackageTensor& t = p.tensors[i];
    if (t.part >= 0 && outputs_of_root[static_cast<size_t>(t.alias)] >= 0) {
      return DataLoss(DescribeTensor(p, i) + ".part: of memory that is a package output's");
    }
  }
  return OkStatus();
}

Status CheckInterface(const PackageData& p) {
  auto check = [&](const std::vector<int>& list, TensorKind kind, const char* field) -> Status {
    std::set<int> indices;
    std::set<std::string> names;
    for (size_t k = 0; k < list.size(); ++k) {
      std::string where = std::string(field) + "[" + std::to_string(k) + "]";
      if (!InRange(list[k], p.tensors.size())) return DataLoss(where + ": tensor " + std::to_string(list[k]) + " is out of range");
      const PackageTensor& t = p.tensors[static_cast<size_t>(list[k])];
      where += " (" + DescribeTensor(p, static_cast<size_t>(list[k])) + ")";
      if (t.kind != kind) return DataLoss(where + ": the tensor has another kind");
      if (t.layout != Layout::kPlain) return DataLoss(where + ".layout: must be plain");
      if (!indices.insert(list[k]).second) return DataLoss(where + ": listed twice");
      if (t.name.empty()) return DataLoss(where + ".name: empty");
      if (!names.insert(t.name).second) return DataLoss(where + ".name: duplicate");
    }
    for (size_t i = 0; i < p.tensors.size(); ++i) {
      if (p.tensors[i].kind == kind && !indices.count(static_cast<int>(i))) {
        return DataLoss(DescribeTensor(p, i) + ".kind: not listed in " + field);
      }
    }
    return OkStatus();
  };
  SLIPWAY_RETURN_IF_ERROR(check(p.inputs, TensorKind::kInput, "inputs"));
  return check(p.outputs, TensorKind::kOutput, "outputs");
}

// Every tensor a step reads holds what its producer wrote: packages name no tensor twice as an output, reads come after writes, and memory shared by
// aliases is not read through an old name once a later step has written over any of it.
class OrderCheck {
 public:
  explicit OrderCheck(const PackageData& p)
      : p_(p), producer_(p.tensors.size(), -1), written_(p.tensors.size()), has_parts_(p.tensors.size()) {
    for (const PackageTensor& t : p.tensors) {
      if (t.part >= 0) has_parts_[static_cast<size_t>(t.alias)] = true;
    }
  }

  Status Run() {
    for (size_t s = 0; s < p_.steps.size(); ++s) {
      for (size_t k = 0; k < p_.steps[s].outputs.size(); ++k) SLIPWAY_RETURN_IF_ERROR(Declare(s, k));
    }
    for (size_t s = 0; s < p_.steps.size(); ++s) {
      const PackageStep& step = p_.steps[s];
      for (size_t k = 0; k < step.inputs.size(); ++k) SLIPWAY_RETURN_IF_ERROR(Read(s, k));
      for (size_t k = 0; k < step.outputs.size(); ++k) SLIPWAY_RETURN_IF_ERROR(Write(s, k));
    }
    for (size_t k = 0; k < p_.outputs.size(); ++k) {
      SLIPWAY_RETURN_IF_ERROR(Holds(p_.outputs[k], "outputs[" + std::to_string(k) + "]"));
    }
    return OkStatus();
  }

 private:
  size_t Root(int t) const {
    int alias = p_.tensors[static_cast<size_t>(t)].alias;
    return static_cast<size_t>(alias < 0 ? t : alias);
  }
  std::string Where(size_t s, const char* list, size_t k) const {
    return DescribeStep(p_, s) + "." + list + "[" + std::to_string(k) + "]";
  }

  Status Declare(size_t s, size_t k) {
    int t = p_.steps[s].outputs[k];
    if (t == -1) return OkStatus();
    std::string where = Where(s, "outputs", k);
    if (!InRange(t, p_.tensors.size())) return DataLoss(where + ": tensor " + std::to_string(t) + " is out of range");
    where += " (" + DescribeTensor(p_, static_cast<size_t>(t)) + ")";
    auto writable = [](TensorKind kind) { return kind == TensorKind::kArena || kind == TensorKind::kOutput; };
    if (!writable(p_.tensors[static_cast<size_t>(t)].kind) || !writable(p_.tensors[Root(t)].kind)) {
      return DataLoss(where + ": writes to a package input or a constant");
    }
    if (producer_[static_cast<size_t>(t)] >= 0) return DataLoss(where + ": has two producers");
    producer_[static_cast<size_t>(t)] = static_cast<int>(s);
    return OkStatus();
  }

  Status Holds(int t, const std::string& where) const {
    const size_t root = Root(t);
    const TensorKind kind = p_.tensors[root].kind;
    if (kind == TensorKind::kInput || kind == TensorKind::kConstant) return OkStatus();
    const Range range = RangeOf(t);
    uint64_t known = range.begin;
    int other = -1;
    for (const auto& [begin, w] : written_[root]) {  // by where they begin; disjoint
      if (begin >= range.end || w.end <= range.begin) continue;
      if (begin <= known) known = std::max(known, w.end);
      if (w.tensor != t) other = w.tensor;
    }
    std::string name = " (" + DescribeTensor(p_, static_cast<size_t>(t)) + ")";
    // A tensor without a producer is a view of whatever its memory holds.
    if (producer_[static_cast<size_t>(t)] >= 0 && other >= 0) {
      return DataLoss(where + name + ": its memory holds " + DescribeTensor(p_, static_cast<size_t>(other)) + " at this step");
    }
    if (known < range.end) return DataLoss(where + name + ": read before any step writes it");
    return OkStatus();
  }

  Status Read(size_t s, size_t k) {
    int t = p_.steps[s].inputs[k];
    if (t == -1) return OkStatus();
    std::string where = Where(s, "inputs", k);
    if (!InRange(t, p_.tensors.size())) return DataLoss(where + ": tensor " + std::to_string(t) + " is out of range");
    return Holds(t, where);
  }

  Status Write(size_t s, size_t k) {
    int t = p_.steps[s].outputs[k];
    if (t == -1) return OkStatus();
    const Range range = RangeOf(t);
    auto& written = written_[Root(t)];
    for (auto it = written.begin(); it != written.end();) {
      const bool apart = it->first >= range.end || it->second.end <= range.begin;
      if (!apart && producer_[static_cast<size_t>(it->second.tensor)] == static_cast<int>(s)) {
        return DataLoss(Where(s, "outputs", k) + ": shares memory with another output of the step");
      }
      it = apart ? std::next(it) : written.erase(it);  // what is left of it is nobody's
    }
    written[range.begin] = {range.end, t};
    return OkStatus();
  }

  // Of its root's bytes. One byte at least, so that empty tensors are written too.
  struct Range {
    uint64_t begin, end;
  };
  Range RangeOf(int t) const {
    const PackageTensor& tensor = p_.tensors[static_cast<size_t>(t)];
    if (!has_parts_[Root(t)]) return {0, 1};
    const auto begin = static_cast<uint64_t>(std::max<int64_t>(tensor.part, 0));
    return {begin, begin + std::max<uint64_t>(StaticBytes(tensor).value_or(0), 1)};
  }

  const PackageData& p_;
  std::vector<int> producer_;  // per tensor: its step
  struct Written {
    uint64_t end;
    int tensor;
  };
  std::vector<std::map<uint64_t, Written>> written_;  // per root: what its bytes hold, by where it begins
  std::vector<bool> has_parts_;                       // per root
};

Status CheckStaticPlan(const PackageData& p) {
  std::vector<uint64_t> bytes(p.tensors.size()), workspace(p.steps.size());
  MemoryPlan plan;
  plan.arena_size = p.arena_size;
  if (p.arena_size > kMaxBytes) return DataLoss("arena_size: " + std::to_string(p.arena_size) + " bytes");
  for (size_t i = 0; i < p.tensors.size(); ++i) {
    auto size = StaticBytes(p.tensors[i]);
    if (!size) return DataLoss(DescribeTensor(p, i) + ".dims: a static plan needs known dimensions");
    bytes[i] = *size;
    plan.tensor_offsets.push_back(p.tensors[i].offset);
  }
  for (size_t s = 0; s < p.steps.size(); ++s) {
    workspace[s] = p.steps[s].workspace;
    plan.workspace_offsets.push_back(p.steps[s].workspace_offset);
  }
  return CheckPlan(p, plan, bytes, workspace);
}

}  // namespace

std::string DescribeTensor(const PackageData& p, size_t i) {
  return "tensors[" + std::to_string(i) + "] '" + p.tensors[i].name + "'";
}
std::string DescribeStep(const PackageData& p, size_t s) { return "steps[" + std::to_string(s) + "] '" + p.steps[s].name + "'"; }

Status ValidateProgram(const PackageData& package) {
  SLIPWAY_RETURN_IF_ERROR(CheckAliases(package));
  SLIPWAY_RETURN_IF_ERROR(CheckInterface(package));
  for (size_t s = 0; s < package.steps.size(); ++s) {
    if (package.steps[s].workspace > kMaxBytes) {
      return DataLoss(DescribeStep(package, s) + ".workspace: " + std::to_string(package.steps[s].workspace) + " bytes");
    }
  }
  for (size_t i = 0; i < package.tensors.size(); ++i) {
    auto bytes = StaticBytes(package.tensors[i]);
    if (bytes && *bytes > kMaxBytes) return DataLoss(DescribeTensor(package, i) + ".dims: " + std::to_string(*bytes) + " bytes");
  }
  SLIPWAY_RETURN_IF_ERROR(OrderCheck(package).Run());
  SLIPWAY_RETURN_IF_ERROR(CheckSequences(package));
  SLIPWAY_RETURN_IF_ERROR(CheckControls(package));
  SLIPWAY_RETURN_IF_ERROR(ComputePhases(package).status());
  for (size_t s = 0; package.static_plan && s < package.steps.size(); ++s) {
    if (package.steps[s].data_dims) return DataLoss(DescribeStep(package, s) + ".data_dims: a static plan knows all extents");
  }
  return package.static_plan ? CheckStaticPlan(package) : OkStatus();
}

}  // namespace slipway::format
