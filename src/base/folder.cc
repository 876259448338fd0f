#include "base/folder.h"

#include <filesystem>
#include <system_error>

namespace slipway {

Status MakeFolder(const std::string& folder) {
  if (folder.empty()) return OkStatus();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error || !std::filesystem::is_directory(folder)) {
    return InvalidArgument("cannot make the folder '" + folder + "'" +
                           (error ? ": " + error.message() : "") + "; give a writable place");
  }
  return OkStatus();
}

}  // namespace slipway
