#include "deploy/emulated.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/cpu.h"
#include "base/mapped_file.h"
#include "data/npy.h"
#include "deploy/device_plugins.h"
#include "deploy/device_session.h"
#include "deploy/toolchain.h"
#include "device/device.h"
#include "device/elf.h"

namespace slipway::deploy {
namespace {

constexpr int kRuns = 15;

namespace fs = std::filesystem;

// A folder of its own that goes away with the object.
class ScratchFolder {
 public:
  static Result<ScratchFolder> Make() {
    std::string pattern = (fs::temp_directory_path() / "slipway-device-XXXXXX").string();
    if (!::mkdtemp(pattern.data()))
      return Unavailable("cannot make a temporary folder '" + pattern +
                         "'; set TMPDIR to a writable place");
    return ScratchFolder(std::move(pattern));
  }
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  ~ScratchFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit ScratchFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// "input_3.npy": names of a model are no file names.
std::string InputFile(const std::string& folder, size_t i) {
  return folder + "/input_" + std::to_string(i) + ".npy";
}

// As slipway-run names the file of an output.
std::string OutputFile(const std::string& folder, std::string name) {
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-' && c != '.') c = '_';
  }
  if (name.empty() || name[0] == '.') name = "_" + name;
  return folder + "/" + name + ".npy";
}

// Puts what lies in the scratch folder on the device: in arguments that end with a path there
// ("name=PATH"), the path becomes the device's. Folders are for outputs: pairs (device, local).
Status PushArguments(device::Device& device, const std::string& scratch,
                     std::vector<std::string>& arguments,
                     std::vector<std::pair<std::string, std::string>>& folders,
                     std::vector<std::string>& made) {
  for (std::string& argument : arguments) {
    const size_t at = argument.find(scratch + "/");
    if (at == std::string::npos) continue;
    const std::string local = argument.substr(at);
    std::error_code ignored;
    std::string there;
    if (fs::is_directory(local, ignored)) {
      SLIPWAY_ASSIGN_OR_RETURN(there, device.MakeFolder());
      folders.emplace_back(there, local);
    } else {
      SLIPWAY_ASSIGN_OR_RETURN(there, device.Push(local));
    }
    made.push_back(there);
    argument = argument.substr(0, at) + there;
  }
  return OkStatus();
}

Status PullFolder(device::Device& device, const std::string& there, const std::string& local) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto listed, device.Run({"ls", there}, {.timeout_seconds = 60}));
  if (!listed.ok()) return Unavailable("outputs on " + device.name() + ": " + listed.Describe());
  std::istringstream lines(listed.out);
  for (std::string file; std::getline(lines, file);) {
    if (!file.empty() && file.back() == '\r') file.pop_back();
    if (file.empty() || file[0] == '.' || file.find('/') != std::string::npos) continue;
    SLIPWAY_RETURN_IF_ERROR(device.Pull(there + "/" + file, local + "/" + file));
  }
  return OkStatus();
}

struct PackageRun {
  device::ProcessResult process;
  std::vector<PluginUse> plugins;  // in the order of slipway-run's --plugin
};

// What a run leaves on a device.
class Leftovers {
 public:
  explicit Leftovers(device::Device& device) : device_(device) {}
  ~Leftovers() { (void)device_.Remove(paths); }
  Leftovers(const Leftovers&) = delete;
  Leftovers& operator=(const Leftovers&) = delete;
  std::vector<std::string> paths;

 private:
  device::Device& device_;
};

