#include "cli/quantize_tables.h"

#include <algorithm>
#include <cstdio>

#include "cli/cli.h"
#include "deploy/quantize_json.h"
#include "report/format.h"
#include "report/quantize_report.h"
#include "report/quantize_sections.h"
#include "report/table.h"

namespace slipway::cli {
namespace {

std::string Number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", v);
  return text;
}

}  // namespace

std::string ShowRungs(const deploy::LadderOutcome& found, nlohmann::json& json) {
  bool timed = false;
  for (const deploy::Rung& r : found.rungs) timed |= r.latency_ms > 0;
  report::Table table =
      timed ? MakeTable({"rung", "what", ">top1 %", ">drop", ">s", ">float", ">size", ">ms", ""})
            : MakeTable({"rung", "what", ">top1 %", ">drop", ">s", ">float", ">size", ""});
  for (size_t i = 0; i < found.rungs.size(); ++i) {
    const deploy::Rung& r = found.rungs[i];
    const bool ok = r.status.ok(), chosen = i == found.chosen;
    std::vector<std::string> row = {r.name,
                                    ok ? r.what : r.status.message(),
                                    ok ? Fixed(100 * r.top1, 2) : "-",
                                    ok ? Fixed(r.drop_points, 2) : "-",
                                    Fixed(r.seconds, 1),
                                    ok ? report::FormatPercent(r.float_share, 0) : "-",
                                    ok ? Bytes(static_cast<uint64_t>(r.size_bytes)) : "-"};
    if (timed) row.push_back(r.latency_ms > 0 ? report::FormatMs(r.latency_ms) : "-");
    row.push_back(chosen ? (found.met ? "taken" : "best") : ok ? "" : "passed over");
    table.AddRow(row);
  }
  json.update(deploy::ToJson(found));
  return Show(table);
}

std::string ShowMixed(const deploy::MixedChoice& mixed, nlohmann::json& json) {
  report::Table table =
      MakeTable({"layer", "precision", ">cost", ">loss", ">loss of the narrowest"});
  for (size_t l = 0; l < mixed.layers.size(); ++l) {
    const compiler::LayerOptions& layer = mixed.layers[l];
    const compiler::LayerOption& picked = layer.options[mixed.picks[l]];
    double worst = 0;
    for (const compiler::LayerOption& o : layer.options) worst = std::max(worst, o.loss);
    table.AddRow({layer.node, picked.name, report::CostText(picked.cost, mixed.kind),
                  Number(picked.loss), Number(worst)});
  }
  json["mixed"] = deploy::ToJson(mixed);
  std::string text = Show(table) + "budget " + report::CostText(mixed.limit, mixed.kind) +
                     ", chosen " + report::CostText(mixed.cost, mixed.kind) + " with a loss of " +
                     Number(mixed.loss);
  if (mixed.kind == deploy::BudgetKind::kLatency)
    text += " (" + report::CostText(mixed.conversions, mixed.kind) +
            " between precisions), measured " + report::CostText(mixed.measured, mixed.kind);
  return text + "\n";
}

std::string ShowWeightOnly(const deploy::WeightOnlyModel& model, int bits, const std::string& file,
                           nlohmann::json& json) {
  std::string text =
      std::to_string(model.layers.size()) + " layers with weights of " + std::to_string(bits) +
      " bits, " + std::to_string((model.weight_bytes + 1023) / 1024) + " KiB to " +
      std::to_string((model.quantized_bytes + 1023) / 1024) + " KiB; wrote " + file + "\n";
  json["weight_bytes"] = model.weight_bytes;
  json["quantized_bytes"] = model.quantized_bytes;
  report::Table table = MakeTable(
      {"layer", ">inputs", ">outputs", ">bits", ">error to nearest", ">error", "factors"});
  for (const auto& l : model.layers) {
    table.AddRow({l.name, std::to_string(l.inputs), std::to_string(l.outputs),
                  std::to_string(l.bits), Number(100 * l.nearest) + " %",
                  Number(100 * l.chosen) + " %", l.scaled});
    json["layers"].push_back({{"node", l.name},
                              {"inputs", l.inputs},
                              {"outputs", l.outputs},
                              {"bits", l.bits},
                              {"error_nearest", l.nearest},
                              {"error", l.chosen},
                              {"factors", l.scaled}});
  }
  return text + Show(table);
}

