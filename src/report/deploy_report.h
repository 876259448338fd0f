#pragma once
// What a deployment ends with: a table on the terminal, a JSON object, and report.html.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "deploy/auto_quantize.h"
#include "deploy/mixed.h"
#include "deploy/place.h"

namespace slipway::report {

struct LayerReport {
  std::string name, op, backend;
  std::string kernel;  // implementation, "" when the backend does not say
  std::string dtype;   // "float32", "int8"
  std::string why;     // why not the preferred backend, "" when it is
  double ms = 0;       // median time of one run
  int64_t macs = 0;
};

// Explicit values: stored in JSON by name.
enum class Verdict : int { kPass = 0, kFail = 1, kError = 2, kNotChecked = 3 };

struct PlatformReport {
  std::string platform, precision;
  std::string package;  // file name of the .slip, "" when there is none
  int64_t size_bytes = 0, peak_bytes = 0;
  std::optional<double> p50_ms, p90_ms, spread;  // none when it could not be measured
  bool unstable = false;
  bool emulated = false;           // times are shown apart and never compared
  std::optional<double> accuracy;  // 0..1
  std::optional<double> drop;      // points of the float reference lost; negative = gained
  std::optional<double> drop_low, drop_high;       // 95 % interval of the drop, points
  double own_nodes_share = 1, own_macs_share = 1;  // that ran on the named backend itself
  Verdict verdict = Verdict::kNotChecked;
  std::string why;                    // of a failure or error, one line
  std::vector<LayerReport> layers;    // in order of execution
  std::string choices;                // how it was quantized, "" when it was not
  std::vector<std::string> exported;  // files for the vendor's tool, from the report's folder on
  std::optional<deploy::LadderOutcome> ladder;
  std::optional<deploy::MixedChoice> mixed;
  std::vector<deploy::PlanRow> plans;  // that were timed to choose the placement
  std::vector<deploy::PluginUse> plugins;  // that took part in the measurement
};

struct SensitivityReport {
  std::string platform, layer, op;
  double sqnr_db = 0;  // signal-to-quantization-noise of this layer's output
  std::string note;
};

struct DeployReport {
  std::string model, model_hash, date, tool_version, host;
  int64_t params = 0, macs = 0;
  std::string metric = "top1";
  std::optional<double> reference_accuracy;  // of the float model, 0..1
  std::optional<double> max_drop;            // points
  int64_t eval_samples = 0, calib_samples = 0;
  int64_t batch = 1, threads = 1;
  std::vector<PlatformReport> rows;
  std::vector<SensitivityReport> sensitivity;  // worst first
  std::vector<std::string> notes;
};

const char* VerdictName(Verdict v);  // "pass", "fail", "error", "not checked"

// platform, precision, size, peak, p50, p90, accuracy, drop, verdict; `width` as in Table::Render.
// Emulated times carry "*" and unstable ones "~", explained below the table.
std::string RenderText(const DeployReport& report, int width = 0);
std::string RenderHtml(const DeployReport& report);
std::string RenderJson(const DeployReport& report);
Status WriteHtml(const DeployReport& report, const std::string& path);

}  // namespace slipway::report
