#pragma once
// Which plugins a package needs, and their libraries: for this process and for devices of other
// architectures.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/compiler/platform.h"
#include "engine/format/package.h"

namespace slipway::deploy {

struct PluginNeeds {
  // Of each backend that a plugin brought, the plugin's file and version, as the compiler wrote it:
  // {"npu", "libacme_npu.so 1.2"}. Text from a file.
  std::map<std::string, std::string> backends;
  std::set<std::string> domains;  // of operators that the backend `reference` runs by their loops
  bool empty() const { return backends.empty() && domains.empty(); }
  // "backend 'npu' (libacme_npu.so 1.2), operators of 'acme'".
  std::string Describe() const;
};
PluginNeeds PluginsNeeded(const format::PackageData& package);

// A plugin's library that took part in a run.
struct PluginUse {
  std::string file, sha256;                  // its name without folders; of its bytes
  std::string backend, version;              // the backend that it brings, or empty
  std::string operators, operators_version;  // its set of operators, or empty
  // "npu-1.2(libacme_npu.so:0123456789abcdef)", for keys.
  std::string Key() const;
};
// Of the plugins that this process has loaded, those with a part in `needs`.
Result<std::vector<PluginUse>> PluginsUsedHere(const PluginNeeds& needs);
// The file's name and hash; the rest says only who loads it.
Result<PluginUse> UseOf(const std::string& path);

// The libraries that go to the device `name` of the architecture `arch` for a package with `needs`:
// what --device-plugin gives, else what the platform's file names for that architecture, else,
// where it is this machine's, what is loaded here. Each has been looked at and is for that
// architecture. Errors: NotFound (there is none, with what is needed), InvalidArgument (one for
// another processor, or no shared library).
Result<std::vector<std::string>> DevicePlugins(const PluginNeeds& needs,
                                               const compiler::Platform& platform,
                                               const std::string& name, const std::string& arch);

}  // namespace slipway::deploy
