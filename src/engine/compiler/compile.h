#pragma once
// The compiler: a graph and a platform in, a package out.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/backends/compile.h"
#include "engine/compiler/assign.h"
#include "engine/compiler/coded_constants.h"
#include "engine/compiler/cost.h"
#include "engine/compiler/platform.h"
#include "engine/format/package.h"
#include "model/ir/graph.h"
#include "model/ir/stats.h"
#include "model/passes/pass.h"

namespace slipway::compiler {

// The compile sides that this build has; explicit registration, no static initialisers.
class BackendSet {
 public:
  void Add(std::unique_ptr<backends::CompileBackend> backend);
  const backends::CompileBackend* Find(const std::string& name) const;
  std::vector<std::string> Names() const;
  const std::vector<std::unique_ptr<backends::CompileBackend>>& all() const { return backends_; }

 private:
  std::vector<std::unique_ptr<backends::CompileBackend>> backends_;
};

struct CompileOptions {
  int threads = 1;  // what costs are estimated for
  bool optimize = true;
  bool exact = false;  // no Winograd: see backends::Target
  backends::Prepack prepack = backends::Prepack::kSame;
  std::vector<std::string> disabled_passes;
  const CostModel* cost = nullptr;  // null: AnalyticCost
  bool greedy = false;              // AssignOptions::greedy
  std::map<std::string, std::string> provenance;
};

// Where one node of the compiled graph runs.
struct PlacementRow {
  std::string node, op, backend, kernel, dtype, layout;
  std::string signature;  // KernelSignature: the key of its measured cost
  double cost_ms = 0;     // expected
  Source source = Source::kEstimated;
  int64_t macs = 0;
  bool fallback = false;             // not on one of the platform's own backends
  std::vector<std::string> reasons;  // why the own backends declined it
  std::vector<Alternative> alternatives;
  std::vector<Move> moves;
  std::vector<std::string> sources;
  std::optional<ir::WeightSparsity> sparsity;  // of its constant weights
};

struct CompileResult {
  format::PackageData package;
  std::vector<PlacementRow> placement;
  std::vector<passes::PassReport> passes;
  int conversions = 0;  // layout conversion steps
  double conversion_cost_ms = 0;
  // Arena + inputs + outputs; when dynamic, at the largest value of each symbol with a range
  // (peak_at) and at 1 of the others.
  uint64_t peak_bytes = 0;
  std::map<std::string, int64_t> peak_at;
  uint64_t constant_bytes = 0;
  double own_node_share = 1,
         own_mac_share = 1;  // on the platform's own backends; views and conversions not counted
  double expected_ms = 0;
  bool exact = true;
};

// Errors: Unsupported (a node that no backend takes; a shape only the data decides),
// InvalidArgument (a platform that names a backend which this build lacks).
Result<CompileResult> Compile(const ir::Graph& graph, const Platform& platform,
                              const BackendSet& backends, const CompileOptions& options = {});

// The passes that Compile runs before assignment, for callers that want the graph (quantization,
// reports).
Result<std::vector<passes::PassReport>> Prepare(
    ir::Graph& graph, const Platform& platform, const CompileOptions& options,
    const std::function<bool(const ir::Node&)>& supported = {});

// All that Compile does before assignment, on a copy: what is assigned to kernels. `reports` and
// `coded` (constants that packages hold as codes) may be null.
Result<std::unique_ptr<ir::Graph>> PreparedGraph(const ir::Graph& graph, const Platform& platform,
                                                 const BackendSet& backends,
                                                 const CompileOptions& options,
                                                 std::vector<passes::PassReport>* reports,
                                                 CodedConstants* coded = nullptr);

backends::Target TargetOf(const Platform& platform, int threads);

}  // namespace slipway::compiler