std::string ShowBlocks(const std::vector<quant::BlockReport>& blocks, nlohmann::json& json) {
  const bool apart = blocks[0].scales_apart;
  report::Table table =
      apart ? MakeTable({"block", ">layers", ">error before", ">after", ">with activations",
                         ">after", ">iterations", ">s"})
            : MakeTable({"block", ">layers", ">error before", ">after", ">iterations", ">s"});
  nlohmann::json rows = nlohmann::json::array();
  for (const quant::BlockReport& b : blocks) {
    std::vector<std::string> row = {b.block.name, std::to_string(b.block.layers.size()),
                                    Number(b.loss_before), Number(b.loss_after)};
    nlohmann::json entry = {{"block", b.block.name},
                            {"layers", b.block.layers},
                            {"error_before", b.loss_before},
                            {"error_after", b.loss_after},
                            {"iterations", b.iterations},
                            {"seconds", b.seconds},
                            {"learn_seconds", b.learn_seconds},
                            {"rounding_iterations", b.rounding_iterations},
                            {"rounding_seconds", b.rounding_seconds}};
    if (!b.kept.empty()) entry["kept"] = b.kept;
    if (apart) {
      row.insert(row.end(), {Number(b.scales_before), Number(b.scales_after)});
      entry["scales_before"] = b.scales_before;
      entry["scales_after"] = b.scales_after;
    }
    row.insert(row.end(), {std::to_string(b.iterations), Fixed(b.seconds, 1)});
    table.AddRow(row);
    rows.push_back(std::move(entry));
  }
  json["blocks"] = rows;
  return Show(table);
}

std::string ShowAdjustments(const deploy::AdjustReport& report, nlohmann::json& json) {
  std::string text;
  nlohmann::json to;
  if (!report.equalized.empty()) {
    double largest = 1;
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& g : report.equalized) {
      largest = std::max(largest, g.largest);
      rows.push_back(
          {{"layer", g.layer}, {"consumers", g.consumers}, {"largest_scale", g.largest}});
    }
    text += "equalized " + std::to_string(report.equalized.size()) +
            " layers with those that read them, scales up to " + Fixed(largest, 1) + "; " +
            std::to_string(report.absorbed) + " high biases absorbed\n";
    to["equalized"] = rows;
    to["absorbed"] = report.absorbed;
  }
  if (!report.smoothed.empty()) {
    report::Table table =
        MakeTable({"smoothed behind", ">layers", ">alpha", ">error before", ">after"});
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& g : report.smoothed) {
      table.AddRow({g.norm, std::to_string(g.consumers.size()), Fixed(g.alpha, 2),
                    Fixed(g.error_before, 6), Fixed(g.error_after, 6)});
      rows.push_back({{"norm", g.norm},
                      {"consumers", g.consumers},
                      {"alpha", g.alpha},
                      {"error_before", g.error_before},
                      {"error_after", g.error_after}});
    }
    text += Show(table);
    to["smoothed"] = rows;
  }
  if (!report.equalized.empty() || !report.smoothed.empty()) {
    char number[32];
    std::snprintf(number, sizeof number, "%.1e", report.change);
    text += "float outputs changed by " + std::string(number) + " of the largest\n";
    to["change"] = report.change;
  }
  if (!report.corrected.empty()) {
    double before = 0, after = 0;
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& c : report.corrected) {
      before += c.before / static_cast<double>(report.corrected.size());
      after += c.after / static_cast<double>(report.corrected.size());
      rows.push_back({{"node", c.node}, {"before", c.before}, {"after", c.after}});
    }
    text += "corrected " + std::to_string(report.corrected.size()) +
            " layers: channels' means off by " + Fixed(before, 4) + " of a deviation before, by " +
            Fixed(after, 4) + " after\n";
    to["corrected"] = rows;
  }
  json["adjusted"] = to;
  return text;
}

report::Table LayersTable(const std::vector<quant::LayerDiagnosis>& layers) {
  report::Table table = MakeTable({"layer (worst first)", "op", ">alone dB", ">accumulated",
                                   ">cosine", ">inputs dB", ">weights dB", "what helps"});
  for (const auto& l : layers) {
    table.AddRow({l.error.node, l.error.op, report::DbText(l.error.alone_db),
                  report::DbText(l.error.accumulated_db), Fixed(l.error.cosine, 5),
                  report::DbText(l.input_db), report::DbText(l.weights_db), report::RemedyText(l)});
  }
  return table;
}

}  // namespace slipway::cli
