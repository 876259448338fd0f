#pragma once
// What quantization did to each layer, and what would help: a page and JSON.

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "deploy/auto_quantize.h"
#include "deploy/mixed.h"
#include "quant/sensitivity/diagnose.h"

namespace slipway::report {

struct QuantizeReport {
  std::string model, platform;
  std::string choices;  // observers, bits, algorithm, as the user gave them
  int quantized_nodes = 0;
  int64_t calibration_samples = 0, eval_samples = 0;
  std::optional<double> float_top1, top1, max_drop;
  std::optional<deploy::LadderOutcome> ladder;  // of --algorithm auto
  std::optional<deploy::MixedChoice> mixed;     // of a budget
  std::vector<quant::LayerDiagnosis> layers;    // in execution order
  std::vector<std::string> notes;
};

std::string RenderHtml(const QuantizeReport& report);
Status WriteHtml(const QuantizeReport& report, const std::string& path);

// One object a layer, in the given order. Decibels that are not finite are null.
nlohmann::json LayersJson(const std::vector<quant::LayerDiagnosis>& layers);
// "activations by mse (+3.1 dB): --observer mse"; empty where nothing was tried.
std::string RemedyText(const quant::LayerDiagnosis& layer);
// "27.4"; "exact" without noise, "-" where not finite otherwise.
std::string DbText(double db);

// Counts over even parts of [lo, hi] as inline SVG, with the range of the codes marked; the
// vertical axis is logarithmic.
std::string HistogramSvg(const quant::TensorDiagnosis& tensor, const std::string& title);

}  // namespace slipway::report
