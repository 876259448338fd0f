// A trained network as TensorFlow Lite files: MobileNetV2 of the shared data, converted from ONNX
// to float and int8 by the tests' writer, deployed and evaluated like any model. Skips without the
// data.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "base/mapped_file.h"
#include "data/dataset.h"
#include "deploy/evaluate.h"
#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "model/frontends/onnx/import.h"
#include "model/frontends/tflite/writer_test_util.h"

namespace slipway::tflite {
namespace {

using Shape = std::vector<int32_t>;
using Ranges = std::map<std::string, std::pair<float, float>>;

std::string Shared(const std::string& name) {
  return std::string(SLIPWAY_SOURCE_DIR) + "/../shared/data/" + name;
}

Result<std::unique_ptr<data::Dataset>> Images(const std::string& name, data::Layout layout) {
  data::DatasetOptions o;
  data::Preprocess p;
  p.mean = {0.485f, 0.456f, 0.406f};
  p.std = {0.229f, 0.224f, 0.225f};
  p.layout = layout;
  o.preprocess = p;
  return data::Dataset::Open(Shared("cifar10/" + name), o);
}

// Convolutions, ReLU6, additions, the mean over the image and a classifier: what this network has.
class Converter {
 public:
  Converter(const ir::Graph& graph, const Ranges* ranges) : graph_(graph), ranges_(ranges) {}

  Writer Convert(int batch) {
    batch_ = batch;
    const ir::Value* input = graph_.inputs()[0];
    places_[input] = w_.Input("image", {batch, 32, 32, 3}, Type(), Of(input));
    for (const auto& node : graph_.nodes()) {
      if (node->Is("Conv")) {
        Convolution(*node);
      } else if (node->Is("Add")) {
        w_.Op(B::ADD, {places_.at(node->input(0)), places_.at(node->input(1))},
              {New(node->output(), ShapeOf(node->output()))}, fb::AddOptionsT());
      } else if (node->Is("GlobalAveragePool")) {
        const auto shape = ShapeOf(node->input(0));
        w_.Op(B::MEAN, {places_.at(node->input(0)), w_.Ints("axes", {1, 2})},
              {New(node->output(), {batch, shape[3]})}, fb::ReducerOptionsT());
      } else if (node->Is("Gemm")) {
        const auto [k, b] = Weights(*node, places_.at(node->input(0)), {0, 1}, false);
        w_.Op(B::FULLY_CONNECTED, {places_.at(node->input(0)), k, b},
              {New(node->output(), {batch, 10})}, fb::FullyConnectedOptionsT());
      } else if (node->Is("Flatten") || node->Is("Clip")) {
        places_[node->output()] = places_.at(node->input(0));  // the mean is flat; clips are fused
      } else {
        ADD_FAILURE() << node->Describe();
      }
    }
    w_.Output(places_.at(graph_.outputs()[0]));
    return std::move(w_);
  }

 private:
  fb::TensorType Type() const { return ranges_ ? T::INT8 : T::FLOAT32; }
  Quant Of(const ir::Value* v) const {
    if (!ranges_) return {};
    auto [lo, hi] = ranges_->at(v->name());
    lo = std::min(lo, 0.0f), hi = std::max(hi, 0.0f);
    const float scale = std::max(hi - lo, 1e-6f) / 255;
    return {{scale}, {std::clamp<int64_t>(std::lround(-128 - lo / scale), -128, 127)}};
  }
  // NHWC, the batch as the file has it.
  Shape ShapeOf(const ir::Value* v) const {
    const auto& s = *v->type().shape;
    auto at = [&](size_t i) { return static_cast<int32_t>(s[i].value()); };
    return {batch_, at(2), at(3), at(1)};
  }
  int New(const ir::Value* v, const Shape& shape) {
    return places_[v] = w_.Value(v->name(), shape, Type(), Of(v));
  }

