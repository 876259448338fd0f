// Files that lie: every one must end in a graph or in an error that names the fault, quickly.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <random>

#include "base/mapped_file.h"
#include "flatbuffers/flexbuffers.h"
#include "model/frontends/tflite/flex.h"
#include "model/frontends/tflite/writer_test_util.h"

namespace slipway::tflite {
namespace {

using File = std::vector<uint8_t>;

Writer Small() {
  Writer w;
  const int x = w.Input("x", {1, 4, 4, 2});
  const int k = w.Constant<float>("k", {3, 3, 3, 2}, std::vector<float>(54, 0.5f));
  const int b = w.Constant<float>("b", {3}, {1, 2, 3});
  const int c = w.Value("c", {1, 4, 4, 3});
  w.Op(B::CONV_2D, {x, k, b}, {c}, ConvOptions(fb::Padding::SAME, 1, fb::Activation::RELU6));
  const int r = w.Value("r", {1, 48});
  w.Op(B::RESHAPE, {c, w.Ints("shape", {1, 48})}, {r}, fb::ReshapeOptionsT());
  const int q = w.Value("q", {1, 48}, T::INT8, {{0.1f}, {3}});
  w.Op(B::QUANTIZE, {r}, {q});
  const int s = w.Value("s", {1, 24}, T::INT8, {{0.1f}, {3}});
  w.Op(B::STRIDED_SLICE,
       {q, w.Ints("begin", {0, 0}), w.Ints("end", {1, 48}), w.Ints("strides", {1, 2})}, {s},
       fb::StridedSliceOptionsT());
  w.Output(s);
  return w;
}

Status Import(const File& file) {
  auto bytes = std::make_shared<File>(file);
  return ImportTfliteBytes(*bytes, bytes).status();
}

void ExpectError(const Status& s, StatusCode code, const char* part) {
  EXPECT_EQ(s.code(), code) << s.ToString();
  EXPECT_NE(s.message().find(part), std::string::npos) << s.ToString();
}

TEST(TfliteHostile, NotAFile) {
  ExpectError(Import({}), StatusCode::kInvalidArgument, "not a TensorFlow Lite file");
  ExpectError(Import(File(7)), StatusCode::kInvalidArgument, "not a TensorFlow Lite file");
  File zeros(4096);
  std::memcpy(zeros.data() + 4, "TFL3", 4);
  ExpectError(Import(zeros), StatusCode::kInvalidArgument, "damaged");
  EXPECT_EQ(ImportTflite("/nonexistent/model.tflite").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ImportTflite("/tmp").status().code(), StatusCode::kInvalidArgument);
}

TEST(TfliteHostile, EveryTruncationIsAnError) {
  const File file = Small().File();
  ASSERT_TRUE(Import(file).ok()) << Import(file).ToString();
  for (size_t n = 0; n < file.size(); n += 1 + n / 200) {
    const Status s = Import({file.begin(), file.begin() + static_cast<std::ptrdiff_t>(n)});
    // The last bytes may be padding.
    if (n + 16 < file.size()) {
      EXPECT_FALSE(s.ok()) << n;
    }
    EXPECT_NE(s.code(), StatusCode::kInternal) << s.ToString();
  }
}

// flatbuffers 2.0 verifies that a vector starts at a multiple of 4, also where its elements have 8
// bytes: such a list of zero points is read all the same.
TEST(TfliteHostile, ZeroPointsOffTheirAlignment) {
  Writer w = Small();
  File file = w.File();
  auto* graph = const_cast<fb::SubGraph*>(fb::GetModel(file.data())->subgraphs()->Get(0));
  uint8_t* field = nullptr;
  for (const fb::Tensor* t : *graph->tensors()) {
    if (t->quantization() && t->quantization()->zero_point()) {
      const auto* table = reinterpret_cast<const flatbuffers::Table*>(t->quantization());
      field = const_cast<uint8_t*>(table->GetAddressOf(fb::QuantizationParameters::VT_ZERO_POINT));
    }
  }
  ASSERT_NE(field, nullptr);
  // Any 4 bytes that read as "one element", 8 bytes of which start at 4 past a multiple of 8.
  uint32_t to = 0;
  const uint32_t from = static_cast<uint32_t>(field - file.data());
  for (uint32_t at = (from + 8) / 8 * 8; at + 12 <= file.size() && to == 0; at += 8) {
    uint32_t length;
    std::memcpy(&length, &file[at], sizeof(length));
    if (length == 1) to = at;
  }
  ASSERT_NE(to, 0u) << "the writer lays its tables out differently: choose another vector";
  const uint32_t offset = to - from;
  std::memcpy(field, &offset, sizeof(offset));
  // What it reads is no int8; the point is that it reads it without touching a misaligned int64.
  const Status s = Import(file);
  EXPECT_NE(s.code(), StatusCode::kInternal) << s.ToString();
}

TEST(TfliteHostile, FlippedBitsNeverCrash) {
  const unsigned seed = std::random_device()();
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  const File good = Small().File();
  const auto start = std::chrono::steady_clock::now();
  int accepted = 0, refused = 0;
  while (std::chrono::steady_clock::now() - start < std::chrono::seconds(1)) {
    File file = good;
    for (unsigned n = 1 + random() % 4; n > 0; --n) {
      const size_t at = random() % file.size();
      switch (random() % 3) {
        case 0:
          file[at] ^= static_cast<uint8_t>(1u << random() % 8);
          break;
        case 1:
          file[at] = static_cast<uint8_t>(random());
          break;
        default: {
          const uint32_t v = random() % 2 == 0 ? 0xffffffffu : 0x7fffffffu;
          std::memcpy(file.data() + std::min(at, file.size() - 4), &v, 4);
        }
      }
    }
    const Status s = Import(file);
    EXPECT_NE(s.code(), StatusCode::kInternal) << s.ToString() << " seed " << seed;
    (s.ok() ? accepted : refused)++;
  }
  EXPECT_GT(accepted + refused, 100);
  EXPECT_GT(refused, 0);
}

TEST(TfliteHostile, IndicesOutOfRange) {
  {
    Writer w = Small();
    w.op(0).inputs[1] = 1000;
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument,
                "operator 0 (CONV_2D) refers to tensor 1000 of");
  }
  {
    Writer w = Small();
    w.op(0).outputs[0] = -1;
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "refers to tensor -1");
  }
  {
    Writer w = Small();
    w.op(0).opcode_index = 77;
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "operator 0 has code index 77");
  }
  {
    Writer w = Small();
    w.tensor(1).buffer = 1u << 31;
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument,
                "tensor 1 'k': it uses buffer 2147483648");
  }
  {
    Writer w = Small();
    w.graph().inputs[0] = -5;
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument,
                "the list of inputs refers to tensor -5");
  }
  {
    Writer w = Small();
    w.graph().inputs.push_back(w.graph().inputs[0]);
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "listed twice as an input");
  }
}

