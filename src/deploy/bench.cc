#include "deploy/bench.h"

#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/mapped_file.h"
#include "data/npy.h"
#include "deploy/emulated.h"
#include "deploy/model_io.h"
#include "deploy/package_clock.h"
#include "device/host_facts.h"
#include "model/ir/stats.h"

namespace slipway::deploy {

Result<BenchResult> MeasurePackage(const std::string& package_path,
                                   const compiler::Platform& platform,
                                   const std::vector<ir::Tensor>& inputs,
                                   const std::vector<std::string>& input_names,
                                   const BenchOptions& options) {
  if (platform.device != "local")
    return BenchOnDevice(package_path, platform, inputs, input_names, options);
  SLIPWAY_ASSIGN_OR_RETURN(Session session, Session::Load(package_path, options.session));
  SLIPWAY_ASSIGN_OR_RETURN(BenchResult result, BenchSession(session, inputs, options));
  SLIPWAY_ASSIGN_OR_RETURN(const auto package, format::ReadPackage(package_path));
  SLIPWAY_ASSIGN_OR_RETURN(result.plugins, PluginsUsedHere(PluginsNeeded(package)));
  return result;
}

Result<std::string> RecordMeasurement(perfdb::Store& store, const ir::Graph& graph,
                                      const compiler::Platform& platform, int64_t batch,
                                      int threads, const BenchResult& result) {
  device::HostFacts facts = device::ReadHostFacts();
  perfdb::PlatformKey key = perfdb::KeyOfHost(facts);
  key.platform = platform.name;
  key.runtime = "slipway";
  key.runtime_version = "0.1.0";
  for (const auto& n : result.nodes) {
    if (n.backend == "session") continue;  // no backend: the runtime itself
    if (std::any_of(result.plugins.begin(), result.plugins.end(),
                    [&](const PluginUse& p) { return p.backend == n.backend; }))
      continue;  // below, as it was on the device
    const compiler::BackendSet& set = Backends();
    const auto* backend = set.Find(n.backend);
    std::string part = "+" + n.backend + (backend ? "-" + backend->version() : "");
    if (key.runtime_version.find(part) == std::string::npos) key.runtime_version += part;
  }
  for (const PluginUse& p : result.plugins) key.runtime_version += "+" + p.Key();
  key.precision = platform.precision;
  key.batch = batch;
  key.threads = threads;
  key.emulated = result.emulated;
  const bool here = platform.device == "local";
  if (!here) {  // of that device we know the name, and of this machine nothing matters
    key.hardware = platform.device;
    if (!result.emulated)
      key.hardware_id = key.cpu_model = key.cpu_features = key.affinity = key.clock_policy =
          key.power_mode = "";
  }
  auto hash = [&](bool shapes) {
    char text[17];
    std::snprintf(text, sizeof(text), "%016llx",
                  static_cast<unsigned long long>(ir::StructureHash(graph, shapes)));
    return std::string(text);
  };
  ir::GraphStats stats = ir::Stats(graph);
  nlohmann::json features = {
      {"params", stats.parameters}, {"parameter_bytes", stats.parameter_bytes}, {"ops", stats.ops}};
  if (stats.macs.known()) features["macs"] = stats.macs.value();
  perfdb::Structure structure{hash(true), hash(false), graph.name, features.dump()};
  perfdb::MeasurementRow row = perfdb::RowOf(result.measurement, facts);
  row.peak_bytes = static_cast<int64_t>(result.peak_bytes);
  std::vector<perfdb::KernelRow> kernels;  // also on their own, for the cost model
  for (const auto& n : result.nodes) {
    if (n.calls == 0) continue;  // of a branch that was not taken
    row.kernels.push_back({n.name, n.op, n.backend, n.kernel, n.signature, n.ms, n.macs});
    if (!n.signature.empty() && here) kernels.push_back(row.kernels.back());
  }
  SLIPWAY_RETURN_IF_ERROR(store.InsertKernels(StepKey(platform, threads), kernels));
  SLIPWAY_ASSIGN_OR_RETURN(bool added, store.InsertMeasurement(structure, key, row));
  (void)added;  // the very same samples twice cannot be told from an import
  return structure.hash_with_shapes + " in " + store.path();
}

Result<BenchOutcome> Bench(const BenchRequest& request) {
  BenchOutcome outcome;
  std::string package_path = request.path;
  std::shared_ptr<ir::Graph> graph;
  compiler::Platform platform;
  std::string temporary;
  std::vector<compiler::PlacementRow> placement;
  struct Remove {
    std::string& path;
    ~Remove() {
      if (!path.empty()) ::unlink(path.c_str());
    }
  } remove{temporary};
  if (IsPackage(request.path)) {
    SLIPWAY_RETURN_IF_ERROR(CheckPackageOptions(request.path, request.read));
    SLIPWAY_ASSIGN_OR_RETURN(auto package, format::ReadPackage(request.path));
    SLIPWAY_ASSIGN_OR_RETURN(platform, PlatformFor(package, request.platform));
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(
        platform, GetPlatform(request.platform.empty() ? HostPlatform() : request.platform));
    SLIPWAY_ASSIGN_OR_RETURN(graph, LoadModel(request.path, request.read));
    compiler::CompileOptions compile;
    compile.threads = std::max(1, request.options.session.threads);
    SLIPWAY_ASSIGN_OR_RETURN(auto cost, CostModelFor(request.costs, platform, compile.threads));
    compile.cost = cost.get();
    SLIPWAY_ASSIGN_OR_RETURN(auto compiled, CompileModel(*graph, platform, compile, request.path, WeightsOf(request.path, request.read)));
    placement = std::move(compiled.result.placement);
    temporary = (std::filesystem::temp_directory_path() /
                 ("slipway-bench-" + std::to_string(::getpid()) + ".slip"))
                    .string();
    SLIPWAY_RETURN_IF_ERROR(WriteFile(temporary, compiled.bytes));
    package_path = temporary;
  }
  if (platform.simulated)
    return InvalidArgument("platform '" + platform.name +
                           "' is not here: packages for it compute its integers, not its speed; "
                           "write its files with `slipway export --platform " + platform.name +
                           "` and measure with the vendor's tool");
  SLIPWAY_ASSIGN_OR_RETURN(auto package, format::ReadPackage(package_path));
  std::vector<Runner::Port> ports;
  std::vector<std::string> names;
  auto shapes = request.shapes;
  for (int i : package.inputs) {
    const auto& t = package.tensors[static_cast<size_t>(i)];
    ports.push_back({t.name, {t.dtype, t.shape}});
    names.push_back(t.name);
    if (request.batch > 0 && !t.shape.empty() && !t.shape[0].known() && !shapes.count(t.name)) {
      std::vector<int64_t> dims;
      for (const Dim& d : t.shape) dims.push_back(d.known() ? d.value() : 1);
      dims[0] = request.batch;
      shapes[t.name] = dims;
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto inputs, MakeInputs(ports, {}, shapes, true));
  outcome.platform = platform.name;
  outcome.batch = !inputs.empty() && inputs[0].dims().rank() > 0 ? inputs[0].dims()[0] : 1;
  if (request.batch > 0 && outcome.batch != request.batch) {
    return InvalidArgument("--batch " + std::to_string(request.batch) +
                           ": the model's batch is fixed at " + std::to_string(outcome.batch) +
                           "; export it with a dynamic batch");
  }
  auto measured = MeasurePackage(package_path, platform, inputs, names, request.options);
  if (!measured.ok()) return WithAssumedSizes(measured.status(), ports, {}, request.shapes);
  outcome.result = std::move(*measured);
  Sign(outcome.result.nodes, placement);
  if (request.record && graph) {
    auto store = perfdb::Store::Open();
    if (!store.ok())
      return store.status().With(
          "the measurement was taken but cannot be stored (--no-record skips that)");
    SLIPWAY_ASSIGN_OR_RETURN(outcome.record,
                             RecordMeasurement(**store, *graph, platform, outcome.batch,
                                               request.options.session.threads, outcome.result));
  }
  return outcome;
}

}  // namespace slipway::deploy
