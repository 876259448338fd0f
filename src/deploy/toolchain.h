#pragma once
// What this build can target: its compile-side backends and the platform files it finds.

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/compiler/compile.h"

namespace slipway::deploy {

// Every compile-side backend of this build and of the plugins that are loaded.
const compiler::BackendSet& Backends();

// Loads a plugin (docs/plugins.md) for the whole process: its backend, compile side and operators. `path` is what the
// user gave: a plugin is never looked for beside a model or package. Again the same file: nothing. Not while other
// threads compile. Errors: NotFound, Unsupported, InvalidArgument, each with the plugin's name.
Status LoadPlugin(const std::string& path);
// The file of one of a platform's `plugins`: beside the platform's own, else in a folder of $SLIPWAY_PLUGINS.
Result<std::string> FindPlugin(const compiler::Platform& platform, const std::string& plugin);
// Those of a platform that the user has named.
Status LoadPlugins(const compiler::Platform& platform);

// A library of a plugin for devices (--device-plugin), for the whole process: not loaded here.
// Errors: NotFound, InvalidArgument (no shared library).
Status AddDevicePlugin(const std::string& path);
struct DevicePluginFile {
  std::string path, arch;  // as its header says
};
const std::vector<DevicePluginFile>& DevicePluginFiles();
// Canonical paths.
const std::set<std::string>& LoadedPluginFiles();

// With its plugins loaded.
Result<compiler::Platform> GetPlatform(const std::string& name);
// What a package calls its platform: that may be anything, so no file is read but those of the platform folders, and no
// plugin is loaded.
Result<compiler::Platform> PlatformOfPackage(const std::string& name);
Result<std::vector<compiler::Platform>> GetPlatforms();

// "a,b,c" -> {"a", "b", "c"}; empty parts are dropped.
std::vector<std::string> SplitList(const std::string& text, char separator = ',');

}  // namespace slipway::deploy
