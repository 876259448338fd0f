#include "deploy/tune.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "base/cpu.h"
#include "device/host_facts.h"
#include "model/ir/control.h"
#include "perfdb/cost_model.h"

namespace slipway::deploy {
namespace {

// So long each kernel is timed; at least so often.
constexpr double kSeconds = 0.03;
constexpr int kRuns = 5;

// One way to run one node.
struct Task {
  const ir::Node* node;
  std::string backend, kernel, signature;
};

// Makes one kernel free and everything else dear.
class OnlyKernel final : public compiler::CostModel {
 public:
  explicit OnlyKernel(const Task& task) : task_(task) {}
  double StepMs(const ir::Node&, const std::string& backend, const backends::Candidate& candidate,
                const backends::Target&) const override {
    return backend == task_.backend && candidate.kernel == task_.kernel ? 0 : 1e6;
  }
  double ConvertMs(double, format::Layout, format::Layout, const backends::Target&) const override {
    return 0;
  }

 private:
  const Task& task_;
};

// With 1 for each dynamic extent. Nothing where data decide an extent, or a container is.
std::optional<ir::Type> TypeAtOne(const ir::Value& value, const std::set<std::string>& dynamic) {
  ir::Type type = value.type();
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

// The node alone. Null when data decide an extent. `dynamic`: the symbols of the graph's inputs.
std::unique_ptr<ir::Graph> Alone(const ir::Node& node, const std::set<std::string>& dynamic) {
  auto graph = std::make_unique<ir::Graph>();
  std::map<const ir::Value*, ir::Value*> made;
  std::vector<ir::Value*> inputs;
  for (const ir::Value* v : node.inputs()) {
    if (!v) {
      inputs.push_back(nullptr);
      continue;
    }
    const auto type = TypeAtOne(*v, dynamic);
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
    const auto type = TypeAtOne(*v, dynamic);
    if (!type) return nullptr;
    copy->output(i)->set_type(*type);
    graph->AddOutput(copy->output(i));
  }
  return graph;
}

// The median of a kernel's mean times over some rounds; nothing when it cannot run alone.
std::optional<double> Measure(const Task& task, const std::set<std::string>& dynamic,
                              const compiler::Platform& platform,
                              const compiler::CompileOptions& options) {
  auto graph = Alone(*task.node, dynamic);
  if (!graph) return std::nullopt;
  const OnlyKernel cost(task);
  compiler::CompileOptions compile = options;
  compile.cost = &cost;
  compile.optimize = false;
  compiler::Platform plain = platform;
  plain.precision = "float32";  // the node is what it is already
  auto model = CompileModel(*graph, plain, compile);
  if (!model.ok()) return std::nullopt;
  const auto& placement = model->result.placement;
  if (placement.size() != 1 || placement[0].backend != task.backend ||
      placement[0].kernel != task.kernel)
    return std::nullopt;
  auto session = Session::FromBytes(model->bytes, {.threads = options.threads, .profile = true});
  if (!session.ok()) return std::nullopt;
  std::vector<Runner::Port> ports;
  for (const ir::Value* v : graph->inputs()) ports.push_back({v->name(), v->type()});
  auto inputs = MakeInputs(ports, {}, {}, true);
  if (!inputs.ok() || !session->SetInputs(*inputs).ok() || !session->RunOnly().ok())
    return std::nullopt;
  std::vector<double> times;
  const auto begin = std::chrono::steady_clock::now();
  const auto spent = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  while (static_cast<int>(times.size()) < kRuns || spent() < kSeconds) {
    session->ResetProfile();
    if (!session->RunOnly().ok()) return std::nullopt;
    for (const slipway_step_profile& p : session->Profile()) {
      if (p.runs > 0 && p.name == task.node->name())
        times.push_back(p.total_ms / static_cast<double>(p.runs));
    }
    if (times.empty()) return std::nullopt;  // a view: no step of its own
    if (spent() > 20 * kSeconds && times.size() >= 2) break;
  }
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2),
                   times.end());
  return times[times.size() / 2];
}

}  // namespace

Result<TuneReport> Tune(const ir::Graph& graph, const compiler::Platform& platform,
                        const compiler::CompileOptions& options, perfdb::Store& store,
                        const std::function<void(int64_t, int64_t)>& progress) {
  if (platform.device != "local" || (platform.arch != "any" && platform.arch != ThisCpu().arch)) {
    return Unsupported("platform '" + platform.name +
                       "' does not run on this machine, where tuning measures; leave --tune out");
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto prepared,
                           compiler::PreparedGraph(graph, platform, Backends(), options, nullptr));
  backends::Target target = compiler::TargetOf(platform, options.threads);
  target.exact = options.exact;
  const perfdb::PlatformKey key = perfdb::KernelKey(device::ReadHostFacts(), options.threads);
  const std::string hash = key.Hash();
  TuneReport report;
  std::vector<Task> tasks;
  std::map<std::string, bool> seen;
  for (const auto& node : prepared->nodes()) {
    if (ir::IsControlFlow(*node)) continue;
    for (const std::string& name : platform.backends) {
      const backends::CompileBackend* backend = Backends().Find(name);
      if (!backend || !backend->Supports(*node, target).ok()) continue;
      for (const backends::Candidate& c : backend->Candidates(*node, target)) {
        if (c.view) continue;
        std::string signature = compiler::KernelSignature(*node, name, c.kernel);
        if (!seen.emplace(signature, true).second) continue;
        ++report.kernels;
        if (store.KernelMs(hash, signature)) {
          ++report.known;
          continue;
        }
        tasks.push_back({node.get(), name, c.kernel, std::move(signature)});
      }
    }
  }
  std::set<std::string> dynamic;
  for (const ir::Value* v : prepared->inputs()) {
    for (const Dim& d : v->type().shape.value_or(SymShape{})) {
      for (std::string& s : d.Symbols()) dynamic.insert(std::move(s));
    }
  }
  int64_t done = 0;
  for (const Task& task : tasks) {
    if (const auto ms = Measure(task, dynamic, platform, options)) {
      perfdb::KernelRow row;
      row.op = task.node->FullOp();
      row.backend = task.backend;
      row.kernel = task.kernel;
      row.signature = task.signature;
      row.ms = *ms;
      SLIPWAY_RETURN_IF_ERROR(store.InsertKernels(key, {row}));
      ++report.measured;
    } else {
      ++report.skipped;
    }
    if (progress) progress(++done, static_cast<int64_t>(tasks.size()));
  }
  return report;
}

}  // namespace slipway::deploy
