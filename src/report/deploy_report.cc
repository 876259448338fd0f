#include "report/deploy_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "deploy/quantize_json.h"
#include "report/format.h"
#include "report/html.h"
#include "report/quantize_sections.h"
#include "report/svg.h"
#include "report/table.h"

namespace slipway::report {
namespace {

constexpr size_t kShownBars = 30;

std::string MsText(const PlatformReport& r, const std::optional<double>& ms) {
  if (!ms) return "-";
  return FormatMs(*ms) + (r.emulated ? "*" : "") + (r.unstable ? "~" : "");
}

std::string DropText(const PlatformReport& r) {
  if (!r.drop || !std::isfinite(*r.drop)) return "-";
  return (*r.drop > -0.005 && *r.drop < 0.005 ? "0.00" : FormatFixed(*r.drop, 2));
}

std::string VerdictText(const PlatformReport& r) {
  return std::string(VerdictName(r.verdict)) + (r.why.empty() ? "" : ": " + r.why);
}

const char* VerdictCss(Verdict v) {
  switch (v) {
    case Verdict::kPass:
      return "good";
    case Verdict::kFail:
    case Verdict::kError:
      return "bad";
    case Verdict::kNotChecked:
      return "dim";
  }
  return "";
}

std::string MetricTitle(const std::string& metric) {
  if (metric == "top1") return "top-1 accuracy";
  if (metric == "top5") return "top-5 accuracy";
  return metric;
}

// A colour for every backend, the same in all charts.
std::map<std::string, int> BackendColors(const DeployReport& report,
                                         std::vector<std::string>* order) {
  std::map<std::string, int> colors;
  for (const auto& row : report.rows) {
    for (const auto& layer : row.layers) {
      if (colors.emplace(layer.backend, static_cast<int>(order->size())).second)
        order->push_back(layer.backend);
    }
  }
  return colors;
}

double TotalMs(const PlatformReport& r) {
  double total = 0;
  for (const auto& l : r.layers) total += std::isfinite(l.ms) ? l.ms : 0;
  return total;
}

std::string PointTitle(const DeployReport& report, const PlatformReport& r) {
  std::string s = r.platform + " (" + r.precision + ")";
  if (r.p50_ms) s += "  p50 " + FormatMs(*r.p50_ms) + " ms" + (r.emulated ? " emulated" : "");
  if (r.accuracy) s += "  " + MetricTitle(report.metric) + " " + FormatPercent(*r.accuracy);
  if (r.drop) s += "  drop " + DropText(r);
  return s + "  " + FormatBytes(r.size_bytes);
}

void Summarize(const DeployReport& report, HtmlPage* page) {
  const PlatformReport *fastest = nullptr, *smallest = nullptr;
  int passed = 0;
  for (const auto& r : report.rows) {
    if (r.verdict == Verdict::kError) continue;
    passed += r.verdict == Verdict::kPass;
    if (r.verdict == Verdict::kFail) continue;
    if (!r.emulated && r.p50_ms && (!fastest || *r.p50_ms < *fastest->p50_ms)) fastest = &r;
    if (r.size_bytes > 0 && (!smallest || r.size_bytes < smallest->size_bytes)) smallest = &r;
  }
  std::vector<std::vector<std::string>> tiles;
  tiles.push_back({"platforms that pass",
                   std::to_string(passed) + " of " + std::to_string(report.rows.size()),
                   report.max_drop ? "drop at most " + FormatFixed(*report.max_drop, 2) + " points"
                                   : "no accuracy gate"});
  if (fastest) tiles.push_back({"fastest", FormatMs(*fastest->p50_ms) + " ms", fastest->platform});
  if (smallest)
    tiles.push_back({"smallest file", FormatBytes(smallest->size_bytes), smallest->platform});
  if (report.reference_accuracy) {
    tiles.push_back({"float " + MetricTitle(report.metric),
                     FormatPercent(*report.reference_accuracy),
                     std::to_string(report.eval_samples) + " samples"});
  }
  if (report.macs > 0) {
    tiles.push_back({"one run", FormatCount(static_cast<double>(report.macs)) + " MACs",
                     FormatCount(static_cast<double>(report.params)) + " parameters"});
  }
  page->Tiles(tiles);
}

void PlatformTable(const DeployReport& report, HtmlPage* page) {
  HtmlTable t;
  t.columns = {{"Platform"},     {"Precision"},
               {"File", true},   {"Peak memory", true},
               {"p50 ms", true}, {"p90 ms", true},
               {"Spread", true}, {MetricTitle(report.metric), true},
               {"Drop", true},   {"On own backend", true},
               {"Verdict"}};
  bool emulated = false, unstable = false;
  for (const auto& r : report.rows) {
    emulated |= r.emulated;
    unstable |= r.unstable;
    const auto number = [](const std::string& text, const std::optional<double>& v) {
      return HtmlCell{text, v && std::isfinite(*v) ? v : std::nullopt, "", ""};
    };
    HtmlCell p50 = number(MsText(r, r.p50_ms), r.p50_ms),
             p90 = number(MsText(r, r.p90_ms), r.p90_ms);
    if (r.emulated) p50.css = p90.css = "dim";
    HtmlCell drop = number(DropText(r), r.drop);
    if (r.drop_low && r.drop_high) {
      drop.title =
          "95 % interval " + FormatFixed(*r.drop_low, 2) + " to " + FormatFixed(*r.drop_high, 2);
    }
    HtmlCell own = number(FormatPercent(r.own_macs_share, 0), r.own_macs_share);
    own.title = FormatPercent(r.own_nodes_share, 0) + " of the nodes, " +
                FormatPercent(r.own_macs_share, 1) + " of the MACs";
    if (r.own_macs_share < 0.9) own.css = "warn";
    if (r.verdict == Verdict::kError && r.layers.empty()) own = {"-"};
    t.rows.push_back(
        {{r.platform, {}, "name", r.package},
         {r.precision},
         {r.size_bytes > 0 ? FormatBytes(r.size_bytes) : "-", static_cast<double>(r.size_bytes)},
         {r.peak_bytes > 0 ? FormatBytes(r.peak_bytes) : "-", static_cast<double>(r.peak_bytes)},
         p50,
         p90,
         number(r.spread ? FormatPercent(*r.spread, 1) : "-", r.spread),
         number(r.accuracy ? FormatPercent(*r.accuracy) : "-", r.accuracy),
         drop,
         own,
         {VerdictName(r.verdict), {}, VerdictCss(r.verdict), r.why}});
  }
  page->Table(t);
  if (emulated)
    page->Note(
        "* under an emulator: the time says nothing about the device and is compared with no "
        "other.");
  if (unstable)
    page->Note(
        "~ the samples spread or drift more than the limit; measure again on an idle machine.");
  std::vector<std::string> failures;
  for (const auto& r : report.rows) {
    if (!r.why.empty()) failures.push_back(r.platform + " — " + VerdictText(r));
  }
  if (!failures.empty()) page->List(failures);
}

void ScatterSection(const DeployReport& report, HtmlPage* page) {
  std::vector<ScatterPoint> points;
  bool front = false, failed = false;
  for (size_t i = 0; i < report.rows.size(); ++i) {
    const auto& r = report.rows[i];
    if (!r.p50_ms || !r.accuracy) continue;
    const bool fails = r.verdict == Verdict::kFail;
    failed |= fails;
    points.push_back({r.platform, *r.p50_ms, *r.accuracy * 100, static_cast<int>(i), r.emulated,
                      fails, PointTitle(report, r)});
  }
  ScatterOptions o;
  o.x_title = "latency p50, ms";
  o.y_title = MetricTitle(report.metric) + ", %";
  o.apart_title = "emulated: no time";
  if (report.reference_accuracy) {
    o.reference = *report.reference_accuracy * 100;
    o.reference_title = "float model";
    if (report.max_drop) {
      o.limit = *o.reference - *report.max_drop;
      o.limit_title = "gate: " + FormatFixed(*report.max_drop, 2) + " points below";
    }
  }
  const std::string svg = Scatter(points, o);
  page->Section("Latency and accuracy");
  if (svg.empty()) {
    page->Note(
        "No platform has both a latency and an accuracy: give --eval data to see them here.");
    std::vector<Bar> bars;
    for (size_t i = 0; i < report.rows.size(); ++i) {
      const auto& r = report.rows[i];
      if (r.p50_ms && !r.emulated)
        bars.push_back({r.platform, *r.p50_ms, static_cast<int>(i), MsText(r, r.p50_ms),
                        PointTitle(report, r)});
    }
    if (!bars.empty()) page->Figure(HorizontalBars(bars, {}, "latency p50, ms"));
    return;
  }
  page->Figure(svg);
  front = ParetoFront(points).size() > 1;
  page->Note(
      std::string("Further left is faster, higher is more accurate.") +
      (front ? " The dashed line is the front: platforms that no other one beats in both." : "") +
      (failed ? " A cross misses the accuracy gate." : ""));
}

std::string LayerChart(const PlatformReport& r, const std::map<std::string, int>& colors,
                       const std::vector<std::string>& backends) {
  HtmlPage part("");
  const double total = TotalMs(r);
  if (!(total > 0)) {
    part.Note("No per-layer times were measured on this platform.");
    return part.body();
  }
  std::vector<const LayerReport*> order;
  for (const auto& l : r.layers) order.push_back(&l);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto* a, const auto* b) { return a->ms > b->ms; });
  std::vector<Bar> bars;
  double rest = 0;
  std::map<std::string, double> by_backend;
  for (size_t i = 0; i < order.size(); ++i) {
    const auto& l = *order[i];
    by_backend[l.backend] += l.ms;
    if (i >= kShownBars) {
      rest += l.ms;
      continue;
    }
    const std::string share = FormatPercent(l.ms / total, 1);
    std::string title = l.name + "\n" + l.op + " on " + l.backend +
                        (l.kernel.empty() ? "" : " (" + l.kernel + ")") + ", " + l.dtype + ", " +
                        FormatMs(l.ms) + " ms, " + share;
    if (l.macs > 0 && l.ms > 0)
      title += ", " + FormatCount(2e3 * static_cast<double>(l.macs) / l.ms) + "op/s";
    bars.push_back({l.name.empty() ? l.op : l.op + "  " + l.name, l.ms, colors.at(l.backend),
                    FormatMs(l.ms) + " · " + share, title});
  }
  if (order.size() > kShownBars) {
    bars.push_back({std::to_string(order.size() - kShownBars) + " other layers", rest, kPalette - 1,
                    FormatMs(rest) + " · " + FormatPercent(rest / total, 1), ""});
  }
  std::vector<LegendEntry> legend;
  for (const auto& b : backends) {
    if (by_backend.count(b))
      legend.push_back({b + " " + FormatPercent(by_backend[b] / total, 0), colors.at(b)});
  }
  part.Figure(HorizontalBars(bars, legend,
                             std::string("ms of one run") + (r.emulated ? " (emulated)" : "")));
  return part.body();
}

