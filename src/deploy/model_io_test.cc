#include "deploy/model_io.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/float16.h"
#include "data/archive.h"
#include "data/npy.h"
#include "deploy/evaluate.h"
#include "deploy/export_model.h"
#include "deploy/graph_test_util.h"
#include "deploy/quantize_model.h"
#include "deploy/toolchain.h"
#include "learn/learn.h"
#include "model/interp/interpreter.h"

namespace slipway::deploy {
namespace {

class FeedTest : public ::testing::Test {
 protected:
  void SetUp() override { folder_ = std::move(data::TemporaryFolder::Create()).value(); }
  template <typename T>
  static std::pair<std::string, data::NpyArray> Array(const std::string& name,
                                                      std::vector<int64_t> dims,
                                                      const std::vector<T>& values) {
    auto array = data::NpyArray::Copy(
        DTypeOf<T>::value, std::move(dims),
        {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)});
    EXPECT_TRUE(array.ok()) << array.status().ToString();
    return {name, *array};
  }
  std::unique_ptr<data::Dataset> Set(std::vector<std::pair<std::string, data::NpyArray>> arrays) {
    const std::string path = folder_->path() + "/d.npz";
    EXPECT_TRUE(data::WriteNpz(path, arrays).ok());
    auto set = data::Dataset::Open(path);
    EXPECT_TRUE(set.ok()) << set.status().ToString();
    return set.ok() ? std::move(*set) : nullptr;
  }
  std::unique_ptr<data::TemporaryFolder> folder_;
};

Port In(const std::string& name, DType dtype, SymShape shape) {
  return {name, {.dtype = dtype, .shape = std::move(shape), .container = {}}};
}

TEST_F(FeedTest, SeveralInputsOfSeveralTypes) {
  const auto set = Set(
      {Array<int64_t>("ids", {3, 2}, {1, 2, 3, 4, 5, 16777215}),
       Array<uint8_t>("mask", {3, 1}, {1, 0, 2}), Array<float>("h", {3}, {0.5f, 1, -2}),
       Array<float>("x", {3, 2}, {1, 2, 3, 4, 5, 6}), Array<int64_t>("labels", {3}, {0, 1, 2})});
  ASSERT_TRUE(set);
  const Dim n = Dim::Symbol("N");
  // In the model's order, not the file's.
  auto feed =
      FeedFor({In("x", DType::kFloat32, {n, Dim(2)}), In("mask", DType::kBool, {n, Dim(1)}),
               In("ids", DType::kInt64, {n, Dim::Symbol("T")}), In("h", DType::kFloat16, {n})},
              *set, 2);
  ASSERT_TRUE(feed.ok()) << feed.status().ToString();
  EXPECT_TRUE(feed->dynamic_batch);
  std::vector<int64_t> labels;
  auto batch = LoadBatch(*set, *feed, 1, 3, nullptr, &labels);
  ASSERT_TRUE(batch.ok()) << batch.status().ToString();
  ASSERT_EQ(batch->size(), 4u);
  EXPECT_EQ((*batch)[0].ToDoubles(), (std::vector<double>{3, 4, 5, 6}));
  EXPECT_EQ((*batch)[1].ToDoubles(), (std::vector<double>{0, 1}));
  EXPECT_EQ((*batch)[1].dtype(), DType::kBool);
  EXPECT_EQ((*batch)[2].ToDoubles(), (std::vector<double>{3, 4, 5, 16777215}));
  EXPECT_EQ((*batch)[2].dims(), (Dims{2, 2}));
  EXPECT_EQ((*batch)[3].ToDoubles(), (std::vector<double>{1, -2}));
  EXPECT_EQ(labels, (std::vector<int64_t>{1, 2}));
  // A fixed batch is filled up.
  feed =
      FeedFor({In("ids", DType::kInt32, {Dim(4), Dim(2)}), In("h", DType::kFloat32, {n})}, *set, 2);
  ASSERT_TRUE(feed.ok()) << feed.status().ToString();
  batch = LoadBatch(*set, *feed, 0, 3, nullptr, nullptr);
  ASSERT_TRUE(batch.ok()) << batch.status().ToString();
  EXPECT_EQ((*batch)[0].ToDoubles(), (std::vector<double>{1, 2, 3, 4, 5, 16777215, 5, 16777215}));
  EXPECT_EQ((*batch)[1].ToDoubles(), (std::vector<double>{0.5, 1, -2, -2}));
}

// Sequences by time and models without a batch: a sample is the whole input.
TEST_F(FeedTest, WholeInputs) {
  const auto set = Set({Array<float>("x", {3, 2, 1, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}),
                        Array<float>("h", {3, 2}, {-1, -2, -3, -4, -5, -6}),
                        Array<int64_t>("labels", {3}, {0, 1, 1})});
  ASSERT_TRUE(set);
  const Port x = In("x", DType::kFloat32, {Dim(2), Dim::Symbol("N"), Dim(2)});
  for (const bool two : {false, true}) {
    std::vector<Port> ports{x};
    if (two) ports.push_back(In("h", DType::kFloat16, {Dim(2)}));
    auto feed = FeedFor(ports, *set, 8);
    ASSERT_TRUE(feed.ok()) << feed.status().ToString();
    EXPECT_TRUE(feed->whole);
    EXPECT_FALSE(feed->dynamic_batch);
    EXPECT_EQ(feed->batch, 1);
    std::vector<int64_t> labels;
    auto batch = LoadBatch(*set, *feed, 1, 3, nullptr, &labels);
    ASSERT_TRUE(batch.ok()) << batch.status().ToString();
    EXPECT_EQ((*batch)[0].dims(), (Dims{2, 1, 2}));
    EXPECT_EQ((*batch)[0].ToDoubles(), (std::vector<double>{5, 6, 7, 8}));
    EXPECT_EQ(labels, (std::vector<int64_t>{1}));
    if (two) {
      EXPECT_EQ((*batch)[1].ToDoubles(), (std::vector<double>{-3, -4}));
    }
  }
  // A row of one and all of another.
  const Port rows = In("h", DType::kFloat32, {Dim::Symbol("N"), Dim(2)});
  for (const auto& ports : {std::vector{x, rows}, std::vector{rows, x}}) {
    const auto feed = FeedFor(ports, *set, 8);
    ASSERT_FALSE(feed.ok());
    EXPECT_NE(feed.status().message().find("is a row of input 'h', but all of input 'x'"),
              std::string::npos)
        << feed.status().message();
  }

  const auto accuracy = [&](const Dims& scores, std::vector<float> values) {
    const auto feed = FeedFor({x}, *set, 8);
    return Evaluate(
        [&](const std::vector<ir::Tensor>& in) -> Result<std::vector<ir::Tensor>> {
          // Each of the three samples in turn: the first number says which.
          std::vector<float> out = values;
          out[0] += in[0].data<float>()[0];
          return std::vector<ir::Tensor>{ir::Tensor::Of<float>(scores, out)};
        },
        *set, *feed, {});
  };
  // 1 against 6, 5 against 6, 9 against 6: classes 1, 1, 0, of which the second is right.
  for (const Dims& scores : {Dims{2}, Dims{1, 2}, Dims{1, 1, 2}}) {
    const auto counter = accuracy(scores, {0, 6});
    ASSERT_TRUE(counter.ok()) << counter.status().ToString();
    EXPECT_EQ(counter->n(), 3);
    EXPECT_FLOAT_EQ(counter->top1(), 1.0f / 3);
  }
  const auto steps = accuracy({2, 2}, {0, 0, 0, 0});  // scores of every step
  ASSERT_FALSE(steps.ok());
  EXPECT_NE(steps.status().message().find("float32 [classes]"), std::string::npos);
}

TEST_F(FeedTest, WhatDoesNotFitIsNamed) {
  const Dim n = Dim::Symbol("N");
  const auto named = Set({Array<float>("a", {2, 2}, {1, 2, 3, 4.5f}),
                          Array<int64_t>("b", {2, 1}, {1, int64_t{1} << 24})});
  const auto error = [&](const std::vector<Port>& ports, const data::Dataset& set) {
    auto feed = FeedFor(ports, set, 2);
    return feed.ok() ? std::string() : std::string(feed.status().message());
  };
  const auto has = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(error({In("a", DType::kFloat32, {n, Dim(2)}), In("c", DType::kFloat32, {n, Dim(2)})}, *named),
      "no array for input 'c' (it has: a, b)");
  has(error({In("a", DType::kFloat32, {n, Dim(3)})}, *named), "are [2], but input 'a' is");
  has(error({In("a", DType::kInt8, {n, Dim(2)})}, *named), "input 'a' is int8");
  has(error({In("a", DType::kFloat32, {Dim(1), Dim(2)}), In("b", DType::kInt64, {Dim(2), Dim(1)})},
            *named),
      "input 'b' has a batch of 2, input 'a' of 1");
  for (const char* name : {"a", "b"}) {  // no whole number, and one too large
    const int64_t each = name[0] == 'a' ? 2 : 1;
    auto feed = FeedFor({In(name, DType::kInt64, {n, Dim(each)})}, *named, 2);
    ASSERT_TRUE(feed.ok()) << feed.status().ToString();
    auto batch = LoadBatch(*named, *feed, 0, 2, nullptr, nullptr);
    ASSERT_FALSE(batch.ok());
    has(std::string(batch.status().message()), "sample 1");
    has(std::string(batch.status().message()), "below 2^24");
  }
  const auto single = Set({Array<int64_t>("inputs", {2, 2}, {1, 2, 3, 4})});
  has(error({In("a", DType::kFloat32, {n, Dim(2)}), In("b", DType::kFloat32, {n, Dim(2)})},
            *single),
      "numpy.savez(path, a=..., b=..., labels=...)");
  EXPECT_EQ(error({In("a", DType::kInt64, {n, Dim(2)})}, *single), "");
  const auto images = Set({Array<uint8_t>("images", {2, 2, 2}, std::vector<uint8_t>(8))});
  has(error({In("a", DType::kInt64, {n, Dim(1), Dim(2), Dim(2)})}, *images), "input 'a' is int64");
}

// Indices and an image: ranges, learned roundings and weights alone.
TEST_F(FeedTest, AModelOfTwoInputsIsQuantized) {
  const auto graph = ParseGraph(R"(graph "two" {
    input %ids: int64[N, 4]
    input %x: float32[N, 3, 6, 6]
    const %table: float32[20, 8] = random(1)
    const %w1: float32[8, 3, 3, 3] = random(2)
    const %w2: float32[8, 8] = random(3)
    const %fc: float32[16, 5] = random(4)
    const %axis: int64[1] = [1]
    %e = Gather(%table, %ids)
    %m = ReduceMean(%e, %axis) {keepdims = 0}
    %t = MatMul(%m, %w2) "text"
    %u = Relu(%t)
    %c = Conv(%x, %w1) "image"
    %r = Relu(%c)
    %p = GlobalAveragePool(%r)
    %f = Flatten(%p)
    %j = Concat(%f, %u) {axis = 1}
    %y = MatMul(%j, %fc) "fc"
    output %y
  })");
  ASSERT_TRUE(graph);
  const int64_t count = 32;
  std::vector<int64_t> ids(count * 4);
  std::vector<float> x(count * 108);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i * i * 7 % 20);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i * i % 97 + i * 7));
  const auto set =
      Set({Array<float>("x", {count, 3, 6, 6}, x), Array<int64_t>("ids", {count, 4}, ids)});
  ASSERT_TRUE(set);
  auto platform = GetPlatform("x86-int8");
  ASSERT_TRUE(platform.ok());
  auto feed = FeedFor(*graph, *set, 8);
  ASSERT_TRUE(feed.ok()) << feed.status().ToString();
  auto batch = LoadBatch(*set, *feed, 0, 8, nullptr, nullptr);
  ASSERT_TRUE(batch.ok()) << batch.status().ToString();
  auto want = interp::Evaluate(*graph, *batch);
  ASSERT_TRUE(want.ok()) << want.status().ToString();
  for (const char* method : {"", "brecq"}) {
    SCOPED_TRACE(method);
    if (*method && !learn::GetEngine().ok()) continue;
    QuantizeModelOptions options;
    options.batch = 8;
    options.method = method;
    options.iterations = 20;
    auto model = QuantizeModel(*graph, platform->scheme, *set, options);
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    EXPECT_TRUE(model->notes.empty()) << model->notes[0];
    int pairs = 0;
    for (const auto& node : model->quantized->nodes()) pairs += node->IsSlipway("Quantize");
    EXPECT_GE(pairs, 3);
    auto got = interp::Evaluate(*model->quantized, *batch);
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    const auto a = (*want)[0].ToDoubles(), b = (*got)[0].ToDoubles();
    double error = 0, power = 0;
    for (size_t i = 0; i < a.size(); ++i)
      error += (a[i] - b[i]) * (a[i] - b[i]), power += a[i] * a[i];
    EXPECT_GT(error, 0);
    EXPECT_LT(error, 1e-3 * power);
  }
}

