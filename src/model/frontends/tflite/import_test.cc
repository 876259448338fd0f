#include "model/frontends/tflite/import.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/frontends/tflite/writer_test_util.h"
#include "model/passes/pass.h"

namespace slipway::tflite {
namespace {

constexpr auto kSame = fb::Padding::SAME;
using Shape = std::vector<int32_t>;

std::unique_ptr<ir::Graph> Must(const Writer& w, const ImportOptions& options = {}) {
  auto g = w.Import(options);
  EXPECT_TRUE(g.ok()) << g.status().ToString();
  return g.ok() ? std::move(*g) : nullptr;
}

void Optimise(ir::Graph& g, passes::Level level) {
  auto report = passes::RunPasses(g, {.level = level});
  ASSERT_TRUE(report.ok()) << report.status().ToString();
}

TEST(TfliteImport, NamesTypesAndMetadata) {
  Writer w;
  w.graph().name = "main";
  const int x = w.Input("serving_default_x:0", {1, 2}),
            y = w.Value("StatefulPartitionedCall:0", {1, 2});
  w.Op(B::RELU, {x}, {y});
  w.Output(y);
  auto g = Must(w);
  ASSERT_TRUE(g);
  EXPECT_EQ(g->name, "main");
  EXPECT_EQ(g->metadata["format"], "tflite");
  EXPECT_EQ(g->inputs()[0]->name(), "serving_default_x:0");
  EXPECT_EQ(g->outputs()[0]->name(), "StatefulPartitionedCall:0");
  EXPECT_EQ(g->nodes().front()->sources, std::vector<std::string>{"StatefulPartitionedCall:0"});

  auto signature = std::make_unique<fb::SignatureDefT>();
  signature->signature_key = "serving_default";
  for (auto [list, name, index] :
       {std::tuple(&signature->inputs, "image", x), std::tuple(&signature->outputs, "scores", y)}) {
    auto map = std::make_unique<fb::TensorMapT>();
    map->name = name;
    map->tensor_index = static_cast<uint32_t>(index);
    list->push_back(std::move(map));
  }
  w.model.signature_defs.push_back(std::move(signature));
  g = Must(w);
  ASSERT_TRUE(g);
  EXPECT_EQ(g->metadata["signature"], "serving_default");
  EXPECT_EQ(g->inputs()[0]->name(), "image");
  EXPECT_EQ(g->outputs()[0]->name(), "scores");
}

TEST(TfliteImport, WeightsStayInTheFile) {
  Writer w;
  const int x = w.Input("x", {1, 64});
  const int k = w.Constant<float>("weights", {32, 64}, std::vector<float>(32 * 64, 0.5f));
  w.Op(B::FULLY_CONNECTED, {x, k}, {w.Output(w.Value("y", {1, 32}))}, fb::FullyConnectedOptionsT());
  const auto file = w.File();
  auto bytes = std::make_shared<std::vector<uint8_t>>(file.size() + 16);
  uint8_t* at = bytes->data() + (16 - reinterpret_cast<uintptr_t>(bytes->data()) % 16) % 16;
  std::copy(file.begin(), file.end(), at);
  auto g = ImportTfliteBytes({at, file.size()}, bytes);
  ASSERT_TRUE(g.ok()) << g.status().ToString();
  const ir::Value* v = (*g)->FindValue("weights");
  ASSERT_TRUE(v && v->constant());
  EXPECT_GE(v->constant()->bytes().data(), at);
  EXPECT_LT(v->constant()->bytes().data(), at + file.size());
  const std::weak_ptr<std::vector<uint8_t>> alive = bytes;
  bytes.reset();
  EXPECT_FALSE(alive.expired());
  g->reset();
  EXPECT_TRUE(alive.expired());
}

TEST(TfliteImport, BuffersBehindTheTables) {
  // As the converter writes models over 2 GB: data behind the FlatBuffer, found by offset and size.
  Writer w;
  const int x = w.Input("x", {1, 4});
  const int k = w.Value("weights", {1, 4});
  w.Op(B::MUL, {x, k}, {w.Output(w.Value("y", {1, 4}))}, fb::MulOptionsT());
  fb::BufferT& buffer = *w.model.buffers[w.tensor(k).buffer];
  buffer.offset = 2;  // so that the field exists and the size of the file is final
  buffer.size = 16;
  const size_t tables = (w.File().size() + 63) / 64 * 64;
  buffer.offset = tables;
  auto file = std::make_shared<std::vector<uint8_t>>(w.File());
  ASSERT_LE(file->size(), tables);
  file->resize(tables);
  const float values[4] = {1, 2, 3, 4};
  file->insert(file->end(), reinterpret_cast<const uint8_t*>(values),
               reinterpret_cast<const uint8_t*>(values) + 16);
  auto g = ImportTfliteBytes(*file, file);
  ASSERT_TRUE(g.ok()) << g.status().ToString();
  ASSERT_TRUE((*g)->FindValue("weights")->constant());
  EXPECT_EQ((*g)->FindValue("weights")->constant()->ToDoubles(), (std::vector<double>{1, 2, 3, 4}));
  file->pop_back();
  g = ImportTfliteBytes(*file, file);
  EXPECT_EQ(g.status().code(), StatusCode::kDataLoss) << g.status().ToString();
}

TEST(TfliteImport, DynamicBatchAndGivenShapes) {
  Writer w;
  const int x = w.Input("x", {-1, 4, 4, 2}),
            k = w.Constant<float>("k", {3, 3, 3, 2}, std::vector<float>(54, 1));
  const int c = w.Value("c", {-1, 4, 4, 3}), m = w.Value("m", {-1, 3});
  w.Op(B::CONV_2D, {x, k}, {c}, ConvOptions(kSame, 1));
  w.Op(B::MEAN, {c, w.Ints("axes", {1, 2})}, {m});
  w.Output(m);
  auto g = Must(w);
  ASSERT_TRUE(g);
  EXPECT_EQ(g->inputs()[0]->type().ToString(), "float32[batch, 4, 4, 2]");
  EXPECT_EQ(g->outputs()[0]->type().ToString(), "float32[batch, 3]");
  ImportOptions o;
  o.input_shapes["x"] = {5, 8, 6, 2};
  g = Must(w, o);
  ASSERT_TRUE(g);
  EXPECT_EQ(g->FindValue("c_nchw")->type().ToString(), "float32[5, 3, 8, 6]");
  EXPECT_EQ(g->outputs()[0]->type().ToString(), "float32[5, 3]");
  o.input_shapes = {{"nobody", {1}}};
  auto bad = w.Import(o);
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.status().message().find("its inputs are 'x'"), std::string::npos)
      << bad.status().ToString();
}

// Convolution, depthwise blocks with a residual, padding by its own operator, pooling and a
// classifier, float or int8.
Writer MobileNet(bool quantized) {
  Writer w;
  const auto type = quantized ? T::INT8 : T::FLOAT32;
  auto act = [&](float scale, int zero) { return quantized ? Quant{{scale}, {zero}} : Quant{}; };
  int n = 0;
  auto layer = [&](int x, B code, Shape kernel, Shape out, int stride, fb::Padding padding,
                   fb::Activation a) {
    const std::string name = "layer" + std::to_string(n++);
    size_t count = 1;
    for (int32_t d : kernel) count *= static_cast<size_t>(d);
    const int channels = out[3];
    const float scale_x = quantized ? w.tensor(x).quantization->scale[0] : 0;
    int k, b;
    if (quantized) {
      Quant q, qb;
      q.axis = code == B::CONV_2D ? 0 : 3;
      for (int c = 0; c < channels; ++c)
        q.scale.push_back(0.01f + 0.001f * static_cast<float>(c)),
            qb.scale.push_back(scale_x * q.scale.back());
      std::vector<int8_t> codes(count);
      for (size_t i = 0; i < count; ++i)
        codes[i] = static_cast<int8_t>(static_cast<int>(i * 37 % 101) - 50);
      k = w.Constant<int8_t>(name + "_w", kernel, codes, q);
      b = w.Constant<int32_t>(name + "_b", {channels},
                              std::vector<int32_t>(static_cast<size_t>(channels), 100), qb);
    } else {
      std::vector<float> v(count);
      for (size_t i = 0; i < count; ++i)
        v[i] = 0.01f * static_cast<float>(static_cast<int>(i * 37 % 101) - 50);
      k = w.Constant<float>(name + "_w", kernel, v);
      b = w.Constant<float>(name + "_b", {channels},
                            std::vector<float>(static_cast<size_t>(channels), 0.1f));
    }
    const int y = w.Value(name, out, type, act(0.03f, a == fb::Activation::NONE ? 3 : -128));
    if (code == B::CONV_2D) {
      w.Op(code, {x, k, b}, {y}, ConvOptions(padding, stride, a));
    } else {
      w.Op(code, {x, k, b}, {y}, DepthwiseOptions(padding, stride, 1, a));
    }
    return y;
  };
  constexpr auto kRelu6 = fb::Activation::RELU6, kNone = fb::Activation::NONE;
  const int x = w.Input("image", {1, 16, 16, 3}, type, act(0.02f, -1));
  int v = layer(x, B::CONV_2D, {8, 3, 3, 3}, {1, 8, 8, 8}, 2, kSame, kRelu6);
  const int padded = w.Value("padded", {1, 10, 10, 8}, type, act(0.03f, -128));
  w.Op(B::PAD, {v, w.Constant<int32_t>("paddings", {4, 2}, {0, 0, 1, 1, 1, 1, 0, 0})}, {padded});
  v = layer(padded, B::DEPTHWISE_CONV_2D, {1, 3, 3, 8}, {1, 8, 8, 8}, 1, fb::Padding::VALID,
            kRelu6);
  const int narrow = layer(v, B::CONV_2D, {4, 1, 1, 8}, {1, 8, 8, 4}, 1, kSame, kNone);
  v = layer(narrow, B::CONV_2D, {8, 1, 1, 4}, {1, 8, 8, 8}, 1, kSame, kRelu6);
  v = layer(v, B::DEPTHWISE_CONV_2D, {1, 3, 3, 8}, {1, 8, 8, 8}, 1, kSame, kRelu6);
  v = layer(v, B::CONV_2D, {4, 1, 1, 8}, {1, 8, 8, 4}, 1, kSame, kNone);
  const int sum = w.Value("sum", {1, 8, 8, 4}, type, act(0.05f, 2));
  w.Op(B::ADD, {narrow, v}, {sum}, fb::AddOptionsT());
  const int joined = w.Value("joined", {1, 8, 8, 8}, type, act(0.05f, 2));
  w.Op(B::CONCATENATION, {sum, sum}, {joined},
       With<fb::ConcatenationOptionsT>([](auto& o) { o.axis = 3; }));
  const int pooled = w.Value("pooled", {1, 8}, type, act(0.05f, 2));
  w.Op(B::MEAN, {joined, w.Ints("axes", {1, 2})}, {pooled}, fb::ReducerOptionsT());
  const int scores = w.Value("scores", {1, 5}, type, act(0.05f, 0));
  std::vector<float> f(40, 0.25f);
  const int k = quantized
                    ? w.Constant<int8_t>("fc", {5, 8}, std::vector<int8_t>(40, 25), {{0.01f}, {0}})
                    : w.Constant<float>("fc", {5, 8}, f);
  w.Op(B::FULLY_CONNECTED, {pooled, k}, {scores}, fb::FullyConnectedOptionsT());
  const int probabilities = w.Value("probabilities", {1, 5}, type, act(1.0f / 256, -128));
  w.Op(B::SOFTMAX, {scores}, {probabilities},
       With<fb::SoftmaxOptionsT>([](auto& o) { o.beta = 1; }));
  w.Output(probabilities);
  return w;
}

TEST(TfliteImport, FloatMobileNetHasNoInnerTransposes) {
  auto g = Must(MobileNet(false));
  ASSERT_TRUE(g);
  Optimise(*g, passes::Level::kFused);
  EXPECT_EQ(CountOps(*g, "Transpose"), 1);  // of the image
  EXPECT_EQ(CountOps(*g, "Pad"), 0);
  EXPECT_EQ(CountOps(*g, "Conv", "slipway"), 6);
  EXPECT_EQ(CountOps(*g, "GlobalAveragePool"), 1);
}

TEST(TfliteImport, QuantizedMobileNetBecomesIntegerOperators) {
  auto g = Must(MobileNet(true));
  ASSERT_TRUE(g);
  EXPECT_EQ(g->inputs()[0]->dtype(), DType::kInt8);
  EXPECT_EQ(g->outputs()[0]->dtype(), DType::kInt8);
  EXPECT_EQ(g->metadata["quantization.image"].substr(0, 4), "0.02");
  Optimise(*g, passes::Level::kInteger);
  EXPECT_EQ(CountOps(*g, "Transpose"), 1);
  EXPECT_EQ(CountOps(*g, "QConv", "slipway"), 6);
  EXPECT_EQ(CountOps(*g, "QLinear", "slipway"), 1);
  EXPECT_EQ(CountOps(*g, "QAdd", "slipway"), 1);
  EXPECT_EQ(CountOps(*g, "Conv") + CountOps(*g, "Conv", "slipway"), 0);
  // Only the softmax computes with real numbers.
  EXPECT_LE(CountOps(*g, "Dequantize", "slipway"), 1);
}

TEST(TfliteImport, FloatInputsAndOutputsOfAQuantizedModel) {
  ImportOptions o;
  o.float_io = true;
  auto real = Must(MobileNet(true), o), codes = Must(MobileNet(true));
  ASSERT_TRUE(real && codes);
  EXPECT_EQ(real->inputs()[0]->type().ToString(), "float32[1, 16, 16, 3]");
  auto x = ir::Tensor::Allocate(DType::kFloat32, {1, 16, 16, 3}),
       q = ir::Tensor::Allocate(DType::kInt8, {1, 16, 16, 3});
  for (int i = 0; i < 768; ++i) {
    const int code = i * 31 % 256 - 128;
    q->mutable_data()[i] = static_cast<uint8_t>(code);
    reinterpret_cast<float*>(x->mutable_data())[i] = 0.02f * static_cast<float>(code + 1);
  }
  auto a = interp::Evaluate(*real, std::vector<ir::Tensor>{*x}),
       b = interp::Evaluate(*codes, std::vector<ir::Tensor>{*q});
  ASSERT_TRUE(a.ok() && b.ok()) << a.status().ToString() << b.status().ToString();
  int spread = 0;
  for (int i = 0; i < 5; ++i) {
    EXPECT_FLOAT_EQ((*a)[0].data<float>()[i],
                    static_cast<float>((*b)[0].data<int8_t>()[i] + 128) / 256);
    spread += (*b)[0].data<int8_t>()[i] != -128;
  }
  EXPECT_GT(spread, 0);
}

TEST(TfliteImport, Float16WeightsBehindDequantize) {
  Writer w;
  const int x = w.Input("x", {1, 2});
  // 1.0, -2.0 and 0.5, 4.0 in half precision.
  const int half =
      w.Bytes("half", {2, 2}, T::FLOAT16, {0x00, 0x3c, 0x00, 0xc0, 0x00, 0x38, 0x00, 0x44});
  const int k = w.Value("k", {2, 2});
  w.Op(B::DEQUANTIZE, {half}, {k});
  w.Op(B::FULLY_CONNECTED, {x, k}, {w.Output(w.Value("y", {1, 2}))}, fb::FullyConnectedOptionsT());
  auto g = Must(w);
  ASSERT_TRUE(g);
  for (int i = 0; i < 2; ++i) {
    auto y = interp::Evaluate(
        *g, std::vector<ir::Tensor>{ir::Tensor::Of<float>({1, 2}, std::vector<float>{3, 1})});
    ASSERT_TRUE(y.ok()) << y.status().ToString();
    EXPECT_EQ((*y)[0].ToDoubles(), (std::vector<double>{1, 5.5}));
    Optimise(*g, passes::Level::kFused);
    EXPECT_EQ(CountOps(*g, "Cast"), 0);
  }
}

TEST(TfliteImport, HybridAndInt4Weights) {
  for (bool int4 : {false, true}) {
    Writer w;
    const int x = w.Input("x", {1, 3});
    const Quant q{{0.5f, 2}, {0, 0}, 0};
    // Rows 1 -2 7 and -8 0 3.
    const int k = int4 ? w.Bytes("k", {2, 3}, T::INT4, {0xe1, 0x87, 0x30}, q)
                       : w.Constant<int8_t>("k", {2, 3}, {1, -2, 7, -8, 0, 3}, q);
    w.Op(B::FULLY_CONNECTED, {x, k, w.Constant<float>("b", {2}, {1, 1})},
         {w.Output(w.Value("y", {1, 2}))}, fb::FullyConnectedOptionsT());
    auto g = Must(w);
    ASSERT_TRUE(g);
    auto y = interp::Evaluate(
        *g, std::vector<ir::Tensor>{ir::Tensor::Of<float>({1, 3}, std::vector<float>{1, 2, 3})});
    ASSERT_TRUE(y.ok()) << y.status().ToString();
    EXPECT_EQ((*y)[0].ToDoubles(), (std::vector<double>{0.5 * (1 - 4 + 21) + 1, 2 * (-8 + 9) + 1}));
  }
}

TEST(TfliteImport, LegacyUint8AndInt16Activations) {
  for (bool wide : {false, true}) {
    Writer w;
    const auto type = wide ? T::INT16 : T::UINT8;
    const int x = w.Input("x", {1, 2}, type, wide ? Quant{{0.001f}, {0}} : Quant{{0.5f}, {10}});
    const Quant qw = wide ? Quant{{0.1f}, {0}} : Quant{{0.25f}, {120}};
    const int k = wide ? w.Constant<int8_t>("k", {1, 2}, {10, -20}, qw)
                       : w.Constant<uint8_t>("k", {1, 2}, {124, 112}, qw);
    const int b =
        wide ? w.Constant<int64_t>("b", {1}, {5000}) : w.Constant<int32_t>("b", {1}, {16});
    const int y = w.Value("y", {1, 1}, type, wide ? Quant{{0.002f}, {0}} : Quant{{0.5f}, {128}});
    w.Op(B::FULLY_CONNECTED, {x, k, b}, {w.Output(y)}, fb::FullyConnectedOptionsT());
    auto g = Must(w);
    ASSERT_TRUE(g);
    for (int i = 0; i < 2; ++i) {
      const ir::Tensor in = wide
                                ? ir::Tensor::Of<int16_t>({1, 2}, std::vector<int16_t>{1000, -2000})
                                : ir::Tensor::Of<uint8_t>({1, 2}, std::vector<uint8_t>{14, 6});
      auto out = interp::Evaluate(*g, std::vector<ir::Tensor>{in});
      ASSERT_TRUE(out.ok()) << out.status().ToString();
      // uint8: x = 2, -2; w = 1, -2; bias 16 * 0.125 = 2: 2 + 4 + 2 = 8 -> 144. int16: 1, -2; 1,
      // -2; bias 0.5: 5.5 -> 2750.
      EXPECT_EQ((*out)[0].ToDoubles()[0], wide ? 2750 : 144);
      Optimise(*g, passes::Level::kInteger);
    }
  }
}

TEST(TfliteImport, QuantizedPaddingIsTheZeroPoint) {
  Writer w;
  const Quant q{{0.5f}, {-7}};
  const int x = w.Input("x", {2}, T::INT8, q), y = w.Output(w.Value("y", {4}, T::INT8, q));
  w.Op(B::PAD, {x, w.Constant<int32_t>("p", {1, 2}, {1, 1})}, {y});
  auto g = Must(w);
  ASSERT_TRUE(g);
  for (int i = 0; i < 2; ++i) {
    auto out =
        interp::Evaluate(*g, std::vector<ir::Tensor>{ir::Tensor::Vector<int8_t>({100, -128})});
    ASSERT_TRUE(out.ok()) << out.status().ToString();
    EXPECT_EQ((*out)[0].ToDoubles(), (std::vector<double>{-7, 100, -128, -7}));
    Optimise(*g, passes::Level::kInteger);
    EXPECT_EQ(CountOps(*g, "Dequantize", "slipway"), 0);
  }
}

TEST(TfliteImport, RequantizeBetweenScales) {
  Writer w;
  const int x = w.Input("x", {3}, T::UINT8, {{0.5f}, {128}}),
            y = w.Output(w.Value("y", {3}, T::INT8, {{0.25f}, {0}}));
  w.Op(B::QUANTIZE, {x}, {y});
  auto g = Must(w);
  ASSERT_TRUE(g);
  auto out =
      interp::Evaluate(*g, std::vector<ir::Tensor>{ir::Tensor::Vector<uint8_t>({128, 130, 255})});
  ASSERT_TRUE(out.ok());
  EXPECT_EQ((*out)[0].ToDoubles(), (std::vector<double>{0, 4, 127}));
}

std::string ErrorOf(const Writer& w, StatusCode code) {
  auto g = w.Import();
  EXPECT_EQ(g.status().code(), code) << g.status().ToString();
  return g.ok() ? "" : g.status().message();
}

TEST(TfliteImport, DamagedSparseTensorsAreRefused) {
  struct Row {
    std::vector<int32_t> order;
    std::vector<uint8_t> segments;
    std::vector<int32_t> indices;
    const char* what;
  };
  for (const Row& r : {Row{{0, 0}, {0, 1, 3}, {2, 0, 3}, "no permutation"},
                       Row{{0, 1}, {0, 1, 3}, {2, 0, 4}, "index 4 is outside of 4"},
                       Row{{0, 1}, {0, 1, 3}, {2, -1, 3}, "index -1"},
                       Row{{0, 1}, {0, 2, 1}, {2, 0, 3}, "out of order"},
                       Row{{0, 1}, {0, 1, 9}, {2, 0, 3}, "out of order"},
                       Row{{0, 1}, {0, 3}, {2, 0, 3}, "segment is missing"},
                       Row{{0, 1}, {0, 1, 2}, {2, 0}, "more values than indices"},
                       Row{{0, 1}, {0, 1, 4}, {2, 0, 3, 1}, "fewer values than its indices"}}) {
    Writer w;
    const int x = w.Input("x", {2, 4}), k = w.Constant<float>("k", {2, 4}, {5, 6, 7});
    auto s = std::make_unique<fb::SparsityParametersT>();
    s->traversal_order = r.order;
    s->dim_metadata.push_back(w.DenseLevel(2));
    s->dim_metadata.push_back(w.CompressedLevel(r.segments, r.indices));
    w.tensor(k).sparsity = std::move(s);
    w.Op(B::ADD, {x, k}, {w.Output(w.Value("y", {2, 4}))}, fb::AddOptionsT());
    EXPECT_NE(ErrorOf(w, StatusCode::kInvalidArgument).find(r.what), std::string::npos)
        << r.what << ": " << ErrorOf(w, StatusCode::kInvalidArgument);
  }
}

TEST(TfliteImport, WhatIsNotSupportedIsNamed) {
  {
    Writer w;
    const int x = w.Input("x", {1});
    w.Op(B::VAR_HANDLE, {}, {w.Value("handle", {1})});
    w.Op(B::RFFT2D, {x}, {w.Value("spectrum", {1})});
    w.Custom("FlexErf", {x}, {w.Output(w.Value("erf", {1}))});
    const std::string e = ErrorOf(w, StatusCode::kUnsupported);
    for (const char* part : {"VAR_HANDLE (operator 0, 'handle')", "freeze the variables",
                             "RFFT2D (operator 1, 'spectrum')",
                             "CUSTOM 'FlexErf' (operator 2, 'erf')", "TFLITE_BUILTINS only"})
      EXPECT_NE(e.find(part), std::string::npos) << part << " in " << e;
  }
  {
    Writer w;
    const int x = w.Input("x", {1, 4}),
              k = w.Constant<int8_t>("k", {1, 4}, {1, 2, 3, 4}, {{1}, {0}});
    w.Op(B::FULLY_CONNECTED, {x, k}, {w.Output(w.Value("y", {1, 1}))},
         With<fb::FullyConnectedOptionsT>(
             [](auto& o) { o.weights_format = fb::WeightsFormat::SHUFFLED4x16INT8; }));
    EXPECT_NE(ErrorOf(w, StatusCode::kUnsupported)
                  .find("operator 0 (FULLY_CONNECTED, 'y'): shuffled weights"),
              std::string::npos);
  }
  {
    Writer w;
    const int x = w.Input("x", {2}), k = w.Constant<float>("k", {2}, {1, 2});
    w.tensor(k).sparsity = std::make_unique<fb::SparsityParametersT>();
    w.Op(B::ADD, {x, k}, {w.Output(w.Value("y", {2}))}, fb::AddOptionsT());
    EXPECT_NE(
        ErrorOf(w, StatusCode::kInvalidArgument).find("tensor 'k': its sparse storage is damaged"),
        std::string::npos);
  }
  {
    Writer w;
    const int x = w.Input("words", {1}, T::STRING);
    w.Output(x);
    EXPECT_NE(ErrorOf(w, StatusCode::kUnsupported).find("input 'words' has type string"),
              std::string::npos);
  }
  {
    Writer w;
    const int x = w.Input("x", {2}), k = w.Constant<float>("k", {2}, {1, std::nanf("")});
    w.Op(B::ADD, {x, k}, {w.Output(w.Value("y", {2}))}, fb::AddOptionsT());
    EXPECT_NE(ErrorOf(w, StatusCode::kInvalidArgument).find("tensor 'k': element 1 is NaN"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace slipway::tflite