TEST(TfliteHostile, ShapesAndSizes) {
  {
    Writer w = Small();
    w.tensor(1).shape = {2147483647, 2147483647, 2147483647, 2147483647};
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "is impossible");
  }
  {
    Writer w = Small();
    w.tensor(1).shape = {3, 3, 3, 4};
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument,
                "its buffer has 216 bytes, but float32 [3, 3, 3, 4] takes 432");
  }
  {
    Writer w = Small();
    w.tensor(0).shape = {1, -4, 4, 2};
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "is impossible");
  }
  {
    Writer w = Small();
    w.tensor(0).shape = std::vector<int32_t>(40, 1);
    ExpectError(Import(w.File()), StatusCode::kUnsupported, "40 dimensions");
  }
  {
    Writer w = Small();
    w.tensor(0).shape = {1, 4, 4, 3};
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument,
                "the input has 3 channels, the kernel takes 2");
  }
  {
    Writer w = Small();
    w.tensor(3).shape = {1, 5, 5, 3};
    ExpectError(
        Import(w.File()), StatusCode::kInvalidArgument,
        "tensor 'c' is declared with shape [1, 5, 5, 3], but the operator gives [1, 4, 4, 3]");
  }
  {
    Writer w = Small();
    w.tensor(0).shape_signature = {1, -1, 5, 2};
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "contradicts its shape");
  }
}

TEST(TfliteHostile, AttributesAndQuantization) {
  {
    Writer w = Small();
    w.op(0).builtin_options.AsConv2DOptions()->stride_h = 0;
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "must be positive");
  }
  {
    Writer w = Small();
    w.op(0).builtin_options.AsConv2DOptions()->activation = static_cast<fb::Activation>(99);
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "fused activation 99");
  }
  {
    Writer w = Small();
    w.op(0).builtin_options.AsConv2DOptions()->padding = static_cast<fb::Padding>(9);
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "padding 9");
  }
  {
    // Options of another operator are as good as none: the defaults of the right table have stride
    // 0.
    Writer w = Small();
    w.op(0).builtin_options.Set(fb::PackOptionsT());
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "must be positive");
  }
  const size_t q = 6;  // tensors: x k b c r shape q
  for (float scale : {std::numeric_limits<float>::infinity(), -1.0f, 0.0f}) {
    Writer w = Small();
    w.graph().tensors[q]->quantization->scale = {scale};
    EXPECT_EQ(Import(w.File()).code(), StatusCode::kInvalidArgument) << scale;
  }
  {
    Writer w = Small();
    w.graph().tensors[q]->quantization->zero_point = {1000};
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument,
                "zero point 1000 is outside the codes [-128, 127]");
  }
  {
    Writer w = Small();
    w.graph().tensors[q]->quantization->scale = {1, 2, 3};
    w.graph().tensors[q]->quantization->zero_point = {0, 0, 0};
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "3 scales along dimension 0");
  }
  {
    Writer w = Small();
    w.model.version = 2;
    ExpectError(Import(w.File()), StatusCode::kUnsupported, "schema version 2");
  }
}