void LayerSections(const DeployReport& report, HtmlPage* page) {
  std::vector<std::string> backends;
  const auto colors = BackendColors(report, &backends);
  std::vector<std::pair<std::string, std::string>> tabs;
  HtmlTable t;
  t.columns = {{"Platform"}, {"#", true}, {"Layer"},      {"Operator"}, {"Backend"},
               {"Kernel"},   {"Type"},    {"MACs", true}, {"ms", true}, {"Share", true}};
  t.filter = true;
  t.filter_column = 0;
  for (const auto& r : report.rows) {
    if (r.layers.empty()) continue;
    tabs.emplace_back(r.platform, LayerChart(r, colors, backends));
    const double total = TotalMs(r);
    for (size_t i = 0; i < r.layers.size(); ++i) {
      const auto& l = r.layers[i];
      const bool timed = std::isfinite(l.ms) && total > 0;
      t.rows.push_back(
          {{r.platform, {}, "name", ""},
           {std::to_string(i + 1), static_cast<double>(i + 1)},
           {l.name, {}, "code", ""},
           {l.op},
           {l.backend, {}, l.why.empty() ? "" : "warn", l.why},
           {l.kernel, {}, "code", ""},
           {l.dtype},
           {l.macs > 0 ? FormatCount(static_cast<double>(l.macs)) : "",
            static_cast<double>(l.macs)},
           {timed ? FormatMs(l.ms) : "-", timed ? std::optional<double>(l.ms) : std::nullopt},
           {timed ? FormatPercent(l.ms / total, 1) : "-",
            timed ? std::optional<double>(l.ms / total) : std::nullopt}});
    }
  }
  if (tabs.empty()) return;
  page->Section("Where the time goes");
  page->Tabs(tabs);
  page->Section("Placement of every layer");
  page->Note("A marked backend is a fallback: hover it for the reason.");
  page->Table(t);
}

