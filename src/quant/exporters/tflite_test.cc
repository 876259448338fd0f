// .tflite files that are written: read back by our importer, and by Arm NN where it is installed.

#include "quant/exporters/tflite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "model/frontends/tflite/armnn_test_util.h"
#include "model/frontends/tflite/import.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::quant {
namespace {

// %NAME_d: %NAME rounded to unsigned or signed codes.
std::string Pair(const std::string& name, float scale, int zero, bool is_signed = true) {
  const std::string type = is_signed ? "int8" : "uint8";
  const std::string sign = is_signed ? "" : " {signed = 0}";
  char number[32];
  std::snprintf(number, sizeof number, "%.9g", static_cast<double>(scale));
  return "  const %" + name + "_s: float32[] = [" + number + "]\n  const %" + name + "_z: " + type +
         "[] = [" + std::to_string(zero) + "]\n  %" + name + "_q = slipway.Quantize(%" + name +
         ", %" + name + "_s, %" + name + "_z)" + sign + " \"q_" + name + "\"\n  %" + name +
         "_d = slipway.Dequantize(%" + name + "_q, %" + name + "_s, %" + name + "_z)" + sign +
         " \"d_" + name + "\"\n";
}

// Codes of weights [out, ...] with a scale for each output, and of a bias on the products' scale.
std::string Weights(const std::string& name, const std::string& dims, int count, int outputs,
                    float input_scale, int axis, unsigned seed) {
  std::minstd_rand random(seed);
  std::string codes, scales, bias, steps;
  for (int i = 0; i < count; ++i)
    codes += (i ? ", " : "") + std::to_string(static_cast<int>(random() % 255) - 127);
  for (int c = 0; c < outputs; ++c) {
    const float scale = 0.002f + 0.0003f * static_cast<float>(c);
    char text[32];
    std::snprintf(text, sizeof text, "%s%.9g", c ? ", " : "", static_cast<double>(scale));
    scales += text;
    std::snprintf(text, sizeof text, "%s%.9g", c ? ", " : "",
                  static_cast<double>(static_cast<float>(double{input_scale} * scale)));
    steps += text;
    bias += (c ? ", " : "") + std::to_string(static_cast<int>(random() % 4001) - 2000);
  }
  const std::string n = std::to_string(outputs);
  return "  const %" + name + "_q: int8[" + dims + "] = [" + codes + "]\n  const %" + name +
         "_s: float32[" + n + "] = [" + scales + "]\n  %" + name + " = slipway.Dequantize(%" +
         name + "_q, %" + name + "_s) {axis = " + std::to_string(axis) + "} \"" + name + "\"\n" +
         "  const %" + name + "b_q: int32[" + n + "] = [" + bias + "]\n  const %" + name +
         "b_s: float32[" + n + "] = [" + steps + "]\n  %" + name + "b = slipway.Dequantize(%" +
         name + "b_q, %" + name + "b_s) {axis = 0, bits = 32} \"" + name + "b\"\n";
}

// Everything that has a form on codes, with scales that differ where they may. What is padded has
// zero point 0: Arm NN pads int8 with code 0, TensorFlow Lite with the zero point.
std::string Net() {
  return "graph \"net\" {\n  input %x: float32[1, 3, 9, 9]\n" + Pair("x", 0.02f, 100, false) +
         Weights("w1", "8, 3, 3, 3", 216, 8, 0.02f, 0, 1) +
         "  %a = Conv(%x_d, %w1, %w1b) {strides = [2, 2], pads = [1, 1, 1, 1]} \"conv\"\n"
         "  %ar = Relu(%a) \"relu\"\n" +
         Pair("ar", 0.011f, 0, false) + Weights("w2", "8, 1, 3, 3", 72, 8, 0.011f, 0, 2) +
         "  const %zero: float32[] = [0.0]\n  const %six: float32[] = [6.0]\n"
         "  %b = Conv(%ar_d, %w2, %w2b) {group = 8, pads = [1, 1, 1, 1]} \"depthwise\"\n"
         "  %bc = Clip(%b, %zero, %six) \"clip\"\n" +
         Pair("bc", 0.03f, -128) + "  %s = Add(%ar_d, %bc_d) \"add\"\n" + Pair("s", 0.04f, -100) +
         "  %m = Mul(%s_d, %ar_d) \"mul\"\n" + Pair("m", 0.09f, -90) +
         "  %p = MaxPool(%m_d) {kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]} "
         "\"max\"\n" +
         Pair("p", 0.09f, -90) + Weights("w3", "4, 8, 1, 1", 32, 4, 0.09f, 0, 3) +
         "  %e = Conv(%p_d, %w3, %w3b) \"pointwise\"\n" + Pair("e", 0.02f, 3) +
         "  %c = Concat(%p_d, %e_d) {axis = 1} \"concat\"\n" + Pair("c", 0.08f, 0) +
         "  %v = AveragePool(%c_d) {kernel_shape = [2, 2]} \"average\"\n" + Pair("v", 0.08f, 0) +
         "  const %from: int64[1] = [2]\n  const %to: int64[1] = [10]\n  const %ax: int64[1] = "
         "[1]\n"
         "  %l = Slice(%v_d, %from, %to, %ax) \"slice\"\n" +
         Pair("l", 0.08f, 0) +
         "  const %pads: int64[8] = [0, 1, 0, 0, 0, 1, 2, 0]\n"
         "  %k = Pad(%l_d, %pads) \"pad\"\n" +
         Pair("k", 0.08f, 0) + "  %t = Transpose(%k_d) {perm = [0, 2, 3, 1]} \"transpose\"\n" +
         Pair("t", 0.08f, 0) +
         "  const %shape: int64[2] = [1, 80]\n"
         "  %f = Reshape(%t_d, %shape) \"reshape\"\n" +
         Pair("f", 0.08f, 0) + Weights("w4", "80, 5", 400, 5, 0.08f, 1, 4) +
         "  %o = Gemm(%f_d, %w4, %w4b) \"fc\"\n" + Pair("o", 0.1f, 7) + "  output %o_d\n}\n";
}

std::unique_ptr<ir::Graph> Parse(const std::string& text) {
  auto graph = ir::ParseText(text);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  if (!graph.ok()) return nullptr;
  EXPECT_TRUE(ir::InferShapes(**graph).ok()) << ir::InferShapes(**graph).ToString();
  return std::move(*graph);
}

ir::Tensor Image(unsigned seed) {
  std::minstd_rand random(seed);
  auto t = ir::Tensor::Allocate(DType::kFloat32, {1, 3, 9, 9});
  for (int64_t i = 0; i < t->count(); ++i) {
    reinterpret_cast<float*>(t->mutable_data())[i] =
        static_cast<float>(static_cast<int>(random() % 5000) - 2000) * 0.001f;
  }
  return std::move(*t);
}

TEST(TfliteWriter, WhatIsReadBackComputesTheSameBitForBit) {
  auto graph = Parse(Net());
  ASSERT_NE(graph, nullptr);
  TfliteWriter writer(*graph, "");
  auto text = writer.Run();
  ASSERT_TRUE(text.ok()) << text.status().ToString();
  EXPECT_TRUE(writer.floats().empty()) << writer.floats()[0];
  auto bytes = std::make_shared<std::vector<uint8_t>>(text->begin(), text->end());
  auto back = tflite::ImportTfliteBytes(*bytes, bytes);
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  ASSERT_EQ((*back)->inputs()[0]->name(), "x");
  int64_t off = 0, codes = 0;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    const ir::Tensor x = Image(seed);
    auto nhwc = PermutedConstant(x, {0, 2, 3, 1});
    ASSERT_TRUE(nhwc.ok());
    auto want = interp::Evaluate(*graph, std::vector<ir::Tensor>{x});
    auto got = interp::Evaluate(**back, std::vector<ir::Tensor>{*nhwc});
    ASSERT_TRUE(want.ok()) << want.status().ToString();
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    ASSERT_EQ((*got)[0].dims(), (*want)[0].dims());
    for (int64_t i = 0; i < (*want)[0].count(); ++i)
      EXPECT_EQ((*got)[0].data<float>()[i], (*want)[0].data<float>()[i]) << "image " << seed;
#ifdef SLIPWAY_HAVE_ARMNN
    auto theirs =
        tflite::RunArmnn(*bytes, {{"x", tflite::Blob(nhwc->bytes().begin(), nhwc->bytes().end())}},
                         {(*back)->outputs()[0]->name()});
    ASSERT_TRUE(theirs.ok()) << theirs.status().ToString();
    ASSERT_EQ((*theirs)[0].size(), (*want)[0].bytes().size());
    const auto* y = reinterpret_cast<const float*>((*theirs)[0].data());
    for (int64_t i = 0; i < (*want)[0].count(); ++i, ++codes) {
      const float steps = std::fabs(y[i] - (*want)[0].data<float>()[i]) / 0.1f;
      // A code that lies half-way in one layer moves what is behind it.
      EXPECT_LE(steps, 2.1f) << "image " << seed;
      off += steps > 0.5f;
    }
#endif
  }
  std::printf("Arm NN: %lld of %lld output codes differ\n", static_cast<long long>(off),
              static_cast<long long>(codes));
  EXPECT_LE(off, codes / 2);
}

