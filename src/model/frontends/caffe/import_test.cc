#include <filesystem>
#include <random>

#include "model/frontends/caffe/import_test_util.h"
#include "model/frontends/caffe/net.h"
#include "model/frontends/caffe/text_format.h"
#include "model/frontends/caffe/weights.h"

namespace slipway::caffe {
namespace {

TEST(CaffeText, ReadsWhatProtobufWrites) {
  auto m = ParseText(
      "# a comment\nname: 'a' \"b\\n\\x41\\101\"; dim: [1, -2,3] p < x: 1e-3f, y: true >\np { z: "
      "NAME }");
  ASSERT_TRUE(m.ok()) << m.status().ToString();
  EXPECT_EQ((*m)->Find("name")->text, "ab\nAA");
  ASSERT_EQ((*m)->fields.size(), 6u);
  int64_t i = 0;
  EXPECT_TRUE(ReadInt((*m)->fields[2], &i));
  EXPECT_EQ(i, -2);
  double d = 0;
  EXPECT_TRUE(ReadDouble((*m)->fields[4].message->fields[0], &d));
  EXPECT_FLOAT_EQ(static_cast<float>(d), 1e-3f);
  EXPECT_EQ((*m)->Sub("p")->Find("z")->text, "NAME");
  auto again = ParseText(PrintText(**m));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(PrintText(**again), PrintText(**m));
}

TEST(CaffeText, RefusesBadTextByLine) {
  for (const char* text :
       {"a", "a: ", "a {", "a: {b: 1", "}", "a: 'x", "a: [1 2]", "1: 2", "a: \x01", "a: '\\q'"}) {
    auto m = ParseText(text);
    EXPECT_FALSE(m.ok()) << text;
    if (m.ok()) continue;
    EXPECT_NE(m.status().message().find("line 1"), std::string::npos) << text;
  }
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "a{";
  EXPECT_FALSE(ParseText(deep).ok());
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "a:1 ";
  TextLimits limits;
  limits.fields = 999;
  EXPECT_EQ(ParseText(many, limits).status().code(), StatusCode::kResourceExhausted);
}

TEST(CaffeNet, UpgradesV0AndV1) {
  auto v1 = ParseNet(
      "layers { name: 'c' type: CONVOLUTION bottom: 'x' top: 'y' blobs_lr: 1 "
      "convolution_param { num_output: 2 } } layers { name: 'a' type: 1 }");
  ASSERT_TRUE(v1.ok()) << v1.status().ToString();
  EXPECT_EQ(v1->layers[0].type, "Convolution");
  EXPECT_EQ(v1->layers[1].type, "Accuracy");
  auto v0 = ParseNet(
      "layers { layer { name: 'p' type: 'padding' pad: 2 } bottom: 'x' top: 'p' }"
      "layers { layer { name: 'c' type: 'conv' num_output: 3 kernelsize: 5 biasterm: false } "
      "bottom: "
      "'p' top: 'y' }");
  ASSERT_TRUE(v0.ok()) << v0.status().ToString();
  ASSERT_EQ(v0->layers.size(), 1u);
  EXPECT_EQ(v0->layers[0].bottoms[0], "x");
  const Message* conv = v0->layers[0].params.Sub("convolution_param");
  ASSERT_NE(conv, nullptr);
  EXPECT_EQ(conv->Find("kernel_size")->text, "5");
  EXPECT_EQ(conv->Find("pad")->text, "2");
  EXPECT_EQ(conv->Find("bias_term")->text, "false");
}

TEST(CaffeNet, KeepsThePhaseTest) {
  auto net = ParseNet(
      "layer { name: 'a' type: 'T' include { phase: TRAIN } }"
      "layer { name: 'b' type: 'T' include { phase: TEST } }"
      "layer { name: 'c' type: 'T' exclude { phase: TEST } }"
      "layer { name: 'd' type: 'T' exclude { phase: TRAIN } }"
      "layer { name: 'e' type: 'T' include { stage: 's' } }"
      "layer { name: 'f' type: 'T' include { not_stage: 's' } }");
  ASSERT_TRUE(net.ok()) << net.status().ToString();
  std::string names;
  for (const LayerSpec& l : net->layers) names += l.name;
  EXPECT_EQ(names, "bdf");
}

// Windows as Caffe counts them: 6 wide, kernel 3, stride 2, pad 1 gives ceil(5/2)+1 = 4 windows.
TEST(CaffePooling, RoundsUpAndClips) {
  const Floats x{1, 2, 3, 4, 5, 6};
  Near(Eval(Net("1,1,1,6", Layer("Pooling",
                                 "pooling_param { kernel_h: 1 kernel_w: 3 stride_h: 1 "
                                 "stride_w: 2 pad_h: 0 pad_w: 1 }")),
            {x}),
       {2, 4, 6, 6});
  // The average divides by the window clipped to input and padding: 3, 3, 3, and 2 at the end (one
  // value and one of padding).
  Near(Eval(Net("1,1,1,6", Layer("Pooling",
                                 "pooling_param { pool: AVE kernel_h: 1 kernel_w: 3 "
                                 "stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 1 }")),
            {x}),
       {1, 3, 5, 3});
  // Without padding the last window shrinks: kernel 3, stride 2 over 6 is 1..3, 3..5, 5..6.
  Near(Eval(Net("1,1,1,6", Layer("Pooling",
                                 "pooling_param { pool: AVE kernel_h: 1 kernel_w: 3 "
                                 "stride_h: 1 stride_w: 2 }")),
            {x}),
       {2, 4, 5.5f});
  // A window that starts in the padding behind the input is dropped: 3 wide, kernel 2, stride 2,
  // pad 1 would give ceil(3/2)+1 = 3 windows, the third starting at 3.
  Near(Eval(Net("1,1,1,3", Layer("Pooling",
                                 "pooling_param { kernel_h: 1 kernel_w: 2 stride_h: 1 "
                                 "stride_w: 2 pad_h: 0 pad_w: 1 }")),
            {{1, 2, 3}}),
       {1, 3});
}

TEST(CaffeLayers, Elementwise) {
  struct Case {
    const char *type, *params;
    Floats want;
  };
  const Floats x{-2, -0.5f, 0.5f, 3};
  const Case cases[] = {
      {"AbsVal", "", {2, 0.5f, 0.5f, 3}},
      {"ReLU", "", {0, 0, 0.5f, 3}},
      {"ReLU", "relu_param { negative_slope: 0.1 }", {-0.2f, -0.05f, 0.5f, 3}},
      {"ReLU6", "", {0, 0, 0.5f, 3}},
      {"ELU", "elu_param { alpha: 2 }", {-1.7293294f, -0.7869387f, 0.5f, 3}},
      {"BNLL", "", {0.126928f, 0.474077f, 0.974077f, 3.048587f}},
      {"Power", "power_param { power: 2 scale: 3 shift: 1 }", {25, 0.25f, 6.25f, 100}},
      {"Exp", "exp_param { base: 2 scale: 2 shift: 1 }", {0.125f, 1, 4, 128}},
      {"Threshold", "threshold_param { threshold: 0.5 }", {0, 0, 0, 1}},
      {"Dropout", "", {-2, -0.5f, 0.5f, 3}},
      {"Softmax", "", {0.0060213f, 0.0269856f, 0.0733543f, 0.8936387f}},
      {"Reduction", "reduction_param { operation: ASUM axis: 1 coeff: 2 }", {12}},
      {"Reduction", "reduction_param { operation: MEAN }", {0.25f}},
      {"ArgMax", "argmax_param { top_k: 2 }", {3, 2}},
      {"ArgMax", "argmax_param { out_max_val: true }", {3, 3}},
      {"Tile", "tile_param { axis: 0 tiles: 2 }", {-2, -0.5f, 0.5f, 3, -2, -0.5f, 0.5f, 3}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.type) + " " + c.params);
    Near(Eval(Net("1,4", Layer(c.type, c.params)), {x}), c.want, 1e-4f);
  }
  // Of equal values the last one comes first.
  Near(Eval(Net("1,3", Layer("ArgMax")), {{5, 5, 1}}), {1});
}

TEST(CaffeLayers, ShuffleChannel) {
  Near(Eval(Net("1,4,1,2", Layer("ShuffleChannel", "shuffle_channel_param { group: 2 }")),
            {{1, 2, 3, 4, 5, 6, 7, 8}}),
       {1, 2, 5, 6, 3, 4, 7, 8});
}

TEST(CaffeLayers, LearnedOnes) {
  const auto bn = Model({{"l", {{{2}, {2, 4}}, {{2}, {8, 18}}, {{1}, {2}}}}});
  // mean 1, 2; variance 4, 9.
  Near(Eval(Net("1,2,1,1", Layer("BatchNorm", "batch_norm_param { eps: 0 }")), {{3, 8}}, bn),
       {1, 2});
  const auto ip = Model({{"l", {{{2, 3}, {1, 2, 3, 4, 5, 6}}, {{2}, {10, 20}}}}});
  Near(Eval(Net("1,3", Layer("InnerProduct", "inner_product_param { num_output: 2 }")), {{1, 1, 2}},
            ip),
       {19, 41});
  const auto scale = Model({{"l", {{{2}, {2, 3}}, {{2}, {1, -1}}}}});
  Near(Eval(Net("1,2,1,2", Layer("Scale", "scale_param { bias_term: true }")), {{1, 2, 3, 4}},
            scale),
       {3, 5, 8, 11});
  const auto prelu = Model({{"l", {{{2}, {0.5f, 0.25f}}}}});
  Near(Eval(Net("1,2,1,2", Layer("PReLU")), {{-2, 2, -4, 4}}, prelu), {-1, 2, -1, 4});
}

TEST(CaffeImport, InPlaceLayersAndNames) {
  auto graph = Import(Net("1,2",
                          "layer { name: 'a' type: 'Power' bottom: 'x' top: 'b' power_param { "
                          "shift: 1 } }"
                          "layer { name: 'r' type: 'ReLU' bottom: 'b' top: 'b' }"
                          "layer { name: 's' type: 'Power' bottom: 'b' top: 'b' power_param { "
                          "scale: 2 } }"));
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  ASSERT_EQ((*graph)->outputs().size(), 1u);
  EXPECT_EQ((*graph)->outputs()[0]->name(), "b");
  auto out = Interpret(**graph, {ir::Tensor::Of<float>({1, 2}, std::vector<float>{-3, 4})});
  ASSERT_TRUE(out.ok());
  EXPECT_EQ((*out)[0].data<float>()[0], 0);
  EXPECT_EQ((*out)[0].data<float>()[1], 10);
}

TEST(CaffeImport, ErrorsNameLayerAndRemedy) {
  ExpectError(Import(Net("1,2", Layer("Python"))), "Python (layer 'l')");
  ExpectError(Import(Net("1,2", "layer { name: 'l' type: 'ReLU' bottom: 'z' top: 'y' }")),
              "reads 'z', which no layer before it makes");
  ExpectError(Import(Net("1,2", Layer("ReLU", "relu_param { slope: 1 }"))), "'slope'");
  const std::string ip = Net("1,3", Layer("InnerProduct", "inner_product_param { num_output: 2 }"));
  ExpectError(Import(ip), "no weights");
  ExpectError(Import(ip, Model({{"other", {{{1}, {1}}}}})), "different nets");
  ExpectError(Import(ip, Model({{"l", {{{2, 3}, {1, 2, 3, 4, 5, 6}}}}})), "1 blobs");
  ExpectError(Import(ip, Model({{"l", {{{2, 2}, {1, 2, 3, 4}}, {{2}, {0, 0}}}}})), "[2, 3]");
  ExpectError(
      Import(Net("1,2,4,4", Layer("Reshape", "reshape_param { shape { dim: -1 dim: 5 } }"))),
      "do not divide");
  ExpectError(Import("input: 'x' input_dim: 1"), "input_dim");
  ExpectError(Import("net: 'train.prototxt'"), "no layers");
  ImportOptions random;
  random.random_weights = true;
  EXPECT_TRUE(Import(ip, {}, random).ok());
}

TEST(CaffeImport, HostileWeightsAreErrors) {
  const std::string ip = Net("1,3", Layer("InnerProduct", "inner_product_param { num_output: 2 }"));
  // A layer of 4 GiB, a blob whose shape overflows, data that does not fit its shape.
  const std::vector<uint8_t> huge{0xa2, 0x06, 0xff, 0xff, 0xff, 0xff, 0x0f, 1};
  EXPECT_FALSE(Import(ip, huge).ok());
  ExpectError(Import(ip, Model({{"l", {{{int64_t{1} << 40, int64_t{1} << 40}, {1}}}}})),
              "impossible");
  ExpectError(Import(ip, Model({{"l", {{{-1, -1}, {1}}}}})), "impossible");
  ExpectError(Import(ip, Model({{"l", {{{7}, {1}}}}})), "7 elements");
  const auto good = Model({{"l", {{{2, 3}, {1, 2, 3, 4, 5, 6}}, {{2}, {0, 0}}}}});
  ASSERT_TRUE(Import(ip, good).ok());
  for (size_t n = 1; n < good.size(); ++n) {
    EXPECT_FALSE(Import(ip, {good.begin(), good.begin() + static_cast<int64_t>(n)}).ok()) << n;
  }
  const auto seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int i = 0; i < 2000; ++i) {
    auto bad = good;
    for (int k = 0; k < 3; ++k) bad[random() % bad.size()] = static_cast<uint8_t>(random());
    std::string text = ip;
    text[random() % text.size()] = static_cast<char>(random());
    (void)Import(ip, bad).ok();  // ends, in a graph or in a Status
    (void)Import(text, good).ok();
  }
}