void QuantizationSection(const DeployReport& report, HtmlPage* page) {
  HtmlTable how;
  how.columns = {{"Platform"}, {"Quantized by"}, {"What was found"}};
  std::vector<std::pair<std::string, std::string>> tabs;
  for (const auto& r : report.rows) {
    if (r.choices.empty()) continue;
    HtmlPage part("");
    if (r.ladder) LadderPart(*r.ladder, &part);
    if (r.mixed) BudgetPart(*r.mixed, &part);
    if (!part.body().empty()) tabs.emplace_back(r.platform, part.body());
    how.rows.push_back({{r.platform, {}, "name", ""},
                        {r.choices, {}, "", ""},
                        {r.ladder  ? LadderLine(*r.ladder)
                         : r.mixed ? BudgetLine(*r.mixed)
                                   : "",
                         {},
                         "",
                         ""}});
  }
  if (how.rows.empty()) return;
  page->Section("Quantization");
  page->Table(how);
  if (!tabs.empty()) page->Tabs(tabs);
}

void PlansSection(const DeployReport& report, HtmlPage* page) {
  std::vector<std::pair<std::string, std::string>> tabs;
  for (const auto& r : report.rows) {
    if (r.plans.size() < 2) continue;
    HtmlTable table;
    table.columns = {
        {"Plan"},         {"Nodes"}, {"Conversions", true}, {"Expected ms", true}, {"ms", true},
        {"Spread", true}, {"Kept?"}};
    for (const deploy::PlanRow& p : r.plans) {
      table.rows.push_back(
          {{deploy::NamesText(p), {}, "name", ""},
           {deploy::NodesText(p), {}, "", ""},
           {std::to_string(p.conversions), static_cast<double>(p.conversions), "", ""},
           {FormatMs(p.expected_ms), p.expected_ms, "", ""},
           {FormatMs(p.p50_ms), p.p50_ms, "", ""},
           {FormatMs(p.spread_ms), p.spread_ms, "", ""},
           {p.chosen ? "the fastest" : "", {}, p.chosen ? "good" : "", ""}});
    }
    HtmlPage part("");
    part.Table(table);
    tabs.emplace_back(r.platform, part.body());
  }
  if (tabs.empty()) return;
  page->Section("Plans that were timed");
  page->Note(
      "In turns, medians and the distance from the 10th percentile to the 90th. Alone: one "
      "backend, with the others for what it has not.");
  page->Tabs(tabs);
}

