#include "engine/compiler/compile.h"

#include <algorithm>
#include <set>

#include "base/cpu.h"
#include "engine/compiler/control.h"
#include "engine/compiler/data_shapes.h"
#include "engine/compiler/lower.h"
#include "engine/compiler/sequence.h"
#include "model/ir/control.h"
#include "model/ir/infer.h"
#include "model/ir/stats.h"
#include "model/passes/lower_half.h"

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
                             "', which this build does not have (" + have +
                             "); if a plugin brings it, load that: --plugin FILE, or `plugins` in " +
                             platform.source);
    }
    out.push_back(b);
  }
  return out;
}

// Sums over nodes, of which those on the platform's own backends.
struct Shares {
  double nodes = 0, own_nodes = 0, macs = 0, own_macs = 0;
};

// A graph with its bodies, all by the same road.
class GraphCompiler {
 public:
  GraphCompiler(std::vector<const CompileBackend*> own, std::vector<const CompileBackend*> fallback,
                const CompileBackend& helper, const backends::Target& target, const CostModel& cost,
                const CodedConstants& coded, bool greedy)
      : own_(std::move(own)),
        fallback_(std::move(fallback)),
        helper_(helper),
        target_(target),
        cost_(cost),
        coded_(coded),
        greedy_(greedy) {}

  // Fills everything of `result` but its passes. `graph` lives as long as the package.
  Status Compile(const ir::Graph& graph, CompileResult& result, Shares& shares) {
    struct Body {
      std::string name;
      int64_t iterations;
      CompileResult result;
      Shares shares;
    };
    std::map<const ir::Node*, std::vector<Body>> bodies;
    AssignOptions options;
    options.greedy = greedy_;
    Controls controls;
    Sequences sequences;
    for (const auto& node : graph.nodes()) {
      if (IsSequenceNode(*node)) {
        SLIPWAY_ASSIGN_OR_RETURN(sequences[node.get()], DescribeSequence(*node));
        options.session_ms[node.get()] = 0;
      }
      if (!ir::IsControlFlow(*node)) continue;
      SLIPWAY_ASSIGN_OR_RETURN(controls[node.get()], DescribeControl(*node));
      double& ms = options.session_ms[node.get()];
      for (std::string_view name : ir::BodyNames(node->domain(), node->op())) {
        SLIPWAY_ASSIGN_OR_RETURN(std::unique_ptr<ir::Graph> made, BodyToCompile(*node, name));
        std::shared_ptr<const ir::Graph> copy(std::move(made));
        bodies[node.get()].push_back({std::string(name), KnownIterations(*node), {}, {}});
        Body& body = bodies[node.get()].back();
        SLIPWAY_RETURN_IF_ERROR(Compile(*copy, body.result, body.shares)
                                    .With(node->Describe() + ", body '" + body.name + "'"));
        body.result.package.name = body.name;
        body.result.package.owners.push_back(copy);
        ms = std::max(ms, body.result.expected_ms * static_cast<double>(body.iterations));
        auto& programs = result.package.programs;
        controls[node.get()].bodies.push_back(static_cast<int>(programs.size()));
        programs.push_back(std::move(body.result.package));
      }
    }
    SLIPWAY_ASSIGN_OR_RETURN(Assignment assignment,
                             Assign(graph, own_, fallback_, target_, cost_, options));
    result.expected_ms = assignment.cost_ms;
    result.exact = assignment.exact;
    SLIPWAY_RETURN_IF_ERROR(
        Lower(graph, assignment, target_, cost_, helper_, controls, sequences, coded_, result));
    for (const auto& node : graph.nodes()) {
      AddPlacement(*node, assignment, result, shares);
      for (Body& body : bodies[node.get()]) {
        for (PlacementRow& row : body.result.placement) {
          row.node = node->name() + "/" + body.name + "/" + row.node;
          result.placement.push_back(std::move(row));
        }
        const auto iterations = static_cast<double>(body.iterations);
        result.conversions += body.result.conversions;
        result.conversion_cost_ms += body.result.conversion_cost_ms * iterations;
        result.constant_bytes += body.result.constant_bytes;
        result.peak_bytes += body.result.peak_bytes;
        result.exact &= body.result.exact;
        shares.nodes += body.shares.nodes;
        shares.own_nodes += body.shares.own_nodes;
        shares.macs += body.shares.macs * iterations;
        shares.own_macs += body.shares.own_macs * iterations;
      }
    }
    features_ |= result.package.required_features;
    for (const auto& [node, choice] : assignment.nodes)
      if (choice.backend) features_ |= choice.backend->required_features(target_);
    return OkStatus();
  }

