#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "base/mapped_file.h"
#include "deploy/quantize_json.h"
#include "report/deploy_report.h"
#include "report/format.h"
#include "report/html.h"
#include "report/progress.h"
#include "report/quantize_sections.h"
#include "report/svg.h"
#include "report/table.h"

namespace slipway::report {
namespace {

TEST(Format, Numbers) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1234), "1.2 KiB");
  EXPECT_EQ(FormatBytes(25600000), "24.4 MiB");
  EXPECT_EQ(FormatBytes(999600), "976 KiB");
  EXPECT_EQ(FormatCount(4.1e9), "4.10 G");
  EXPECT_EQ(FormatMs(0.01234), "0.0123");
  EXPECT_EQ(FormatMs(1.234), "1.23");
  EXPECT_EQ(FormatMs(123.4), "123");
  EXPECT_EQ(FormatMs(std::nan("")), "-");
  EXPECT_EQ(FormatPercent(0.91234), "91.23 %");
  EXPECT_EQ(FormatPercent(INFINITY), "-");
}

TEST(Format, PrintableTextIsOneSafeLine) {
  EXPECT_EQ(Printable("a\tb\nc"), "a b c");
  EXPECT_EQ(Printable("\x1b[31mred"), "\xef\xbf\xbd[31mred");
  EXPECT_EQ(Printable("\xff\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(Printable("a\xe2\x80\xae"
                      "b"),
            "a\xef\xbf\xbd"
            "b");  // right-to-left override
  EXPECT_EQ(Printable("größe 层"), "größe 层");
  EXPECT_EQ(Printable(std::string_view("\xe5\xb1", 2)),
            "\xef\xbf\xbd\xef\xbf\xbd");  // cut in the middle
}

TEST(Format, WidthAndShortening) {
  EXPECT_EQ(DisplayWidth("größe"), 5);
  EXPECT_EQ(DisplayWidth("层次"), 4);
  EXPECT_EQ(DisplayWidth("e\xcc\x81"), 1);
  EXPECT_EQ(Shorten("abcdefghij", 5), "ab…ij");
  EXPECT_EQ(Shorten("abc", 3), "abc");
  EXPECT_LE(DisplayWidth(Shorten("层层层层层层", 6)), 6);
  EXPECT_EQ(Shorten("abc", 1), "…");
}

TEST(Table, AlignsByWidthAndStripsTrailingBlanks) {
  Table t({{"name"}, {"ms", Align::kRight}, {"note"}});
  t.AddRow({"größe", "1.5", ""});
  t.AddRow({"层", "10.25", "x"});
  t.AddRule();
  t.AddRow({"evil\x1b[2J\n", "3"});
  EXPECT_EQ(t.Render(),
            "name          ms  note\n"
            "─────────  ─────  ────\n"
            "größe        1.5\n"
            "层         10.25  x\n"
            "─────────  ─────  ────\n"
            "evil\xef\xbf\xbd[2J       3\n");
}

TEST(Table, FitsTheTerminal) {
  Table t({{"layer"}, {"ms", Align::kRight}});
  t.AddRow({"/backbone/stage3/block2/conv1/Conv_output_0", "12.5"});
  const std::string text = t.Render(30);
  for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    EXPECT_LE(DisplayWidth(text.substr(at, end - at)), 30);
  }
  EXPECT_NE(text.find("…"), std::string::npos);
  EXPECT_NE(text.find("12.5"), std::string::npos);
}

std::string ProgressOutput(ProgressMode mode, int64_t total, int steps) {
  std::FILE* f = std::tmpfile();
  {
    Progress p("load \x1b[0m", total, mode, f);
    for (int i = 1; i <= steps; ++i) p.Update(i, "note");
  }
  std::string text(static_cast<size_t>(std::ftell(f)), '\0');
  std::rewind(f);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), f), text.size());
  std::fclose(f);
  return text;
}

TEST(Progress, ModesAndRate) {
  EXPECT_EQ(ProgressOutput(ProgressMode::kNone, 10, 10), "");
  EXPECT_EQ(ProgressOutput(ProgressMode::kLines, 10, 10),
            "load \xef\xbf\xbd[0m: 10/10  0 s  note\n");
  EXPECT_EQ(ProgressOutput(ProgressMode::kLines, 0, 7), "load \xef\xbf\xbd[0m: 7  0 s  note\n");
  const std::string bar = ProgressOutput(ProgressMode::kBar, 100000, 100000);
  EXPECT_LT(bar.size(), 3000u);  // redrawn at most ten times a second
  EXPECT_NE(bar.find("████████████████████████│ 100000/100000"), std::string::npos);
  EXPECT_EQ(bar.back(), '\n');
  EXPECT_EQ(ProgressModeFor(true), ProgressMode::kNone);
}

