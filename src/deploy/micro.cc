#include "deploy/micro.h"

#include <algorithm>
#include <array>
#include <map>

#include "deploy/package_clock.h"
#include "engine/format/op_desc.h"
#include "slipway/backend.h"

namespace slipway::deploy {
namespace {

using format::Layout;

// So long each package is timed.
constexpr double kSeconds = 0.03;
// Those that are timed in turns: so many turns.
constexpr int kTurns = 5;

// Makes one kernel free and everything else dear.
class OnlyKernel final : public compiler::CostModel {
 public:
  explicit OnlyKernel(const KernelTask& task) : task_(task) {}
  compiler::Price Step(const ir::Node&, const std::string& backend,
                       const backends::Candidate& candidate,
                       const backends::Target&) const override {
    return {backend == task_.backend && candidate.kernel == task_.kernel ? 0 : 1e6};
  }
  compiler::Price Convert(const ir::Type&, Layout, Layout, const backends::Target&) const override {
    return {0};
  }
  compiler::Price HandOver(const ir::Type&, const std::string&, compiler::Crossing,
                           const backends::Target&) const override {
    return {0};
  }

 private:
  const KernelTask& task_;
};

// The node alone. Null when data decide an extent.
std::unique_ptr<ir::Graph> Alone(const ir::Node& node, const std::set<std::string>& dynamic) {
  auto graph = std::make_unique<ir::Graph>();
  std::map<const ir::Value*, ir::Value*> made;
  std::vector<ir::Value*> inputs;
  for (const ir::Value* v : node.inputs()) {
    if (!v) {
      inputs.push_back(nullptr);
      continue;
    }
    const auto type = TypeAtOne(v->type(), dynamic);
    if (!type) return nullptr;
    ir::Value*& copy = made[v];
    if (!copy)
      copy = v->is_constant() ? graph->AddConstant(v->name(), *v->constant())
                              : graph->AddInput(v->name(), *type);
    inputs.push_back(copy);
  }
  ir::Graph::NodeSpec spec{.op = node.op(),
                           .inputs = inputs,
                           .attributes = node.attributes,
                           .domain = node.domain(),
                           .name = node.name(),
                           .outputs = {}};
  for (const ir::Value* v : node.outputs()) spec.outputs.push_back(v ? v->name() : "-");
  ir::Node* copy = graph->AddNode(std::move(spec));
  for (size_t i = 0; i < node.outputs().size(); ++i) {
    const ir::Value* v = node.output(i);
    if (!v) continue;
    const auto type = TypeAtOne(v->type(), dynamic);
    if (!type) return nullptr;
    copy->output(i)->set_type(*type);
    graph->AddOutput(copy->output(i));
  }
  return graph;
}

std::vector<Port> PortsOf(const ir::Graph& graph) {
  std::vector<Port> ports;
  for (const ir::Value* v : graph.inputs()) ports.push_back({v->name(), v->type()});
  return ports;
}

// `optimize` false, and no cast added: the nodes are what they are.
Result<CompiledModel> CompileAsIs(const ir::Graph& graph, compiler::Platform platform,
                                  compiler::CompileOptions options,
                                  const compiler::CostModel* cost) {
  platform.precision = "float32";
  options.optimize = false;
  options.greedy = false;
  options.cost = cost;
  return CompileModel(graph, platform, options);
}

// Of the kinds of elementwise nodes that measure a backend's borders: `rows` of them side by side,
// each a chain of `length` nodes, whose inner values are outputs too with `all_outputs`. All of it
// must become one step. Null: the backend does not take it.
std::unique_ptr<PackageClock> Chains(const ir::Type& type, const std::string& op, int rows,
                                     int length, bool all_outputs,
                                     const compiler::Platform& platform,
                                     const compiler::CompileOptions& options) {
  ir::Graph graph;
  for (int r = 0; r < rows; ++r) {
    ir::Value* v = graph.AddInput("x" + std::to_string(r), type);
    for (int i = 0; i < length; ++i) {
      ir::Node* node = graph.AddNode({.op = op,
                                      .inputs = {v},
                                      .attributes = {},
                                      .name = "n" + std::to_string(r) + "_" + std::to_string(i)});
      v = node->output();
      v->set_type(type);
      if (all_outputs || i + 1 == length) graph.AddOutput(v);
    }
  }
  auto model = CompileAsIs(graph, platform, options, nullptr);
  if (!model.ok() || model->result.package.steps.size() != 1) return nullptr;
  auto clock = MakeClock(model->bytes, PortsOf(graph), platform, options.threads);
  return clock.ok() ? std::move(*clock) : nullptr;
}

}  // namespace

std::optional<ir::Type> TypeAtOne(const ir::Type& given, const std::set<std::string>& dynamic) {
  ir::Type type = given;
  if (type.is_container() || !type.shape) return std::nullopt;
  for (Dim& d : *type.shape) {
    const auto at = d.Evaluate([&](std::string_view s) -> std::optional<int64_t> {
      if (dynamic.count(std::string(s)) != 0) return 1;
      return std::nullopt;
    });
    if (!at.ok()) return std::nullopt;
    d = Dim(*at);
  }
  return type;
}

Result<double> MeasureKernel(const KernelTask& task, const std::set<std::string>& dynamic,
                             const compiler::Platform& platform,
                             const compiler::CompileOptions& options) {
  auto graph = Alone(*task.node, dynamic);
  if (!graph) return Unsupported("data decide an extent");
  const OnlyKernel cost(task);
  SLIPWAY_ASSIGN_OR_RETURN(const CompiledModel model,
                           CompileAsIs(*graph, platform, options, &cost));
  const auto& placement = model.result.placement;
  if (placement.size() != 1 || placement[0].backend != task.backend ||
      placement[0].kernel != task.kernel)
    return Unsupported("it is offered beside its neighbours only");
  SLIPWAY_ASSIGN_OR_RETURN(const auto clock,
                           MakeClock(model.bytes, PortsOf(*graph), platform, options.threads));
  SLIPWAY_ASSIGN_OR_RETURN(const auto times, clock->Steps(kSeconds, true));
  const auto found = times.find(task.node->name());
  if (found == times.end()) return Unsupported("it is no step of its own");  // a view
  return found->second;
}

Result<double> MeasureConversion(const ir::Type& type, Layout from, Layout to,
                                 const compiler::Platform& platform, int threads) {
  const compiler::BackendSet& set = Backends();
  const backends::CompileBackend* reference = set.Find("reference");
  if (!reference || !type.StaticDims()) return Unsupported("its extent is not known");
  // Inputs and outputs of packages are plain: what comes from another layout is converted before,
  // what goes to another one behind.
  format::PackageData package;
  package.name = "conversion";
  package.arch = platform.arch;
  package.backends.push_back({"reference", SLIPWAY_BACKEND_ABI_VERSION, reference->version()});
  const auto tensor = [&](const char* name, format::TensorKind kind, Layout layout) {
    format::PackageTensor t;
    t.name = name;
    t.dtype = type.dtype;
    t.kind = kind;
    t.layout = layout;
    t.shape = *type.shape;
    package.tensors.push_back(std::move(t));
    return static_cast<int>(package.tensors.size()) - 1;
  };
  const auto step = [&](const char* name, int in, int out) {
    format::PackageStep s;
    s.name = name;
    s.op = compiler::kConvertOp;
    s.kernel = "convert";
    s.blob = format::EncodeOp({format::kEngineDomain, "Reorder", {}});
    s.inputs = {in};
    s.outputs = {out};
    package.steps.push_back(std::move(s));
  };
  using format::TensorKind;
  const int x = tensor("x", TensorKind::kInput, Layout::kPlain);
  package.inputs = {x};
  int source = x;
  if (from != Layout::kPlain) step("before", x, source = tensor("a", TensorKind::kArena, from));
  const bool plain = to == Layout::kPlain;
  const int target = tensor("b", plain ? TensorKind::kOutput : TensorKind::kArena, to);
  step("timed", source, target);
  int y = target;
  if (!plain) step("behind", target, y = tensor("y", TensorKind::kOutput, Layout::kPlain));
  package.outputs = {y};
  SLIPWAY_ASSIGN_OR_RETURN(const auto bytes, format::SerializePackage(package));
  SLIPWAY_ASSIGN_OR_RETURN(const auto clock, MakeClock(bytes, {{"x", type}}, platform, threads));
  SLIPWAY_ASSIGN_OR_RETURN(const auto times, clock->Steps(kSeconds, true));
  if (!times.contains("timed")) return Internal("the conversion has no time");
  return times.at("timed");
}

Result<HandOver> MeasureHandOver(const ir::Type& type, const std::string& backend,
                                 const compiler::Platform& platform,
                                 const compiler::CompileOptions& options) {
  compiler::Platform only = platform;
  only.backends = {backend};
  only.fallback.clear();
  // One node; two in a chain; the same with the value between them given out; two chains of one.
  for (const char* op : {"Relu", "Abs", "Sigmoid", "Tanh", "Neg", "Identity"}) {
    std::array<std::unique_ptr<PackageClock>, 4> clocks = {
        Chains(type, op, 1, 1, false, only, options), nullptr, nullptr, nullptr};
    if (!clocks[0]) continue;
    clocks[1] = Chains(type, op, 1, 2, false, only, options);
    clocks[2] = Chains(type, op, 1, 2, true, only, options);
    clocks[3] = Chains(type, op, 2, 1, false, only, options);
    if (!clocks[1] || !clocks[2] || !clocks[3]) continue;
    std::array<std::vector<double>, 4> samples;
    const int turns = platform.device == "local" ? kTurns : 1;
    for (int turn = 0; turn < turns; ++turn) {
      for (size_t i = 0; i < clocks.size(); ++i) {
        SLIPWAY_ASSIGN_OR_RETURN(const auto times, clocks[i]->Steps(kSeconds / kTurns, true));
        if (times.size() != 1) return Internal("more than one step");
        samples[i].push_back(times.begin()->second);
      }
    }
    std::array<double, 4> ms{};
    for (size_t i = 0; i < ms.size(); ++i) {
      std::sort(samples[i].begin(), samples[i].end());
      ms[i] = samples[i][samples[i].size() / 2];
    }
    // With u for a node and c for the call: in + u + out + c; in + 2u + out + c; in + 2u + 2 out +
    // c; 2 in + 2u + 2 out + c. Whatever clocks say, a crossing gains no time.
    HandOver result;
    result.in = std::max(0.0, ms[3] - ms[2]);
    result.out = std::max(0.0, 2 * ms[0] - ms[1] - result.in);
    return result;
  }
  return Unsupported(backend + " has no elementwise operator for it");
}

}  // namespace slipway::deploy
