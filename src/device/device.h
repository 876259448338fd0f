#pragma once
// A place where programs run: this machine, another instruction set under qemu-user, or a board
// that is reached by ssh, adb or other commands. A device that emulates says so, and its times are
// never compared with real ones.

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "device/process.h"

namespace slipway::device {

class Device {
 public:
  virtual ~Device() = default;
  // "local", "qemu-aarch64", "qemu-aarch64:cortex-a53".
  virtual const std::string& name() const = 0;
  // "x86_64", "aarch64", "riscv64".
  virtual const std::string& arch() const = 0;
  virtual bool emulated() const = 0;
  // Push and Pull copy nothing: paths are those of this machine.
  virtual bool shares_files() const { return true; }
  // Ok when programs can be run; otherwise what is missing and how to get it.
  virtual Status Check() const = 0;
  // Runs a program of the device's instruction set. argv[0] is a path on the device, as Push
  // returns it.
  virtual Result<ProcessResult> Run(const std::vector<std::string>& argv,
                                    const ProcessOptions& options = {}) = 0;
  // Makes a local file available on the device and returns its path there; fetches one back.
  virtual Result<std::string> Push(const std::string& local_path) = 0;
  virtual Status Pull(const std::string& device_path, const std::string& local_path) = 0;
  // Takes away what Push or MakeFolder gave; nothing where files are shared.
  virtual Status Remove(const std::vector<std::string>&) { return OkStatus(); }
  // A new folder on the device; Unsupported where files are shared.
  virtual Result<std::string> MakeFolder() { return Unsupported(name() + " shares files"); }
};

std::unique_ptr<Device> MakeLocalDevice();

// arch: "aarch64" or "riscv64"; cpu: a qemu CPU model, "" = qemu's default ("max" has every
// extension).
std::unique_ptr<Device> MakeQemuUserDevice(const std::string& arch, const std::string& cpu = "");

// By name, as listed at Device::name(), or as device/command_device.h has it. `arch`: what programs
// are for; Check compares it with what a board answers. InvalidArgument names what there is.
Result<std::unique_ptr<Device>> MakeDevice(const std::string& name, const std::string& arch = "");

}  // namespace slipway::device