TEST(CaffeModels, MtcnnAndUltraFaceImport) {
  const std::string models = std::string(SLIPWAY_SOURCE_DIR) + "/../shared/data/models/";
  if (!std::filesystem::exists(models + "mtcnn")) GTEST_SKIP() << "no shared data";
  auto det2 = ImportCaffe(models + "mtcnn/det2.prototxt", models + "mtcnn/det2.caffemodel");
  ASSERT_TRUE(det2.ok()) << det2.status().ToString();
  EXPECT_EQ((*det2)->outputs().size(), 2u);
  ImportOptions options;
  options.input_shapes["data"] = {1, 3, 64, 48};
  auto det1 =
      ImportCaffe(models + "mtcnn/det1.prototxt", models + "mtcnn/det1.caffemodel", options);
  ASSERT_TRUE(det1.ok()) << det1.status().ToString();
  for (const ir::Value* v : (*det1)->outputs())
    EXPECT_EQ(v->type().StaticDims()->count(2, 4), 27 * 19) << v->name();
  auto face =
      ImportCaffe(models + "ultraface/RFB-320.prototxt", models + "ultraface/RFB-320.caffemodel");
  ASSERT_TRUE(face.ok()) << face.status().ToString();
  ExpectError(ImportCaffe(models + "mtcnn/det1.prototxt", models + "ultraface/RFB-320.caffemodel"),
              "different nets");
}

}  // namespace
}  // namespace slipway::caffe
