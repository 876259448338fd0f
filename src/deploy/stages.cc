#include "deploy/stages.h"

#include <filesystem>

#include "base/hash.h"
#include "base/mapped_file.h"

namespace slipway::deploy {

std::string Stages::Key(std::string_view kind, const std::vector<std::string>& parts) {
  Sha256 hash;
  hash.Update("slipway 0.1.0");
  for (const std::string& part : parts) {
    hash.Update(std::to_string(part.size()) +
                ":");  // lengths keep ("ab", "c") and ("a", "bc") apart
    hash.Update(part);
  }
  return std::string(kind) + "-" + ToHex(hash.Finish()).substr(0, 32);
}

std::optional<std::string> Stages::Load(const std::string& key) const {
  auto text = ReadFile(folder_ + "/" + key);
  return text.ok() ? std::optional<std::string>(std::move(*text)) : std::nullopt;
}

Status Stages::Store(const std::string& key, std::string_view bytes) const {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  return WriteFile(folder_ + "/" + key, bytes);
}

}  // namespace slipway::deploy
