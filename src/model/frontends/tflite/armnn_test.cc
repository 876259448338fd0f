// The same files through Arm NN's TensorFlow Lite parser and its reference backend (CpuRef), where
// they are installed.

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <random>

#include "model/frontends/tflite/armnn_test_util.h"
#include "model/frontends/tflite/writer_test_util.h"
#include "model/passes/pass.h"

namespace slipway::tflite {
namespace {

[[maybe_unused]] constexpr auto kSame = fb::Padding::SAME, kValid = fb::Padding::VALID;
using Shape = std::vector<int32_t>;

#ifdef SLIPWAY_HAVE_ARMNN

// What all comparisons saw.
struct Tally {
  int models = 0, refused = 0;
  int64_t codes = 0, off_by_one = 0;
  double worst = 0;  // of floats, relative to the range
  std::map<std::string, int> reasons;
};

class Armnn : public ::testing::Test {
 protected:
  Armnn() : seed_(std::random_device()()), random_(seed_) { std::printf("seed %u\n", seed_); }
  ~Armnn() override {
    std::printf(
        "%d models agree, %d refused by Arm NN; worst float difference %.2g of the range; %lld of "
        "%lld codes differ by one\n",
        tally_.models, tally_.refused, tally_.worst, static_cast<long long>(tally_.off_by_one),
        static_cast<long long>(tally_.codes));
    for (const auto& [why, n] : tally_.reasons) std::printf("  refused: %d x %s\n", n, why.c_str());
  }

  int Int(int lo, int hi) { return std::uniform_int_distribution<int>(lo, hi)(random_); }
  bool Coin() { return Int(0, 1) == 1; }
  float Real(float lo, float hi) { return std::uniform_real_distribution<float>(lo, hi)(random_); }
  std::vector<float> Reals(size_t n, float lo = -1, float hi = 1) {
    std::vector<float> v(n);
    for (float& f : v) f = Real(lo, hi);
    return v;
  }
  std::vector<int8_t> Codes(size_t n) {
    std::vector<int8_t> v(n);
    for (int8_t& c : v) c = static_cast<int8_t>(Int(-127, 127));
    return v;
  }
  Quant Activations(bool quantized) {
    if (!quantized) return {};
    return {{Real(0.01f, 0.05f)}, {Int(-20, 20)}};
  }

  void Compare(const Writer& w, const char* what) {
    SCOPED_TRACE(std::string(what) + ", seed " + std::to_string(seed_));
    const Blob file = w.File();
    auto graph = w.Import();
    ASSERT_TRUE(graph.ok()) << graph.status().ToString();
    std::vector<ir::Tensor> feeds;
    std::map<std::string, Blob> inputs;
    for (const ir::Value* v : (*graph)->inputs()) {
      auto t = ir::Tensor::Allocate(v->dtype(), *v->type().StaticDims());
      ASSERT_TRUE(t.ok());
      for (int64_t i = 0; i < t->count(); ++i) {
        if (v->dtype() == DType::kFloat32) {
          reinterpret_cast<float*>(t->mutable_data())[i] = Real(-2, 2);
        } else {
          t->mutable_data()[i] = static_cast<uint8_t>(Int(0, 255));
        }
      }
      inputs[v->name()] = Blob(t->bytes().begin(), t->bytes().end());
      feeds.push_back(std::move(*t));
    }
    std::vector<std::string> outputs;
    for (const ir::Value* v : (*graph)->outputs()) outputs.push_back(v->name());
    auto theirs = RunArmnn(file, inputs, outputs);
    if (!theirs.ok()) {
      ++tally_.refused;
      ++tally_.reasons[std::string(what) + ": " + theirs.status().message().substr(0, 90)];
      return;
    }
    for (const char* when : {"as imported", "optimised"}) {
      auto ours = interp::Evaluate(**graph, feeds);
      ASSERT_TRUE(ours.ok()) << ours.status().ToString();
      for (size_t o = 0; o < ours->size(); ++o) ExpectAgree((*ours)[o], (*theirs)[o], when);
      auto passes = passes::RunPasses(**graph, {.level = passes::Level::kInteger});
      ASSERT_TRUE(passes.ok()) << passes.status().ToString();
    }
    ++tally_.models;
  }