// A block of a transformer: what has a form on codes has it, also products of two activations;
// values of four dimensions that are no images keep their order.
TEST(TfliteWriter, TransformersComeBack) {
  const std::string text =
      "graph \"net\" {\n  input %x: float32[1, 5, 8]\n" + Pair("x", 0.02f, 3) +
      "  const %g: float32[8] = random(3)\n  const %b: float32[8] = random(4)\n"
      "  %n = LayerNormalization(%x_d, %g, %b) {axis = -1} \"norm\"\n" +
      Pair("n", 0.03f, 0) + Weights("w", "8, 24", 192, 24, 0.03f, 1, 5) +
      "  %m = MatMul(%n_d, %w) \"qkv\"\n  %mb = Add(%m, %wb) \"qkv_bias\"\n" +
      Pair("mb", 0.05f, -4) +
      "  const %even: int64[3] = [8, 8, 8]\n"
      "  %p, %k, %v = Split(%mb_d, %even) {axis = 2} \"split\"\n" +
      Pair("p", 0.05f, -4) + Pair("k", 0.06f, 2) + Pair("v", 0.05f, -4) +
      "  const %heads: int64[4] = [1, 5, 2, 4]\n"
      "  %pr = Reshape(%p_d, %heads) \"pr\"\n" +
      Pair("pr", 0.05f, -4) + "  %pt = Transpose(%pr_d) {perm = [0, 2, 1, 3]} \"pt\"\n" +
      Pair("pt", 0.05f, -4) + "  %kr = Reshape(%k_d, %heads) \"kr\"\n" + Pair("kr", 0.06f, 2) +
      "  %kt = Transpose(%kr_d) {perm = [0, 2, 3, 1]} \"kt\"\n" + Pair("kt", 0.06f, 2) +
      "  %vr = Reshape(%v_d, %heads) \"vr\"\n" + Pair("vr", 0.05f, -4) +
      "  %vt = Transpose(%vr_d) {perm = [0, 2, 1, 3]} \"vt\"\n" + Pair("vt", 0.05f, -4) +
      "  %s = MatMul(%pt_d, %kt_d) \"scores\"\n" + Pair("s", 0.08f, 1) +
      "  %a = Softmax(%s_d) {axis = -1} \"soft\"\n" + Pair("a", 1.0f / 256, -128) +
      "  %o = MatMul(%a_d, %vt_d) \"mix\"\n" + Pair("o", 0.04f, 0) +
      "  %ot = Transpose(%o_d) {perm = [0, 2, 1, 3]} \"ot\"\n" + Pair("ot", 0.04f, 0) +
      "  const %flat: int64[3] = [1, 5, 8]\n  %of = Reshape(%ot_d, %flat) \"of\"\n" +
      Pair("of", 0.04f, 0) +
      // A constant that is codes, and parts of different extents of which one stays float.
      "  const %c_q: int8[1, 5, 8] = random(9)\n  const %c_s: float32[] = [0.01]\n"
      "  %c = slipway.Dequantize(%c_q, %c_s) \"c\"\n  %r = Add(%of_d, %c) \"residual\"\n" +
      Pair("r", 0.05f, 0) +
      "  const %uneven: int64[2] = [2, 3]\n"
      "  %y, %z = Split(%r_d, %uneven) {axis = 1} \"parts\"\n  %t = Gelu(%z) \"gelu\"\n" +
      Pair("y", 0.05f, 0) + "  output %y_d\n  output %t\n}\n";
  auto graph = Parse(text);
  ASSERT_NE(graph, nullptr);
  TfliteWriter writer(*graph, "");
  auto made = writer.Run();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_EQ(writer.floats(), (std::vector<std::string>{"norm", "gelu"}));
  auto bytes = std::make_shared<std::vector<uint8_t>>(made->begin(), made->end());
  auto back = tflite::ImportTfliteBytes(*bytes, bytes);
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  int64_t off = 0, all = 0;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    std::minstd_rand random(seed);
    auto x = ir::Tensor::Allocate(DType::kFloat32, {1, 5, 8});
    for (int64_t i = 0; i < x->count(); ++i) {
      reinterpret_cast<float*>(x->mutable_data())[i] =
          static_cast<float>(static_cast<int>(random() % 5000) - 2500) * 0.001f;
    }
    auto want = interp::Evaluate(*graph, std::vector<ir::Tensor>{*x});
    auto got = interp::Evaluate(**back, std::vector<ir::Tensor>{*x});
    ASSERT_TRUE(want.ok()) << want.status().ToString();
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    ASSERT_EQ(got->size(), 2u);
    for (size_t o = 0; o < 2; ++o) {
      ASSERT_EQ((*got)[o].dims(), (*want)[o].dims());
      for (int64_t i = 0; i < (*want)[o].count(); ++i, ++all) {
        // The pieces of the normalisation may move a code, and that one its neighbours.
        const float d = std::fabs((*got)[o].data<float>()[i] - (*want)[o].data<float>()[i]);
        EXPECT_LE(d, 0.11f) << "input " << seed << ", output " << o << "[" << i << "]";
        off += d > 1e-4f;
      }
    }
  }
  EXPECT_LE(off, all / 10);
}

