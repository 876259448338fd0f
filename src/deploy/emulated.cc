#include "deploy/emulated.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/cpu.h"
#include "base/mapped_file.h"
#include "data/npy.h"
#include "device/device.h"

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
                     std::vector<std::pair<std::string, std::string>>& folders) {
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

// `scratch`: the folder of this call's inputs and outputs, which arguments name.
Result<device::ProcessResult> RunPackage(const compiler::Platform& platform,
                                         std::vector<std::string> arguments,
                                         const std::string& scratch,
                                         const std::string& package_path, double timeout_seconds) {
  SLIPWAY_ASSIGN_OR_RETURN(auto device, device::MakeDevice(platform.device, platform.arch));
  SLIPWAY_RETURN_IF_ERROR(device->Check());
  SLIPWAY_ASSIGN_OR_RETURN(std::string runner, DeviceRunner(device->arch()));
  std::string package = fs::absolute(package_path).string();
  std::vector<std::pair<std::string, std::string>> folders;
  if (!device->shares_files()) {
    SLIPWAY_ASSIGN_OR_RETURN(runner, device->Push(runner));
    SLIPWAY_ASSIGN_OR_RETURN(package, device->Push(package));
    SLIPWAY_RETURN_IF_ERROR(PushArguments(*device, scratch, arguments, folders));
  }
  std::vector<std::string> argv = {runner, package};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  SLIPWAY_ASSIGN_OR_RETURN(auto result, device->Run(argv, {.timeout_seconds = timeout_seconds}));
  if (!result.ok()) {
    const std::string what = "slipway-run on " + platform.device + ": " + result.Describe();
    const bool refused = result.err.find("slipway-run: unsupported: ") != std::string::npos;
    return refused ? Unsupported(what) : Unavailable(what);
  }
  for (const auto& [there, local] : folders)
    SLIPWAY_RETURN_IF_ERROR(PullFolder(*device, there, local));
  return result;
}

}  // namespace

Result<std::string> DeviceRunner(const std::string& arch) {
  char self[4096];
  ssize_t n = ::readlink("/proc/self/exe", self, sizeof(self));
  fs::path folder =
      n > 0 ? fs::path(std::string(self, static_cast<size_t>(n))).parent_path() : fs::path(".");
  std::vector<fs::path> places;
  if (const char* env = std::getenv("SLIPWAY_RUNNERS"))
    places.push_back(fs::path(env) / ("slipway-run-" + arch));
  for (fs::path up = folder; !up.empty() && places.size() < 8; up = up.parent_path()) {
    places.push_back(up / ("runtime-" + arch) / "slipway-run");
    places.push_back(up / "build" / ("runtime-" + arch) / "slipway-run");
    if (up == up.parent_path()) break;
  }
  places.push_back(folder / ".." / "lib" / "slipway" / ("slipway-run-" + arch));
  if (arch == ThisCpu().arch) places.push_back(folder / "slipway-run");
  for (const fs::path& p : places) {
    std::error_code error;
    if (fs::is_regular_file(p, error)) return p.string();
  }
  return NotFound("there is no slipway-run for " + arch +
                  "; build it with `scripts/build runtime-" + arch + " slipway-run`");
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
      auto process, RunPackage(platform, std::move(arguments), scratch.path(), package_path, 600));
  BenchResult result;
  result.emulated = platform.emulated;
  try {
    nlohmann::json json = nlohmann::json::parse(process.out);
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
  SLIPWAY_ASSIGN_OR_RETURN(auto process, RunPackage(platform, std::move(arguments), scratch.path(),
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
  SLIPWAY_ASSIGN_OR_RETURN(auto process, RunPackage(platform, std::move(arguments), scratch.path(),
                                                    path, timeout_seconds));
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
