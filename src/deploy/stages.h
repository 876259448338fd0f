#pragma once
// Results of deterministic stages kept in a folder by the hash of everything they depend on.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace slipway::deploy {

class Stages {
 public:
  // `folder` is made when the first result is stored.
  explicit Stages(std::string folder) : folder_(std::move(folder)) {}

  // The tool's version enters every key.
  static std::string Key(std::string_view kind, const std::vector<std::string>& parts);
  std::optional<std::string> Load(const std::string& key) const;
  Status Store(const std::string& key, std::string_view bytes) const;

 private:
  std::string folder_;
};

}  // namespace slipway::deploy