// `scratch`: the folder of this call's inputs and outputs, which arguments name.
Result<PackageRun> RunPackage(const compiler::Platform& platform,
                              std::vector<std::string> arguments, const std::string& scratch,
                              const std::string& package_path, double timeout_seconds) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto session, DeviceSession::Open(platform));
  device::Device& device = session->device();
  PluginNeeds needs;
  {
    SLIPWAY_ASSIGN_OR_RETURN(const auto package, format::ReadPackage(package_path));
    needs = PluginsNeeded(package);
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto libraries,
                           DevicePlugins(needs, platform, device.name(), device.arch()));
  SLIPWAY_ASSIGN_OR_RETURN(std::string runner, DeviceRunner(device.arch(), !libraries.empty()));
  std::string package = fs::absolute(package_path).string();
  PackageRun run;
  Leftovers left(device);
  std::vector<std::pair<std::string, std::string>> folders;
  for (std::string& library : libraries) {
    SLIPWAY_ASSIGN_OR_RETURN(PluginUse use, UseOf(library));
    run.plugins.push_back(std::move(use));
    SLIPWAY_ASSIGN_OR_RETURN(library, session->PushOnce(library));
  }
  if (!device.shares_files()) {
    SLIPWAY_ASSIGN_OR_RETURN(runner, session->PushOnce(runner));
    // Of a forked process, nobody would take it away later.
    const bool keep = session->is_owner();
    SLIPWAY_ASSIGN_OR_RETURN(package, keep ? session->PushOnce(package) : device.Push(package));
    if (!keep) left.paths.push_back(package);
    SLIPWAY_RETURN_IF_ERROR(PushArguments(device, scratch, arguments, folders, left.paths));
  }
  std::vector<std::string> argv = {runner, package};
  for (const std::string& library : libraries) argv.insert(argv.end(), {"--plugin", library});
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  SLIPWAY_ASSIGN_OR_RETURN(run.process, device.Run(argv, {.timeout_seconds = timeout_seconds}));
  if (!run.process.ok()) {
    const std::string what = "slipway-run on " + platform.device + ": " + run.process.Describe();
    const bool refused = run.process.err.find("slipway-run: unsupported: ") != std::string::npos;
    return refused ? Unsupported(what) : Unavailable(what);
  }
  for (const auto& [there, local] : folders)
    SLIPWAY_RETURN_IF_ERROR(PullFolder(device, there, local));
  return run;
}

// What the device says of the plugins that it loaded; in their order.
void ReadPlugins(const nlohmann::json& list, std::vector<PluginUse>& plugins) {
  const auto text = [](const nlohmann::json& entry, const char* key) {
    const auto it = entry.find(key);
    return it != entry.end() && it->is_string() ? it->get<std::string>().substr(0, 200)
                                                : std::string();
  };
  for (size_t i = 0; list.is_array() && i < std::min(plugins.size(), list.size()); ++i) {
    if (!list[i].is_object()) continue;
    plugins[i].backend = text(list[i], "backend");
    plugins[i].version = text(list[i], "version");
    plugins[i].operators = text(list[i], "operators");
    plugins[i].operators_version = text(list[i], "operators_version");
  }
}

}  // namespace

namespace {

// Where a runner of this name for an architecture may be, the first first.
std::vector<fs::path> RunnerPlaces(const std::string& name, const std::string& arch) {
  char self[4096];
  ssize_t n = ::readlink("/proc/self/exe", self, sizeof(self));
  fs::path folder =
      n > 0 ? fs::path(std::string(self, static_cast<size_t>(n))).parent_path() : fs::path(".");
  std::vector<fs::path> places;
  if (const char* env = std::getenv("SLIPWAY_RUNNERS"))
    places.push_back(fs::path(env) / (name + "-" + arch));
  for (fs::path up = folder; !up.empty() && places.size() < 8; up = up.parent_path()) {
    places.push_back(up / ("runtime-" + arch) / name);
    places.push_back(up / "build" / ("runtime-" + arch) / name);
    if (up == up.parent_path()) break;
  }
  places.push_back(folder / ".." / "lib" / "slipway" / (name + "-" + arch));
  if (arch == ThisCpu().arch) places.push_back(folder / name);
  return places;
}

}  // namespace

