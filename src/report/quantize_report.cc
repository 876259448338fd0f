#include "report/quantize_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "report/format.h"
#include "report/html.h"
#include "report/quantize_sections.h"
#include "report/svg.h"

namespace slipway::report {
namespace {

using quant::LayerDiagnosis;
using quant::TensorDiagnosis;

constexpr size_t kBars = 40;

std::string Number(double v) { return FormatFixed(v, 1); }

std::string RangeText(const quant::Range& r) {
  char text[64];
  std::snprintf(text, sizeof text, "%.4g … %.4g", double{r.lo}, double{r.hi});
  return text;
}

nlohmann::json Finite(double v) { return std::isfinite(v) ? nlohmann::json(v) : nlohmann::json(); }

nlohmann::json TensorJson(const std::optional<TensorDiagnosis>& t) {
  if (!t) return {};
  return {{"name", t->name},
          {"bits", t->bits},
          {"scales", t->scales},
          {"seen", {t->seen.lo, t->seen.hi}},
          {"range", {t->range.lo, t->range.hi}},
          {"clipped", t->clipped},
          {"db", Finite(t->db)},
          {"imbalance", Finite(t->imbalance)},
          {"histogram", t->bins}};
}

std::vector<const LayerDiagnosis*> WorstFirst(const QuantizeReport& report) {
  std::vector<const LayerDiagnosis*> order;
  for (const LayerDiagnosis& l : report.layers) order.push_back(&l);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return a->error.alone_db < b->error.alone_db;
  });
  return order;
}

HtmlCell Db(double db) {
  HtmlCell cell{DbText(db),
                std::isfinite(db) ? std::optional(db) : std::optional(db > 0 ? 1e9 : -1e9), "", ""};
  if (db < 15) cell.css = "bad";
  return cell;
}

}  // namespace

std::string DbText(double db) {
  if (std::isfinite(db)) return Number(db);
  return db > 0 ? "exact" : "-";
}

std::string RemedyText(const LayerDiagnosis& layer) {
  if (layer.chosen < 0) return "";
  const quant::Remedy& r = layer.tried[static_cast<size_t>(layer.chosen)];
  if (!std::isfinite(r.db)) return r.what + ": " + r.option;
  return r.what + " (" + (r.bound ? "up to " : "") + "+" + Number(r.db - layer.error.alone_db) +
         " dB): " + r.option;
}

