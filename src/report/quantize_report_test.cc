#include "report/quantize_report.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

namespace slipway::report {
namespace {

QuantizeReport Sample() {
  QuantizeReport r;
  r.model = "m<b>.onnx";
  r.platform = "x86-int8";
  r.float_top1 = 0.9;
  r.top1 = 0.85;
  r.quantized_nodes = 2;
  quant::LayerDiagnosis good, bad;
  good.error = {"first", "Conv", 40, 41, 0.9999};
  good.input_db = good.weights_db = std::numeric_limits<double>::infinity();
  bad.error = {"<script>", "Conv", 12, 10, 0.95};
  bad.input = quant::TensorDiagnosis{.name = "x", .bits = 4};
  bad.input->seen = {-1, 8};
  bad.input->range = {-1, 2};
  bad.input->clipped = 0.25;
  bad.input->bins.assign(quant::kChartBins, 3);
  bad.tried = {
      {"activations by mse", "--observer mse", 15.5, true, false},
      {"float", "--keep-float <script>", std::numeric_limits<double>::infinity(), false, false}};
  bad.chosen = 0;
  r.layers = {good, bad};
  r.notes = {"a note"};
  return r;
}

TEST(QuantizeReport, PageHoldsLayersRemediesAndHistograms) {
  const std::string html = RenderHtml(Sample());
  for (const char* text : {"&lt;script&gt;", "m&lt;b&gt;.onnx", "activations by mse (+3.5 dB)",
                           "--observer mse", "a note", "drop 5.00", "25.000 %", "<svg"})
    EXPECT_NE(html.find(text), std::string::npos) << text;
  // Bins beyond the range have the other colour.
  const std::string svg = HistogramSvg(*Sample().layers[1].input, "x");
  EXPECT_NE(svg.find("--c0"), std::string::npos);
  EXPECT_NE(svg.find("--c3"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(QuantizeReport, JsonHasNoInfinities) {
  const nlohmann::json rows = LayersJson(Sample().layers);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_TRUE(rows[0]["input_db"].is_null());
  EXPECT_TRUE(rows[0]["remedy"].is_null());
  EXPECT_EQ(rows[1]["tried"][0]["option"], "--observer mse");
  EXPECT_TRUE(rows[1]["tried"][1]["alone_db"].is_null());
  EXPECT_EQ(rows[1]["input"]["histogram"].size(), static_cast<size_t>(quant::kChartBins));
  EXPECT_EQ(DbText(std::numeric_limits<double>::infinity()), "exact");
}

TEST(QuantizeReport, ConstantTensorsHaveAChartToo) {
  quant::TensorDiagnosis flat{.name = "flat"};
  flat.seen = flat.range = {2, 2};
  flat.bins.assign(quant::kChartBins, 0);
  flat.bins[0] = 10;
  const std::string svg = HistogramSvg(flat, "flat");
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

}  // namespace
}  // namespace slipway::report
