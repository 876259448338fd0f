#include <random>

#include "model/ops/activation.h"
#include "model/ops/ops_test_util.h"
#include "model/ops/window.h"

namespace slipway::ops {
namespace {

// The definition, one output at a time, in double.
std::vector<float> NaiveConv(const T& x, const T& w, const float* bias, const Window& win,
                             int64_t group, Dims out) {
  const auto px = x.As<float>(), pw = w.As<float>();
  std::vector<float> y(static_cast<size_t>(out.count()));
  const int64_t cin = w.dims[1], cout = w.dims[0] / group;
  size_t at = 0;
  for (int64_t n = 0; n < out[0]; ++n) {
    for (int64_t oc = 0; oc < out[1]; ++oc) {
      for (int64_t p = 0; p < win.OutCount(); ++p) {
        const int64_t o[3] = {p / win.out[2] / win.out[1], p / win.out[2] % win.out[1],
                              p % win.out[2]};
        double sum = bias ? bias[oc] : 0;
        for (int64_t ic = 0; ic < cin; ++ic) {
          for (int64_t t = 0; t < win.KernelCount(); ++t) {
            const int64_t k[3] = {t / win.kernel[2] / win.kernel[1],
                                  t / win.kernel[2] % win.kernel[1], t % win.kernel[2]};
            int64_t i = 0;
            bool inside = true;
            for (int d = 0; d < 3; ++d) {
              const int64_t v = o[d] * win.stride[d] - win.pad_begin[d] + k[d] * win.dilation[d];
              inside &= v >= 0 && v < win.in[d];
              i = i * win.in[d] + v;
            }
            if (!inside) continue;
            const int64_t channel = oc / cout * cin + ic;
            sum += static_cast<double>(
                       px[static_cast<size_t>((n * x.dims[1] + channel) * win.InCount() + i)]) *
                   static_cast<double>(
                       pw[static_cast<size_t>((oc * cin + ic) * win.KernelCount() + t)]);
          }
        }
        y[at++] = static_cast<float>(sum);
      }
    }
  }
  return y;
}

T Random(std::mt19937& rng, Dims dims) {
  std::uniform_real_distribution<float> u(-1, 1);
  std::vector<float> v(static_cast<size_t>(dims.count()));
  for (float& f : v) f = u(rng);
  return F(dims, v);
}

int64_t OutExtent(int64_t in, int64_t k, int64_t s, int64_t d, int64_t pb, int64_t pe) {
  return (in + pb + pe - ((k - 1) * d + 1)) / s + 1;
}

TEST(Conv, KnownAnswer) {
  // 3x3 of ones over 5x5: sums of neighbourhoods.
  const T y = Run1("Conv", {Iota({1, 1, 5, 5}), F({1, 1, 3, 3}, std::vector<float>(9, 1))},
                   {1, 1, 5, 5}, {{"pads", Ints{1, 1, 1, 1}}});
  ExpectNear(y, {12,  21, 27, 33,  24,  33,  54,  63, 72,  51,  63,  99, 108,
                 117, 81, 93, 144, 153, 162, 111, 72, 111, 117, 123, 84});
}

TEST(Conv, RandomGeometriesAgreeWithTheDefinition) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  auto pick = [&](int64_t lo, int64_t hi) {
    return std::uniform_int_distribution<int64_t>(lo, hi)(rng);
  };
  ThreadPool pool({.threads = 3});
  for (int round = 0; round < 120; ++round) {
    const int spatial = static_cast<int>(pick(1, 3));
    const int64_t group = pick(1, 3), cin = pick(1, 20), cout = pick(1, 70);
    Ints kernel, strides, dilations, begin, end;
    Dims x{pick(1, 2), group * cin}, w{group * cout, cin}, y{x[0], group * cout};
    for (int d = 0; d < spatial; ++d) {
      int64_t k = pick(1, 3), s = pick(1, 3), dil = pick(1, 2), pb = pick(0, 2), pe = pick(0, 2);
      const int64_t in = pick((k - 1) * dil + 1, spatial == 3 ? 6 : 14);
      kernel.push_back(k), strides.push_back(s), dilations.push_back(dil), begin.push_back(pb),
          end.push_back(pe);
      x.push_back(in), w.push_back(k), y.push_back(OutExtent(in, k, s, dil, pb, pe));
    }
    Ints pads = begin;
    pads.insert(pads.end(), end.begin(), end.end());
    const Attributes a{{"kernel_shape", kernel},
                       {"strides", strides},
                       {"dilations", dilations},
                       {"pads", pads},
                       {"group", group}};
    const T tx = Random(rng, x), tw = Random(rng, w), tb = Random(rng, {w[0]});
    auto win = ResolveWindow(a, x, y, kernel);
    ASSERT_TRUE(win.ok()) << win.status().ToString();
    std::vector<T> out{T(DType::kFloat32, y)};
    ASSERT_TRUE(Call("Conv", {tx, tw, tb}, out, a, "", round % 2 ? &pool : nullptr).ok());
    const auto bias = tb.As<float>();
    ExpectNear(out[0], NaiveConv(tx, tw, bias.data(), *win, group, y), 1e-4f);
    if (HasFailure()) return;
  }
}

TEST(Conv, AutoPad) {
  const T x = Iota({1, 1, 1, 4}), w = F({1, 1, 1, 2}, {1, 10});
  ExpectNear(Run1("Conv", {x, w}, {1, 1, 1, 4}, {{"auto_pad", "SAME_UPPER"}}), {10, 21, 32, 3});
  ExpectNear(Run1("Conv", {x, w}, {1, 1, 1, 4}, {{"auto_pad", "SAME_LOWER"}}), {0, 10, 21, 32});
  ExpectNear(Run1("Conv", {x, w}, {1, 1, 1, 3}, {{"auto_pad", "VALID"}}), {10, 21, 32});
  EXPECT_NE(RunError("Conv", {x, w}, {1, 1, 1, 4}, {{"auto_pad", "SOME"}}).find("SOME"),
            std::string::npos);
}

TEST(Conv, HalfAndDouble) {
  const T x = Run1("Cast", {Iota({1, 1, 3})}, {1, 1, 3}, {}, DType::kFloat16);
  const T w = Run1("Cast", {F({1, 1, 1}, {2})}, {1, 1, 1}, {}, DType::kFloat16);
  const T y = Run1("Conv", {x, w}, {1, 1, 3});
  ExpectNear(Run1("Cast", {y}, {1, 1, 3}, {}, DType::kFloat32), {0, 2, 4});
  const T d =
      Run1("Conv", {Make<double>({1, 1, 2}, {1e-9, 1}), Make<double>({1, 1, 1}, {3})}, {1, 1, 2});
  EXPECT_EQ(d.As<double>(), (std::vector<double>{3 * 1e-9, 3}));
}

TEST(Conv, HostileAttributesAreRefused) {
  const T x = Iota({1, 2, 4, 4}), w = Iota({2, 2, 3, 3});
  for (const Attributes& a :
       {Attributes{{"strides", Ints{0, 1}}}, Attributes{{"dilations", Ints{-1, 1}}},
        Attributes{{"pads", Ints{1, 1}}}, Attributes{{"group", int64_t{0}}},
        Attributes{{"group", int64_t{2}}}, Attributes{{"pads", Ints{int64_t{1} << 40, 0, 0, 0}}},
        Attributes{{"strides", Ints{1, 1, 1}}}}) {
    RunError("Conv", {x, w}, {1, 2, 2, 2}, a);
  }
}

TEST(Conv, EmptyBatch) {
  EXPECT_EQ(Run1("Conv", {F({0, 1, 3, 3}, {}), Iota({1, 1, 3, 3})}, {0, 1, 1, 1}).bytes.size(), 0u);
}

TEST(SlipwayConv, BiasResidualActivation) {
  const T x = Iota({1, 1, 2, 2}, -2), w = F({1, 1, 1, 1}, {2}), b = F({1}, {1}),
          r = F({1, 1, 2, 2}, {1, 1, -9, 1});
  const T y = Run1("Conv", {x, w, b, r}, {1, 1, 2, 2}, {{"activation", "Relu"}}, DType::kUndefined,
                   "slipway");
  ExpectNear(y, {0, 0, 0, 4});
  const T z = Run1("Conv", {x, w, T(), T()}, {1, 1, 2, 2},
                   {{"activation", "Clip"}, {"activation_params", std::vector<float>{-3, 1}}},
                   DType::kUndefined, "slipway");
  ExpectNear(z, {-3, -2, 0, 1});
  RunError("Conv", {x, w}, {1, 1, 2, 2}, {{"activation", "Relu7"}}, DType::kUndefined, "slipway");
}

TEST(ConvTranspose, KnownAnswers) {
  const T x = F({1, 1, 2, 2}, {1, 2, 3, 4}), w = F({1, 1, 2, 2}, {1, 1, 1, 1});
  ExpectNear(Run1("ConvTranspose", {x, w}, {1, 1, 3, 3}), {1, 3, 2, 4, 10, 6, 3, 7, 4});
  ExpectNear(Run1("ConvTranspose", {x, w}, {1, 1, 4, 4}, {{"strides", Ints{2, 2}}}),
             {1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4});
  ExpectNear(
      Run1("ConvTranspose", {x, w, F({1}, {10})}, {1, 1, 1, 1}, {{"pads", Ints{1, 1, 1, 1}}}),
      {20});
  // output_shape: one row and column of padding, at the begin side under NOTSET.
  ExpectNear(Run1("ConvTranspose", {x, w}, {1, 1, 2, 2}, {{"output_shape", Ints{2, 2}}}),
             {10, 6, 7, 4});
  ExpectNear(Run1("ConvTranspose", {x, w}, {1, 1, 2, 2}, {{"auto_pad", "SAME_UPPER"}}),
             {1, 3, 4, 10});
}

TEST(ConvTranspose, GroupsAndDilation) {
  // Two groups of one channel, two outputs each.
  const T x = F({1, 2, 1, 2}, {1, 2, 3, 4}), w = F({2, 2, 1, 2}, {1, 0, 0, 1, 1, 1, 2, 0});
  ExpectNear(Run1("ConvTranspose", {x, w}, {1, 4, 1, 4},
                  {{"group", int64_t{2}}, {"dilations", Ints{1, 2}}}),
             {1, 2, 0, 0, 0, 0, 1, 2, 3, 4, 3, 4, 6, 8, 0, 0});
}

TEST(Window, ValidRangeAndPads) {
  auto w = ResolveWindow({{"pads", Ints{1, 0}},
                          {"strides", Ints{2}},
                          {"dilations", Ints{3}},
                          {"kernel_shape", Ints{2}}},
                         {1, 1, 7}, {1, 1, 3});
  ASSERT_TRUE(w.ok());
  int64_t lo, hi;
  w->ValidRange(2, 0, &lo, &hi);  // input = 2o - 1
  EXPECT_EQ(lo, 1);
  EXPECT_EQ(hi, 3);
  w->ValidRange(2, 1, &lo, &hi);  // input = 2o + 2
  EXPECT_EQ(lo, 0);
  EXPECT_EQ(hi, 3);
  EXPECT_FALSE(ResolveWindow({}, {1, 1, 7}, {1, 1, 3}).ok());
  EXPECT_FALSE(ResolveWindow({{"kernel_shape", Ints{2}}}, {1, 7}, {1, 3}).ok());
  // No operator could finish this one.
  EXPECT_FALSE(
      ResolveWindow({{"kernel_shape", Ints{3, 1 << 28}}, {"pads", Ints{1, 0, 0, (1 << 28) - 6}}},
                    {1, 1, 7, 6}, {1, 1, 6, 1})
          .ok());
}

TEST(Gemm, TransposesAlphaBetaAndBroadcastC) {
  const T a = F({2, 3}, {1, 2, 3, 4, 5, 6}), b = F({3, 2}, {1, 0, 0, 1, 1, 1});
  ExpectNear(Run1("Gemm", {a, b}, {2, 2}), {4, 5, 10, 11});
  const T at = F({3, 2}, {1, 4, 2, 5, 3, 6}), bt = F({2, 3}, {1, 0, 1, 0, 1, 1});
  const Attributes both{
      {"transA", int64_t{1}}, {"transB", int64_t{1}}, {"alpha", 2.0f}, {"beta", 0.5f}};
  ExpectNear(Run1("Gemm", {at, bt, F({2}, {2, 4})}, {2, 2}, both), {9, 12, 21, 24});
  ExpectNear(Run1("Gemm", {at, bt, F({2, 1}, {2, 4})}, {2, 2}, both), {9, 11, 22, 24});
  ExpectNear(Run1("Gemm", {at, bt, F({}, {2})}, {2, 2}, both), {9, 11, 21, 23});
}

TEST(MatMul, RanksAndBatches) {
  const T v = F({3}, {1, 2, 3}), m = F({3, 2}, {1, 0, 0, 1, 1, 1});
  ExpectNear(Run1("MatMul", {v, v}, {}), {14});
  ExpectNear(Run1("MatMul", {v, m}, {2}), {4, 5});
  ExpectNear(Run1("MatMul", {F({2, 3}, {1, 2, 3, 4, 5, 6}), v}, {2}), {14, 32});
  // [2,1,1,2] x [3,2,1] -> [2,3,1,1]
  ExpectNear(Run1("MatMul", {F({2, 1, 1, 2}, {1, 2, 3, 4}), F({3, 2, 1}, {1, 0, 0, 1, 1, 1})},
                  {2, 3, 1, 1}),
             {1, 2, 3, 3, 4, 7});
  // One right side for all batches.
  ExpectNear(Run1("MatMul", {Iota({2, 2, 2}), F({2, 1}, {1, 10})}, {2, 2, 1}), {10, 32, 54, 76});
  EXPECT_EQ(
      Run1("MatMul", {I32({1, 2}, {1 << 30, 1}), I32({2, 1}, {4, 5})}, {1, 1}).As<int32_t>()[0],
      5);  // wraps
}

TEST(MatMul, EmptyContractionGivesZeros) {
  ExpectNear(Run1("MatMul", {F({2, 0}, {}), F({0, 2}, {})}, {2, 2}), {0, 0, 0, 0});
}

TEST(Linear, TransposedWeightsBiasResidual) {
  const T x = F({1, 2, 2}, {1, 2, 3, 4}), w = F({3, 2}, {1, 0, 0, 1, 1, 1}),
          b = F({3}, {10, 20, 30});
  const T r = F({1, 2, 3}, {0, 0, 0, 1, 1, -100});
  ExpectNear(
      Run1("Linear", {x, w, b, r}, {1, 2, 3}, {{"transW", int64_t{1}}, {"activation", "LeakyRelu"}},
           DType::kUndefined, "slipway"),
      {11, 22, 33, 14, 25, -0.63f});
}

TEST(Activation, EveryKindHasItsName) {
  for (int k = 0; k <= 11; ++k) {
    const auto kind = static_cast<ActivationKind>(k);
    ASSERT_NE(ActivationName(kind), nullptr);
    auto parsed = ParseActivation({{"activation", ActivationName(kind)}});
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(parsed->kind, kind);
  }
  EXPECT_EQ(ActivationName(static_cast<ActivationKind>(12)), nullptr);
  EXPECT_FALSE(
      ParseActivation({{"activation", "Relu"}, {"activation_params", std::vector<float>{1}}}).ok());
}

}  // namespace
}  // namespace slipway::ops
