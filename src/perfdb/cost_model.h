#pragma once
// The compiler's CostModel answered from measurements.

#include <map>
#include <mutex>
#include <string>

#include "engine/compiler/cost.h"
#include "perfdb/store.h"

namespace slipway::perfdb {

// Under which key single kernels of this machine are stored: what a kernel's time depends on
// besides its signature, which does not include the network it was measured in.
PlatformKey KernelKey(const device::HostFacts& facts, int threads);

// A median where it was measured under `key`, else the analytic estimate: kernels, conversions
// between layouts, and what crosses the border of a network-level backend's step. Such a backend's
// kernel was timed with its borders, which have prices of their own where they were measured: they
// are taken off. Estimates are mostly too low, so what was never measured is tried, and after that
// its real price is known. The store must outlive the model, which asks for each row once.
class MeasuredCost : public compiler::CostModel {
 public:
  // `moves` false: conversions and crossings are estimates, for comparison.
  MeasuredCost(Store& store, const PlatformKey& key, bool moves = true)
      : store_(store), key_hash_(key.Hash()), moves_(moves) {}

  compiler::Price Step(const ir::Node& node, const std::string& backend,
                       const backends::Candidate& candidate,
                       const backends::Target& target) const override;
  compiler::Price Convert(const ir::Type& type, format::Layout from, format::Layout to,
                          const backends::Target& target) const override;
  compiler::Price HandOver(const ir::Type& type, const std::string& backend,
                           compiler::Crossing crossing,
                           const backends::Target& target) const override;

 private:
  std::optional<double> Known(const std::string& signature) const;

  Store& store_;
  const std::string key_hash_;
  const bool moves_;
  const compiler::AnalyticCost analytic_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::optional<double>> known_;
};

}  // namespace slipway::perfdb
