#pragma once
// Built engines, kept in files: building one takes minutes. A file is $FOLDER/KEY.engine, where the
// key is a hash of all that the engine depends on. An engine holds code for the GPU that TensorRT
// runs as it is, so the folder is to be the user's own; the hash in the file finds damage, not
// malice.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace slipway::tensorrt {

// What SLIPWAY_TENSORRT_CACHE names ("off": nothing, and "" is returned), else the folder
// `tensorrt` beside the performance database: $XDG_DATA_HOME/slipway or ~/.local/share/slipway.
std::string CacheFolder();

// Empty where there is no such file, or one that is no whole engine.
std::optional<std::vector<uint8_t>> ReadEngine(const std::string& folder, const std::string& key);
// The folder is made when it is not there; a reader sees no half of a file.
Status WriteEngine(const std::string& folder, const std::string& key,
                   std::span<const uint8_t> engine);

}  // namespace slipway::tensorrt