TEST(TfliteWriter, RefusesWhatHasNoFormOnCodes) {
  auto refused = [](std::string text, const std::string& from, const std::string& to,
                    std::vector<std::string> words) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
    auto graph = Parse(text);
    ASSERT_NE(graph, nullptr);
    auto bytes = TfliteWriter(*graph, "; THE REMEDY").Run();
    ASSERT_FALSE(bytes.ok()) << to;
    for (const auto& w : words)
      EXPECT_NE(bytes.status().message().find(w), std::string::npos) << bytes.status().ToString();
  };
  // A sum that is not rounded, a clip at 3, another scale behind a pool, a bias on its own scale.
  refused(Net(), "%p = MaxPool(%m_d)", "%n = Neg(%a)\n  output %n\n  %p = MaxPool(%m_d)",
          {"Conv node 'conv'", "'a'", "not quantized", "THE REMEDY"});
  refused(Net(), "[6.0]", "[3.0]", {"Conv node 'depthwise'", "not quantized"});
  refused(Net(), "const %v_s: float32[] = [0.0799999982]", "const %v_s: float32[] = [0.07]",
          {"AveragePool node 'average'", "different scales"});
  refused(Net(), "const %w4b_s: float32[5] = [",
          "const %w4b_s: float32[5] = [1.5, 1, 1, 1, 1]\n  "
          "const %old: float32[5] = [",
          {"Gemm node 'fc'", "scale of the products"});
}

