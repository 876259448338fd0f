#include "perfdb/cost_model.h"

#include <algorithm>
#include <set>

namespace slipway::perfdb {

using compiler::Crossing;
using compiler::Price;
using compiler::Source;

namespace {

// At least so much of a network-level kernel's time is its own, whatever its borders took by
// themselves.
constexpr double kLeastShare = 0.1;

}  // namespace

PlatformKey KernelKey(const device::HostFacts& facts, int threads) {
  PlatformKey key = KeyOfHost(facts);
  key.platform = "kernel";
  key.runtime = "slipway";
  key.runtime_version = "0.1.0";
  key.precision = "any";
  key.threads = threads;
  return key;
}

std::optional<double> MeasuredCost::Known(const std::string& signature) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto [it, added] = known_.try_emplace(signature);
  if (added) it->second = store_.KernelMs(key_hash_, signature);
  return it->second;
}

Price MeasuredCost::Step(const ir::Node& node, const std::string& backend,
                         const backends::Candidate& candidate,
                         const backends::Target& target) const {
  // A view costs nothing and is never measured.
  if (candidate.view) return {0, Source::kMeasured};
  const auto ms = Known(compiler::KernelSignature(node, backend, candidate.kernel));
  if (!ms) return analytic_.Step(node, backend, candidate, target);
  // Only network-level backends have crossings.
  double borders = 0;
  std::set<const ir::Value*> seen;
  const auto add = [&](const ir::Value* v, Crossing crossing) {
    if (!moves_ || !v || v->is_constant() || !seen.insert(v).second) return;
    borders += Known(compiler::HandOverSignature(v->type(), backend, crossing)).value_or(0);
  };
  for (const ir::Value* v : node.inputs()) add(v, Crossing::kEnters);
  for (const ir::Value* v : node.outputs()) add(v, Crossing::kLeaves);
  return {std::max(*ms - borders, kLeastShare * *ms), Source::kMeasured};
}

Price MeasuredCost::Convert(const ir::Type& type, format::Layout from, format::Layout to,
                            const backends::Target& target) const {
  if (moves_ && from != to) {
    if (const auto ms = Known(compiler::ConvertSignature(type, from, to)))
      return {*ms, Source::kMeasured};
  }
  return analytic_.Convert(type, from, to, target);
}

Price MeasuredCost::HandOver(const ir::Type& type, const std::string& backend, Crossing crossing,
                             const backends::Target& target) const {
  if (moves_) {
    if (const auto ms = Known(compiler::HandOverSignature(type, backend, crossing)))
      return {*ms, Source::kMeasured};
  }
  return CostModel::HandOver(type, backend, crossing, target);
}

}  // namespace slipway::perfdb
