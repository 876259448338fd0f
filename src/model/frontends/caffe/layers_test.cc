// Layers beyond BVLC's feed-forward ones: detectors, recurrence, unpooling; symbolic inputs; and
// what each refuses.

#include <random>

#include "model/frontends/caffe/import_test_util.h"

namespace slipway::caffe {
namespace {

std::string Inputs(const std::vector<std::pair<std::string, std::string>>& inputs,
                   const std::string& layers) {
  std::string text;
  for (const auto& [name, dims] : inputs) {
    text += "layer { name: '" + name + "' type: 'Input' top: '" + name + "' input_param { shape {";
    for (size_t at = 0; at < dims.size();) {
      const size_t comma = std::min(dims.find(',', at), dims.size());
      text += " dim: " + dims.substr(at, comma - at);
      at = comma + 1;
    }
    text += " } } }\n";
  }
  return text + layers;
}

// --- DetectionOutput ---

std::string Detection(const std::string& params, const std::string& loc = "1,12",
                      const std::string& conf = "1,6", const std::string& prior = "1,2,12") {
  return Inputs(
      {{"loc", loc}, {"conf", conf}, {"prior", prior}},
      "layer { name: 'l' type: 'DetectionOutput' bottom: 'loc' bottom: 'conf' bottom: 'prior' "
      "top: 'y' detection_output_param { " +
          params + " } }");
}

// Three priors of side 0.2: two almost the same one, one apart.
const Floats kPriors{0.1f, 0.1f, 0.3f, 0.3f, 0.11f, 0.1f, 0.31f, 0.3f, 0.5f, 0.5f, 0.7f, 0.7f,
                     0.1f, 0.1f, 0.2f, 0.2f, 0.1f,  0.1f, 0.2f,  0.2f, 0.1f, 0.1f, 0.2f, 0.2f};

TEST(CaffeDetectionOutput, KeepsTheBestOfEachPlace) {
  const Floats conf{0.4f, 0.6f, 0.2f, 0.8f, 0.3f, 0.7f}, none(12);
  const std::string params = "num_classes: 2 nms_param { nms_threshold: 0.5 } ";
  Near(Eval(Detection(params + "code_type: CENTER_SIZE"), {none, conf, kPriors}),
       {0, 1, 0.8f, 0.11f, 0.1f, 0.31f, 0.3f, 0, 1, 0.7f, 0.5f, 0.5f, 0.7f, 0.7f});
  Near(Eval(Detection(params + "keep_top_k: 1"), {none, conf, kPriors}),
       {0, 1, 0.8f, 0.11f, 0.1f, 0.31f, 0.3f});
  Near(Eval(Detection(params + "confidence_threshold: 0.75"), {none, conf, kPriors}),
       {0, 1, 0.8f, 0.11f, 0.1f, 0.31f, 0.3f});
  // Locations move the third box: its centre by 0.1 * 2 * 0.2, its width by e^(0.2 * 1).
  Floats moved = none;
  moved[8] = 2;
  moved[10] = 1;
  const float half = 0.1f * std::exp(0.2f);
  Near(Eval(Detection(params + "code_type: CENTER_SIZE confidence_threshold: 0.65 nms_param { "
                               "nms_threshold: 0.5 top_k: 2 }"),
            {moved, conf, kPriors}),
       {0, 1, 0.8f, 0.11f, 0.1f, 0.31f, 0.3f, 0, 1, 0.7f, 0.64f - half, 0.5f, 0.64f + half, 0.7f});
  // Corners, with the variance in the locations and without.
  Near(Eval(Detection(params + "keep_top_k: 1 background_label_id: 1"), {moved, conf, kPriors}),
       {0, 0, 0.4f, 0.1f, 0.1f, 0.3f, 0.3f});
  Near(Eval(Detection(params + "confidence_threshold: 0.65 variance_encoded_in_target: true"),
            {moved, {0, 0, 0, 0, 0, 0.7f}, kPriors}),
       {0, 1, 0.7f, 2.5f, 0.5f, 1.7f, 0.7f});
  Near(Eval(Detection(params + "confidence_threshold: 0.65 code_type: CORNER_SIZE"),
            {moved, {0, 0, 0, 0, 0, 0.7f}, kPriors}),
       {0, 1, 0.7f, 0.54f, 0.5f, 0.74f, 0.7f});
}

TEST(CaffeDetectionOutput, NothingIsARowForEachImage) {
  const Floats row{-1, -1, -1, -1, -1, -1};
  Floats want{0};
  want.insert(want.end(), row.begin(), row.end());
  want.push_back(1);
  want.insert(want.end(), row.begin(), row.end());
  Near(Eval(Detection("num_classes: 2 confidence_threshold: 0.9", "2,12", "2,6"),
            {Floats(24), Floats(12, 0.5f), kPriors}),
       want);
}

TEST(CaffeDetectionOutput, RefusesWhatDoesNotFit) {
  ExpectError(Import(Detection("")), "num_classes");
  ExpectError(Import(Detection("num_classes: 0")), "num_classes");
  ExpectError(Import(Detection("num_classes: -3")), "num_classes");
  ExpectError(Import(Detection("num_classes: 99999999999")), "num_classes");
  ExpectError(Import(Detection("num_classes: 3")), "3 classes");
  ExpectError(Import(Detection("num_classes: 2 share_location: false")), "24 numbers");
  ExpectError(Import(Detection("num_classes: 2 code_type: ROUND")), "ROUND");
  ExpectError(Import(Detection("num_classes: 2 nms_param { eta: 0 }")), "eta");
  ExpectError(Import(Detection("num_classes: 2 nms_param { nms_threshold: -1 }")), "nms_threshold");
  ExpectError(Import(Detection("num_classes: 2 nms_param { soft: 1 }")), "soft");
  ExpectError(Import(Detection("num_classes: 2", "1,12", "1,6", "1,1,12")), "variances");
  ExpectError(Import(Detection("num_classes: 2", "1,12", "1,6", "12")), "priors");
  ExpectError(Import(Detection("num_classes: 2", "1,12", "2,6")), "batch");
  ExpectError(
      Import(Net("1,12", Layer("DetectionOutput", "detection_output_param { num_classes: 2 }"))),
      "1 bottoms");
  // A huge top_k takes no memory of its size.
  EXPECT_EQ(Eval(Detection("num_classes: 2 keep_top_k: 2147483647 nms_param { top_k: 2147483647 }"),
                 {Floats(12), Floats(6, 0.5f), kPriors})
                .size(),
            14u);
}

// --- ROIPooling: https://arxiv.org/abs/1504.08083, corners included, ends rounded ---

TEST(CaffeRoiPooling, TakesTheMaximumOfEachBin) {
  Floats x(36);
  for (size_t i = 0; i < 36; ++i) x[i] = static_cast<float>(i);
  const std::string text =
      Inputs({{"x", "1,1,6,6"}, {"rois", "2,5"}},
             "layer { name: 'l' type: 'ROIPooling' bottom: 'x' bottom: 'rois' top: 'y' "
             "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 } }");
  // Region 1: columns 0..3, rows 1..4. Region 2 lies outside but for its first bin.
  Near(Eval(text, {x, {0, 0, 2, 6, 8, 0, 10, 10, 20, 20}}), {13, 15, 25, 27, 35, 0, 0, 0});
  ExpectError(
      Import(Inputs({{"x", "1,1,6,6"}, {"rois", "2,4"}},
                    "layer { name: 'l' type: 'ROIPooling' bottom: 'x' bottom: 'rois' top: 'y' "
                    "roi_pooling_param { pooled_h: 2 pooled_w: 2 } }")),
      "rois");
  ExpectError(Import(Net("1,1,6,6", Layer("ROIPooling", "roi_pooling_param { pooled_h: 2 }"))),
              "1 bottoms");
  ExpectError(
      Import(Inputs({{"x", "1,1,6,6"}, {"rois", "2,5"}},
                    "layer { name: 'l' type: 'ROIPooling' bottom: 'x' bottom: 'rois' top: 'y' "
                    "roi_pooling_param { pooled_h: -2 pooled_w: 2 } }")),
      "pooled_h");
}

// --- SegNet ---

std::string SegNet(const std::string& params, const std::string& dims = "1,2,3,4") {
  return Net(
      dims,
      "layer { name: 'p' type: 'Pooling' bottom: 'x' top: 'p' top: 'mask' pooling_param { "
      "kernel_size: 2 "
      "stride: 2 } }"
      "layer { name: 'l' type: 'Upsample' bottom: 'p' bottom: 'mask' top: 'y' upsample_param { " +
          params + " } }");
}

TEST(CaffeUpsample, PutsMaximaBack) {
  Floats x(24);
  for (size_t i = 0; i < 24; ++i) x[i] = static_cast<float>(i % 12 == 5 ? 50 : i + 1);
  // 3 rows pool to 2: the second window has one row. Back to 3 rows by upsample_h or pad_out_h.
  Floats want(24);
  for (const size_t i : {5u, 7u, 9u, 11u, 17u, 19u, 21u, 23u}) want[i] = x[i];
  for (const char* params : {"upsample_h: 3 upsample_w: 4", "scale: 2 pad_out_h: true"})
    Near(Eval(SegNet(params), {x}), want);
  EXPECT_EQ(Eval(SegNet(""), {x}).size(), 32u);
  ExpectError(Import(SegNet("upsample_h: 1 upsample_w: 4")), "cannot upsample");
  ExpectError(Import(SegNet("upsample_h: -4")), "upsample_h");
  ExpectError(Import(SegNet("scale: 1000000")), "scale");
  ExpectError(
      Import(Inputs({{"x", "1,1,2,2"}, {"m", "1,1,2,3"}},
                    "layer { name: 'l' type: 'Upsample' bottom: 'x' bottom: 'm' top: 'y' }")),
      "the mask");
  // A mask that points outside the plane is an error when run.
  auto graph =
      Import(Inputs({{"x", "1,1,1,1"}, {"m", "1,1,1,1"}},
                    "layer { name: 'l' type: 'Upsample' bottom: 'x' bottom: 'm' top: 'y' }"));
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  const auto one = [](float v) { return ir::Tensor::Of<float>({1, 1, 1, 1}, Floats{v}); };
  EXPECT_TRUE(Interpret(**graph, {one(1), one(3)}).ok());
  EXPECT_FALSE(Interpret(**graph, {one(1), one(4)}).ok());
  EXPECT_FALSE(Interpret(**graph, {one(1), one(-1)}).ok());
}

// --- Recurrence ---

float Sigma(float x) { return 1 / (1 + std::exp(-x)); }

TEST(CaffeRecurrent, LstmStartsAnewWhereContIsZero) {
  // One input, one hidden number, one stream.
  const Floats wx{0.5f, -0.3f, 0.8f, 1.2f}, b{0.1f, 0.2f, -0.1f, 0.05f},
      wh{0.7f, 0.4f, -0.6f, 0.9f};
  const auto model = Model({{"l", {{{4, 1}, wx}, {{4}, b}, {{4, 1}, wh}}}});
  const Floats x{1, -2, 0.5f, 3}, cont{0, 1, 0, 1};
  Floats want;
  float h = 0, c = 0;
  for (size_t t = 0; t < 4; ++t) {
    float g[4];
    for (size_t k = 0; k < 4; ++k) g[k] = wx[k] * x[t] + b[k] + wh[k] * h * cont[t];
    c = cont[t] * Sigma(g[1]) * c + Sigma(g[0]) * std::tanh(g[3]);
    h = Sigma(g[2]) * std::tanh(c);
    want.push_back(h);
  }
  const std::string layer =
      "layer { name: 'l' type: 'LSTM' bottom: 'x' bottom: 'cont' top: 'y' recurrent_param { ";
  const std::vector<std::pair<std::string, std::string>> inputs{{"x", "4,1,1"}, {"cont", "4,1"}};
  Near(Eval(Inputs(inputs, layer + "num_output: 1 } }"), {x, cont}, model), want);

  ExpectError(Import(Inputs(inputs, layer + "} }"), model), "num_output");
  ExpectError(Import(Inputs(inputs, layer + "num_output: -1 } }"), model), "num_output");
  ExpectError(Import(Inputs(inputs, layer + "num_output: 2 } }"), model), "[8, 1]");
  ExpectError(Import(Inputs(inputs, layer + "num_output: 1 expose_hidden: true } }"), model),
              "2 bottoms");
  ExpectError(Import(Inputs({{"x", "4,1,1"}, {"cont", "4,2"}}, layer + "num_output: 1 } }"), model),
              "sequence indicators");
  ExpectError(
      Import(Inputs({{"x", "600,1,1"}, {"cont", "600,1"}}, layer + "num_output: 1 } }"), model),
      "600 steps");
  ExpectError(Import(Inputs({{"x", "0,1,1"}, {"cont", "0,1"}}, layer + "num_output: 1 } }"), model),
              "one step");
  ExpectError(Import(Inputs({{"x", "4"}, {"cont", "4"}}, layer + "num_output: 1 } }"), model),
              "two dimensions");
}

TEST(CaffeRecurrent, RnnWithStatesThatGoInAndOut) {
  const float wx = 0.5f, b = 0.1f, ws = 0.25f, wh = -0.7f, wo = 1.5f, bo = -0.2f;
  const auto model = Model({{"l",
                             {{{1, 1}, {wx}},
                              {{1}, {b}},
                              {{1, 1}, {ws}},
                              {{1, 1}, {wh}},
                              {{1, 1}, {wo}},
                              {{1}, {bo}}}}});
  const Floats x{1, -2}, cont{1, 1}, fixed{2}, h0{0.3f};
  float h = h0[0];
  Floats want;
  for (size_t t = 0; t < 2; ++t) {
    h = std::tanh(wx * x[t] + b + ws * fixed[0] + wh * h * cont[t]);
    want.push_back(std::tanh(wo * h + bo));
  }
  const std::string text = Inputs({{"x", "2,1,1"}, {"cont", "2,1"}, {"s", "1,1"}, {"h0", "1,1,1"}},
                                  "layer { name: 'l' type: 'RNN' bottom: 'x' bottom: 'cont' "
                                  "bottom: 's' bottom: 'h0' top: 'y' top: 'hT' "
                                  "recurrent_param { num_output: 1 expose_hidden: true } }");
  Near(Eval(text, {x, cont, fixed, h0}, model), want);
  auto graph = Import(text, model);
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  ASSERT_EQ((*graph)->outputs().size(), 2u);
  EXPECT_EQ((*graph)->outputs()[1]->type().ToString(), "float32[1, 1, 1]");
}

// --- Small ones ---

TEST(CaffeLayers, StochasticPoolingInterpPadsAndFilter) {
  Near(Eval(Net("1,1,1,5",
                Layer("Pooling",
                      "pooling_param { pool: STOCHASTIC kernel_h: 1 kernel_w: 2 stride_h: 1 "
                      "stride_w: 2 }")),
            {{1, 3, 0, 0, 2}}),
       {2.5f, 0, 2});
  ExpectError(
      Import(Net("1,1,4,4",
                 Layer("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 pad: 1 }"))),
      "no pad");
  // 5 wide, the ends cut: 1 2 3 becomes 5 wide.
  Near(Eval(Net("1,1,3,5",
                Layer("Interp", "interp_param { pad_beg: -1 pad_end: -1 height: 1 width: 5 }")),
            {{9, 9, 9, 9, 9, 9, 1, 2, 3, 9, 9, 9, 9, 9, 9}}),
       {1, 1.5f, 2, 2.5f, 3});
  ExpectError(Import(Net("1,1,3,5", Layer("Interp", "interp_param { pad_beg: -2 pad_end: -1 }"))),
              "leave nothing");
  ExpectError(Import(Net("1,1,3,5", Layer("Interp", "interp_param { pad_beg: 1 }"))), "pad_beg");

  const std::string filter = "layer { name: 'l' type: 'Filter' bottom: 'x' bottom: 's' top: 'y' }";
  Near(Eval(Inputs({{"x", "3,2"}, {"s", "3,1,1,1"}}, filter), {{1, 2, 3, 4, 5, 6}, {1, 0, 2}}),
       {1, 2, 5, 6});
  ExpectError(Import(Inputs({{"x", "3,2"}, {"s", "3,2"}}, filter)), "one number an item");
  ExpectError(Import(Inputs({{"x", "3,2"}, {"s", "4"}}, filter)), "different numbers");
}

// --- Symbolic inputs ---

const char* const kPyramid =
    "layer { name: 'c' type: 'Convolution' bottom: 'x' top: 'c' convolution_param { num_output: 4 "
    "kernel_size: 3 pad: "
    "1 } }"
    "layer { name: 'b' type: 'BatchNorm' bottom: 'c' top: 'c' } layer { name: 's' type: 'Scale' "
    "bottom: 'c' top: 'c' "
    "scale_param { bias_term: true } } layer { name: 'r' type: 'PReLU' bottom: 'c' top: 'c' }"
    "layer { name: 'p' type: 'Pooling' bottom: 'c' top: 'p' pooling_param { kernel_size: 3 stride: "
    "2 } }"
    "layer { name: 'h' type: 'ShuffleChannel' bottom: 'p' top: 'h' shuffle_channel_param { group: "
    "2 } }"
    "layer { name: 'e' type: 'Eltwise' bottom: 'p' bottom: 'h' top: 'e' }"
    "layer { name: 'u' type: 'Upsample' bottom: 'e' top: 'u' } layer { name: 'm' type: 'Permute' "
    "bottom: 'u' top: 'm' "
    "permute_param { order: 0 order: 2 order: 3 order: 1 } }"
    "layer { name: 'f' type: 'Reshape' bottom: 'm' top: 'f' reshape_param { shape { dim: 0 dim: -1 "
    "dim: 4 } } }"
    "layer { name: 'y' type: 'Softmax' bottom: 'f' top: 'y' softmax_param { axis: 2 } }";

const char* const kInterp =
    "layer { name: 'p' type: 'Pooling' bottom: 'x' top: 'p' pooling_param { kernel_size: 2 stride: "
    "2 } }"
    "layer { name: 'z' type: 'Interp' bottom: 'p' top: 'z' interp_param { zoom_factor: 3 } }"
    "layer { name: 's' type: 'Interp' bottom: 'z' top: 's' interp_param { shrink_factor: 2 "
    "pad_beg: -1 pad_end: -1 } }"
    "layer { name: 'l' type: 'Interp' bottom: 's' bottom: 'x' top: 'l' }"
    "layer { name: 'e' type: 'Eltwise' bottom: 'l' bottom: 'x' top: 'e' }"
    "layer { name: 'y' type: 'Interp' bottom: 'e' top: 'y' interp_param { height: 4 width: 3 "
    "pad_beg: -1 } }";

void SameAtEverySize(const char* layers) {
  ImportOptions options;
  options.random_weights = true;
  const Dim n = Dim::Symbol("N"), h = Dim::Symbol("H"), w = Dim::Symbol("W");
  options.input_shapes["x"] = {n, 3, h, w};
  auto graph = Import(Net("1,3,8,8", layers), {}, options);
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  for (const Dims& dims : {Dims{1, 3, 8, 8}, Dims{2, 3, 9, 12}, Dims{3, 3, 5, 7}}) {
    SCOPED_TRACE(dims.ToString());
    options.input_shapes["x"] = SymShape(dims.begin(), dims.end());
    auto fixed = Import(Net("1,3,8,8", layers), {}, options);
    ASSERT_TRUE(fixed.ok()) << fixed.status().ToString();
    Floats x(static_cast<size_t>(dims.count()));
    std::mt19937 random(7);
    for (float& v : x) v = static_cast<float>(random() % 1000) / 500 - 1;
    auto one = Interpret(**graph, {ir::Tensor::Of<float>(dims, x)});
    auto other = Interpret(**fixed, {ir::Tensor::Of<float>(dims, x)});
    ASSERT_TRUE(one.ok()) << one.status().ToString();
    ASSERT_TRUE(other.ok()) << other.status().ToString();
    ASSERT_EQ((*one)[0].dims(), (*other)[0].dims());
    const auto floats = [](const ir::Tensor& t) {
      return Floats(t.data<float>(), t.data<float>() + t.count());
    };
    Near(floats((*one)[0]), floats((*other)[0]), 0);
  }
}

TEST(CaffeSymbols, OneGraphServesEverySize) { SameAtEverySize(kPyramid); }
TEST(CaffeSymbols, InterpComputesItsSize) { SameAtEverySize(kInterp); }

TEST(CaffeSymbols, LayersThatNeedNumbersAreNamed) {
  ImportOptions options;
  options.random_weights = true;
  options.input_shapes["x"] = {Dim::Symbol("N"), 3, Dim::Symbol("H"), 8};
  const std::string dims = "1,3,8,8";
  // The batch alone never matters to an inner product, the height does.
  const std::string ip = Layer("InnerProduct", "inner_product_param { num_output: 2 }");
  ExpectError(Import(Net(dims, ip), {}, options), "InnerProduct layer 'l'");
  ExpectError(Import(Net(dims, ip), {}, options), "dimension 2");
  ExpectError(Import(Net(dims, Layer("Pooling", "pooling_param { kernel_size: 1 stride: 2 }")), {},
                     options),
              "stride exceeds its kernel");
  ExpectError(Import(Net(dims, Layer("ArgMax")), {}, options), "needs the extents");
  ExpectError(Import(Net(dims, Layer("SPP", "spp_param { pyramid_height: 2 }")), {}, options),
              "SPP layer 'l'");
  ExpectError(
      Import(Net(dims, Layer("Tile", "tile_param { axis: 0 tiles: 2 }") +
                           "layer { name: 'c' type: 'Crop' bottom: 'y' bottom: 'x' top: 'c' }"),
             {}, options),
      "Crop layer 'c'");
  options.input_shapes["x"] = {Dim::Symbol("N"), 3, 8, 8};
  auto graph = Import(Net(dims, ip), {}, options);
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  EXPECT_EQ((*graph)->outputs()[0]->type().ToString(), "float32[N, 2]");
  options.input_shapes["x"] = {Dim::Symbol("N"), 3, int64_t{1} << 40, int64_t{1} << 40};
  ExpectError(Import(Net(dims, ip), {}, options), "impossible shape");
}

}  // namespace
}  // namespace slipway::caffe