void ExpectComesBack(const std::string& text, const std::vector<std::string>& floats) {
  auto graph = Parse(text);
  ASSERT_NE(graph, nullptr);
  TfliteWriter writer(*graph, "");
  auto made = writer.Run();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  EXPECT_EQ(writer.floats(), floats);
  auto bytes = std::make_shared<std::vector<uint8_t>>(made->begin(), made->end());
  auto back = tflite::ImportTfliteBytes(*bytes, bytes);
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  for (unsigned seed = 1; seed <= 4; ++seed) {
    const ir::Tensor x = Image(seed);
    auto nhwc = PermutedConstant(x, {0, 2, 3, 1});
    auto want = interp::Evaluate(*graph, std::vector<ir::Tensor>{x});
    auto got = interp::Evaluate(**back, std::vector<ir::Tensor>{*nhwc});
    ASSERT_TRUE(want.ok()) << want.status().ToString();
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    ASSERT_EQ((*got)[0].count(), (*want)[0].count());
    double power = 0;
    int64_t off = 0;
    for (int64_t i = 0; i < (*want)[0].count(); ++i) {
      const float a = (*got)[0].data<float>()[i], b = (*want)[0].data<float>()[i];
      power += double{b} * double{b};
      off += a != b;
    }
    EXPECT_GT(power, 0);
    // A code may lie half-way where a function stands in its pieces.
    EXPECT_LE(off, floats.empty() ? 0 : (*want)[0].count() / 50) << "image " << seed;
  }
}

