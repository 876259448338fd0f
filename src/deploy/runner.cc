#include "deploy/runner.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "base/cpu.h"
#include "base/float16.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "deploy/device_session.h"
#include "deploy/emulated.h"
#include "deploy/model_io.h"
#include "deploy/package_clock.h"
#include "model/interp/interpreter.h"
#include "perfdb/cost_model.h"

namespace slipway::deploy {
namespace {

Runner::Port PortOf(const slipway_tensor_info& info, ir::Container container) {
  ir::Type type;
  type.dtype = static_cast<DType>(info.dtype);
  type.container = container;
  if (container != ir::Container::kTensor) return {info.name, std::move(type)};
  type.shape.emplace();
  for (int d = 0; d < info.rank; ++d) {
    auto expression =
        info.dim_names[d] ? Dim::Parse(info.dim_names[d]) : Result<Dim>(Dim(info.dims[d]));
    type.shape->push_back(expression.ok() ? *expression : Dim::Symbol("unknown"));
  }
  return {info.name, std::move(type)};
}

}  // namespace

Result<CompiledModel> CompileModel(const ir::Graph& graph, const compiler::Platform& platform,
                                   const compiler::CompileOptions& options,
                                   const std::string& model_path, const std::string& weights_path) {
  CompiledModel model;
  model.platform = platform;
  compiler::CompileOptions with = options;
  if (!model_path.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(auto file, MappedFile::Open(model_path));
    with.provenance["model_sha256"] = ToHex(Sha256Of(file->bytes()));
    with.provenance["model"] = model_path.substr(model_path.find_last_of('/') + 1);
  }
  if (!weights_path.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(auto file, MappedFile::Open(weights_path));
    with.provenance["weights_sha256"] = ToHex(Sha256Of(file->bytes()));
    with.provenance["weights"] = weights_path.substr(weights_path.find_last_of('/') + 1);
  }
  SLIPWAY_ASSIGN_OR_RETURN(model.result, compiler::Compile(graph, platform, Backends(), with));
  SLIPWAY_ASSIGN_OR_RETURN(model.bytes, format::SerializePackage(model.result.package));
  return model;
}

Result<std::shared_ptr<const compiler::CostModel>> CostModelFor(const std::string& cost,
                                                                const compiler::Platform& platform,
                                                                int threads) {
  if (cost == "analytic")
    return std::shared_ptr<const compiler::CostModel>(new compiler::AnalyticCost);
  if (cost != "measured")
    return InvalidArgument("--costs '" + cost + "' is unknown; choose analytic or measured");
  SLIPWAY_ASSIGN_OR_RETURN(auto opened, perfdb::Store::Open());
  std::shared_ptr<perfdb::Store> store(std::move(opened));
  auto* model = new perfdb::MeasuredCost(*store, StepKey(platform, threads));
  return std::shared_ptr<const compiler::CostModel>(
      model, [store](const compiler::CostModel* m) { delete m; });
}

void Sign(std::vector<NodeTime>& nodes, const std::vector<compiler::PlacementRow>& placement) {
  std::map<std::string, const compiler::PlacementRow*> rows;
  for (const auto& row : placement) rows[row.node] = &row;
  for (NodeTime& n : nodes) {
    auto it = rows.find(n.name);
    // What the session takes for a loop itself is no kernel's time.
    // Nor is what a step of several nodes takes, which has the first one's name.
    if (it != rows.end() && it->second->backend == n.backend && n.backend != "session" &&
        n.op != "part")
      n.signature = it->second->signature;
  }
}

std::string HostPlatform() { return ThisCpu().arch == "x86_64" ? "x86" : "reference"; }

namespace {

bool RunsHere(const compiler::Platform& platform) {
  return platform.arch == "any" || platform.arch == ThisCpu().arch;
}

}  // namespace

compiler::Platform RunnableHere(const compiler::Platform& platform) {
  if (RunsHere(platform)) return platform;
  compiler::Platform here = platform;
  here.arch = ThisCpu().arch;
  here.features = {"native"};
  here.backends = {ThisCpu().arch == "x86_64" ? "x86" : "reference"};
  here.fallback = {"reference"};
  here.device = "local";
  here.emulated = false;
  here.simulated = true;
  return here;
}

bool TimedHere(const compiler::Platform& platform) {
  return !platform.simulated && platform.device == "local" && RunsHere(platform);
}

Status Runner::FromSession(Session session) {
  const auto inputs = session.inputs(), outputs = session.outputs();
  for (size_t i = 0; i < inputs.size(); ++i)
    inputs_.push_back(PortOf(inputs[i], session.input_container(i)));
  for (size_t i = 0; i < outputs.size(); ++i)
    outputs_.push_back(PortOf(outputs[i], session.output_container(i)));
  session_ = std::make_shared<Session>(std::move(session));
  run_ = [s = session_](const std::vector<ir::Tensor>& inputs) { return s->Run(inputs); };
  return OkStatus();
}

Result<compiler::Platform> PlatformFor(const format::PackageData& package,
                                       const std::string& name) {
  const auto text = [&](const char* key) {
    const auto it = package.provenance.find(key);
    return it == package.provenance.end() ? std::string() : it->second;
  };
  const std::string own = text("platform");
  if (!name.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(auto platform, GetPlatform(name));
    if (platform.name != own)
      return InvalidArgument("--platform " + platform.name + ": the package was compiled for '" +
                             own.substr(0, 120) + "'; compile the model for " + platform.name);
    return platform;
  }
  auto found = PlatformOfPackage(own);
  if (found.ok()) return found;
  compiler::Platform platform;
  platform.name = own;
  platform.precision = text("precision");
  return platform;
}

Status Runner::FromDevice(std::vector<uint8_t> bytes, const compiler::Platform& platform) {
  auto package = std::make_shared<std::vector<uint8_t>>(std::move(bytes));
  SLIPWAY_ASSIGN_OR_RETURN(const auto program, format::ParsePackage(*package, package));
  for (const auto& [indices, ports] :
       {std::pair{&program.inputs, &inputs_}, {&program.outputs, &outputs_}}) {
    for (const int i : *indices) {
      const auto& tensor = program.tensors[static_cast<size_t>(i)];
      ir::Type type;
      type.dtype = tensor.dtype;
      type.container = static_cast<ir::Container>(tensor.container);
      if (!tensor.is_container()) type.shape = tensor.shape;
      ports->push_back({tensor.name, std::move(type)});
    }
  }
  platform_ = platform.name;
  SLIPWAY_ASSIGN_OR_RETURN(const auto device, DeviceSession::Open(platform));
  constexpr double kSeconds = 600;
  run_ = [package, platform, device](const std::vector<ir::Tensor>& inputs) {
    return RunOnDevice(*package, platform, inputs, kSeconds);
  };
  return OkStatus();
}

Result<Runner> Runner::OnDevice(std::shared_ptr<const ir::Graph> graph, const std::string& name,
                                const SessionOptions& options) {
  if (name == "interpreter") return ForGraph(std::move(graph), name, options);
  SLIPWAY_ASSIGN_OR_RETURN(const compiler::Platform platform, GetPlatform(name));
  if (platform.device == "local") return ForGraph(std::move(graph), platform, options);
  compiler::CompileOptions compile;
  compile.threads = std::max(1, options.threads);
  SLIPWAY_ASSIGN_OR_RETURN(CompiledModel model, CompileModel(*graph, platform, compile));
  Runner runner;
  SLIPWAY_RETURN_IF_ERROR(runner.FromDevice(std::move(model.bytes), platform));
  return runner;
}

Result<Runner> Runner::OnDevice(const std::string& path, const std::string& name,
                                const SessionOptions& options) {
  if (name.empty()) return ForPackage(path, options);
  SLIPWAY_ASSIGN_OR_RETURN(const auto package, format::ReadPackage(path));
  SLIPWAY_ASSIGN_OR_RETURN(const compiler::Platform platform, PlatformFor(package, name));
  if (platform.device == "local") return ForPackage(path, options);
  SLIPWAY_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  Runner runner;
  SLIPWAY_RETURN_IF_ERROR(
      runner.FromDevice({file->bytes().begin(), file->bytes().end()}, platform));
  return runner;
}

Result<Runner> Runner::ForPackage(const std::string& path, const SessionOptions& options) {
  SLIPWAY_ASSIGN_OR_RETURN(Session session, Session::Load(path, options));
  Runner runner;
  runner.platform_ = session.Provenance("platform");
  SLIPWAY_RETURN_IF_ERROR(runner.FromSession(std::move(session)));
  return runner;
}

Result<Runner> Runner::ForGraph(std::shared_ptr<const ir::Graph> graph, const std::string& platform,
                                const SessionOptions& options) {
  Runner runner;
  runner.platform_ = platform;
  if (platform == "interpreter") {
    for (const ir::Value* v : graph->inputs()) runner.inputs_.push_back({v->name(), v->type()});
    for (const ir::Value* v : graph->outputs()) runner.outputs_.push_back({v->name(), v->type()});
    SLIPWAY_ASSIGN_OR_RETURN(auto interpreter, interp::Interpreter::Create(*graph));
    auto shared = std::make_shared<interp::Interpreter>(std::move(interpreter));
    auto pool = std::make_shared<ThreadPool>(ThreadPoolOptions{.threads = options.threads});
    runner.run_ = [shared, graph, pool](const std::vector<ir::Tensor>& inputs) {
      interp::RunOptions run;
      run.pool = pool.get();
      return shared->Run(inputs, run);
    };
    return runner;
  }
  SLIPWAY_ASSIGN_OR_RETURN(const compiler::Platform p, GetPlatform(platform));
  return ForGraph(std::move(graph), p, options);
}

Result<Runner> Runner::ForGraph(std::shared_ptr<const ir::Graph> graph,
                                const compiler::Platform& platform, const SessionOptions& options) {
  if (!RunsHere(platform)) {
    return InvalidArgument("platform '" + platform.name + "' is for " + platform.arch +
                           " and cannot run on this " + ThisCpu().arch +
                           " machine; use `bench` or `deploy`");
  }
  Runner runner;
  runner.platform_ = platform.name;
  compiler::CompileOptions compile;
  compile.threads = std::max(1, options.threads);
  SLIPWAY_ASSIGN_OR_RETURN(CompiledModel model, CompileModel(*graph, platform, compile));
  SLIPWAY_ASSIGN_OR_RETURN(Session session, Session::FromBytes(model.bytes, options));
  SLIPWAY_RETURN_IF_ERROR(runner.FromSession(std::move(session)));
  return runner;
}

namespace {

// Sequences are given tensor by tensor, as NAME.0, NAME.1, ...; an optional by what it holds.
Status GatherContainers(const std::vector<Runner::Port>& ports,
                        std::map<std::string, ir::Tensor>& given) {
  for (const auto& port : ports) {
    if (!port.type.is_container()) continue;
    ir::Tensor value;
    if (port.type.container != ir::Container::kOptional) {
      std::vector<ir::Tensor> items;
      for (;;) {
        auto it = given.find(port.name + "." + std::to_string(items.size()));
        if (it == given.end()) break;
        items.push_back(it->second);
        given.erase(it);
      }
      if (items.empty()) continue;
      auto sequence = ir::Tensor::Sequence(port.type.dtype, std::move(items));
      if (!sequence.ok()) return std::move(sequence).status().With("input '" + port.name + "'");
      value = std::move(*sequence);
    } else if (auto it = given.find(port.name); it != given.end()) {
      value = it->second;
    } else {
      continue;
    }
    given[port.name] = port.type.is_optional() ? ir::Tensor::Optional(value) : value;
  }
  return OkStatus();
}

}  // namespace

Status WithAssumedSizes(const Status& status, const std::vector<Runner::Port>& ports,
                        const std::map<std::string, ir::Tensor>& given,
                        const std::map<std::string, std::vector<int64_t>>& shapes) {
  if (status.code() != StatusCode::kInvalidArgument) return status;
  for (const auto& port : ports) {
    if (given.contains(port.name) || shapes.contains(port.name) || !port.type.shape) continue;
    std::string assumed, example;
    for (size_t i = 0; i < port.type.shape->size(); ++i) {
      const Dim& d = (*port.type.shape)[i];
      example += (i == 0 ? "" : ",") + (d.known() ? d.ToString() : i == 0 ? "1" : "64");
      if (i > 0 && !d.known()) assumed += (assumed.empty() ? "" : ", ") + d.ToString();
    }
    if (assumed.empty()) continue;
    return InvalidArgument(status.message() + "; sizes of input '" + port.name + "' (" + assumed +
                           ") were not given and became 1: give them, as in --shape " +
                           port.name + "=" + example);
  }
  return status;
}

Result<std::vector<ir::Tensor>> MakeInputs(
    const std::vector<Runner::Port>& ports, const std::map<std::string, ir::Tensor>& files,
    const std::map<std::string, std::vector<int64_t>>& shapes, bool fill, uint64_t seed) {
  std::map<std::string, ir::Tensor> given = files;
  SLIPWAY_RETURN_IF_ERROR(GatherContainers(ports, given));
  std::string names;
  for (const auto& port : ports)
    names += (names.empty() ? "" : ", ") + port.name + ": " + port.type.ToString();
  auto known = [&](const std::string& name) {
    return std::any_of(ports.begin(), ports.end(), [&](const auto& p) { return p.name == name; });
  };
  for (const auto& [name, t] : given) {
    if (!known(name))
      return InvalidArgument("the model has no input '" + name + "'; its inputs are " + names);
  }
  for (const auto& [name, s] : shapes) {
    if (!known(name))
      return InvalidArgument("--shape names '" + name + "', which is no input; the inputs are " +
                             names);
  }
  std::map<std::string, int64_t> symbols;
  std::vector<ir::Tensor> out;
  std::mt19937_64 rng(seed);
  for (const auto& port : ports) {
    if (auto it = given.find(port.name); it != given.end()) {
      out.push_back(it->second);
      continue;
    }
    if (!fill)
      return InvalidArgument(
          "input '" + port.name + "' is missing; give --input " + port.name +
          (port.type.is_container() && port.type.container != ir::Container::kOptional ? ".0"
                                                                                       : "") +
          "=FILE.npy (inputs: " + names + ")");
    auto shape = shapes.find(port.name);
    if (shape != shapes.end() && port.type.shape &&
        shape->second.size() != port.type.shape->size()) {
      return InvalidArgument("--shape " + port.name + " has " +
                             std::to_string(shape->second.size()) + " dimensions, the input is " +
                             port.type.ToString());
    }
    Dims dims;
    for (size_t i = 0; port.type.shape && i < port.type.shape->size(); ++i) {
      const Dim& d = (*port.type.shape)[i];
      if (shape != shapes.end()) {
        dims.push_back(shape->second[i]);
        if (!d.known() && d.Symbols().size() == 1) symbols[d.Symbols()[0]] = shape->second[i];
        continue;
      }
      auto value = d.Evaluate([&](std::string_view s) {
        auto known_symbol = symbols.find(std::string(s));
        return std::optional<int64_t>(known_symbol == symbols.end() ? 1 : known_symbol->second);
      });
      dims.push_back(value.ok() ? *value : 1);
    }
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, ir::Tensor::Allocate(port.type.dtype, dims));
    for (int64_t i = 0; i < t.count(); ++i) {
      uint64_t r = rng();
      float f = static_cast<float>(r >> 40) / static_cast<float>(1 << 23) - 1.0f;
      uint8_t* p = t.mutable_data();
      switch (t.dtype()) {
        case DType::kFloat32:
          reinterpret_cast<float*>(p)[i] = f;
          break;
        case DType::kFloat64:
          reinterpret_cast<double*>(p)[i] = f;
          break;
        case DType::kFloat16:
          reinterpret_cast<Float16*>(p)[i] = Float16(f);
          break;
        case DType::kBFloat16:
          reinterpret_cast<BFloat16*>(p)[i] = BFloat16(f);
          break;
        case DType::kInt64:
        case DType::kUInt64:
          reinterpret_cast<int64_t*>(p)[i] = static_cast<int64_t>(r % 8);
          break;
        case DType::kInt32:
        case DType::kUInt32:
          reinterpret_cast<int32_t*>(p)[i] = static_cast<int32_t>(r % 8);
          break;
        case DType::kInt16:
        case DType::kUInt16:
          reinterpret_cast<int16_t*>(p)[i] = static_cast<int16_t>(r % 8);
          break;
        case DType::kUInt8:
        case DType::kInt8:
          p[i] = static_cast<uint8_t>(r % 128);
          break;
        case DType::kBool:
          p[i] = r & 1;
          break;
        default:
          return Unsupported("input '" + port.name + "' is " + DTypeName(t.dtype()) +
                             ", which has no random values; give it with --input");
      }
    }
    // Of a sequence, two tensors.
    if (port.type.is_container() && port.type.container != ir::Container::kOptional) {
      SLIPWAY_ASSIGN_OR_RETURN(t, ir::Tensor::Sequence(t.dtype(), {t, t}));
    }
    out.push_back(port.type.is_optional() ? ir::Tensor::Optional(std::move(t)) : std::move(t));
  }
  return out;
}