void ExportSection(const DeployReport& report, HtmlPage* page) {
  HtmlTable table;
  table.columns = {{"Platform"}, {"File"}};
  for (const auto& r : report.rows) {
    for (const std::string& file : r.exported)
      table.rows.push_back({{r.platform, {}, "name", ""}, {file, {}, "code", ""}});
  }
  if (table.rows.empty()) return;
  page->Section("Files for vendors' tools");
  page->Note("README.txt of each folder says how the tool reads them.");
  page->Table(table);
}

void SensitivitySection(const DeployReport& report, HtmlPage* page) {
  if (report.sensitivity.empty()) return;
  page->Section("What quantization costs");
  page->Note(
      "Signal-to-noise ratio of each layer's output against the float model; the lowest hurts "
      "most.");
  HtmlTable t;
  t.columns = {{"Platform"}, {"Layer"}, {"Operator"}, {"SQNR dB", true}, {"Note"}};
  t.filter = report.sensitivity.size() > 20;
  for (const auto& s : report.sensitivity) {
    t.rows.push_back({{s.platform, {}, "name", ""},
                      {s.layer, {}, "code", ""},
                      {s.op},
                      {FormatFixed(s.sqnr_db, 1),
                       std::isfinite(s.sqnr_db) ? std::optional<double>(s.sqnr_db) : std::nullopt},
                      {s.note}});
  }
  page->Table(t);
}

}  // namespace