// What squeezenet, a U-Net with transposed convolutions and shufflenet need; means of images.
TEST(TfliteWriter, PoolsWithAnOpenEndBlocksAndGatheredChannels) {
  for (const char* ends : {"", ", pads = [1, 1, 0, 0]"}) {
    ExpectComesBack(
        "graph \"net\" {\n  input %x: float32[1, 3, 9, 9]\n" + Pair("x", 0.02f, 4) +
            "  %p = MaxPool(%x_d) {kernel_shape = [2, 3], strides = [2, 2], ceil_mode = 1" + ends +
            "} \"max\"\n" + Pair("p", 0.02f, 4) + Weights("w1", "8, 3, 1, 1", 24, 8, 0.02f, 0, 1) +
            "  %c = Conv(%p_d, %w1, %w1b) \"conv\"\n" + Pair("c", 0.03f, 0) +
            "  %d = DepthToSpace(%c_d) {blocksize = 2, mode = \"CRD\"} \"blocks\"\n" +
            Pair("d", 0.03f, 0) +
            "  const %i: int64[3] = [1, 0, -1]\n  %g = Gather(%d_d, %i) {axis = 1} \"gather\"\n" +
            Pair("g", 0.03f, 0) +
            "  const %a: int64[2] = [2, -1]\n"
            "  %m = ReduceMean(%g_d, %a) {keepdims = 0} \"mean\"\n" +
            Pair("m", 0.002f, 0) + "  output %m_d\n}\n",
        {});
  }
}

// Without axes every one is reduced.
TEST(TfliteWriter, MeansOfEverything) {
  const auto net = [](const std::string& mean) {
    return "graph \"net\" {\n  input %x: float32[1, 3, 9, 9]\n" + Pair("x", 0.02f, 4) + mean +
           Pair("m", 0.001f, 0) + "  output %m_d\n}\n";
  };
  for (const char* keep : {"0", "1"}) {
    ExpectComesBack(
        net(std::string("  %m = ReduceMean(%x_d) {keepdims = ") + keep + "} \"mean\"\n"), {});
    ExpectComesBack(net(std::string("  const %none: int64[0] = []\n  %m = ReduceMean(%x_d, %none) "
                                    "{keepdims = ") +
                        keep + "} \"mean\"\n"),
                    {});
  }
  auto graph = Parse(net("  %m = ReduceMean(%x_d) {noop_with_empty_axes = 1} \"mean\"\n"));
  ASSERT_NE(graph, nullptr);
  auto made = TfliteWriter(*graph, "").Run();
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.status().message().find("noop_with_empty_axes"), std::string::npos)
      << made.status().ToString();
}

TEST(TfliteWriter, GatesNormsAndProductsOfFourDimensions) {
  ExpectComesBack(
      "graph \"net\" {\n  input %x: float32[1, 3, 9, 9]\n" + Pair("x", 0.02f, 4) +
          "  %h = HardSigmoid(%x_d) {alpha = 0.4, beta = 0.45} \"gate\"\n" +
          Pair("h", 1.0f / 256, -128) +
          "  const %f: float32[3] = [1, 2, 0.5]\n  const %o: float32[3] = [0.1, 0, -0.2]\n"
          "  const %u: float32[3] = [0.3, -0.1, 0.2]\n  const %v: float32[3] = [1, 0.5, 2]\n"
          "  %b = BatchNormalization(%h_d, %f, %o, %u, %v) \"norm\"\n" +
          Pair("b", 0.02f, 0) + "  %t = Transpose(%b_d) {perm = [0, 2, 3, 1]} \"turn\"\n" +
          Pair("t", 0.02f, 0) + Weights("w", "3, 5", 15, 5, 0.02f, 1, 3) +
          "  %m = MatMul(%t_d, %w) \"product\"\n  %mb = Add(%m, %wb) \"bias\"\n" +
          Pair("mb", 0.03f, 0) +
          "  const %s: int64[2] = [1, 405]\n  %r = Reshape(%mb_d, %s) \"rows\"\n" +
          Pair("r", 0.03f, 0) + "  output %r_d\n}\n",
      {"gate", "norm"});
}