TEST(TfliteHostile, CyclesAndMissingTensors) {
  {
    Writer w;
    const int x = w.Input("x", {2}), a = w.Value("a", {2}), b = w.Value("b", {2});
    w.Op(B::ADD, {x, b}, {a}, fb::AddOptionsT());
    w.Op(B::ADD, {x, a}, {b}, fb::AddOptionsT());
    w.Output(b);
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument,
                "operator 0 (ADD, 'a'): tensor 'b' is read before");
  }
  {
    Writer w;
    const int x = w.Input("x", {2});
    w.Op(B::RELU, {x}, {x});
    w.Output(x);
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument,
                "computes tensor 'x', which is an input");
  }
  {
    Writer w;
    const int x = w.Input("x", {2});
    w.Op(B::ADD, {x}, {w.Output(w.Value("y", {2}))}, fb::AddOptionsT());
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "input 1 is missing");
  }
  {
    Writer w;
    w.Op(B::RELU, {}, {});
    ExpectError(Import(w.File()), StatusCode::kInvalidArgument, "input 0 is missing");
  }
}

// Every operator there is with nothing, one or many inputs of odd shapes.
TEST(TfliteHostile, EveryOperatorWithOddInputs) {
  const std::vector<std::vector<int32_t>> shapes = {
      {}, {0}, {1}, {3}, {2, 3}, {1, 4, 4, 2}, {-1, 2, 2, 3}, {1, 1, 1, 1, 1}};
  for (int code = 0; code <= 210; ++code) {
    for (size_t count : {0, 1, 2, 3, 5, 20}) {
      for (const auto& shape : shapes) {
        Writer w;
        std::vector<int32_t> inputs;
        for (size_t i = 0; i < count; ++i) {
          if (i % 2 == 1) {
            inputs.push_back(w.Ints("i" + std::to_string(i), {1, -1, 2, 0}));
          } else {
            inputs.push_back(w.Input("x" + std::to_string(i), shape));
          }
        }
        std::vector<int32_t> outputs;
        for (int i = 0; i < 2; ++i)
          outputs.push_back(w.Output(w.Value("y" + std::to_string(i), shape)));
        w.Op(static_cast<B>(code), inputs, outputs);
        EXPECT_NE(Import(w.File()).code(), StatusCode::kInternal) << code << " with " << count;
      }
    }
  }
}

TEST(TfliteHostile, FlexOptions) {
  flexbuffers::Builder builder;
  builder.Map([&] {
    builder.Int("max_detections", 10);
    builder.Float("y_scale", 10.5f);
    builder.Double("wide", 0.1);
    builder.Bool("use_regular_nms", true);
    builder.String("text", "ignored");
    builder.Int("negative", -70000);
  });
  builder.Finish();
  const File good = builder.GetBuffer();
  auto read = ReadFlexNumbers(good);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(*read, (std::map<std::string, double>{{"max_detections", 10},
                                                  {"y_scale", 10.5},
                                                  {"wide", 0.1},
                                                  {"use_regular_nms", 1},
                                                  {"negative", -70000}}));
  for (size_t n = 0; n < 3; ++n) EXPECT_FALSE(ReadFlexNumbers({good.data(), n}).ok());
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    File bad = good;
    bad[random() % bad.size()] = static_cast<uint8_t>(random());
    (void)ReadFlexNumbers(bad).ok();  // must come back
  }
}

TEST(TfliteHostile, FuzzRegressions) {
  const std::filesystem::path folder =
      std::filesystem::path(SLIPWAY_SOURCE_DIR) / "fuzz/regressions/tflite";
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    auto file = ReadFile(entry.path().string());
    ASSERT_TRUE(file.ok());
    EXPECT_NE(Import({file->begin(), file->end()}).code(), StatusCode::kInternal) << entry.path();
    ++count;
  }
  EXPECT_GT(count, 0u);
}

// With SLIPWAY_TFLITE_SEEDS=FOLDER writes the seeds of fuzz/tflite.cc.
TEST(TfliteHostile, WriteSeeds) {
  const char* folder = std::getenv("SLIPWAY_TFLITE_SEEDS");
  if (!folder)
    GTEST_SKIP() << "set SLIPWAY_TFLITE_SEEDS to a folder to write the seeds of the fuzzer";
  const File file = Small().File();
  ASSERT_TRUE(WriteFile(std::string(folder) + "/small.tflite", file).ok());
}

}  // namespace
}  // namespace slipway::tflite
