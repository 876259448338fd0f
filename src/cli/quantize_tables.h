#pragma once
// The tables that `slipway quantize` prints.

#include <nlohmann/json.hpp>
#include <string>

#include "deploy/auto_quantize.h"
#include "deploy/mixed.h"
#include "deploy/weight_only.h"
#include "report/table.h"

namespace slipway::cli {

// The rungs that were tried, the precision of each layer, and weights alone; each adds to `json`.
std::string ShowRungs(const deploy::LadderOutcome& found, nlohmann::json& json);
std::string ShowMixed(const deploy::MixedChoice& mixed, nlohmann::json& json);
std::string ShowWeightOnly(const deploy::WeightOnlyModel& model, int bits, const std::string& file,
                           nlohmann::json& json);

// Blocks that were reconstructed, light algorithms, and the errors of layers with their remedies.
std::string ShowBlocks(const std::vector<quant::BlockReport>& blocks, nlohmann::json& json);
std::string ShowAdjustments(const deploy::AdjustReport& report, nlohmann::json& json);
report::Table LayersTable(const std::vector<quant::LayerDiagnosis>& layers);

}  // namespace slipway::cli
