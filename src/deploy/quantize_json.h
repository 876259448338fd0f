#pragma once
// What quantization found, as JSON: of --json, of report.json and of stages that are resumed.

#include <nlohmann/json.hpp>

#include "deploy/auto_quantize.h"
#include "deploy/device_plugins.h"
#include "deploy/mixed.h"

namespace slipway::deploy {

// {"rungs": [...], "met": bool, "float_top1", "max_drop"}
nlohmann::json ToJson(const LadderOutcome& ladder);
// {"kind", "layers", "front", "limit", "cost", "loss", "rest"}, of latencies "measured" too
nlohmann::json ToJson(const MixedChoice& mixed);
// Of figures that are not finite "inf" or null.
nlohmann::json ToJson(const std::vector<quant::LayerError>& layers);
// [{"file", "sha256", "backend", "version", "operators", "operators_version"}]
nlohmann::json ToJson(const std::vector<PluginUse>& plugins);

// Back again; nothing when it is not what the functions above give (a damaged file).
std::optional<LadderOutcome> LadderFromJson(const nlohmann::json& json);
std::optional<MixedChoice> MixedFromJson(const nlohmann::json& json);
std::optional<std::vector<quant::LayerError>> LayerErrorsFromJson(const nlohmann::json& json);

}  // namespace slipway::deploy
