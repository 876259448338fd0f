#include "report/quantize_sections.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <utility>
#include <vector>

#include "report/format.h"
#include "report/svg.h"

namespace slipway::report {
namespace {

using deploy::BudgetKind;
using deploy::LadderOutcome;
using deploy::MixedChoice;
using deploy::Rung;

constexpr size_t kMostBars = 100;
constexpr int kChosenColor = 6;  // precisions have the first ones

std::string Number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", v);
  return text;
}

// The unit that suits a largest cost, and how many of the base are one.
std::pair<double, std::string> UnitFor(double most, BudgetKind kind) {
  if (kind == BudgetKind::kLatency) return {1, "ms"};
  const char* base = kind == BudgetKind::kSize ? "B" : "";
  for (const auto& [size, prefix] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}) {
    if (most >= size) return {size, std::string(prefix) + base};
  }
  return {1, base};
}

const char* CostName(BudgetKind kind) {
  switch (kind) {
    case BudgetKind::kLatency:
      return "latency";
    case BudgetKind::kSize:
      return "size of weights";
    case BudgetKind::kBitOps:
      return "bit operations";
  }
  return "cost";
}

std::string RungLabel(const Rung& r) {
  const int treated = r.float_layers > 0 ? r.float_layers : r.wider_layers;
  return treated > 0 ? r.name + " (" + std::to_string(treated) + ")" : r.name;
}

// The networks that have one precision in all layers.
std::vector<FrontMark> UniformMarks(const MixedChoice& mixed, double unit) {
  std::vector<FrontMark> marks;
  if (mixed.layers.empty()) return marks;
  for (size_t c = 0; c < mixed.layers[0].options.size(); ++c) {
    double cost = mixed.rest, loss = 0;
    bool all = true;
    for (const auto& layer : mixed.layers) {
      all &= c < layer.options.size() && layer.options[c].name == mixed.layers[0].options[c].name;
      if (!all) break;
      cost += layer.options[c].cost;
      loss += layer.options[c].loss;
    }
    if (!all) continue;
    const std::string& name = mixed.layers[0].options[c].name;
    marks.push_back(
        {"all " + name, cost / unit, loss, static_cast<int>(c),
         "all layers " + name + ": " + CostText(cost, mixed.kind) + ", loss " + Number(loss)});
  }
  return marks;
}

}  // namespace

std::string CostText(double cost, BudgetKind kind) {
  const auto [unit, name] = UnitFor(cost, kind);
  return Number(cost / unit) + " " + name;
}

void LadderPart(const LadderOutcome& ladder, HtmlPage* page) {
  std::vector<ScatterPoint> points;
  HtmlTable table;
  bool timed = false;
  for (const Rung& r : ladder.rungs) timed |= r.latency_ms > 0;
  table.columns = {{"#", true},
                   {"Rung"},
                   {"What"},
                   {"Top-1", true},
                   {"Drop", true},
                   {"Seconds", true},
                   {"Float layers", true},
                   {"Size", true}};
  if (timed) table.columns.push_back({"ms", true});
  table.columns.push_back({"Kept?"});
  double spent = 0;
  for (size_t i = 0; i < ladder.rungs.size(); ++i) {
    const Rung& r = ladder.rungs[i];
    const bool ok = r.status.ok(), chosen = i == ladder.chosen;
    const bool within = ok && r.drop_points <= ladder.max_drop + 1e-9;
    spent += r.seconds;
    const std::string why = deploy::WhyRung(ladder, i);
    if (ok)
      points.push_back({RungLabel(r), std::max(spent, 1e-3), 100 * r.top1,
                        chosen   ? 2
                        : within ? 0
                                 : 6,
                        false, !within,
                        r.name + " (" + r.what + "): " + FormatPercent(r.top1) + ", " + why});
    const auto cell = [&](const std::string& text, double sort) {
      return ok ? HtmlCell{text, sort, "", ""} : HtmlCell{"-", {}, "dim", ""};
    };
    std::vector<HtmlCell> row = {
        {std::to_string(i + 1), static_cast<double>(i + 1), "", ""},
        {r.name, {}, "name", ""},
        {r.what, {}, "", ""},
        cell(FormatPercent(r.top1), r.top1),
        cell(FormatFixed(r.drop_points, 2), r.drop_points),
        {FormatFixed(r.seconds, 1), r.seconds, "", ""},
        cell(FormatPercent(r.float_share, 0), r.float_share),
        cell(FormatBytes(r.size_bytes), static_cast<double>(r.size_bytes))};
    if (timed)
      row.push_back(r.latency_ms > 0 ? HtmlCell{FormatMs(r.latency_ms), r.latency_ms, "", ""}
                                     : HtmlCell{"-", {}, "dim", ""});
    row.push_back({why, {}, !ok ? "dim" : chosen ? (ladder.met ? "good" : "warn") : "bad", ""});
    table.rows.push_back(std::move(row));
  }
  page->Paragraph("From the cheapest on until the drop is at most " +
                  FormatFixed(ladder.max_drop, 2) + " points: " + LadderLine(ladder) + ".");
  ScatterOptions o;
  o.x_title = "seconds spent until then";
  o.y_title = "top-1 accuracy, %";
  o.reference = 100 * ladder.float_top1;
  o.reference_title = "float model";
  o.limit = *o.reference - ladder.max_drop;
  o.limit_title = "gate: " + FormatFixed(ladder.max_drop, 2) + " points below";
  page->Figure(Scatter(points, o));
  page->Note(
      "A cross misses the gate. Size: weights, biases and scales. Float layers: of those "
      "with weights." +
      std::string(timed ? " ms: median of one run at batch 1, measured once for each "
                          "structure, since weights change no time."
                        : ""));
  page->Table(table);
}