  void ExpectAgree(const ir::Tensor& ours, const Blob& theirs, const char* when) {
    ASSERT_EQ(ours.bytes().size(), theirs.size());
    if (ours.dtype() == DType::kFloat32) {
      const auto* b = reinterpret_cast<const float*>(theirs.data());
      double range = 1e-3;
      for (int64_t i = 0; i < ours.count(); ++i)
        range = std::max(range, std::fabs(static_cast<double>(b[i])));
      for (int64_t i = 0; i < ours.count(); ++i) {
        const double d =
            std::fabs(static_cast<double>(ours.data<float>()[i]) - static_cast<double>(b[i])) /
            range;
        tally_.worst = std::max(tally_.worst, d);
        ASSERT_LE(d, 1e-5) << when << ", element " << i << ": " << ours.data<float>()[i] << " and "
                           << b[i];
      }
      return;
    }
    const bool is_signed = ours.dtype() == DType::kInt8;
    for (size_t i = 0; i < theirs.size(); ++i) {
      const int a = is_signed ? static_cast<int8_t>(ours.bytes()[i]) : ours.bytes()[i];
      const int b = is_signed ? static_cast<int8_t>(theirs[i]) : theirs[i];
      ++tally_.codes;
      tally_.off_by_one += a != b;
      ASSERT_LE(std::abs(a - b), 1) << when << ", element " << i << ": " << a << " and " << b;
    }
  }

  static fb::Activation Any(int i) {
    constexpr fb::Activation kAll[] = {fb::Activation::NONE, fb::Activation::RELU,
                                       fb::Activation::RELU6};
    return kAll[i];
  }

  // A convolution, depthwise or not; returns its output.
  int Convolve(Writer& w, int x, const Shape& in, bool depthwise, bool quantized, Shape* out,
               bool per_channel) {
    const int k = Int(1, 3), stride = Int(1, 2), multiplier = depthwise ? Int(1, 2) : 1;
    const auto padding = Coin() || k > std::min(in[1], in[2]) ? kSame : kValid;
    const int channels = depthwise ? in[3] * multiplier : Int(1, 8);
    auto extent = [&](int n) {
      return padding == kSame ? (n + stride - 1) / stride : (n - k) / stride + 1;
    };
    *out = {in[0], extent(in[1]), extent(in[2]), channels};
    const Shape kernel = depthwise ? Shape{1, k, k, channels} : Shape{channels, k, k, in[3]};
    const size_t count = static_cast<size_t>(k * k * channels * (depthwise ? 1 : in[3]));
    const std::string name = "t" + std::to_string(w.graph().tensors.size());
    int weights, bias;
    if (quantized) {
      Quant q;
      q.axis = depthwise ? 3 : 0;
      for (int c = 0; c < (per_channel ? channels : 1); ++c) q.scale.push_back(Real(0.002f, 0.02f));
      weights = w.Constant<int8_t>(name + "_w", kernel, Codes(count), q);
      std::vector<int32_t> b(static_cast<size_t>(channels));
      for (int32_t& v : b) v = Int(-500, 500);
      // Arm NN, unlike TFLite, looks at the scale of the bias.
      Quant qb;
      for (float s : q.scale) qb.scale.push_back(s * w.tensor(x).quantization->scale[0]);
      bias = w.Constant<int32_t>(name + "_b", {channels}, b, qb);
    } else {
      weights = w.Constant<float>(name + "_w", kernel, Reals(count));
      bias = w.Constant<float>(name + "_b", {channels}, Reals(static_cast<size_t>(channels)));
    }
    const int y = w.Value(name, *out, quantized ? T::INT8 : T::FLOAT32, Activations(quantized));
    const auto activation = Any(Int(0, 2));
    if (depthwise) {
      w.Op(B::DEPTHWISE_CONV_2D, {x, weights, bias}, {y},
           DepthwiseOptions(padding, stride, multiplier, activation));
    } else {
      w.Op(B::CONV_2D, {x, weights, bias}, {y}, ConvOptions(padding, stride, activation));
    }
    return y;
  }

  int Input(Writer& w, const Shape& shape, bool quantized, const char* name = "x") {
    return w.Input(name, shape, quantized ? T::INT8 : T::FLOAT32, Activations(quantized));
  }

