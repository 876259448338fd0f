#pragma once
// The tables that `slipway quantize` prints.

#include <nlohmann/json.hpp>
#include <string>

#include "deploy/auto_quantize.h"
#include "deploy/mixed.h"
#include "report/table.h"

namespace slipway::cli {

// The rungs that were tried, and the precision of each layer.
std::string ShowRungs(const deploy::AutoQuantized& found, nlohmann::json& json);
std::string ShowMixed(const deploy::MixedOutcome& mixed, const deploy::MixedOptions& options,
                      nlohmann::json& json);

// Blocks that were reconstructed, light algorithms, and the errors of layers with their remedies.
std::string ShowBlocks(const std::vector<quant::BlockReport>& blocks, nlohmann::json& json);
std::string ShowAdjustments(const deploy::AdjustReport& report, nlohmann::json& json);
report::Table LayersTable(const std::vector<quant::LayerDiagnosis>& layers);

}  // namespace slipway::cli