const char* VerdictName(Verdict v) {
  switch (v) {
    case Verdict::kPass:
      return "pass";
    case Verdict::kFail:
      return "fail";
    case Verdict::kError:
      return "error";
    case Verdict::kNotChecked:
      return "not checked";
  }
  return "unknown";
}

std::string RenderText(const DeployReport& report, int width) {
  Table table({{"platform"},
               {"precision"},
               {"size", Align::kRight},
               {"peak", Align::kRight},
               {"p50 ms", Align::kRight},
               {"p90 ms", Align::kRight},
               {report.metric, Align::kRight},
               {"drop", Align::kRight},
               {"verdict", Align::kLeft}});
  bool emulated = false, unstable = false;
  for (const auto& r : report.rows) {
    emulated |= r.emulated && r.p50_ms;
    unstable |= r.unstable;
    table.AddRow({r.platform, r.precision, r.size_bytes > 0 ? FormatBytes(r.size_bytes) : "-",
                  r.peak_bytes > 0 ? FormatBytes(r.peak_bytes) : "-", MsText(r, r.p50_ms),
                  MsText(r, r.p90_ms), r.accuracy ? FormatPercent(*r.accuracy) : "-", DropText(r),
                  VerdictText(r)});
  }
  std::string out = table.Render(width);
  if (emulated) out += "* emulated: not comparable with other times\n";
  if (unstable) out += "~ unstable: the samples spread or drift over the limit\n";
  for (const auto& r : report.rows) {
    if (r.ladder) out += r.platform + ": " + Printable(LadderLine(*r.ladder)) + "\n";
    if (r.mixed) out += r.platform + ": " + Printable(BudgetLine(*r.mixed)) + "\n";
    for (const deploy::PlanRow& p : r.plans) {
      if (p.chosen && r.plans.size() > 1)
        out += r.platform + ": the fastest of " + std::to_string(r.plans.size()) + " plans, " +
               Printable(deploy::NodesText(p)) + "\n";
    }
  }
  for (const auto& r : report.rows) {
    std::string files;
    for (const std::string& file : r.exported) files += (files.empty() ? "" : ", ") + file;
    if (!files.empty()) out += r.platform + " for the vendor's tool: " + Printable(files) + "\n";
  }
  for (const std::string& note : report.notes) out += "note: " + Printable(note) + "\n";
  return out;
}