  // Kernel and bias with the dimensions of the kernel permuted; a scale for each output channel.
  std::pair<int, int> Weights(const ir::Node& node, int x, const std::vector<size_t>& order,
                              bool depthwise) {
    const ir::Tensor from = node.constant_input(1)->Aligned(),
                     bias = node.constant_input(2)->Aligned();
    const Dims& d = from.dims();
    Shape shape;
    for (size_t o : order) shape.push_back(static_cast<int32_t>(d[o]));
    const int64_t channels = d[0], inner = from.count() / channels;
    std::vector<float> scale(static_cast<size_t>(channels));
    for (int64_t c = 0; c < channels; ++c) {
      float most = 1e-6f;
      for (int64_t i = 0; i < inner; ++i)
        most = std::max(most, std::fabs(from.data<float>()[c * inner + i]));
      scale[static_cast<size_t>(c)] = most / 127;
    }
    std::vector<int64_t> stride(d.size(), 1), index(d.size(), 0);
    for (size_t i = d.size() - 1; i-- > 0;) stride[i] = stride[i + 1] * d[i + 1];
    std::vector<float> values;
    std::vector<int8_t> codes;
    for (int64_t n = 0; n < from.count(); ++n) {
      int64_t at = 0;
      for (size_t i = 0; i < order.size(); ++i) at += index[i] * stride[order[i]];
      values.push_back(from.data<float>()[at]);
      codes.push_back(
          static_cast<int8_t>(std::lround(values.back() / scale[static_cast<size_t>(at / inner)])));
      for (size_t i = order.size(); i-- > 0;) {
        if (++index[i] < shape[i]) break;
        index[i] = 0;
      }
    }
    const std::string name = node.name();
    if (!ranges_) {
      return {w_.Constant<float>(name + "/w", shape, values),
              w_.Constant<float>(
                  name + "/b", {static_cast<int32_t>(channels)},
                  std::vector<float>(bias.data<float>(), bias.data<float>() + channels))};
    }
    const float scale_x = w_.tensor(x).quantization->scale[0];
    std::vector<int32_t> b;
    for (int64_t c = 0; c < channels; ++c)
      b.push_back(static_cast<int32_t>(
          std::lround(bias.data<float>()[c] / (scale_x * scale[static_cast<size_t>(c)]))));
    return {w_.Constant<int8_t>(name + "/w", shape, codes, {scale, {}, depthwise ? 3 : 0}),
            w_.Constant<int32_t>(name + "/b", {static_cast<int32_t>(channels)}, b)};
  }

  void Convolution(const ir::Node& node) {
    int x = places_.at(node.input(0));
    const auto strides = node.attributes.Ints("strides");
    const bool depthwise = node.attributes.Int("group", 1) > 1;
    const int64_t k = node.constant_input(1)->dims()[2];
    const ir::Node* clip = node.output()->OnlyUser();
    const bool fused = clip && clip->Is("Clip");
    const ir::Value* y = fused ? clip->output() : node.output();
    auto padding = fb::Padding::SAME;
    if (strides[0] == 2 && k > 1) {
      // PyTorch pads both sides by one, SAME only the end: as Keras does it, by an operator of its
      // own.
      Shape shape = w_.tensor(x).shape;
      shape[1] += 2, shape[2] += 2;
      Quant q;
      if (ranges_) q = {w_.tensor(x).quantization->scale, w_.tensor(x).quantization->zero_point};
      const int padded = w_.Value(node.name() + "/pad", shape, Type(), q);
      w_.Op(B::PAD,
            {x, w_.Constant<int32_t>(node.name() + "/paddings", {4, 2}, {0, 0, 1, 1, 1, 1, 0, 0})},
            {padded});
      x = padded;
      padding = fb::Padding::VALID;
    }
    const auto [weights, bias] = Weights(
        node, x, depthwise ? std::vector<size_t>{1, 2, 3, 0} : std::vector<size_t>{0, 2, 3, 1},
        depthwise);
    const int out = New(y, ShapeOf(y));
    const auto activation = fused ? fb::Activation::RELU6 : fb::Activation::NONE;
    if (depthwise) {
      w_.Op(B::DEPTHWISE_CONV_2D, {x, weights, bias}, {out},
            DepthwiseOptions(padding, static_cast<int>(strides[0]), 1, activation));
    } else {
      w_.Op(B::CONV_2D, {x, weights, bias}, {out},
            ConvOptions(padding, static_cast<int>(strides[0]), activation));
    }
    // The clip finds its result done.
    places_[node.output()] = out;
  }

