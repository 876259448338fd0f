#include "deploy/device_session.h"

#include <unistd.h>

#include <filesystem>
#include <mutex>

#include "base/hash.h"
#include "base/mapped_file.h"

namespace slipway::deploy {

DeviceSession::DeviceSession(std::unique_ptr<device::Device> device)
    : device_(std::move(device)), owner_(::getpid()) {}

bool DeviceSession::is_owner() const { return ::getpid() == owner_; }

Result<std::shared_ptr<DeviceSession>> DeviceSession::Open(const compiler::Platform& platform) {
  static std::mutex mutex;
  static auto* open = new std::map<std::string, std::weak_ptr<DeviceSession>>;
  std::lock_guard lock(mutex);
  std::weak_ptr<DeviceSession>& known = (*open)[platform.device + " " + platform.arch];
  if (auto session = known.lock()) return session;
  SLIPWAY_ASSIGN_OR_RETURN(auto device, device::MakeDevice(platform.device, platform.arch));
  SLIPWAY_RETURN_IF_ERROR(device->Check());
  std::shared_ptr<DeviceSession> made(new DeviceSession(std::move(device)));
  known = made;
  return made;
}

Result<std::string> DeviceSession::PushOnce(const std::string& path) {
  if (device_->shares_files()) return device_->Push(path);
  SLIPWAY_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  // A library's name may matter to those who load it.
  const std::string key =
      ToHex(Sha256Of(file->bytes())) + " " + std::filesystem::path(path).filename().string();
  if (const auto it = pushed_.find(key); it != pushed_.end()) return it->second;
  SLIPWAY_ASSIGN_OR_RETURN(std::string there, device_->Push(path));
  pushed_[key] = there;
  return there;
}

}  // namespace slipway::deploy
