#include "perfdb/cost_model.h"

namespace slipway::perfdb {

PlatformKey KernelKey(const device::HostFacts& facts, int threads) {
  PlatformKey key = KeyOfHost(facts);
  key.platform = "kernel";
  key.runtime = "slipway";
  key.runtime_version = "0.1.0";
  key.precision = "any";
  key.threads = threads;
  return key;
}

double MeasuredCost::StepMs(const ir::Node& node, const std::string& backend,
                            const backends::Candidate& candidate,
                            const backends::Target& target) const {
  // A view costs nothing and is never measured.
  if (!candidate.view) {
    auto ms =
        store_.KernelMs(key_hash_, compiler::KernelSignature(node, backend, candidate.kernel));
    if (ms) return *ms;
  }
  return analytic_.StepMs(node, backend, candidate, target);
}

double MeasuredCost::ConvertMs(double bytes, format::Layout from, format::Layout to,
                               const backends::Target& target) const {
  return analytic_.ConvertMs(bytes, from, to, target);
}

}  // namespace slipway::perfdb
