#include "deploy/toolchain.h"

#include "engine/backends/all/compilers.h"

namespace slipway::deploy {

const compiler::BackendSet& Backends() {
  static const compiler::BackendSet* set = [] {
    auto* made = new compiler::BackendSet;
    for (auto& backend : backends::MakeCompilers()) made->Add(std::move(backend));
    return made;
  }();
  return *set;
}

Result<compiler::Platform> GetPlatform(const std::string& name) {
  return compiler::FindPlatform(name, compiler::DefaultPlatformFolders());
}

Result<std::vector<compiler::Platform>> GetPlatforms() {
  return compiler::LoadPlatforms(compiler::DefaultPlatformFolders());
}

std::vector<std::string> SplitList(const std::string& text) {
  std::vector<std::string> out;
  for (size_t start = 0; start <= text.size();) {
    size_t comma = std::min(text.find(',', start), text.size());
    if (comma > start) out.push_back(text.substr(start, comma - start));
    start = comma + 1;
  }
  return out;
}

}  // namespace slipway::deploy