// A value that is in codes only because it is added to a layer's output: ncnn adds in float.
TEST_F(FeedTest, ResidualsThatNoLayerReadsGoToNcnn) {
  const auto graph = ParseGraph(R"(graph "g" {
    input %x: float32[N, 8, 6, 6]
    const %w1: float32[8, 8, 3, 3] = random(1)
    const %w2: float32[8, 8, 1, 1] = random(2)
    const %w3: float32[8, 8, 1, 1] = random(3)
    %a = Conv(%x, %w1) {pads = [1, 1, 1, 1]} "first"
    %r = Relu(%a)
    %b = Conv(%x, %w2) "second"
    %s = Add(%b, %r)
    %t = Relu(%s)
    %y = Conv(%t, %w3) "third"
    output %y
  })");
  ASSERT_TRUE(graph);
  std::vector<float> x(8 * 288);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i * i % 97 + i * 7));
  const auto set = Set({Array<float>("inputs", {8, 8, 6, 6}, x)});
  auto platform = GetPlatform("ncnn-int8");
  ASSERT_TRUE(platform.ok());
  auto model = QuantizeModel(*graph, platform->scheme, *set, {});
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  auto files =
      ExportModel(*model->quantized, "ncnn-int8",
                  {.output = folder_->path() + "/ncnn", .stem = "g", .platform = "ncnn-int8"});
  ASSERT_TRUE(files.ok()) << files.status().ToString();
}