  const ir::Graph& graph_;
  const Ranges* ranges_;
  Writer w_;
  int batch_ = 1;
  std::map<const ir::Value*, int> places_;
};

Result<double> Accuracy(const std::shared_ptr<const ir::Graph>& graph, const std::string& platform,
                        data::Layout layout, int samples) {
  SLIPWAY_ASSIGN_OR_RETURN(auto runner, deploy::Runner::ForGraph(graph, platform, {}));
  SLIPWAY_ASSIGN_OR_RETURN(auto images, Images("test.npz", layout));
  SLIPWAY_ASSIGN_OR_RETURN(auto feed, deploy::FeedFor(*graph, *images, 50));
  SLIPWAY_ASSIGN_OR_RETURN(
      auto counter, deploy::Evaluate([&](const auto& in) { return runner.Run(in); }, *images, feed,
                                     {.samples = samples}));
  return counter.top1();
}

TEST(TfliteModel, MobileNetKeepsItsAccuracy) {
  const std::string model = Shared("models/mobilenetv2_small_cifar10.onnx");
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "no " << model;
  onnx::ImportOptions fixed;
  fixed.input_shapes["input"] = {50, 3, 32, 32};
  auto loaded = onnx::ImportOnnx(model, fixed);
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  std::shared_ptr<const ir::Graph> graph(std::move(*loaded));

  // Ranges of 50 training images.
  Ranges ranges;
  auto train = Images("train.npz", data::Layout::kNchw);
  ASSERT_TRUE(train.ok()) << train.status().ToString();
  auto feed = deploy::FeedFor(*graph, **train, 50);
  ASSERT_TRUE(feed.ok()) << feed.status().ToString();
  auto batch = deploy::LoadBatch(**train, *feed, 0, 50, nullptr, nullptr);
  ASSERT_TRUE(batch.ok()) << batch.status().ToString();
  interp::RunOptions observe;
  observe.observer = [&](const ir::Value& v, const ir::Tensor& t) {
    auto [lo, hi] = std::minmax_element(t.data<float>(), t.data<float>() + t.count());
    ranges[v.name()] = {*lo, *hi};
  };
  ASSERT_TRUE(interp::Evaluate(*graph, std::vector<ir::Tensor>{*batch}, observe).ok());

  constexpr int kSamples = 1000;
  auto reference = Accuracy(graph, deploy::HostPlatform(), data::Layout::kNchw, kSamples);
  ASSERT_TRUE(reference.ok()) << reference.status().ToString();
  for (bool quantized : {false, true}) {
    const auto folder =
        std::filesystem::temp_directory_path() / ("slipway_tflite_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder);
    const std::string path = (folder / (quantized ? "int8.tflite" : "float.tflite")).string();
    ASSERT_TRUE(
        WriteFile(path, Converter(*graph, quantized ? &ranges : nullptr).Convert(50).File()).ok());
    auto tflite = deploy::LoadModel(path, {.input_shapes = {}, .float_io = true});
    ASSERT_TRUE(tflite.ok()) << tflite.status().ToString();
    auto accuracy = Accuracy(std::move(*tflite), quantized ? "x86-int8" : deploy::HostPlatform(),
                             data::Layout::kNhwc, kSamples);
    std::filesystem::remove_all(folder);
    ASSERT_TRUE(accuracy.ok()) << accuracy.status().ToString();
    std::printf("%s: top-1 %.2f %% (ONNX float %.2f %%) on %d images\n",
                quantized ? "int8" : "float", 100 * *accuracy, 100 * *reference, kSamples);
    EXPECT_GT(*reference, 0.7);
    if (quantized) {
      EXPECT_GE(*accuracy, *reference - 0.03);
    } else {
      EXPECT_NEAR(*accuracy, *reference, 0.002);
    }
  }
}

}  // namespace
}  // namespace slipway::tflite
