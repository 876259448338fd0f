#pragma once
// Devices that are reached by commands of this machine: ssh, adb, or any that a file describes.

#include <memory>
#include <string>

#include "device/device.h"

namespace slipway::device {

// How a device is reached. Commands are split into words at spaces ('...' and "..." hold words
// together) and started without a shell. In the words of `run`, {command} stands for a line for the
// device's shell; in those of `push` and `pull`, {local} and {remote} for paths.
struct DeviceCommands {
  std::string name;  // as Device::name()
  std::string arch;  // what the platform was compiled for; "" or "any": not compared
  std::string run, push, pull;
  std::string folder = "/tmp";  // on the device; files go into a folder of their own there
};

// "ssh:[USER@]HOST[:PORT]" (OpenSSH's ssh and scp without questions, so keys must be set up;
// SLIPWAY_SSH_CONFIG names a configuration file to use), "adb[:SERIAL]", or "command:FILE.yaml"
// with the keys run, push, pull, folder and name. InvalidArgument: another form, a name that could
// be an option, a file whose commands lack their places, with its line.
Result<DeviceCommands> ParseDeviceCommands(const std::string& device, const std::string& arch);
bool IsCommandDevice(const std::string& device);

// Its files live in a folder of their own, made at first use and removed with the object.
std::unique_ptr<Device> MakeCommandDevice(DeviceCommands commands);

}  // namespace slipway::device
