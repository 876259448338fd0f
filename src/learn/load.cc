#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "learn/abi.h"
#include "learn/learn.h"

namespace slipway::learn {
namespace {

std::vector<std::string> Places() {
  if (const char* given = std::getenv("SLIPWAY_LEARN_LIBRARY")) return {given};
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return {kLibraryName};
  const auto folder = program.parent_path();
  return {(folder / kLibraryName).string(), (folder / "../lib/slipway" / kLibraryName).string()};
}

Result<Engine*> Load() {
  std::string tried;
  for (const std::string& place : Places()) {
    std::error_code error;
    if (!std::filesystem::exists(place, error)) {
      tried += (tried.empty() ? "" : ", ") + place;
      continue;
    }
    void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) return Unsupported(std::string("learning: ") + dlerror());
    const auto abi = reinterpret_cast<const char* (*)()>(dlsym(library, kAbiSymbol));
    const auto create = reinterpret_cast<Engine* (*)()>(dlsym(library, kCreateSymbol));
    if (!abi || !create)
      return Unsupported("learning: " + place + " is no learning library of Slipway");
    if (Abi() != abi()) {
      return Unsupported("learning: " + place + " is of another build (" + abi() + ", not " +
                         Abi() + "); build both together");
    }
    return create();
  }
  return Unsupported("learning needs " + std::string(kLibraryName) + ", which is not at " + tried +
                     "; build Slipway with libtorch (Debian: libtorch-dev), or set "
                     "SLIPWAY_LEARN_LIBRARY");
}

}  // namespace

Result<Engine*> GetEngine() {
  static const Result<Engine*> engine = Load();
  return engine;
}

}  // namespace slipway::learn
