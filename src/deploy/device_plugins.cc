#include "deploy/device_plugins.h"

#include <algorithm>
#include <filesystem>

#include "base/cpu.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "deploy/toolchain.h"
#include "device/elf.h"
#include "engine/format/op_desc.h"
#include "engine/runtime/registry.h"
#include "model/ops/custom.h"

namespace slipway::deploy {
namespace {

namespace fs = std::filesystem;

void AddDomains(const format::PackageData& package, std::set<std::string>& domains) {
  for (const format::PackageStep& step : package.steps) {
    if (step.backend < 0 || package.backends[static_cast<size_t>(step.backend)].name != "reference")
      continue;
    const auto op = format::DecodeOp(step.blob);
    if (op.ok() && !op->domain.empty() && op->domain != "slipway" &&
        op->domain != format::kEngineDomain)
      domains.insert(op->domain);
  }
  for (const format::PackageData& body : package.programs) AddDomains(body, domains);
}

// Names of a package are a stranger's.
std::string Clipped(const std::string& text) { return text.substr(0, 120); }

Status CheckLibrary(const std::string& path, const std::string& name, const std::string& arch,
                    const std::string& whose) {
  auto elf = device::ReadElfFile(path);
  if (!elf.ok()) return InvalidArgument(whose + ": " + elf.status().message());
  if (elf->arch != arch)
    return InvalidArgument(whose + ": " + path + " is for " + elf->arch + ", and " + name + " is " +
                           arch + "; build the plugin for " + arch + " (docs/plugins.md)");
  if (!elf->shared_library())
    return InvalidArgument(whose + ": " + path +
                           " is no shared library; build the plugin as one (docs/plugins.md)");
  return OkStatus();
}

bool HasPart(const runtime::Plugin& plugin, const PluginNeeds& needs) {
  if (!plugin.backend.empty() && needs.backends.contains(plugin.backend)) return true;
  const std::string file = fs::path(plugin.path).filename().string();
  const auto ops = ops::CustomOps();
  return std::any_of(ops.begin(), ops.end(), [&](const ops::CustomOp* op) {
    return op->plugin() == file && needs.domains.contains(op->domain());
  });
}

}  // namespace

std::string PluginNeeds::Describe() const {
  std::string out;
  for (const auto& [backend, plugin] : backends)
    out += (out.empty() ? "" : ", ") + std::string("backend '") + Clipped(backend) + "' (" +
           Clipped(plugin) + ")";
  for (const std::string& domain : domains)
    out += (out.empty() ? "" : ", ") + std::string("operators of '") + Clipped(domain) + "'";
  return out;
}

PluginNeeds PluginsNeeded(const format::PackageData& package) {
  PluginNeeds needs;
  const std::string prefix = "plugin.";
  for (const auto& [key, value] : package.provenance) {
    if (key.starts_with(prefix)) needs.backends[key.substr(prefix.size())] = value;
  }
  AddDomains(package, needs.domains);
  return needs;
}

std::string PluginUse::Key() const {
  return (backend.empty() ? operators + "-" + operators_version : backend + "-" + version) + "(" +
         file + ":" + sha256.substr(0, 16) + ")";
}

Result<PluginUse> UseOf(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  PluginUse use;
  use.file = fs::path(path).filename().string();
  use.sha256 = ToHex(Sha256Of(file->bytes()));
  return use;
}

Result<std::vector<PluginUse>> PluginsUsedHere(const PluginNeeds& needs) {
  std::vector<PluginUse> used;
  if (needs.empty()) return used;
  for (const runtime::Plugin& plugin : runtime::GlobalRegistry().plugins()) {
    if (!HasPart(plugin, needs)) continue;
    SLIPWAY_ASSIGN_OR_RETURN(PluginUse use, UseOf(plugin.path));
    use.backend = plugin.backend;
    use.version = plugin.backend_version;
    use.operators = plugin.operators;
    use.operators_version = plugin.operators_version;
    used.push_back(std::move(use));
  }
  return used;
}

Result<std::vector<std::string>> DevicePlugins(const PluginNeeds& needs,
                                               const compiler::Platform& platform,
                                               const std::string& name, const std::string& arch) {
  std::vector<std::string> found;
  if (needs.empty()) return found;
  const auto add = [&](const std::string& path) {
    if (std::find(found.begin(), found.end(), path) == found.end()) found.push_back(path);
  };
  std::string others;
  for (const DevicePluginFile& file : DevicePluginFiles()) {
    // Of several devices, each takes its own.
    if (file.arch != arch)
      others += (others.empty() ? "" : ", ") + file.path + " is for " + file.arch;
    else
      add(file.path);
  }
  if (!found.empty()) return found;
  if (!others.empty())
    return InvalidArgument("--device-plugin: " + others + ", and " + name + " is " + arch +
                           "; give the plugin's library for " + arch + " (docs/plugins.md)");
  const std::string whose = "platform '" + platform.name + "'";
  for (const auto& [of, plugin] : platform.arch_plugins) {
    if (of != arch) continue;
    SLIPWAY_ASSIGN_OR_RETURN(const std::string path, FindPlugin(platform, plugin));
    SLIPWAY_RETURN_IF_ERROR(CheckLibrary(path, name, arch, whose));
    add(path);
  }
  if (!found.empty()) return found;
  // A library for both, where this machine and the device are of one kind.
  if (arch == ThisCpu().arch) {
    for (const runtime::Plugin& plugin : runtime::GlobalRegistry().plugins()) {
      if (!HasPart(plugin, needs)) continue;
      SLIPWAY_RETURN_IF_ERROR(CheckLibrary(plugin.path, name, arch, "--plugin"));
      add(plugin.path);
    }
    if (!found.empty()) return found;
  }
  return NotFound("the package needs " + needs.Describe() + " on " + name +
                  ", and no library for " + arch +
                  " is known; give it with --device-plugin FILE, or in the platform's file: "
                  "plugins: [{" +
                  arch + ": FILE}] (docs/plugins.md)");
}

}  // namespace slipway::deploy
