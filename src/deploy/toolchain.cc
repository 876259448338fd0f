#include "deploy/toolchain.h"

#include <cstdlib>
#include <filesystem>
#include <set>

#include "base/cpu.h"
#include "device/elf.h"
#include "engine/backends/all/compilers.h"
#include "engine/backends/plugin/compiler.h"
#include "engine/runtime/registry.h"

namespace slipway::deploy {

namespace {

namespace fs = std::filesystem;

compiler::BackendSet& TheBackends() {
  static compiler::BackendSet* set = [] {
    auto* made = new compiler::BackendSet;
    for (auto& backend : backends::MakeCompilers()) made->Add(std::move(backend));
    return made;
  }();
  return *set;
}

// By their canonical paths.
std::set<std::string>& LoadedPlugins() {
  static auto* loaded = new std::set<std::string>;
  return *loaded;
}

std::vector<DevicePluginFile>& TheDevicePluginFiles() {
  static auto* files = new std::vector<DevicePluginFile>;
  return *files;
}

}  // namespace

const std::vector<DevicePluginFile>& DevicePluginFiles() { return TheDevicePluginFiles(); }
const std::set<std::string>& LoadedPluginFiles() { return LoadedPlugins(); }

Status AddDevicePlugin(const std::string& path) {
  std::error_code error;
  const fs::path file = fs::canonical(path, error);
  if (error || !fs::is_regular_file(file, error))
    return NotFound("--device-plugin '" + path +
                    "': there is no such file; build the plugin for the device (docs/plugins.md)");
  auto elf = device::ReadElfFile(file.string());
  if (!elf.ok()) return InvalidArgument("--device-plugin: " + elf.status().message());
  if (!elf->shared_library())
    return InvalidArgument("--device-plugin '" + path + "' (" + elf->arch +
                           ") is no shared library; build the plugin as one (docs/plugins.md)");
  for (const DevicePluginFile& f : TheDevicePluginFiles()) {
    if (f.path == file.string()) return OkStatus();
  }
  TheDevicePluginFiles().push_back({file.string(), elf->arch});
  return OkStatus();
}

const compiler::BackendSet& Backends() { return TheBackends(); }

Status LoadPlugin(const std::string& path) {
  std::error_code error;
  const fs::path file = fs::canonical(path, error);
  if (error || !fs::is_regular_file(file, error))
    return NotFound("plugin '" + path +
                    "': there is no such file; build it (docs/plugins.md) or give its path");
  if (LoadedPlugins().contains(file.string())) return OkStatus();
  const std::string name = file.filename().string();
  runtime::Registry& registry = runtime::GlobalRegistry();
  SLIPWAY_RETURN_IF_ERROR(registry.LoadPlugin(file.string()));
  LoadedPlugins().insert(file.string());
  const runtime::Plugin plugin = registry.plugins().back();
  if (!plugin.compiler) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(auto compiler,
                           backends::MakePluginCompiler(plugin.compiler, name, plugin.backend));
  if (TheBackends().Find(compiler->name()))
    return InvalidArgument("plugin '" + name + "': there is a backend '" + compiler->name() +
                           "' already; it must have a name of its own");
  TheBackends().Add(std::move(compiler));
  return OkStatus();
}

Result<std::string> FindPlugin(const compiler::Platform& platform, const std::string& plugin) {
  const fs::path given = plugin;
  std::error_code error;
  std::vector<fs::path> places = {fs::path(platform.source).parent_path() / given};
  const char* list = std::getenv("SLIPWAY_PLUGINS");
  for (const std::string& folder : SplitList(list ? list : "", ':')) {
    if (given.is_relative()) places.push_back(fs::path(folder) / given);
  }
  for (const fs::path& place : places) {
    if (fs::is_regular_file(place, error)) return place.string();
  }
  return NotFound("platform '" + platform.name + "' (" + platform.source + ") needs the plugin '" +
                  plugin + "', which is neither beside it nor in a folder of SLIPWAY_PLUGINS (" +
                  (list ? list : "not set") +
                  "); build it (docs/plugins.md) and put its folder there, or give --plugin FILE");
}

Status LoadPlugins(const compiler::Platform& platform) {
  std::vector<std::string> here = platform.plugins;
  for (const auto& [arch, path] : platform.arch_plugins) {
    if (arch == ThisCpu().arch) here.push_back(path);
  }
  for (const std::string& plugin : here) {
    // A --plugin of that name stands for it.
    const std::string name = fs::path(plugin).filename().string();
    const bool there =
        std::any_of(LoadedPlugins().begin(), LoadedPlugins().end(),
                    [&](const std::string& loaded) { return fs::path(loaded).filename() == name; });
    if (there) continue;
    SLIPWAY_ASSIGN_OR_RETURN(const std::string path, FindPlugin(platform, plugin));
    SLIPWAY_RETURN_IF_ERROR(LoadPlugin(path).With("platform '" + platform.name + "'"));
  }
  return OkStatus();
}

Result<compiler::Platform> GetPlatform(const std::string& name) {
  SLIPWAY_ASSIGN_OR_RETURN(auto platform,
                           compiler::FindPlatform(name, compiler::DefaultPlatformFolders()));
  SLIPWAY_RETURN_IF_ERROR(LoadPlugins(platform));
  return platform;
}

Result<compiler::Platform> PlatformOfPackage(const std::string& name) {
  if (name.ends_with(".yaml")) return NotFound("there is no platform '" + name + "'");
  return compiler::FindPlatform(name, compiler::DefaultPlatformFolders());
}

Result<std::vector<compiler::Platform>> GetPlatforms() {
  return compiler::LoadPlatforms(compiler::DefaultPlatformFolders());
}

std::vector<std::string> SplitList(const std::string& text, char separator) {
  std::vector<std::string> out;
  for (size_t start = 0; start <= text.size();) {
    size_t comma = std::min(text.find(separator, start), text.size());
    if (comma > start) out.push_back(text.substr(start, comma - start));
    start = comma + 1;
  }
  return out;
}

}  // namespace slipway::deploy