Result<std::string> DeviceRunner(const std::string& arch, bool with_plugins) {
  std::string is_static;
  for (const char* name : {"slipway-run-dynamic", "slipway-run"}) {
    if (!with_plugins && name == std::string("slipway-run-dynamic")) continue;
    for (const fs::path& p : RunnerPlaces(name, arch)) {
      std::error_code error;
      if (!fs::is_regular_file(p, error)) continue;
      if (!with_plugins) return p.string();
      const auto elf = device::ReadElfFile(p.string());
      if (elf.ok() && elf->is_dynamic && elf->has_interpreter) return p.string();
      if (is_static.empty()) is_static = p.string();
    }
  }
  const std::string build = "build it with `scripts/build runtime-" + arch + " slipway-run";
  if (!is_static.empty())
    return NotFound(is_static +
                    " is linked statically and loads no plugin, which the package needs; " + build +
                    "-dynamic`");
  return NotFound("there is no slipway-run for " + arch + "; " + build +
                  (with_plugins ? "-dynamic`" : "`"));
}

Status PrepareDevice(DeviceSession& session, const compiler::Platform& platform,
                     const std::vector<std::string>& backends) {
  device::Device& device = session.device();
  SLIPWAY_ASSIGN_OR_RETURN(const std::string runner, DeviceRunner(device.arch()));
  SLIPWAY_RETURN_IF_ERROR(session.PushOnce(runner).status());
  if (backends.empty()) return OkStatus();
  PluginNeeds needs;
  for (const std::string& name : backends) {
    const auto* backend = Backends().Find(name);
    needs.backends[name] = backend ? backend->plugin() + " " + backend->version() : "";
  }
  SLIPWAY_ASSIGN_OR_RETURN(const std::string loads, DeviceRunner(device.arch(), true));
  SLIPWAY_RETURN_IF_ERROR(session.PushOnce(loads).status());
  SLIPWAY_ASSIGN_OR_RETURN(const auto libraries,
                           DevicePlugins(needs, platform, device.name(), device.arch()));
  for (const std::string& library : libraries)
    SLIPWAY_RETURN_IF_ERROR(session.PushOnce(library).status());
  return OkStatus();
}

Result<BenchResult> BenchOnDevice(const std::string& package_path,
                                  const compiler::Platform& platform,
                                  const std::vector<ir::Tensor>& inputs,
                                  const std::vector<std::string>& input_names,
                                  const BenchOptions& options) {
  SLIPWAY_ASSIGN_OR_RETURN(ScratchFolder scratch, ScratchFolder::Make());
  std::vector<std::string> arguments;
  for (size_t i = 0; i < inputs.size(); ++i) {
    SLIPWAY_RETURN_IF_ERROR(data::WriteNpy(InputFile(scratch.path(), i), inputs[i].dtype(),
                                           inputs[i].dims(), inputs[i].bytes()));
    arguments.insert(arguments.end(),
                     {"--input", input_names[i] + "=" + InputFile(scratch.path(), i)});
  }
  arguments.insert(arguments.end(),
                   {"--threads", std::to_string(std::max(1, options.session.threads)), "--warmup",
                    "2", "--bench", std::to_string(kRuns)});
  if (options.profile) arguments.push_back("--profile");
  if (options.progress) options.progress(0);
  SLIPWAY_ASSIGN_OR_RETURN(
      auto run, RunPackage(platform, std::move(arguments), scratch.path(), package_path, 600));
  BenchResult result;
  result.emulated = platform.emulated;
  try {
    nlohmann::json json = nlohmann::json::parse(run.process.out);
    result.plugins = std::move(run.plugins);
    if (json.contains("plugins")) ReadPlugins(json["plugins"], result.plugins);
    result.measurement =
        device::FromSamples(json.at("samples_ms").get<std::vector<float>>(), 2, options.measure);
    result.peak_bytes = json.at("peak_bytes").get<uint64_t>();
    if (json.contains("steps")) {
      for (const auto& s : json["steps"]) {
        result.nodes.push_back({s.at("name"), s.at("op"), s.at("backend"), s.at("kernel"),
                                s.at("ms"), s.value("min_ms", 0.0), s.at("macs"), "",
                                static_cast<double>(s.value("runs", kRuns)) / kRuns});
      }
    }
  } catch (const nlohmann::json::exception& e) {
    return Unavailable(std::string("slipway-run on ") + platform.device +
                       " answered no valid report: " + e.what());
  }
  if (options.progress) options.progress(1);
  return result;
}