TEST(TfliteWriter, FunctionsInFloat) {
  ExpectComesBack(
      "graph \"net\" {\n  input %x: float32[1, 3, 9, 9]\n" + Pair("x", 0.02f, 4) +
          "  const %two: float32[] = [2.0]\n  const %least: float32[1, 3, 1, 1] = [0.1, 0.2, 0.3]\n"
          "  %a = Abs(%x_d) \"abs\"\n  %m = Max(%a, %least) \"max\"\n"
          "  %l = Log(%m) \"log\"\n  %n = Neg(%l) \"neg\"\n  %c = Cos(%n) \"cos\"\n"
          "  %s = Sin(%c) \"sin\"\n  %q = Sqrt(%m) \"sqrt\"\n  %d = Div(%s, %q) \"div\"\n"
          "  %v = Div(%d, %two) \"half\"\n" +
          Pair("v", 0.01f, 0) +
          "  %f = Floor(%v_d) \"floor\"\n  %e = Ceil(%v_d) \"ceil\"\n  %i = Min(%f, %e) \"min\"\n"
          "  %k = Sub(%v_d, %i) \"rest\"\n" +
          Pair("k", 0.02f, 0) +
          "  const %r: int64[2] = [1, 243]\n  %y = Reshape(%k_d, %r) \"rows\"\n" +
          Pair("y", 0.02f, 0) + "  output %y_d\n}\n",
      {"abs", "max", "log", "neg", "cos", "sin", "sqrt", "div", "half", "floor", "ceil", "min",
       "rest"});
}

TEST(TfliteWriter, RowsOfAnEmbedding) {
  for (const char* type : {"int64", "int32"}) {
    auto graph =
        Parse(std::string("graph \"net\" {\n  input %i: ") + type +
              "[1, 4]\n  const %t: float32[9, 3] = random(3)\n  %e = Gather(%t, %i) \"table\"\n" +
              Pair("e", 0.02f, 3) +
              "  const %a: int64[1] = [1]\n  %s = ReduceSum(%e_d, %a) {keepdims = 0} \"sum\"\n" +
              Pair("s", 0.05f, 0) + Weights("w", "3, 4", 12, 4, 0.05f, 1, 5) +
              "  %g = Gemm(%s_d, %w, %wb) \"fc\"\n" + Pair("g", 0.03f, 0) + "  output %g_d\n}\n");
    ASSERT_NE(graph, nullptr);
    TfliteWriter writer(*graph, "");
    auto made = writer.Run();
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    EXPECT_EQ(writer.floats(), (std::vector<std::string>{"table"}));
    auto bytes = std::make_shared<std::vector<uint8_t>>(made->begin(), made->end());
    auto back = tflite::ImportTfliteBytes(*bytes, bytes);
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    const int64_t wide[] = {8, 0, 3, 3};
    const int32_t narrow[] = {8, 0, 3, 3};
    const ir::Tensor i = std::string(type) == "int64"
                             ? ir::Tensor::Of<int64_t>({1, 4}, std::span<const int64_t>(wide))
                             : ir::Tensor::Of<int32_t>({1, 4}, std::span<const int32_t>(narrow));
    auto want = interp::Evaluate(*graph, std::vector<ir::Tensor>{i});
    auto got = interp::Evaluate(**back, std::vector<ir::Tensor>{i});
    ASSERT_TRUE(want.ok()) << want.status().ToString();
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    EXPECT_EQ((*got)[0].ToDoubles(), (*want)[0].ToDoubles());
  }
}