// Two layers with one weight, as twin networks have them.
TEST_F(FeedTest, SharedWeightsGoToNcnn) {
  const auto graph = ParseGraph(R"(graph "g" {
    input %x: float32[N, 8, 6, 6]
    input %z: float32[N, 8, 6, 6]
    const %w: float32[8, 8, 1, 1] = random(2)
    const %b: float32[8] = random(3)
    %a = Conv(%x, %w, %b) "first"
    %c = Conv(%z, %w, %b) "second"
    %y = Add(%a, %c)
    output %y
  })");
  ASSERT_TRUE(graph);
  std::vector<float> x(8 * 288);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i * i % 97 + i * 7));
  const auto set = Set({Array<float>("x", {8, 8, 6, 6}, x), Array<float>("z", {8, 8, 6, 6}, x)});
  auto platform = GetPlatform("ncnn-int8");
  ASSERT_TRUE(platform.ok());
  auto model = QuantizeModel(*graph, platform->scheme, *set, {});
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  auto files =
      ExportModel(*model->quantized, "ncnn-int8",
                  {.output = folder_->path() + "/ncnn", .stem = "g", .platform = "ncnn-int8"});
  ASSERT_TRUE(files.ok()) << files.status().ToString();
}

// Data that cannot give ranges are quantized with, and said so.
TEST_F(FeedTest, DataThatSayNothingAreNamed) {
  const auto graph = ParseGraph(R"(graph "g" {
    input %x: float32[N, 4]
    const %w: float32[4, 4] = random(1)
    %y = MatMul(%x, %w) "fc"
    output %y
  })");
  ASSERT_TRUE(graph);
  auto platform = GetPlatform("x86-int8");
  ASSERT_TRUE(platform.ok());
  const auto notes = [&](int64_t count, float step) {
    std::vector<float> x(static_cast<size_t>(count * 4));
    for (size_t i = 0; i < x.size(); ++i) x[i] = 0.25f + step * static_cast<float>(i % 7);
    const auto set = Set({Array<float>("inputs", {count, 4}, x)});
    auto model = QuantizeModel(*graph, platform->scheme, *set, {});
    EXPECT_TRUE(model.ok()) << model.status().ToString();
    std::string all;
    for (const std::string& note : model->notes) all += note + "\n";
    return all;
  };
  EXPECT_EQ(notes(16, 1), "");
  EXPECT_NE(notes(16, 0).find("input 'x' is 0.25 everywhere"), std::string::npos);
  EXPECT_NE(notes(1, 1).find("calibrated on 1 sample,"), std::string::npos);
  EXPECT_NE(notes(7, 1).find("calibrated on 7 samples,"), std::string::npos);
}

}  // namespace
}  // namespace slipway::deploy