nlohmann::json LayersJson(const std::vector<LayerDiagnosis>& layers) {
  nlohmann::json rows = nlohmann::json::array();
  for (const LayerDiagnosis& l : layers) {
    nlohmann::json tried = nlohmann::json::array();
    for (const quant::Remedy& r : l.tried) {
      tried.push_back({{"what", r.what},
                       {"option", r.option},
                       {"alone_db", Finite(r.db)},
                       {"free", r.free},
                       {"bound", r.bound}});
    }
    nlohmann::json row = {{"node", l.error.node},
                          {"op", l.error.op},
                          {"alone_db", Finite(l.error.alone_db)},
                          {"accumulated_db", Finite(l.error.accumulated_db)},
                          {"cosine", Finite(l.error.cosine)},
                          {"input_db", Finite(l.input_db)},
                          {"weights_db", Finite(l.weights_db)},
                          {"mean_share", l.mean_share},
                          {"input", TensorJson(l.input)},
                          {"weights", TensorJson(l.weights)},
                          {"tried", tried}};
    row["remedy"] = l.chosen < 0 ? nlohmann::json() : nlohmann::json(RemedyText(l));
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string HistogramSvg(const TensorDiagnosis& tensor, const std::string& title) {
  constexpr double kWidth = 960, kHeight = 150, kLeft = 12, kRight = 948, kTop = 22, kBottom = 118;
  // The axis covers values and range.
  const double low = std::min({double{tensor.seen.lo}, double{tensor.range.lo}}),
               high = std::max({double{tensor.seen.hi}, double{tensor.range.hi}});
  const double span = high > low ? high - low : 1;
  const auto x = [&](double v) { return kLeft + (v - low) / span * (kRight - kLeft); };
  const auto n = [](double v) { return FormatFixed(v, 1); };
  int64_t most = 1;
  for (const int64_t c : tensor.bins) most = std::max(most, c);
  std::string s = "<svg viewBox=\"0 0 " + n(kWidth) + " " + n(kHeight) +
                  "\" role=\"img\" class=\"chart\"><title>" + EscapeHtml(title) + "</title>\n";
  s += "<text x=\"" + n(kLeft) + "\" y=\"14\" class=\"tick\">" +
       EscapeHtml(Shorten(Printable(title), 120)) + "</text>\n";
  const double width = (double{tensor.seen.hi} - tensor.seen.lo) /
                       std::max<double>(1, static_cast<double>(tensor.bins.size()));
  for (size_t i = 0; i < tensor.bins.size(); ++i) {
    if (tensor.bins[i] == 0) continue;
    const double height = std::log1p(static_cast<double>(tensor.bins[i])) /
                          std::log1p(static_cast<double>(most)) * (kBottom - kTop - 4);
    const double from = tensor.seen.lo + static_cast<double>(i) * width, middle = from + width / 2;
    const bool inside = middle >= tensor.range.lo && middle <= tensor.range.hi;
    s += "<rect x=\"" + n(x(from)) + "\" y=\"" + n(kBottom - height) + "\" width=\"" +
         n(std::max(1.0, x(from + width) - x(from) - 0.5)) + "\" height=\"" + n(height) +
         "\" fill=\"var(--c" + (inside ? "0" : "3") + ")\"><title>" +
         std::to_string(tensor.bins[i]) + "</title></rect>\n";
  }
  for (const double edge : {double{tensor.range.lo}, double{tensor.range.hi}}) {
    s += "<line x1=\"" + n(x(edge)) + "\" y1=\"" + n(kTop) + "\" x2=\"" + n(x(edge)) + "\" y2=\"" +
         n(kBottom) + "\" class=\"limit\"/>\n";
  }
  s += "<line x1=\"" + n(kLeft) + "\" y1=\"" + n(kBottom) + "\" x2=\"" + n(kRight) + "\" y2=\"" +
       n(kBottom) + "\" class=\"axis\"/>\n";
  char text[48];
  for (const auto& [v, anchor] : {std::pair{low, "start"}, std::pair{high, "end"}}) {
    std::snprintf(text, sizeof text, "%.4g", v);
    s += "<text x=\"" + n(x(v)) + "\" y=\"" + n(kBottom + 16) + "\" class=\"tick\" text-anchor=\"" +
         anchor + "\">" + text + "</text>\n";
  }
  return s + "</svg>\n";
}

std::string RenderHtml(const QuantizeReport& report) {
  HtmlPage page("Quantization of " + report.model);
  page.Heading("Quantization of " + report.model, report.platform + " · " + report.choices);
  std::vector<std::vector<std::string>> tiles = {
      {"nodes on integers", std::to_string(report.quantized_nodes), report.platform},
      {"calibration", std::to_string(report.calibration_samples) + " samples", ""}};
  if (report.float_top1 && report.top1) {
    tiles.push_back({"float top-1", FormatPercent(*report.float_top1),
                     std::to_string(report.eval_samples) + " samples"});
    tiles.push_back({"quantized top-1", FormatPercent(*report.top1),
                     "drop " + FormatFixed(100 * (*report.float_top1 - *report.top1), 2) +
                         " points" +
                         (report.max_drop ? ", at most " + FormatFixed(*report.max_drop, 2) : "")});
  }
  const auto order = WorstFirst(report);
  if (!order.empty())
    tiles.push_back(
        {"worst layer", DbText(order[0]->error.alone_db) + " dB", order[0]->error.node});
  page.Tiles(tiles);
  if (!report.notes.empty()) page.List(report.notes);
  if (report.ladder) {
    page.Section("The ladder");
    LadderPart(*report.ladder, &page);
  }
  if (report.mixed) {
    page.Section("What the budget bought");
    BudgetPart(*report.mixed, &page);
  }

  page.Section("What would help");
  HtmlTable worst;
  worst.columns = {{"Layer"},
                   {"Operator"},
                   {"Alone, dB", true},
                   {"Inputs, dB", true},
                   {"Weights, dB", true},
                   {"Shift of means", true},
                   {"Remedy"}};
  for (const LayerDiagnosis* l : order) {
    if (l->tried.empty()) continue;
    HtmlCell remedy{RemedyText(*l), {}, "", ""};
    for (const quant::Remedy& r : l->tried)
      remedy.title += (remedy.title.empty() ? "" : "; ") + r.what + " " + DbText(r.db) + " dB";
    worst.rows.push_back({{l->error.node, {}, "name", ""},
                          {l->error.op, {}, "", ""},
                          Db(l->error.alone_db),
                          Db(l->input_db),
                          Db(l->weights_db),
                          {FormatPercent(l->mean_share, 0), l->mean_share, "", ""},
                          remedy});
  }
  page.Paragraph(
      "Each remedy was applied to the layer alone, and its signal-to-noise measured; hover over "
      "one "
      "to see all that were tried. Inputs and weights: with only these quantized. Shift of means: "
      "the "
      "share of the noise that bias correction removes.");
  page.Table(worst);

  page.Section("Layers");
  std::vector<Bar> bars;
  for (size_t i = 0; i < order.size() && i < kBars; ++i) {
    const quant::LayerError& e = order[i]->error;
    bars.push_back({e.node, e.alone_db, e.alone_db < 15 ? 3 : 0, DbText(e.alone_db) + " dB",
                    e.node + ": alone " + DbText(e.alone_db) + " dB, accumulated " +
                        DbText(e.accumulated_db) + " dB"});
  }
  page.Figure(HorizontalBars(bars, {}, "signal to noise of the layer alone, dB (worst first)"));
  HtmlTable all;
  all.columns = {
      {"Layer"},         {"Operator"},     {"Alone, dB", true}, {"Accumulated, dB", true},
      {"Cosine", true},  {"Bits"},         {"Input seen"},      {"Input range"},
      {"Clipped", true}, {"Weights seen"}, {"Weights range"}};
  all.filter = true;
  for (const LayerDiagnosis& l : report.layers) {
    const auto range = [](const std::optional<TensorDiagnosis>& t, bool seen) {
      return HtmlCell{t ? RangeText(seen ? t->seen : t->range) : "-", {}, "", ""};
    };
    const std::string bits = (l.weights ? "W" + std::to_string(l.weights->bits) : "") +
                             (l.input ? "A" + std::to_string(l.input->bits) : "");
    all.rows.push_back({{l.error.node, {}, "name", ""},
                        {l.error.op, {}, "", ""},
                        Db(l.error.alone_db),
                        Db(l.error.accumulated_db),
                        {FormatFixed(l.error.cosine, 5), l.error.cosine, "", ""},
                        {bits, {}, "", ""},
                        range(l.input, true),
                        range(l.input, false),
                        {l.input ? FormatPercent(l.input->clipped, 3) : "-",
                         l.input ? std::optional(l.input->clipped) : std::nullopt, "", ""},
                        range(l.weights, true),
                        range(l.weights, false)});
  }
  page.Table(all);

  page.Section("Values and ranges of the worst layers");
  page.Paragraph(
      "Counts on a logarithmic scale. The lines are the ends of the range that the codes span; "
      "values "
      "beyond them are clipped.");
  for (const LayerDiagnosis* l : order) {
    if (l->tried.empty()) continue;
    page.Subsection(l->error.node);
    if (l->input) page.Figure(HistogramSvg(*l->input, "input " + l->input->name));
    if (l->weights) page.Figure(HistogramSvg(*l->weights, "weights " + l->weights->name));
  }
  return page.Render();
}

Status WriteHtml(const QuantizeReport& report, const std::string& path) {
  return WriteFile(path, RenderHtml(report));
}

}  // namespace slipway::report