// As ONNX has a linear layer over a sequence whose weights are rows of outputs.
TEST(TfliteWriter, TurnedWeightsLieTurned) {
  const std::string text = "graph \"net\" {\n  input %x: float32[1, 5, 3]\n" + Pair("x", 0.02f, 3) +
                           Weights("w", "4, 3", 12, 4, 0.02f, 0, 5) +
                           "  %wt = Transpose(%w) {perm = [1, 0]} \"turn\"\n"
                           "  %m = MatMul(%x_d, %wt) \"product\"\n  %mb = Add(%m, %wb) \"bias\"\n" +
                           Pair("mb", 0.03f, 0) + "  output %mb_d\n}\n";
  auto graph = Parse(text);
  ASSERT_NE(graph, nullptr);
  const QuantExporter* row = FindQuantExporter("tflite");
  ASSERT_NE(row, nullptr);
  auto model = ReadQuantized(*graph);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  auto bundle = MakeTflite(*row, *model, {.stem = "m"});
  ASSERT_TRUE(bundle.ok()) << bundle.status().ToString();
  EXPECT_NE(bundle->notes.find(" 0 of them in float"), std::string::npos) << bundle->notes;
  const std::string& made = bundle->files[0].bytes;
  auto bytes = std::make_shared<std::vector<uint8_t>>(made.begin(), made.end());
  auto back = tflite::ImportTfliteBytes(*bytes, bytes);
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  auto x = ir::Tensor::Allocate(DType::kFloat32, {1, 5, 3});
  for (int64_t i = 0; i < 15; ++i)
    reinterpret_cast<float*>(x->mutable_data())[i] = 0.3f * static_cast<float>(i % 7) - 1;
  auto want = interp::Evaluate(*graph, std::vector<ir::Tensor>{*x});
  auto got = interp::Evaluate(**back, std::vector<ir::Tensor>{*x});
  ASSERT_TRUE(want.ok() && got.ok());
  EXPECT_EQ((*got)[0].ToDoubles(), (*want)[0].ToDoubles());
}

// Layers that stay float, functions on either, and what TensorFlow Lite fixes the scale of.
TEST(TfliteWriter, FloatOperatorsStandBetweenDequantizeAndQuantize) {
  auto graph =
      Parse("graph \"net\" {\n  input %x: float32[1, 3, 9, 9]\n" + Pair("x", 0.02f, 4) +
            "  const %w: float32[4, 3, 3, 3] = random(7)\n"
            "  %c = Conv(%x_d, %w) {pads = [1, 1, 1, 1]} \"float conv\"\n"
            "  %h = HardSwish(%c) \"swish\"\n" +
            Pair("h", 0.03f, -110) + "  %g = Sigmoid(%h_d) \"gate\"\n" +
            Pair("g", 1.0f / 256, -128) + "  %t = Tanh(%g_d) \"tanh\"\n" + Pair("t", 0.01f, 0) +
            "  %n = LeakyRelu(%t_d) {alpha = 0.1} \"leaky\"\n" + Pair("n", 0.01f, -20) +
            "  %z = GlobalAveragePool(%n_d) \"gap\"\n" + Pair("z", 0.005f, -60) +
            "  %f = Flatten(%z_d) \"flat\"\n  %y = Softmax(%f) \"soft\"\n  output %y\n}\n");
  ASSERT_NE(graph, nullptr);
  TfliteWriter writer(*graph, "");
  auto text = writer.Run();
  ASSERT_TRUE(text.ok()) << text.status().ToString();
  EXPECT_EQ(writer.floats(),
            (std::vector<std::string>{"float conv", "swish", "tanh", "flat", "soft"}));
  auto bytes = std::make_shared<std::vector<uint8_t>>(text->begin(), text->end());
  auto back = tflite::ImportTfliteBytes(*bytes, bytes);
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  const ir::Tensor x = Image(5);
  auto nhwc = PermutedConstant(x, {0, 2, 3, 1});
  auto want = interp::Evaluate(*graph, std::vector<ir::Tensor>{x});
  auto got = interp::Evaluate(**back, std::vector<ir::Tensor>{*nhwc});
  ASSERT_TRUE(want.ok() && got.ok());
  for (int64_t i = 0; i < (*want)[0].count(); ++i)
    EXPECT_NEAR((*got)[0].data<float>()[i], (*want)[0].data<float>()[i], 1e-3) << i;
}

}  // namespace
}  // namespace slipway::quant