  uint64_t features() const { return features_; }

 private:
  void AddPlacement(const ir::Node& node, const Assignment& assignment, CompileResult& result,
                    Shares& shares) {
    const Choice& choice = assignment.nodes.at(&node);
    PlacementRow row;
    row.node = node.name();
    row.op = node.FullOp();
    row.backend = NameOf(choice);
    row.kernel = choice.candidate.kernel;
    const ir::Value* typed = node.input(0) ? node.input(0) : node.output(0);
    row.dtype = typed ? DTypeName(typed->dtype()) : "";
    row.layout =
        choice.candidate.outputs.empty() ? "plain" : LayoutName(choice.candidate.outputs[0]);
    row.signature = KernelSignature(node, row.backend, row.kernel);
    row.cost_ms = choice.cost_ms;
    row.source = choice.source;
    row.sources = node.sources;
    row.sparsity = ir::SparsityOf(node);
    if (choice.backend) {  // control flow has none of its own: the rows of its bodies have them
      Dim m = ir::NodeMacs(node);
      auto at_one = m.Evaluate([](std::string_view) { return std::optional<int64_t>(1); });
      row.macs = at_one.ok() ? *at_one : 0;
      row.fallback = std::find(own_.begin(), own_.end(), choice.backend) == own_.end();
    }
    if (auto it = assignment.declined.find(&node); it != assignment.declined.end())
      row.reasons = it->second;
    if (auto it = assignment.alternatives.find(&node); it != assignment.alternatives.end())
      row.alternatives = it->second;
    if (auto it = assignment.moves.find(&node); it != assignment.moves.end()) row.moves = it->second;
    if (choice.backend && !choice.candidate.view) {
      shares.nodes += 1;
      shares.own_nodes += row.fallback ? 0 : 1;
    }
    shares.macs += static_cast<double>(row.macs);
    shares.own_macs += row.fallback ? 0 : static_cast<double>(row.macs);
    result.placement.push_back(std::move(row));
  }

  const std::vector<const CompileBackend*> own_, fallback_;
  const CompileBackend& helper_;
  const backends::Target& target_;
  const CostModel& cost_;
  const CodedConstants& coded_;
  const bool greedy_;
  uint64_t features_ = 0;
};

// Passes that merge nodes leave symbols behind that nothing decides any more: what a value was
// declared to be is then forgotten, so that its extent is named after the node that decides it.
Status ForgetStaleSymbols(ir::Graph& graph) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto deciding, NodesWithDataShapes(graph));
  std::set<std::string> known;
  bool stale = false;
  auto visit = [&](const ir::Value* v, bool decides) {
    if (!v || !v->type().shape || v->type().is_container()) return;
    for (const Dim& d : *v->type().shape) {
      for (std::string& s : d.Symbols()) {
        if (decides) {
          known.insert(std::move(s));
        } else {
          stale |= known.count(s) == 0;
        }
      }
    }
  };
  for (const ir::Value* v : graph.inputs()) visit(v, true);
  for (const auto& node : graph.nodes()) {
    for (const ir::Value* v : node->outputs()) visit(v, deciding.count(node.get()) != 0);
  }
  if (!stale) return OkStatus();
  ir::InferOptions options;
  options.forget_declared = true;
  return ir::InferShapes(graph, options);
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
  // Where the CPU lacks it, the runtime computes by way of float32: nothing is required.
  if (platform.precision == "float16" && platform.arch == "aarch64")
    t.features |= static_cast<uint64_t>(CpuFeature::kArmFp16);
  t.threads = threads;
  t.float_gmacs = platform.float_gmacs;
  t.int8_gmacs = platform.int8_gmacs;
  t.memory_gbps = platform.memory_gbps;
  t.cache_gbps = platform.cache_gbps;
  return t;
}

