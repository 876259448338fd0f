#pragma once
// Archives from outside (zip, tar and its compressed forms, through libarchive), opened with
// limits: member and byte counts, expansion ratio, plain files and folders only, names that stay
// inside.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned.h"
#include "base/status.h"

namespace slipway::data {

struct ArchiveLimits {
  uint64_t max_members = 2'000'000;
  uint64_t max_bytes = uint64_t{64} << 30;  // of everything unpacked
  uint64_t max_ratio = 1000;                // unpacked : packed, looked at beyond 64 MiB
};

// True when the name ends as a supported archive does: .zip .tar .tar.gz .tgz .tar.xz .txz .tar.bz2
// .tar.zst
bool IsArchiveName(const std::string& path);

// A folder under the temporary directory that is removed with all it holds when the object dies.
class TemporaryFolder {
 public:
  static Result<std::unique_ptr<TemporaryFolder>> Create();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  TemporaryFolder() = default;
  std::string path_;
};

// Unpacks into `folder`. Refused by name: links, devices, absolute names, "..", more than the
// limits allow.
Status ExtractArchive(const std::string& path, const std::string& folder,
                      const ArchiveLimits& limits = {});

struct ArchiveMember {
  std::string name;
  std::shared_ptr<AlignedBuffer> bytes;
  size_t size = 0;
};
// All plain members in memory; ResourceExhausted beyond `max_bytes` in sum.
Result<std::vector<ArchiveMember>> ReadArchiveMembers(const std::string& path, uint64_t max_bytes);

// A zip of stored (not deflated) members, replaced atomically.
Status WriteZip(const std::string& path,
                std::span<const std::pair<std::string, std::string>> members);

// A file's bytes, inflated when it starts as gzip does. ResourceExhausted beyond `max_bytes`.
Result<std::shared_ptr<std::string>> ReadMaybeGzip(const std::string& path, uint64_t max_bytes);

}  // namespace slipway::data