Result<ir::Tensor> RunRowsOnDevice(const std::string& package_path,
                                   const compiler::Platform& platform,
                                   const std::vector<std::string>& names,
                                   const std::vector<ir::Tensor>& rows, double timeout_seconds) {
  SLIPWAY_ASSIGN_OR_RETURN(ScratchFolder scratch, ScratchFolder::Make());
  std::string out = scratch.path() + "/out";
  fs::create_directory(out);
  std::vector<std::string> arguments = {"--batched", "--output-dir", out};
  for (size_t i = 0; i < rows.size(); ++i) {
    SLIPWAY_RETURN_IF_ERROR(data::WriteNpy(InputFile(scratch.path(), i), rows[i].dtype(),
                                           rows[i].dims(), rows[i].bytes()));
    arguments.insert(arguments.end(), {"--input", names[i] + "=" + InputFile(scratch.path(), i)});
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto run, RunPackage(platform, std::move(arguments), scratch.path(),
                                                package_path, timeout_seconds));
  SLIPWAY_ASSIGN_OR_RETURN(auto package, format::ReadPackage(package_path));
  if (package.outputs.empty()) return InvalidArgument("the package has no output");
  const std::string& name = package.tensors[static_cast<size_t>(package.outputs[0])].name;
  SLIPWAY_ASSIGN_OR_RETURN(auto array, data::ReadNpy(OutputFile(out, name)));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor mapped,
                           ir::Tensor::Wrap(array.dtype, Dims(std::span<const int64_t>(array.dims)),
                                            array.bytes, array.owner));
  return mapped;
}

namespace {

// The files and arguments of a sequence or optional.
Status AddContainer(const std::string& name, const ir::Tensor& value, const std::string& file,
                    std::vector<std::string>& arguments) {
  std::span<const ir::Tensor> items = value.items();
  const bool nothing = items.empty() && value.container() != ir::Container::kSequence;
  if (value.container() == ir::Container::kOptionalSequence && !nothing) items = items[0].items();
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string item = name + "." + std::to_string(i);
    const std::string path = file + "_" + std::to_string(i) + ".bin";
    SLIPWAY_RETURN_IF_ERROR(WriteFile(path, items[i].bytes()));
    std::string dims;
    for (int64_t d : items[i].dims()) dims += (dims.empty() ? "" : ",") + std::to_string(d);
    arguments.insert(arguments.end(), {"--input", item + "=" + path, "--shape", item + "=" + dims});
  }
  arguments.insert(arguments.end(),
                   {"--length", name + "=" + (nothing ? "-1" : std::to_string(items.size()))});
  return OkStatus();
}

Result<ir::Tensor> ReadContainer(const format::PackageTensor& tensor, const std::string& folder) {
  const auto container = static_cast<ir::Container>(tensor.container);
  std::string file = OutputFile(folder, tensor.name);
  file.replace(file.size() - 3, 3, "length");
  SLIPWAY_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  const int64_t length = std::strtoll(text.c_str(), nullptr, 10);
  if (length < 0) return ir::Tensor::NoOptional(tensor.dtype, container);
  std::vector<ir::Tensor> items;
  for (int64_t i = 0; i < length; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(
        auto array, data::ReadNpy(OutputFile(folder, tensor.name + "." + std::to_string(i))));
    SLIPWAY_ASSIGN_OR_RETURN(
        ir::Tensor item, ir::Tensor::Wrap(tensor.dtype, Dims(std::span<const int64_t>(array.dims)),
                                          array.bytes, array.owner));
    items.push_back(std::move(item));
  }
  if (container == ir::Container::kOptional) {
    if (items.size() != 1) return Internal("an optional of " + std::to_string(length) + " tensors");
    return ir::Tensor::Optional(std::move(items[0]));
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor all, ir::Tensor::Sequence(tensor.dtype, std::move(items)));
  return container == ir::Container::kSequence ? all : ir::Tensor::Optional(std::move(all));
}

}  // namespace

