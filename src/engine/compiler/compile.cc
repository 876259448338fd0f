#include "engine/compiler/compile.h"

#include <algorithm>

#include "base/cpu.h"
#include "engine/compiler/lower.h"
#include "model/ir/infer.h"
#include "model/ir/stats.h"

namespace slipway::compiler {
namespace {

using backends::CompileBackend;

Result<std::vector<const CompileBackend*>> Resolve(const std::vector<std::string>& names,
                                                   const Platform& platform,
                                                   const BackendSet& backends) {
  std::vector<const CompileBackend*> out;
  for (const std::string& name : names) {
    const CompileBackend* b = backends.Find(name);
    if (!b) {
      std::string have;
      for (const auto& n : backends.Names()) have += (have.empty() ? "" : ", ") + n;
      return InvalidArgument("platform '" + platform.name + "' names the backend '" + name +
                             "', which this build does not have (" + have + ")");
    }
    out.push_back(b);
  }
  return out;
}

void FillPlacement(const ir::Graph& graph, const Assignment& assignment,
                   const std::vector<const CompileBackend*>& own, CompileResult& result) {
  double nodes = 0, own_nodes = 0, macs = 0, own_macs = 0;
  for (const auto& node : graph.nodes()) {
    const Choice& choice = assignment.nodes.at(node.get());
    PlacementRow row;
    row.node = node->name();
    row.op = node->FullOp();
    row.backend = choice.backend->name();
    row.kernel = choice.candidate.kernel;
    const ir::Value* typed = node->input(0) ? node->input(0) : node->output(0);
    row.dtype = DTypeName(typed->dtype());
    row.layout =
        choice.candidate.outputs.empty() ? "plain" : LayoutName(choice.candidate.outputs[0]);
    row.signature = KernelSignature(*node, row.backend, row.kernel);
    row.cost_ms = choice.cost_ms;
    Dim m = ir::NodeMacs(*node);
    auto at_one = m.Evaluate([](std::string_view) { return std::optional<int64_t>(1); });
    row.macs = at_one.ok() ? *at_one : 0;
    row.sources = node->sources;
    row.fallback = std::find(own.begin(), own.end(), choice.backend) == own.end();
    if (auto it = assignment.declined.find(node.get()); it != assignment.declined.end())
      row.reasons = it->second;
    if (auto it = assignment.alternatives.find(node.get()); it != assignment.alternatives.end())
      row.alternatives = it->second;
    if (!choice.candidate.view) {
      nodes += 1;
      own_nodes += row.fallback ? 0 : 1;
    }
    macs += static_cast<double>(row.macs);
    own_macs += row.fallback ? 0 : static_cast<double>(row.macs);
    result.placement.push_back(std::move(row));
  }
  result.own_node_share = nodes > 0 ? own_nodes / nodes : 1;
  result.own_mac_share = macs > 0 ? own_macs / macs : 1;
}

}  // namespace

void BackendSet::Add(std::unique_ptr<CompileBackend> backend) {
  backends_.push_back(std::move(backend));
}

const CompileBackend* BackendSet::Find(const std::string& name) const {
  for (const auto& b : backends_) {
    if (b->name() == name) return b.get();
  }
  return nullptr;
}

std::vector<std::string> BackendSet::Names() const {
  std::vector<std::string> out;
  for (const auto& b : backends_) out.push_back(b->name());
  return out;
}

backends::Target TargetOf(const Platform& platform, int threads) {
  backends::Target t;
  t.arch = platform.arch;
  bool native = std::find(platform.features.begin(), platform.features.end(), "native") !=
                platform.features.end();
  if (native && ThisCpu().arch == platform.arch) t.features = ThisCpu().features;
  t.threads = threads;
  t.float_gmacs = platform.float_gmacs;
  t.int8_gmacs = platform.int8_gmacs;
  t.memory_gbps = platform.memory_gbps;
  t.cache_gbps = platform.cache_gbps;
  return t;
}

Result<std::vector<passes::PassReport>> Prepare(ir::Graph& graph, const Platform& platform,
                                                const CompileOptions& options) {
  if (!options.optimize) {
    SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(graph));
    return std::vector<passes::PassReport>{};
  }
  passes::PassOptions pass_options;
  pass_options.disabled = options.disabled_passes;
  pass_options.level =
      platform.precision == "int8" ? passes::Level::kInteger : passes::Level::kFused;
  return passes::RunPasses(graph, pass_options);
}

Result<CompileResult> Compile(const ir::Graph& original, const Platform& platform,
                              const BackendSet& backends, const CompileOptions& options) {
  CompileResult result;
  std::unique_ptr<ir::Graph> graph = original.Clone();
  SLIPWAY_ASSIGN_OR_RETURN(result.passes, Prepare(*graph, platform, options));
  SLIPWAY_ASSIGN_OR_RETURN(auto own, Resolve(platform.backends, platform, backends));
  SLIPWAY_ASSIGN_OR_RETURN(auto fallback, Resolve(platform.fallback, platform, backends));
  const CompileBackend* helper = backends.Find("reference");
  if (!helper)
    return Internal("the reference backend is not registered; it runs layout conversions");
  backends::Target target = TargetOf(platform, options.threads);
  AnalyticCost analytic;
  const CostModel& cost = options.cost ? *options.cost : analytic;
  SLIPWAY_ASSIGN_OR_RETURN(Assignment assignment, Assign(*graph, own, fallback, target, cost));
  result.expected_ms = assignment.cost_ms;
  result.exact = assignment.exact;
  FillPlacement(*graph, assignment, own, result);

  format::PackageData& package = result.package;
  package.name = graph->name;
  package.arch = platform.arch;
  package.provenance = options.provenance;
  package.provenance["platform"] = platform.name;
  package.provenance["precision"] = platform.precision;
  package.provenance["tool_version"] = "slipway 0.1.0";
  SLIPWAY_RETURN_IF_ERROR(Lower(*graph, assignment, target, cost, *helper, result));
  for (const auto& [node, choice] : assignment.nodes)
    package.required_features |= choice.backend->required_features(target);
  package.owners.push_back(std::shared_ptr<ir::Graph>(std::move(graph)));
  return result;
}

}  // namespace slipway::compiler