// Of the products that the node's kernel makes.
static kernels::CeilingKind CeilingOf(const NodeTime& node, DType type) {
  if (node.kernel.rfind("bits:", 0) == 0) return kernels::CeilingKind::kBits;
  if (type == DType::kBFloat16) return kernels::CeilingKind::kBFloat16;
  return type == DType::kInt8 || type == DType::kUInt8 ? kernels::CeilingKind::kInt8
                                                       : kernels::CeilingKind::kFloat32;
}

Result<BenchResult> BenchSession(const Session& base, const std::vector<ir::Tensor>& inputs,
                                 const BenchOptions& options) {
  BenchResult result;
  SessionOptions timed = options.session;
  timed.profile = false;
  SLIPWAY_ASSIGN_OR_RETURN(Session session, base.Another(timed));
  SLIPWAY_RETURN_IF_ERROR(session.SetInputs(inputs));
  SLIPWAY_ASSIGN_OR_RETURN(result.measurement, device::Measure([&] { return session.RunOnly(); },
                                                               options.measure, options.progress));
  result.peak_bytes = session.memory();
  if (!options.profile) return result;
  SessionOptions profiled = options.session;
  profiled.profile = true;
  SLIPWAY_ASSIGN_OR_RETURN(Session profile, base.Another(profiled));
  SLIPWAY_RETURN_IF_ERROR(profile.SetInputs(inputs));
  for (int i = 0; i < 3; ++i) SLIPWAY_RETURN_IF_ERROR(profile.RunOnly());
  profile.ResetProfile();
  int runs =
      std::clamp(static_cast<int>(500 / std::max(result.measurement.stats.p50, 0.01)), 3, 100);
  for (int i = 0; i < runs; ++i) SLIPWAY_RETURN_IF_ERROR(profile.RunOnly());
  for (int k = 0; options.ceilings && k < kernels::kCeilingKinds; ++k)
    result.ceiling_gmacs[k] = kernels::CeilingGmacs(static_cast<kernels::CeilingKind>(k));
  if (options.ceilings) result.ceiling_read_gbps = kernels::CeilingReadGbps();
  const double threads = options.session.threads > 0 ? options.session.threads : AvailableCpus();
  const auto steps = profile.Profile();
  for (size_t i = 0; i < steps.size(); ++i) {
    const slipway_step_profile& p = steps[i];
    const slipway_step_cost cost = profile.StepCost(i);
    NodeTime n{p.name, p.op, p.backend, p.kernel ? p.kernel : ""};
    n.ms = p.runs ? p.total_ms / static_cast<double>(p.runs) : 0;
    n.least_ms = p.min_ms;
    n.macs = p.macs;
    n.calls = static_cast<double>(p.runs) / runs;
    n.bytes = cost.bytes_read + cost.bytes_written;
    const double ceiling =
        result.ceiling_gmacs[static_cast<int>(CeilingOf(n, static_cast<DType>(cost.dtype)))];
    if (n.ms > 0 && ceiling > 0)
      n.compute_share = static_cast<double>(n.macs) / (n.ms * 1e6 * ceiling * threads);
    if (n.ms > 0 && result.ceiling_read_gbps > 0)
      n.memory_share = static_cast<double>(n.bytes) / (n.ms * 1e6 * result.ceiling_read_gbps);
    result.nodes.push_back(std::move(n));
  }
  return result;
}

Result<BenchResult> BenchGraph(const ir::Graph& graph, const compiler::Platform& platform,
                               const BenchOptions& options) {
  compiler::CompileOptions compile;
  compile.threads = std::max(1, options.session.threads);
  SLIPWAY_ASSIGN_OR_RETURN(const CompiledModel compiled, CompileModel(graph, platform, compile));
  SLIPWAY_ASSIGN_OR_RETURN(const Session made, Session::FromBytes(compiled.bytes, options.session));
  std::vector<Runner::Port> ports;
  for (const ir::Value* v : graph.inputs()) ports.push_back({v->name(), v->type()});
  SLIPWAY_ASSIGN_OR_RETURN(const auto inputs, MakeInputs(ports, {}, {}, true));
  return BenchSession(made, inputs, options);
}

}  // namespace slipway::deploy
