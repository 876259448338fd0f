#include "report/deployment.h"

#include <algorithm>
#include <map>

#include "base/mapped_file.h"
#include "device/host_facts.h"

namespace slipway::report {
namespace {

std::vector<LayerReport> LayersOf(const deploy::PlatformOutcome& p) {
  std::map<std::string, const compiler::PlacementRow*> placed;
  for (const auto& row : p.placement) placed[row.node] = &row;
  std::vector<LayerReport> layers;
  for (const deploy::NodeTime& n : p.bench.nodes) {
    LayerReport layer{n.name, n.op, n.backend, n.kernel, "", "", n.total_ms(), n.macs};
    if (auto it = placed.find(n.name); it != placed.end()) {
      layer.dtype = it->second->dtype;
      layer.macs = it->second->macs;  // also where the batch is dynamic: at 1
      if (it->second->fallback) {
        for (const auto& reason : it->second->reasons)
          layer.why += (layer.why.empty() ? "" : "; ") + reason;
      }
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

PlatformReport RowOf(const deploy::PlatformOutcome& p, bool gated) {
  PlatformReport r;
  r.choices = p.choices;
  r.ladder = p.ladder;
  r.mixed = p.mixed;
  r.plans = p.plans;
  r.plugins = p.bench.plugins;
  for (const std::string& path : p.exported) {  // the last folder and the name
    const size_t slash = path.find_last_of('/');
    r.exported.push_back(p.platform + "/" + path.substr(slash + 1));
  }
  r.platform = p.platform;
  r.precision = p.precision;
  r.package = p.package.substr(p.package.find_last_of('/') + 1);
  r.size_bytes = static_cast<int64_t>(p.size);
  r.peak_bytes = static_cast<int64_t>(p.peak_bytes);
  if (p.bench.measurement.stats.n > 0) {
    r.p50_ms = p.bench.measurement.stats.p50;
    r.p90_ms = p.bench.measurement.stats.p90;
    r.spread = p.bench.measurement.stats.spread;
    r.unstable = p.bench.measurement.unstable;
  }
  r.emulated = p.emulated;
  if (p.has_accuracy) {
    r.accuracy = p.top1;
    r.drop = p.drop;
    r.drop_low = p.drop_low;
    r.drop_high = p.drop_high;
  }
  r.own_nodes_share = p.own_node_share;
  r.own_macs_share = p.own_mac_share;
  if (!p.status.ok()) {
    r.verdict = p.status.code() == StatusCode::kGateFailed ? Verdict::kFail : Verdict::kError;
    r.why = p.status.message();
  } else if (!gated) {
    r.verdict = Verdict::kNotChecked;
  } else {
    r.verdict = p.gate_ok ? Verdict::kPass : Verdict::kFail;
    if (!p.gate_ok) r.why = "the accuracy drop is over the limit";
  }
  r.layers = LayersOf(p);
  return r;
}

}  // namespace

DeployReport ReportOf(const deploy::DeployOutcome& outcome) {
  DeployReport report;
  report.model = outcome.model.substr(outcome.model.find_last_of('/') + 1);
  report.model_hash = outcome.model_sha256;
  report.date = device::UtcNow();
  report.tool_version = "0.1.0";
  report.host = device::Summary(device::ReadHostFacts());
  report.params = outcome.parameters;
  report.macs = outcome.macs;
  if (outcome.evaluated > 0) report.reference_accuracy = outcome.float_top1;
  if (outcome.max_drop >= 0) report.max_drop = outcome.max_drop;
  report.eval_samples = outcome.evaluated;
  report.calib_samples = outcome.calibration_samples;
  report.threads = outcome.threads;
  for (const deploy::PlatformOutcome& p : outcome.platforms) {
    report.rows.push_back(RowOf(p, outcome.max_drop >= 0));
    std::vector<quant::LayerError> worst = p.layers;
    std::stable_sort(worst.begin(), worst.end(),
                     [](const auto& a, const auto& b) { return a.alone_db < b.alone_db; });
    for (const auto& e : worst) {
      report.sensitivity.push_back({p.platform, e.node, e.op, e.alone_db,
                                    "with everything before it quantized too: " +
                                        std::to_string(e.accumulated_db).substr(0, 5) + " dB"});
    }
    if (p.has_accuracy && p.evaluated < outcome.evaluated) {
      report.notes.push_back(p.platform + " was evaluated on the first " +
                             std::to_string(p.evaluated) +
                             " samples only (it is slow here); its drop is against the float model "
                             "on the same samples");
    }
    for (const std::string& note : p.notes) report.notes.push_back(p.platform + ": " + note);
    if (p.bench.emulated)
      report.notes.push_back(p.platform +
                             " ran under emulation: its times say nothing about real devices");
    if (p.simulated)
      report.notes.push_back(p.platform +
                             " is not here: its integers were computed exactly on this machine, "
                             "which gives its accuracy but no times");
    if (!p.resumed.empty()) {
      std::string list;
      for (const auto& s : p.resumed) list += (list.empty() ? "" : ", ") + s;
      report.notes.push_back(p.platform + ": taken from an earlier run: " + list);
    }
  }
  return report;
}

Status WriteReport(const DeployReport& report, const std::string& folder) {
  SLIPWAY_RETURN_IF_ERROR(WriteHtml(report, folder + "/report.html"));
  return WriteFile(folder + "/report.json", RenderJson(report));
}

}  // namespace slipway::report