Result<std::vector<passes::PassReport>> Prepare(
    ir::Graph& graph, const Platform& platform, const CompileOptions& options,
    const std::function<bool(const ir::Node&)>& supported) {
  if (!options.optimize) {
    SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(graph));
    return std::vector<passes::PassReport>{};
  }
  passes::PassOptions pass_options;
  pass_options.disabled = options.disabled_passes;
  pass_options.supported = supported;
  pass_options.wide_codes = platform.simulated;
  pass_options.level =
      platform.precision == "int8" || (platform.precision == "bfloat16" && platform.has_scheme)
          ? passes::Level::kInteger
          : passes::Level::kFused;
  return passes::RunPasses(graph, pass_options);
}

namespace {

bool AnySupports(const std::vector<const CompileBackend*>& own, const ir::Node& node,
                 const backends::Target& target) {
  return std::any_of(own.begin(), own.end(),
                     [&](const CompileBackend* b) { return b->Supports(node, target).ok(); });
}

// Integer operators that not every set of integer backends has; float ones stay in their place.
bool HasQMatMul(const std::vector<const CompileBackend*>& own, const backends::Target& target) {
  ir::Graph g;
  const ir::Type type{DType::kInt8, SymShape{Dim(16), Dim(16)}};
  ir::Node* node = g.AddNode({.op = "QMatMul",
                              .inputs = {g.AddInput("a", type), g.AddInput("b", type)},
                              .attributes = {{"multiplier", 0.01f}},
                              .domain = ir::kSlipwayDomain});
  node->output()->set_type(type);
  return AnySupports(own, *node, target);
}
bool HasQAffine(const std::vector<const CompileBackend*>& own, const backends::Target& target) {
  ir::Graph g;
  auto factors = ir::Tensor::Allocate(DType::kFloat32, {16});
  std::fill_n(factors->mutable_data(), factors->bytes().size(), uint8_t{0});
  ir::Value* constant = g.AddConstant("", std::move(*factors));
  const ir::Type type{DType::kInt8, SymShape{Dim(1), Dim(16), Dim(4), Dim(4)}};
  ir::Node* node = g.AddNode({.op = "QAffine",
                              .inputs = {constant, constant, g.AddInput("x", type)},
                              .domain = ir::kSlipwayDomain});
  node->output()->set_type(type);
  return AnySupports(own, *node, target);
}

// Whether a backend multiplies with weights that stay codes. Without one their Dequantize and a
// float product are the better choice.
bool KeepsWeightCodes(const std::vector<const CompileBackend*>& own,
                      const backends::Target& target) {
  ir::Graph g;
  const auto tensor = [&](DType type, const Dims& dims) {
    auto t = ir::Tensor::Allocate(type, dims);
    std::fill_n(t->mutable_data(), t->bytes().size(), uint8_t{0});
    return g.AddConstant("", std::move(*t));
  };
  ir::Value* x = g.AddInput("x", {DType::kFloat32, SymShape{Dim(1), Dim(32)}});
  ir::Node* node =
      g.AddNode({.op = "LinearNBits",
                 .inputs = {x, tensor(DType::kInt8, {16, 32}), tensor(DType::kFloat32, {16, 1})},
                 .attributes = {{"bits", int64_t{4}}, {"group", int64_t{32}}},
                 .domain = ir::kSlipwayDomain});
  node->output()->set_type({DType::kFloat32, SymShape{Dim(1), Dim(16)}});
  return AnySupports(own, *node, target);
}

}  // namespace