std::string LadderLine(const LadderOutcome& ladder) {
  const Rung& r = ladder.rungs[ladder.chosen];
  if (!r.status.ok()) return "no rung could be climbed";
  return RungLabel(r) + ", rung " + std::to_string(ladder.chosen + 1) + " of " +
         std::to_string(ladder.rungs.size()) + ", drop of " + FormatFixed(r.drop_points, 2) +
         " points" +
         (ladder.met ? "" : "; none keeps the drop under " + FormatFixed(ladder.max_drop, 2));
}

std::string BudgetLine(const MixedChoice& mixed) {
  std::string text;
  if (!mixed.layers.empty()) {
    for (const auto& option : mixed.layers[0].options) {
      int layers = 0;
      for (size_t l = 0; l < mixed.layers.size(); ++l)
        layers += mixed.layers[l].options[mixed.picks[l]].name == option.name;
      if (layers > 0)
        text += (text.empty() ? "" : ", ") + std::to_string(layers) +
                (layers == 1 ? " layer " : " layers ") + option.name;
    }
  }
  text += ": " + CostText(mixed.cost, mixed.kind) + " of " + CostText(mixed.limit, mixed.kind);
  if (mixed.measured > 0) text += ", measured " + CostText(mixed.measured, mixed.kind);
  return text;
}

void BudgetPart(const MixedChoice& mixed, HtmlPage* page) {
  double most = mixed.limit;
  std::vector<FrontMark> marks = UniformMarks(mixed, 1);
  for (const FrontMark& m : marks) most = std::max(most, m.cost);
  const auto [unit, unit_name] = UnitFor(most, mixed.kind);
  marks = UniformMarks(mixed, unit);
  FrontOptions o;
  o.x_title = std::string(CostName(mixed.kind)) + (unit_name.empty() ? "" : ", " + unit_name);
  o.y_title = "loss: squared error of the outputs over their power";
  o.limit = mixed.limit / unit;
  o.limit_title = "budget " + CostText(mixed.limit, mixed.kind);
  for (const auto& c : mixed.front) o.front.push_back({(c.cost + mixed.rest) / unit, c.loss});
  marks.push_back({"chosen", mixed.cost / unit, mixed.loss, kChosenColor,
                   "chosen: " + BudgetLine(mixed) + ", loss " + Number(mixed.loss), true});
  if (mixed.measured > 0)
    marks.push_back(
        {"chosen, measured", mixed.measured / unit, mixed.loss, kChosenColor,
         "the network chosen, measured as a whole: " + CostText(mixed.measured, mixed.kind)});
  page->Paragraph("The precisions that lose least within the budget: " + BudgetLine(mixed) +
                  ". A layer's loss is measured with that layer alone at the precision; losses "
                  "are added.");
  page->Figure(FrontChart(marks, o));
  page->Note(
      "The line is the front: what every other budget would buy. Lower and further left is "
      "better.");

  std::map<std::string, int> color, count;
  std::vector<LegendEntry> legend;
  if (!mixed.layers.empty()) {
    for (size_t c = 0; c < mixed.layers[0].options.size(); ++c)
      color[mixed.layers[0].options[c].name] = static_cast<int>(c);
  }
  std::vector<Bar> bars;
  HtmlTable table;
  table.columns = {{"#", true}, {"Layer"}, {"Precision"}, {"Cost", true}, {"Loss", true}};
  if (!mixed.layers.empty()) {
    for (const auto& option : mixed.layers[0].options) {
      table.columns.push_back({option.name + ": cost", true});
      table.columns.push_back({"loss", true});
    }
  }
  for (size_t l = 0; l < mixed.layers.size(); ++l) {
    const auto& layer = mixed.layers[l];
    const auto& picked = layer.options[mixed.picks[l]];
    ++count[picked.name];
    const std::string cost = CostText(picked.cost, mixed.kind);
    std::string title = layer.node + " at " + picked.name;
    for (const auto& option : layer.options)
      title += "\n" + option.name + ": " + CostText(option.cost, mixed.kind) + ", loss " +
               Number(option.loss);
    if (l < kMostBars)
      bars.push_back(
          {layer.node, picked.cost / unit, color[picked.name], picked.name + " · " + cost, title});
    std::vector<HtmlCell> row = {{std::to_string(l + 1), static_cast<double>(l + 1), "", ""},
                                 {layer.node, {}, "name", ""},
                                 {picked.name, {}, "", ""},
                                 {cost, picked.cost, "", ""},
                                 {Number(picked.loss), picked.loss, "", ""}};
    for (const auto& option : layer.options) {
      row.push_back({CostText(option.cost, mixed.kind), option.cost, "", ""});
      row.push_back({Number(option.loss), option.loss, "", ""});
    }
    table.rows.push_back(std::move(row));
  }
  for (const auto& [name, c] : color) {
    if (count[name] == 0) continue;
    legend.push_back(
        {name + ": " + std::to_string(count[name]) + (count[name] == 1 ? " layer" : " layers"), c});
  }
  std::sort(legend.begin(), legend.end(),
            [](const auto& a, const auto& b) { return a.color < b.color; });
  page->Subsection("Precision of each layer");
  page->Figure(HorizontalBars(bars, legend, o.x_title));
  if (mixed.layers.size() > kMostBars)
    page->Note("The first " + std::to_string(kMostBars) + " layers; the table has all.");
  table.filter = mixed.layers.size() > 20;
  page->Table(table);
}

}  // namespace slipway::report
