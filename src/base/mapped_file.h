#pragma once
// Whole files: mapped read-only, read into memory, or written in one atomic step.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace slipway {

// A read-only memory map. The bytes stay valid while the object lives; share it with
// std::shared_ptr. An empty file maps to an empty span. Errors: NotFound (no such file),
// InvalidArgument (a folder), Unavailable (the system refused).
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const uint8_t> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile() = default;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
};

Result<std::string> ReadFile(const std::string& path);
// Writes to a temporary file beside `path` and renames it: a reader sees the old file or the whole
// new one.
Status WriteFile(const std::string& path, std::span<const uint8_t> bytes);
Status WriteFile(const std::string& path, std::string_view text);

}  // namespace slipway