std::string RenderHtml(const DeployReport& report) {
  HtmlPage page("Slipway · " + report.model);
  std::string sub = report.date + " · " + report.host + " · batch " + std::to_string(report.batch) +
                    ", " + std::to_string(report.threads) +
                    (report.threads == 1 ? " thread" : " threads") + " · slipway " +
                    report.tool_version;
  if (!report.model_hash.empty()) sub += " · model " + report.model_hash.substr(0, 12);
  page.Heading(report.model, sub);
  Summarize(report, &page);
  page.Section("Platforms");
  PlatformTable(report, &page);
  ScatterSection(report, &page);
  QuantizationSection(report, &page);
  PlansSection(report, &page);
  ExportSection(report, &page);
  LayerSections(report, &page);
  SensitivitySection(report, &page);
  if (!report.notes.empty()) {
    page.Section("Notes");
    page.List(report.notes);
  }
  return page.Render();
}

std::string RenderJson(const DeployReport& report) {
  using nlohmann::json;
  const auto maybe = [](const std::optional<double>& v) {
    return v && std::isfinite(*v) ? json(*v) : json();
  };
  json rows = json::array();
  for (const auto& r : report.rows) {
    json layers = json::array();
    for (const auto& l : r.layers) {
      layers.push_back({{"name", l.name},
                        {"op", l.op},
                        {"backend", l.backend},
                        {"kernel", l.kernel},
                        {"dtype", l.dtype},
                        {"why", l.why},
                        {"ms", maybe(l.ms)},
                        {"macs", l.macs}});
    }
    rows.push_back({{"platform", r.platform},
                    {"precision", r.precision},
                    {"package", r.package},
                    {"size_bytes", r.size_bytes},
                    {"peak_bytes", r.peak_bytes},
                    {"p50_ms", maybe(r.p50_ms)},
                    {"p90_ms", maybe(r.p90_ms)},
                    {"spread", maybe(r.spread)},
                    {"unstable", r.unstable},
                    {"emulated", r.emulated},
                    {"accuracy", maybe(r.accuracy)},
                    {"drop", maybe(r.drop)},
                    {"drop_interval", r.drop_low && r.drop_high
                                          ? json::array({maybe(r.drop_low), maybe(r.drop_high)})
                                          : json()},
                    {"own_nodes_share", r.own_nodes_share},
                    {"own_macs_share", r.own_macs_share},
                    {"verdict", VerdictName(r.verdict)},
                    {"why", r.why},
                    {"choices", r.choices},
                    {"exported", r.exported},
                    {"layers", layers}});
    if (r.ladder) rows.back()["ladder"] = deploy::ToJson(*r.ladder);
    if (!r.plans.empty()) rows.back()["plans"] = deploy::ToJson(r.plans);
    if (!r.plugins.empty()) rows.back()["plugins"] = deploy::ToJson(r.plugins);
    if (r.mixed) rows.back()["mixed"] = deploy::ToJson(*r.mixed);
  }
  json sensitivity = json::array();
  for (const auto& s : report.sensitivity) {
    sensitivity.push_back({{"platform", s.platform},
                           {"layer", s.layer},
                           {"op", s.op},
                           {"sqnr_db", maybe(s.sqnr_db)},
                           {"note", s.note}});
  }
  const json j = {{"model", report.model},
                  {"model_hash", report.model_hash},
                  {"date", report.date},
                  {"tool_version", report.tool_version},
                  {"host", report.host},
                  {"params", report.params},
                  {"macs", report.macs},
                  {"metric", report.metric},
                  {"reference_accuracy", maybe(report.reference_accuracy)},
                  {"max_drop", maybe(report.max_drop)},
                  {"eval_samples", report.eval_samples},
                  {"calib_samples", report.calib_samples},
                  {"batch", report.batch},
                  {"threads", report.threads},
                  {"platforms", rows},
                  {"sensitivity", sensitivity},
                  {"notes", report.notes}};
  return j.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Status WriteHtml(const DeployReport& report, const std::string& path) {
  return WriteFile(path, RenderHtml(report));
}

}  // namespace slipway::report
