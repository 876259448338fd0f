#pragma once
// The compiler's CostModel answered from measurements.

#include <string>

#include "engine/compiler/cost.h"
#include "perfdb/store.h"

namespace slipway::perfdb {

// Under which key single kernels of this machine are stored: what a kernel's time depends on
// besides its signature, which does not include the network it was measured in.
PlatformKey KernelKey(const device::HostFacts& facts, int threads);

// A kernel's median where it was measured under `key`, else the analytic estimate. Estimates are
// mostly too low, so what was never measured is tried, and after that its real price is known. The
// store must outlive the model.
class MeasuredCost : public compiler::CostModel {
 public:
  MeasuredCost(Store& store, const PlatformKey& key) : store_(store), key_hash_(key.Hash()) {}

  double StepMs(const ir::Node& node, const std::string& backend,
                const backends::Candidate& candidate,
                const backends::Target& target) const override;
  double ConvertMs(double bytes, format::Layout from, format::Layout to,
                   const backends::Target& target) const override;

 private:
  Store& store_;
  std::string key_hash_;
  compiler::AnalyticCost analytic_;
};

}  // namespace slipway::perfdb
