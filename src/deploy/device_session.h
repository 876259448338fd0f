#pragma once
// A device that is kept open while anybody uses it: what was put there once is not put there again.

#include <map>
#include <memory>
#include <string>

#include "base/status.h"
#include "device/device.h"
#include "engine/compiler/platform.h"

namespace slipway::deploy {

class DeviceSession {
 public:
  // The platform's device, checked; the same for all who hold it at one time. Whoever makes several
  // runs holds one over all of them. With the last holder everything on the device goes away.
  static Result<std::shared_ptr<DeviceSession>> Open(const compiler::Platform& platform);

  device::Device& device() { return *device_; }
  // As Device::Push, but bytes that are there already are not sent again: the path they have.
  Result<std::string> PushOnce(const std::string& path);
  // False in a process that was forked from the one that opened it: what it pushes, nobody else
  // knows.
  bool is_owner() const;

 private:
  explicit DeviceSession(std::unique_ptr<device::Device> device);
  std::unique_ptr<device::Device> device_;
  std::map<std::string, std::string> pushed_;  // SHA-256 of bytes and file name -> path there
  int owner_;
};

}  // namespace slipway::deploy