  unsigned seed_;
  std::mt19937 random_;
  Tally tally_;
};

TEST_F(Armnn, Convolutions) {
  for (int round = 0; round < 24; ++round) {
    const bool quantized = round % 2 == 1, depthwise = round % 4 >= 2;
    Writer w;
    Shape in = {1, Int(2, 8), Int(2, 8), Int(1, 6)}, out;
    const int x = Input(w, in, quantized);
    w.Output(Convolve(w, x, in, depthwise, quantized, &out, Coin()));
    Compare(w, depthwise ? "depthwise convolution" : "convolution");
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(tally_.models, 12);
}

TEST_F(Armnn, ChainsOfConvolutionsWithResiduals) {
  for (int round = 0; round < 8; ++round) {
    const bool quantized = round % 2 == 1;
    Writer w;
    Shape shape = {1, Int(5, 9), Int(5, 9), Int(2, 4)}, next;
    int x = Input(w, shape, quantized);
    for (int layer = 0; layer < 3; ++layer) {
      x = Convolve(w, x, shape, layer % 2 == 1, quantized, &next, true);
      shape = next;
    }
    const auto type = quantized ? T::INT8 : T::FLOAT32;
    const int logistic =
        w.Value("logistic", shape, type, quantized ? Quant{{1.0f / 256}, {-128}} : Quant{});
    w.Op(B::LOGISTIC, {x}, {logistic});
    const int sum = w.Value("sum", shape, type, Activations(quantized));
    w.Op(B::ADD, {x, logistic}, {sum}, fb::AddOptionsT());
    w.Output(sum);
    Compare(w, "chain");
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(tally_.models, 4);
}

TEST_F(Armnn, FullyConnectedAndPooling) {
  for (int round = 0; round < 24; ++round) {
    const bool quantized = round % 2 == 1;
    const auto type = quantized ? T::INT8 : T::FLOAT32;
    Writer w;
    if (round % 4 < 2) {
      const int depth = Int(1, 20), units = Int(1, 10);
      const int x = Input(w, {2, depth}, quantized);
      const auto count = static_cast<size_t>(depth * units);
      const Quant qw = quantized ? Quant{{Real(0.002f, 0.02f)}, {0}} : Quant{};
      const Quant qb =
          quantized ? Quant{{qw.scale[0] * w.tensor(x).quantization->scale[0]}, {0}} : Quant{};
      const int k = quantized ? w.Constant<int8_t>("w", {units, depth}, Codes(count), qw)
                              : w.Constant<float>("w", {units, depth}, Reals(count));
      std::vector<int32_t> codes(static_cast<size_t>(units));
      for (int32_t& v : codes) v = Int(-500, 500);
      const int b = quantized ? w.Constant<int32_t>("b", {units}, codes, qb)
                              : w.Constant<float>("b", {units}, Reals(static_cast<size_t>(units)));
      fb::FullyConnectedOptionsT o;
      o.activation = Any(Int(0, 2));
      w.Op(B::FULLY_CONNECTED, {x, k, b},
           {w.Output(w.Value("y", {2, units}, type, Activations(quantized)))}, o);
      Compare(w, "fully connected");
    } else {
      const int h = Int(3, 8), v = Int(3, 8), c = Int(1, 5), k = Int(1, 3), stride = Int(1, 2);
      const auto padding = Coin() ? kSame : kValid;
      auto extent = [&](int n) {
        return padding == kSame ? (n + stride - 1) / stride : (n - k) / stride + 1;
      };
      const int x = Input(w, {1, h, v, c}, quantized);
      // Pooling keeps the quantization.
      const Quant q =
          quantized ? Quant{w.tensor(x).quantization->scale, w.tensor(x).quantization->zero_point}
                    : Quant{};
      const int y = w.Output(w.Value("y", {1, extent(h), extent(v), c}, type, q));
      w.Op(round % 8 < 4 ? B::MAX_POOL_2D : B::AVERAGE_POOL_2D, {x}, {y},
           PoolOptions(padding, stride, k));
      Compare(w, "pooling");
    }
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(tally_.models, 12);
}

TEST_F(Armnn, Elementwise) {
  const std::vector<B> unary = {B::LOGISTIC,   B::TANH, B::RELU, B::RELU6, B::LEAKY_RELU,
                                B::HARD_SWISH, B::ELU,  B::EXP,  B::NEG,   B::L2_NORMALIZATION,
                                B::SOFTMAX};
  const std::vector<B> binary = {B::ADD, B::SUB, B::MUL, B::DIV, B::MAXIMUM, B::MINIMUM};
  for (bool quantized : {false, true}) {
    const auto type = quantized ? T::INT8 : T::FLOAT32;
    for (B code : unary) {
      if (quantized && (code == B::L2_NORMALIZATION || code == B::EXP)) continue;
      Writer w;
      const Shape shape = {1, Int(1, 5), Int(1, 5), Int(1, 6)};
      const int x = Input(w, shape, quantized);
      const bool unit = code == B::LOGISTIC || code == B::SOFTMAX;
      const int y = w.Output(w.Value("y", shape, type,
                                     !quantized ? Quant{}
                                     : unit     ? Quant{{1.0f / 256}, {-128}}
                                                : Activations(true)));
      fb::OperatorT& op = w.Op(code, {x}, {y});
      if (code == B::LEAKY_RELU)
        op.builtin_options.Set(With<fb::LeakyReluOptionsT>([](auto& o) { o.alpha = 0.1f; }));
      if (code == B::SOFTMAX)
        op.builtin_options.Set(With<fb::SoftmaxOptionsT>([](auto& o) { o.beta = 1; }));
      if (code == B::L2_NORMALIZATION) op.builtin_options.Set(fb::L2NormOptionsT());
      Compare(w, fb::EnumNameBuiltinOperator(code));
      if (HasFatalFailure()) return;
    }
    for (B code : binary) {
      if (quantized && code == B::DIV) continue;
      Writer w;
      const Shape shape = {1, Int(1, 5), Int(1, 5), Int(1, 6)};
      const Shape other = Coin() ? shape : Shape{1, 1, 1, shape[3]};
      const int a = Input(w, shape, quantized, "a"), b = Input(w, other, quantized, "b");
      const int y = w.Output(w.Value("y", shape, type, Activations(quantized)));
      fb::OperatorT& op = w.Op(code, {a, b}, {y});
      if (code == B::ADD) op.builtin_options.Set(fb::AddOptionsT());
      if (code == B::SUB) op.builtin_options.Set(fb::SubOptionsT());
      if (code == B::MUL) op.builtin_options.Set(fb::MulOptionsT());
      if (code == B::DIV) op.builtin_options.Set(fb::DivOptionsT());
      Compare(w, fb::EnumNameBuiltinOperator(code));
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(tally_.models, 16);
}

TEST_F(Armnn, MovementAndResize) {
  for (bool quantized : {false, true}) {
    const auto type = quantized ? T::INT8 : T::FLOAT32;
    auto same = [&](Writer& w, int x) {
      return quantized
                 ? Quant{w.tensor(x).quantization->scale, w.tensor(x).quantization->zero_point}
                 : Quant{};
    };
    const int h = Int(2, 4) * 2, v = Int(2, 4) * 2, c = Int(1, 3) * 4;
    auto one = [&](B code, const Shape& to, auto&& configure) {
      Writer w;
      const int x = Input(w, {1, h, v, c}, quantized);
      std::vector<int32_t> in = {x};
      fb::OperatorT options;
      configure(w, in, options);
      const int y = w.Output(w.Value("y", to, type, same(w, x)));
      w.Op(code, in, {y}).builtin_options = std::move(options.builtin_options);
      Compare(w, fb::EnumNameBuiltinOperator(code));
    };
    one(B::RESHAPE, {1, h * v, c}, [&](Writer& w, auto& in, fb::OperatorT& op) {
      in.push_back(w.Ints("s", {1, h * v, c}));
      op.builtin_options.Set(With<fb::ReshapeOptionsT>([&](auto& o) {
        o.new_shape = {1, h * v, c};
      }));
    });
    one(B::TRANSPOSE, {1, c, h, v}, [&](Writer& w, auto& in, fb::OperatorT&) {
      in.push_back(w.Ints("p", {0, 3, 1, 2}));
    });
    // This version of Arm NN fills with code 0 where TFLite fills with the zero point.
    if (!quantized)
      one(B::PAD, {1, h + 3, v + 1, c}, [&](Writer& w, auto& in, fb::OperatorT&) {
        in.push_back(w.Constant<int32_t>("p", {4, 2}, {0, 0, 1, 2, 0, 1, 0, 0}));
      });
    one(B::MEAN, {1, 1, 1, c}, [&](Writer& w, auto& in, fb::OperatorT& op) {
      in.push_back(w.Ints("a", {1, 2}));
      op.builtin_options.Set(With<fb::ReducerOptionsT>([](auto& o) { o.keep_dims = true; }));
    });
    one(B::SPACE_TO_BATCH_ND, {4, h / 2, v / 2, c}, [&](Writer& w, auto& in, fb::OperatorT&) {
      in.push_back(w.Ints("b", {2, 2}));
      in.push_back(w.Constant<int32_t>("p", {2, 2}, {0, 0, 0, 0}));
    });
    one(B::STRIDED_SLICE, {1, h / 2, v - 1, c}, [&](Writer& w, auto& in, fb::OperatorT& op) {
      in.push_back(w.Ints("b", {0, 0, 1, 0}));
      in.push_back(w.Ints("e", {1, h, v, c}));
      in.push_back(w.Ints("s", {1, 2, 1, 1}));
      op.builtin_options.Set(fb::StridedSliceOptionsT());
    });
    one(B::DEPTH_TO_SPACE, {1, 2 * h, 2 * v, c / 4}, [&](Writer&, auto&, fb::OperatorT& op) {
      op.builtin_options.Set(With<fb::DepthToSpaceOptionsT>([](auto& o) { o.block_size = 2; }));
    });
    for (bool corners : {false, true}) {
      for (auto code : {B::RESIZE_BILINEAR, B::RESIZE_NEAREST_NEIGHBOR}) {
        if (corners && code == B::RESIZE_NEAREST_NEIGHBOR)
          continue;  // this version of Arm NN leaves the flag out
        const int to_h = Int(2, 12), to_v = Int(2, 12);
        one(code, {1, to_h, to_v, c}, [&](Writer& w, auto& in, fb::OperatorT& op) {
          in.push_back(w.Ints("s", {to_h, to_v}));
          if (code == B::RESIZE_BILINEAR) {
            op.builtin_options.Set(
                With<fb::ResizeBilinearOptionsT>([&](auto& o) { o.align_corners = corners; }));
          } else {
            op.builtin_options.Set(fb::ResizeNearestNeighborOptionsT());
          }
        });
      }
    }
    Writer w;
    const int a = Input(w, {1, h, v, c}, quantized, "a");
    const int b = w.Input("b", {1, h, v, 2}, type, same(w, a));
    fb::ConcatenationOptionsT o;
    o.axis = 3;
    w.Op(B::CONCATENATION, {a, b}, {w.Output(w.Value("y", {1, h, v, c + 2}, type, same(w, a)))}, o);
    Compare(w, "CONCATENATION");
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(tally_.models, 10);
}

TEST_F(Armnn, TransposedConvolution) {
  for (int round = 0; round < 8; ++round) {
    Writer w;
    const int h = Int(2, 5), v = Int(2, 5), c = Int(1, 4), k = Int(2, 4), channels = Int(1, 4);
    // SAME: this version of Arm NN computes the padding from the input, TFLite from the output.
    const auto padding = kValid;
    const int to_h = 2 * (h - 1) + k, to_v = 2 * (v - 1) + k;
    const int shape = w.Ints("shape", {1, to_h, to_v, channels});
    const int kernel = w.Constant<float>("w", {channels, k, k, c},
                                         Reals(static_cast<size_t>(channels * k * k * c)));
    const int x = w.Input("x", {1, h, v, c});
    w.Op(B::TRANSPOSE_CONV, {shape, kernel, x}, {w.Output(w.Value("y", {1, to_h, to_v, channels}))},
         With<fb::TransposeConvOptionsT>(
             [&](auto& o) { o.padding = padding, o.stride_h = o.stride_w = 2; }));
    Compare(w, "transposed convolution");
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(tally_.models, 3);
}

#else

TEST(Armnn, IsNotInstalled) {
  GTEST_SKIP() << "libarmnntfliteparser-dev is not installed (scripts/setup dev)";
}

#endif

}  // namespace
}  // namespace slipway::tflite