TEST(Ticks, AreRoundAndCover) {
  EXPECT_EQ(NiceTicks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  for (const auto& [low, high] :
       {std::pair{0.0, 0.0037}, {88.31, 88.34}, {-3.0, 1e6}, {5.0, 5.0}}) {
    const auto t = NiceTicks(low, high, 6);
    ASSERT_GE(t.size(), 2u);
    EXPECT_LE(t.size(), 14u);
    EXPECT_LE(t.front(), low + 1e-9);
    EXPECT_GE(t.back(), high - 1e-9);
  }
  EXPECT_TRUE(NiceTicks(0, INFINITY, 5).empty());
}

TEST(Pareto, FrontLeavesOutEmulatedFailedAndBroken) {
  std::vector<ScatterPoint> p = {{"a", 1, 80},
                                 {"b", 2, 90},
                                 {"c", 2, 85},
                                 {"d", 3, 89},
                                 {"e", 4, 95},
                                 {"f", 0.1, 99, 0, true},
                                 {"g", 0.2, 98, 0, false, true},
                                 {"h", NAN, 99}};
  EXPECT_EQ(ParetoFront(p), (std::vector<size_t>{0, 1, 4}));
  EXPECT_TRUE(ParetoFront({}).empty());
  EXPECT_EQ(Scatter({}, {}), "");
  EXPECT_EQ(Scatter({{"h", NAN, 99}}, {}), "");
  EXPECT_NE(Scatter(p, {.x_title = "ms", .y_title = "%"}).find("class=\"front\""),
            std::string::npos);
}

TEST(Scatter, WideRangesUseALogarithm) {
  const std::string s = Scatter({{"a", 0.1, 80}, {"b", 100, 90}}, {.x_title = "ms"});
  EXPECT_NE(s.find("logarithmic"), std::string::npos);
  EXPECT_EQ(s.find("nan"), std::string::npos);
  EXPECT_EQ(s.find("inf"), std::string::npos);
}

constexpr const char* kEvil =
    "</script><script>alert(1)</script><img src=x onerror=\"alert('x')\">&\x01\xff";

DeployReport Sample(const std::string& node_prefix = "") {
  DeployReport r;
  r.model = "fashion_resnet.onnx";
  r.model_hash = "d9b2f14c7a31e6c0";
  r.date = "2025-11-22T15:00:00Z";
  r.tool_version = "0.1.0";
  r.host = "AMD EPYC 9B45 · 2 CPUs · virtual machine · load 0.4";
  r.params = 175258;
  r.macs = 31250000;
  r.reference_accuracy = 0.9231;
  r.max_drop = 1.0;
  r.eval_samples = 10000;
  r.calib_samples = 256;
  struct Row {
    const char *platform, *precision;
    double ms, accuracy;
    int64_t size, peak;
    bool emulated;
  };
  const Row rows[] = {{"reference", "float32", 48.2, 0.9231, 712000, 1843200, false},
                      {"x86", "float32", 0.61, 0.9231, 712000, 1843200, false},
                      {"x86-onednn", "float32", 0.66, 0.9231, 713000, 1900000, false},
                      {"x86-onednn-int8", "int8", 0.24, 0.9222, 196000, 702000, false},
                      {"x86-int8", "int8", 0.21, 0.9224, 195000, 690000, false},
                      {"x86-int4", "int4", 0.19, 0.9085, 110000, 690000, false},
                      {"arm64-generic", "float32", 321, 0.9231, 712000, 1843200, true}};
  std::mt19937 random(7);
  const char* ops[] = {"Conv", "Conv",   "Add", "Conv", "Relu", "GlobalAveragePool",
                       "Gemm", "Softmax"};
  for (const Row& row : rows) {
    PlatformReport p;
    p.platform = row.platform;
    p.precision = row.precision;
    p.package = std::string(row.platform) + ".slip";
    p.size_bytes = row.size;
    p.peak_bytes = row.peak;
    p.p50_ms = row.ms;
    p.p90_ms = row.ms * 1.06;
    p.spread = 0.05 + (random() % 10) / 100.0;
    p.unstable = p.platform == "x86-onednn";
    p.emulated = row.emulated;
    p.accuracy = row.accuracy;
    p.drop = (*r.reference_accuracy - row.accuracy) * 100;
    p.drop_low = *p.drop - 0.2;
    p.drop_high = *p.drop + 0.2;
    p.own_macs_share = p.platform == "x86-int4" ? 0.82 : 1.0;
    p.own_nodes_share = 0.94;
    p.verdict = *p.drop > *r.max_drop ? Verdict::kFail : Verdict::kPass;
    if (p.verdict == Verdict::kFail)
      p.why = "drop 1.46 over 1.00 points; layer stage3.1.conv2 hurts most (11.2 dB)";
    for (int i = 0; i < 44; ++i) {
      LayerReport l;
      l.name = node_prefix + "/stage" + std::to_string(i / 12 + 1) + "/block" +
               std::to_string(i / 4 % 3) + "/" + ops[i % 8] + "_" + std::to_string(i);
      l.op = ops[i % 8];
      const bool fallback = l.op == "Softmax" || l.op == "GlobalAveragePool";
      l.backend = p.platform == "reference" ? "reference"
                  : fallback                ? "reference"
                  : i % 3                   ? "onednn"
                                            : "x86";
      if (fallback && p.platform != "reference") l.why = "no int8 kernel of " + l.op;
      l.kernel = l.backend == "onednn" ? "jit:avx512_core_vnni"
                 : l.backend == "x86"  ? "avx512"
                                       : "";
      l.dtype = row.precision;
      l.macs = l.op == "Conv" ? 700000 + 1000 * (random() % 900) : l.op == "Gemm" ? 640 : 0;
      l.ms = row.ms / 44 * (l.macs > 1000 ? 1.6 : 0.4) * (0.6 + (random() % 100) / 120.0);
      p.layers.push_back(std::move(l));
    }
    r.rows.push_back(std::move(p));
  }
  PlatformReport broken;
  broken.platform = "snpe-int8";
  broken.precision = "int8";
  broken.verdict = Verdict::kError;
  broken.why = "node 'GridSample_3': operator GridSample is not supported; replace it";
  r.rows.push_back(broken);
  r.sensitivity = {{"x86-int4", node_prefix + "/stage3/1/conv2", "Conv", 11.2, "keep it in 8 bits"},
                   {"x86-int4", "/stage1/0/conv1", "Conv", 17.9, ""},
                   {"x86-int8", "/fc", "Gemm", 38.4, ""}};
  r.notes = {"Calibrated on 256 samples of train-images-idx3-ubyte.gz.",
             "The CPU frequency could not be read: a virtual machine."};
  return r;
}

TEST(Html, EscapesEverything) {
  EXPECT_EQ(EscapeHtml("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
  DeployReport r = Sample(kEvil);
  r.model = r.host = r.tool_version = r.date = r.model_hash = r.metric = kEvil;
  r.notes = {kEvil};
  for (auto& row : r.rows) {
    row.platform = row.precision = row.package = row.why = kEvil;
    for (auto& l : row.layers) l.op = l.backend = l.kernel = l.dtype = l.why = kEvil;
  }
  for (auto& s : r.sensitivity) s.platform = s.layer = s.op = s.note = kEvil;
  const std::string html = RenderHtml(r);
  // The page's own script is the only one, and no tag or attribute came out of a name.
  size_t scripts = 0;
  for (size_t at = 0; (at = html.find("<script", at)) != std::string::npos; ++at) ++scripts;
  EXPECT_EQ(scripts, 1u);
  EXPECT_EQ(html.find("<img"), std::string::npos);
  EXPECT_EQ(html.find("onerror=\""), std::string::npos);
  EXPECT_EQ(html.find('\x01'), std::string::npos);
  EXPECT_EQ(html.find('\xff'), std::string::npos);
  EXPECT_NE(html.find("&lt;img src=x onerror=&quot;"), std::string::npos);
}

TEST(Html, TagsBalance) {
  for (const DeployReport& r : {Sample(), Sample(kEvil), DeployReport{}}) {
    const std::string html = RenderHtml(r);
    std::vector<std::string> open;
    size_t at = html.find("<body>");
    const size_t script = html.find("<script>");
    while ((at = html.find('<', at)) < script) {
      const size_t end = html.find_first_of(" />", at + 1 + (html[at + 1] == '/'));
      const std::string name = html.substr(at + 1, end - at - 1);
      const size_t close = html.find('>', at);
      const bool is_void = html[close - 1] == '/' || name == "input" || name == "br";
      if (name[0] == '/') {
        ASSERT_FALSE(open.empty()) << name;
        EXPECT_EQ("/" + open.back(), name) << html.substr(at > 200 ? at - 200 : 0, 260);
        open.pop_back();
      } else if (!is_void) {
        open.push_back(name);
      }
      at = close;
    }
    EXPECT_EQ(open, (std::vector<std::string>{"body"}));
  }
}

TEST(Html, IsSelfContained) {
  const std::string html = RenderHtml(Sample());
  for (const char* word : {"http://", "https://", "src=", "@import", "url("}) {
    EXPECT_EQ(html.find(word), std::string::npos) << word;
  }
  EXPECT_NE(html.find("default-src 'none'"), std::string::npos);
  EXPECT_NE(html.find("script-src 'sha256-"), std::string::npos);
  EXPECT_EQ(html.find(">nan"), std::string::npos);
  EXPECT_NE(html.find("snpe-int8 — error: node &#39;GridSample_3&#39;"), std::string::npos);
  if (const char* path = std::getenv("SLIPWAY_SAMPLE_REPORT")) {
    EXPECT_TRUE(WriteHtml(Sample(), path).ok());
  }
}

TEST(Html, OddReportsStillRender) {
  DeployReport r = Sample();
  r.reference_accuracy.reset();
  r.max_drop.reset();
  for (auto& row : r.rows) {
    row.accuracy.reset();
    row.drop.reset();
  }
  EXPECT_NE(RenderHtml(r).find("give --eval data"), std::string::npos);
  r = Sample();
  for (auto& row : r.rows) {
    row.p50_ms = row.accuracy = row.drop = std::nan("");
    for (auto& l : row.layers) l.ms = INFINITY;
  }
  const std::string html = RenderHtml(r);
  EXPECT_EQ(html.find("\"nan"), std::string::npos);
  EXPECT_EQ(html.find("inf\""), std::string::npos);
}

TEST(Text, DeployTable) {
  const std::string text = RenderText(Sample());
  EXPECT_NE(
      text.find(
          "x86-int8         int8       190 KiB  674 KiB   0.210   0.223  92.24 %  0.07  pass"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("321*"), std::string::npos);
  EXPECT_NE(text.find("0.660~"), std::string::npos);
  EXPECT_NE(text.find("fail: drop 1.46"), std::string::npos);
  EXPECT_NE(text.find("* emulated"), std::string::npos);
}

TEST(Json, DeployReportParses) {
  DeployReport r = Sample(kEvil);
  r.rows[0].p50_ms = std::nan("");
  const auto j = nlohmann::json::parse(RenderJson(r));
  EXPECT_EQ(j["platforms"].size(), r.rows.size());
  EXPECT_TRUE(j["platforms"][0]["p50_ms"].is_null());
  EXPECT_EQ(j["platforms"][5]["verdict"], "fail");
  EXPECT_EQ(j["platforms"][6]["emulated"], true);
}

deploy::LadderOutcome SampleLadder() {
  deploy::LadderOutcome ladder;
  ladder.float_top1 = 0.9;
  ladder.max_drop = 1;
  ladder.rungs = {{.name = "min-max",
                   .what = "ranges",
                   .top1 = 0.8,
                   .drop_points = 10,
                   .seconds = 2,
                   .size_bytes = 1000},
                  {.name = "adaround", .what = "x", .status = Unsupported("no <libtorch>")},
                  {.name = "float layers",
                   .what = "float: conv1",
                   .top1 = 0.895,
                   .drop_points = 0.5,
                   .seconds = 3,
                   .float_layers = 1,
                   .float_share = 0.25,
                   .size_bytes = 2000,
                   .latency_ms = 1.25}};
  ladder.chosen = 2;
  ladder.met = true;
  return ladder;
}

deploy::MixedChoice SampleMixed() {
  deploy::MixedChoice mixed;
  mixed.layers = {{"conv<1>", {{"float", 4000, 0}, {"W8A8", 1000, 1e-4}}},
                  {"conv2", {{"float", 8000, 0}, {"W8A8", 2000, 1e-3}}}};
  mixed.picks = {0, 1};
  mixed.front = {{{1, 1}, 3000, 1.1e-3}, {{0, 1}, 6000, 1e-3}, {{0, 0}, 12000, 0}};
  mixed.limit = 7000;
  mixed.cost = 6000;
  mixed.loss = 1e-3;
  return mixed;
}

TEST(Quantization, LadderShowsEveryRungAndWhy) {
  DeployReport r = Sample();
  r.rows[0].choices = "W2A2, auto";
  r.rows[0].ladder = SampleLadder();
  const std::string html = RenderHtml(r);
  for (const char* text :
       {"loses 10.00 points, over 1.00", "passed over: no &lt;libtorch&gt;",
        "kept: the first within 1.00 points", "float layers (1)", "25 %", "1.25", "89.50 %"})
    EXPECT_NE(html.find(text), std::string::npos) << text;
  EXPECT_NE(RenderText(r).find(": float layers (1), rung 3 of 3, drop of 0.50 points"),
            std::string::npos);
  const auto json = nlohmann::json::parse(RenderJson(r));
  EXPECT_EQ(json["platforms"][0]["ladder"]["rungs"][1]["error"], "no <libtorch>");
  EXPECT_FALSE(json["platforms"][1].contains("ladder"));
  // Where none holds, the best says so.
  deploy::LadderOutcome failed = SampleLadder();
  failed.rungs.pop_back();
  failed.chosen = 0;
  failed.met = false;
  EXPECT_EQ(deploy::WhyRung(failed, 0),
            "kept: the most accurate, though none is within 1.00 points");
  EXPECT_NE(LadderLine(failed).find("none keeps the drop under 1.00"), std::string::npos);
}

TEST(Quantization, BudgetShowsFrontChoiceAndLayers) {
  DeployReport r = Sample();
  r.rows[0].choices = "size=7kB";
  r.rows[0].mixed = SampleMixed();
  const std::string html = RenderHtml(r);
  for (const char* text : {"1 layer float, 1 layer W8A8: 6 kB of 7 kB", "all float", "all W8A8",
                           "chosen", "budget 7 kB", "conv&lt;1&gt;", "class=\"front\""})
    EXPECT_NE(html.find(text), std::string::npos) << text;
  EXPECT_EQ(html.find("conv<1>"), std::string::npos);
}

TEST(Quantization, JsonComesBack) {
  const auto ladder = deploy::LadderFromJson(deploy::ToJson(SampleLadder()));
  ASSERT_TRUE(ladder);
  EXPECT_EQ(deploy::ToJson(*ladder), deploy::ToJson(SampleLadder()));
  const auto mixed = deploy::MixedFromJson(deploy::ToJson(SampleMixed()));
  ASSERT_TRUE(mixed);
  EXPECT_EQ(deploy::ToJson(*mixed), deploy::ToJson(SampleMixed()));
  const std::vector<quant::LayerError> errors = {{"a", "Conv", INFINITY, 20, 0.5},
                                                 {"b", "Conv", std::nan(""), -INFINITY, 1}};
  const auto layers = deploy::LayerErrorsFromJson(deploy::ToJson(errors));
  ASSERT_TRUE(layers);
  EXPECT_EQ((*layers)[0].alone_db, INFINITY);
  EXPECT_TRUE(std::isnan((*layers)[1].alone_db));
  // A file that something else wrote.
  for (const char* text : {"3", "{}", "[]", R"({"rungs": [3], "met": 1})",
                           R"({"kind": "size", "layers": [{"node": "a"}]})"}) {
    const auto json = nlohmann::json::parse(text);
    EXPECT_FALSE(deploy::LadderFromJson(json)) << text;
    EXPECT_FALSE(deploy::MixedFromJson(json)) << text;
  }
  EXPECT_FALSE(deploy::LayerErrorsFromJson(nlohmann::json::parse(R"([{"node": 3}])")));
}

TEST(FrontChart, LossesOfAllSizesAndNone) {
  FrontOptions o;
  o.front = {{1, 1e-30}, {2, 1e-3}, {NAN, 1}};
  o.limit = INFINITY;
  const std::string svg = FrontChart({{"a", 1, 1e-30, 0, ""},
                                      {"b", 2, 1e-3, 1, ""},
                                      {"c", 3, 0, 2, "", true},
                                      {"lost", NAN, 1, 0, ""},
                                      {"minus", 1, -1, 0, ""}},
                                     o);
  for (const char* text : {"nan", "inf", "lost", "minus"})
    EXPECT_EQ(svg.find(text), std::string::npos) << text;
  EXPECT_LT(svg.size(), 12000u);  // twelve decades of ticks at most
  EXPECT_EQ(FrontChart({}, o), "");
  EXPECT_NE(FrontChart({{"free", 0, 0, 0, ""}}, {}), "");
}

TEST(Html, UnwritablePlaceIsAnError) {
  const Status s = WriteHtml(Sample(), "/proc/no/report.html");
  EXPECT_FALSE(s.ok());
  EXPECT_NE(s.message().find("/proc/no/report.html"), std::string::npos);
}

}  // namespace
}  // namespace slipway::report
