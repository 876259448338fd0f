#include "engine/backends/tensorrt/run/cache.h"

#include <cstdlib>
#include <cstring>

#include "base/folder.h"
#include "base/hash.h"
#include "base/mapped_file.h"

namespace slipway::tensorrt {
namespace {

constexpr char kMark[] = "SLIPTRE1";
constexpr size_t kMarkBytes = 8, kHeaderBytes = kMarkBytes + sizeof(Sha256Digest);

std::string FileOf(const std::string& folder, const std::string& key) {
  return folder + "/" + key + ".engine";
}

}  // namespace

std::string CacheFolder() {
  if (const char* given = std::getenv("SLIPWAY_TENSORRT_CACHE"); given && *given)
    return std::strcmp(given, "off") == 0 ? "" : given;
  if (const char* data = std::getenv("XDG_DATA_HOME"); data && *data == '/')
    return std::string(data) + "/slipway/tensorrt";
  const char* home = std::getenv("HOME");
  return std::string(home && *home ? home : ".") + "/.local/share/slipway/tensorrt";
}

std::optional<std::vector<uint8_t>> ReadEngine(const std::string& folder, const std::string& key) {
  if (folder.empty()) return std::nullopt;
  const auto file = MappedFile::Open(FileOf(folder, key));
  if (!file.ok()) return std::nullopt;
  const std::span<const uint8_t> bytes = (*file)->bytes();
  if (bytes.size() <= kHeaderBytes || std::memcmp(bytes.data(), kMark, kMarkBytes) != 0)
    return std::nullopt;
  const std::span<const uint8_t> engine = bytes.subspan(kHeaderBytes);
  const Sha256Digest hash = Sha256Of(engine);
  if (std::memcmp(bytes.data() + kMarkBytes, hash.data(), hash.size()) != 0) return std::nullopt;
  return std::vector<uint8_t>(engine.begin(), engine.end());
}

Status WriteEngine(const std::string& folder, const std::string& key,
                   std::span<const uint8_t> engine) {
  if (folder.empty()) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(MakeFolder(folder));
  std::vector<uint8_t> bytes(kHeaderBytes + engine.size());
  const Sha256Digest hash = Sha256Of(engine);
  std::memcpy(bytes.data(), kMark, kMarkBytes);
  std::memcpy(bytes.data() + kMarkBytes, hash.data(), hash.size());
  if (!engine.empty()) std::memcpy(bytes.data() + kHeaderBytes, engine.data(), engine.size());
  return WriteFile(FileOf(folder, key), std::span<const uint8_t>(bytes));
}

}  // namespace slipway::tensorrt