Result<std::vector<ir::Tensor>> RunOnDevice(const std::vector<uint8_t>& package,
                                            const compiler::Platform& platform,
                                            const std::vector<ir::Tensor>& inputs,
                                            double timeout_seconds) {
  SLIPWAY_ASSIGN_OR_RETURN(ScratchFolder scratch, ScratchFolder::Make());
  const std::string path = scratch.path() + "/m.slip", out = scratch.path() + "/out";
  SLIPWAY_RETURN_IF_ERROR(WriteFile(path, package));
  fs::create_directory(out);
  SLIPWAY_ASSIGN_OR_RETURN(auto program, format::ReadPackage(path));
  if (program.inputs.size() != inputs.size()) {
    return InvalidArgument("the package has " + std::to_string(program.inputs.size()) +
                           " inputs, " + std::to_string(inputs.size()) + " are given");
  }
  std::vector<std::string> arguments = {"--output-dir", out};
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto& tensor = program.tensors[static_cast<size_t>(program.inputs[i])];
    if (inputs[i].container() != static_cast<ir::Container>(tensor.container)) {
      return InvalidArgument("input '" + tensor.name + "' is given as " + inputs[i].Describe() +
                             ", which is not what the package takes");
    }
    if (tensor.is_container()) {
      SLIPWAY_RETURN_IF_ERROR(AddContainer(
          tensor.name, inputs[i], scratch.path() + "/input_" + std::to_string(i), arguments));
      continue;
    }
    // Raw bytes: NumPy has no name for some types.
    const std::string file = scratch.path() + "/input_" + std::to_string(i) + ".bin";
    SLIPWAY_RETURN_IF_ERROR(WriteFile(file, inputs[i].bytes()));
    arguments.insert(arguments.end(), {"--input", tensor.name + "=" + file});
    std::string dims;
    for (int64_t d : inputs[i].dims()) dims += (dims.empty() ? "" : ",") + std::to_string(d);
    const bool known = std::all_of(tensor.shape.begin(), tensor.shape.end(),
                                   [](const Dim& d) { return d.known(); });
    if (!known) arguments.insert(arguments.end(), {"--shape", tensor.name + "=" + dims});
  }
  SLIPWAY_ASSIGN_OR_RETURN(
      auto run, RunPackage(platform, std::move(arguments), scratch.path(), path, timeout_seconds));
  std::vector<ir::Tensor> outputs;
  for (auto index : program.outputs) {
    const auto& tensor = program.tensors[static_cast<size_t>(index)];
    if (tensor.is_container()) {
      SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor value, ReadContainer(tensor, out));
      outputs.push_back(std::move(value));
      continue;
    }
    SLIPWAY_ASSIGN_OR_RETURN(auto array, data::ReadNpy(OutputFile(out, tensor.name)));
    Dims dims(std::span<const int64_t>(array.dims));
    if (DTypeBits(tensor.dtype) < 8) {  // the file has one byte after the other
      dims = Dims();
      for (const Dim& d : tensor.shape) {
        if (!d.known())
          return Unsupported("output '" + tensor.name + "': its extent is not known beforehand");
        dims.push_back(d.value());
      }
    }
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor mapped,
                             ir::Tensor::Wrap(tensor.dtype, dims, array.bytes, array.owner));
    outputs.push_back(std::move(mapped));
  }
  return outputs;
}

}  // namespace slipway::deploy
