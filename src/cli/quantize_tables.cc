#include "cli/quantize_tables.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/cli.h"
#include "report/quantize_report.h"
#include "report/table.h"

namespace slipway::cli {
namespace {

std::string Number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", v);
  return text;
}

// Milliseconds, bytes or bit operations, as people read them.
std::string Cost(double v, deploy::BudgetKind kind) {
  if (kind == deploy::BudgetKind::kLatency) return Number(v) + " ms";
  const char* unit = kind == deploy::BudgetKind::kSize ? "B" : "";
  for (const auto& [size, prefix] : {std::pair{1e9, "G"}, {1e6, "M"}, {1e3, "k"}}) {
    if (v >= size) return Number(v / size) + " " + prefix + unit;
  }
  return Number(v) + " " + unit;
}

}  // namespace

std::string ShowRungs(const deploy::AutoQuantized& found, nlohmann::json& json) {
  report::Table table = MakeTable({"rung", "what", ">top1 %", ">drop", ">s", ""});
  nlohmann::json rows = nlohmann::json::array();
  for (size_t i = 0; i < found.rungs.size(); ++i) {
    const deploy::Rung& r = found.rungs[i];
    const bool chosen = i == found.chosen;
    nlohmann::json row = {{"name", r.name},
                          {"what", r.what},
                          {"seconds", r.seconds},
                          {"wider_layers", r.wider_layers},
                          {"float_layers", r.float_layers},
                          {"chosen", chosen}};
    if (r.status.ok()) {
      table.AddRow({r.name, r.what, Fixed(100 * r.top1, 2), Fixed(r.drop_points, 2),
                    Fixed(r.seconds, 1), chosen ? (found.met ? "taken" : "best") : ""});
      row["top1"] = r.top1;
      row["drop_points"] = r.drop_points;
    } else {
      table.AddRow({r.name, r.status.message(), "-", "-", Fixed(r.seconds, 1), "passed over"});
      row["error"] = r.status.message();
    }
    rows.push_back(std::move(row));
  }
  json["rungs"] = std::move(rows);
  json["met"] = found.met;
  return Show(table);
}

std::string ShowMixed(const deploy::MixedOutcome& mixed, const deploy::MixedOptions& options,
                      nlohmann::json& json) {
  const deploy::BudgetKind kind = options.budget.budget.kind;
  report::Table table =
      MakeTable({"layer", "precision", ">cost", ">loss", ">loss of the narrowest"});
  nlohmann::json rows = nlohmann::json::array();
  for (size_t l = 0; l < mixed.layers.size(); ++l) {
    const compiler::LayerOptions& layer = mixed.layers[l];
    const compiler::LayerOption& picked = layer.options[mixed.picks[l]];
    double worst = 0;
    nlohmann::json list = nlohmann::json::array();
    for (const compiler::LayerOption& o : layer.options) {
      worst = std::max(worst, o.loss);
      list.push_back({{"precision", o.name}, {"cost", o.cost}, {"loss", o.loss}});
    }
    table.AddRow(
        {layer.node, picked.name, Cost(picked.cost, kind), Number(picked.loss), Number(worst)});
    rows.push_back({{"node", layer.node}, {"precision", picked.name}, {"options", list}});
  }
  nlohmann::json front = nlohmann::json::array();
  for (const compiler::BudgetChoice& c : mixed.front)
    front.push_back({{"cost", c.cost + mixed.rest}, {"loss", c.loss}});
  json["mixed"] = {{"layers", std::move(rows)}, {"front", std::move(front)}, {"limit", mixed.limit},
                   {"cost", mixed.cost},        {"loss", mixed.loss},        {"rest", mixed.rest}};
  std::string text = Show(table) + "budget " + Cost(mixed.limit, kind) + ", chosen " +
                     Cost(mixed.cost, kind) + " with a loss of " + Number(mixed.loss);
  if (kind == deploy::BudgetKind::kLatency) {
    json["mixed"]["measured"] = mixed.measured;
    text += ", measured " + Cost(mixed.measured, kind);
  }
  return text + "\n";
}

std::string ShowBlocks(const std::vector<quant::BlockReport>& blocks, nlohmann::json& json) {
  const auto number = [](double v) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3g", v);
    return std::string(text);
  };
  const bool apart = blocks[0].scales_apart;
  report::Table table =
      apart ? MakeTable({"block", ">layers", ">error before", ">after", ">with activations",
                         ">after", ">iterations", ">s"})
            : MakeTable({"block", ">layers", ">error before", ">after", ">iterations", ">s"});
  nlohmann::json rows = nlohmann::json::array();
  for (const quant::BlockReport& b : blocks) {
    std::vector<std::string> row = {b.block.name, std::to_string(b.block.layers.size()),
                                    number(b.loss_before), number(b.loss_after)};
    nlohmann::json entry = {{"block", b.block.name},
                            {"layers", b.block.layers},
                            {"error_before", b.loss_before},
                            {"error_after", b.loss_after},
                            {"iterations", b.iterations},
                            {"seconds", b.seconds},
                            {"learn_seconds", b.learn_seconds},
                            {"rounding_iterations", b.rounding_iterations},
                            {"rounding_seconds", b.rounding_seconds}};
    if (apart) {
      row.insert(row.end(), {number(b.scales_before), number(b.scales_after)});
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