Result<std::unique_ptr<ir::Graph>> PreparedGraph(const ir::Graph& original,
                                                 const Platform& platform,
                                                 const BackendSet& backends,
                                                 const CompileOptions& options,
                                                 std::vector<passes::PassReport>* reports,
                                                 CodedConstants* coded) {
  std::unique_ptr<ir::Graph> graph = original.Clone();
  SLIPWAY_ASSIGN_OR_RETURN(const auto own, Resolve(platform.backends, platform, backends));
  const backends::Target target = TargetOf(platform, options.threads);
  CompileOptions prepare = options;
  if (!KeepsWeightCodes(own, target)) prepare.disabled_passes.emplace_back("keep-weight-codes");
  if (!HasQMatMul(own, target)) prepare.disabled_passes.emplace_back("lower-matmul");
  if (!HasQAffine(own, target)) prepare.disabled_passes.emplace_back("lower-affine");
  const auto supported = [&](const ir::Node& node) { return AnySupports(own, node, target); };
  // Other precisions have convolutions, but no ConvTranspose of their own, and float16 no pairs.
  const bool all = platform.precision == "float32", pairs = platform.precision != "float16";
  SLIPWAY_ASSIGN_OR_RETURN(auto ran, Prepare(*graph, platform, prepare, [&](const ir::Node& node) {
                             return (all || !node.Is("ConvTranspose")) &&
                                    (pairs || !node.IsSlipway("ConvDepthwise")) && supported(node);
                           }));
  if (reports) *reports = std::move(ran);
  SLIPWAY_RETURN_IF_ERROR(FoldRecurrentWeights(*graph, coded));
  if (platform.precision == "bfloat16" || platform.precision == "float16") {
    const DType type = platform.precision == "float16" ? DType::kFloat16 : DType::kBFloat16;
    SLIPWAY_RETURN_IF_ERROR(passes::LowerHalf(*graph, type, supported).status());
  }
  SLIPWAY_RETURN_IF_ERROR(ForgetStaleSymbols(*graph));
  return graph;
}

Result<CompileResult> Compile(const ir::Graph& original, const Platform& platform,
                              const BackendSet& backends, const CompileOptions& options) {
  CompileResult result;
  SLIPWAY_ASSIGN_OR_RETURN(auto own, Resolve(platform.backends, platform, backends));
  CodedConstants coded;
  SLIPWAY_ASSIGN_OR_RETURN(
      std::unique_ptr<ir::Graph> graph,
      PreparedGraph(original, platform, backends, options, &result.passes, &coded));
  SLIPWAY_ASSIGN_OR_RETURN(auto fallback, Resolve(platform.fallback, platform, backends));
  const CompileBackend* helper = backends.Find("reference");
  if (!helper)
    return Internal("the reference backend is not registered; it runs layout conversions");
  backends::Target target = TargetOf(platform, options.threads);
  target.exact = options.exact;
  target.prepack = options.prepack;
  AnalyticCost analytic;
  const CostModel& cost = options.cost ? *options.cost : analytic;
  GraphCompiler compiler(std::move(own), std::move(fallback), *helper, target, cost, coded,
                         options.greedy);
  Shares shares;
  SLIPWAY_RETURN_IF_ERROR(compiler.Compile(*graph, result, shares));
  result.own_node_share = shares.nodes > 0 ? shares.own_nodes / shares.nodes : 1;
  result.own_mac_share = shares.macs > 0 ? shares.own_macs / shares.macs : 1;

  format::PackageData& package = result.package;
  package.name = graph->name;
  package.arch = platform.arch;
  package.provenance = options.provenance;
  package.provenance["platform"] = platform.name;
  package.provenance["precision"] = platform.precision;
  package.provenance["tool_version"] = "slipway 0.1.0";
  for (const auto& b : backends.all()) {
    const auto used = [&](const format::PackageData& part) {
      return std::any_of(part.backends.begin(), part.backends.end(),
                         [&](const auto& p) { return p.name == b->name(); });
    };
    if (!b->plugin().empty() && (used(package) || std::any_of(package.programs.begin(), package.programs.end(), used)))
      package.provenance["plugin." + b->name()] = b->plugin() + " " + b->version();
  }
  package.required_features = compiler.features();
  if (platform.precision == "bfloat16")
    package.required_features |= target.features & static_cast<uint64_t>(CpuFeature::kAvx512Bf16);
  package.owners.push_back(std::shared_ptr<ir::Graph>(std::move(graph)));
  return result;
}

}  // namespace slipway::compiler
