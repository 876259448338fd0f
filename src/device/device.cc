#include "device/device.h"

#include <filesystem>

#include "base/cpu.h"
#include "device/command_device.h"

namespace slipway::device {
namespace {

namespace fs = std::filesystem;

// Devices that share this machine's files.
class SameFilesDevice : public Device {
 public:
  SameFilesDevice(std::string name, std::string arch)
      : name_(std::move(name)), arch_(std::move(arch)) {}
  const std::string& name() const override { return name_; }
  const std::string& arch() const override { return arch_; }
  Result<std::string> Push(const std::string& local_path) override {
    std::error_code ec;
    if (!fs::exists(local_path, ec))
      return NotFound(local_path + ": no such file to put on " + name_);
    return fs::absolute(local_path).string();
  }
  Status Pull(const std::string& device_path, const std::string& local_path) override {
    std::error_code ec;
    if (!fs::exists(device_path, ec)) return NotFound(device_path + ": no such file on " + name_);
    if (fs::equivalent(device_path, local_path, ec)) return OkStatus();
    ec.clear();
    fs::copy_file(device_path, local_path, fs::copy_options::overwrite_existing, ec);
    if (ec) return Unavailable(local_path + ": cannot be written (" + ec.message() + ")");
    return OkStatus();
  }

 private:
  std::string name_, arch_;
};

class LocalDevice : public SameFilesDevice {
 public:
  LocalDevice() : SameFilesDevice("local", ThisCpu().arch) {}
  bool emulated() const override { return false; }
  Status Check() const override { return OkStatus(); }
  Result<ProcessResult> Run(const std::vector<std::string>& argv,
                            const ProcessOptions& options) override {
    return RunProcess(argv, options);
  }
};

class QemuUserDevice : public SameFilesDevice {
 public:
  QemuUserDevice(const std::string& arch, std::string cpu)
      : SameFilesDevice("qemu-" + arch + (cpu.empty() ? "" : ":" + cpu), arch),
        program_("qemu-" + arch),
        sysroot_("/usr/" + arch + "-linux-gnu"),
        cpu_(std::move(cpu)) {}
  bool emulated() const override { return true; }
  Status Check() const override {
    if (FindProgram(program_).empty()) {
      return Unavailable(program_ + ": not installed; apt-get install qemu-user");
    }
    std::error_code ec;
    if (!fs::is_directory(sysroot_ + "/lib", ec)) {
      const std::string debian = arch() == "aarch64" ? "arm64" : arch();
      return Unavailable(sysroot_ + ": no libraries of " + arch() + "; apt-get install libc6-" +
                         debian + "-cross libstdc++6-" + debian + "-cross");
    }
    return OkStatus();
  }
  Result<ProcessResult> Run(const std::vector<std::string>& argv,
                            const ProcessOptions& options) override {
    SLIPWAY_RETURN_IF_ERROR(Check());
    if (argv.empty()) return InvalidArgument("no program to run");
    std::error_code ec;
    if (!fs::is_regular_file(argv[0], ec)) {
      return NotFound(argv[0] + ": no such program to run on " + name());
    }
    std::vector<std::string> command = {program_, "-L", sysroot_};
    if (!cpu_.empty()) command.insert(command.end(), {"-cpu", cpu_});
    command.insert(command.end(), argv.begin(), argv.end());
    return RunProcess(command, options);
  }

 private:
  std::string program_, sysroot_, cpu_;
};

}  // namespace

std::unique_ptr<Device> MakeLocalDevice() { return std::make_unique<LocalDevice>(); }

std::unique_ptr<Device> MakeQemuUserDevice(const std::string& arch, const std::string& cpu) {
  return std::make_unique<QemuUserDevice>(arch, cpu);
}

Result<std::unique_ptr<Device>> MakeDevice(const std::string& name, const std::string& arch) {
  if (name == "local") return MakeLocalDevice();
  if (IsCommandDevice(name)) {
    SLIPWAY_ASSIGN_OR_RETURN(DeviceCommands commands, ParseDeviceCommands(name, arch));
    return MakeCommandDevice(std::move(commands));
  }
  const size_t colon = name.find(':');
  const std::string kind = name.substr(0, colon);
  const std::string cpu = colon == std::string::npos ? "" : name.substr(colon + 1);
  for (const char* emulated : {"aarch64", "riscv64"}) {
    if (kind == std::string("qemu-") + emulated) return MakeQemuUserDevice(emulated, cpu);
  }
  return InvalidArgument("device '" + name +
                         "' is not known; there are local, qemu-aarch64[:CPU], qemu-riscv64[:CPU], "
                         "ssh:[USER@]HOST[:PORT], adb[:SERIAL] and command:FILE.yaml");
}

}  // namespace slipway::device
