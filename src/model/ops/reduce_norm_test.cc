#include <cmath>
#include <functional>
#include <limits>

#include "model/ops/ops_test_util.h"

namespace slipway::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Pool, MaxWithPadsDilationCeil) {
  const T x = Iota({1, 1, 4, 4});
  ExpectNear(
      Run1("MaxPool", {x}, {1, 1, 2, 2}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}}),
      {5, 7, 13, 15});
  ExpectNear(
      Run1("MaxPool", {x}, {1, 1, 2, 2}, {{"kernel_shape", Ints{2, 2}}, {"dilations", Ints{2, 2}}}),
      {10, 11, 14, 15});
  ExpectNear(
      Run1("MaxPool", {x}, {1, 1, 2, 2},
           {{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"ceil_mode", int64_t{1}}}),
      {10, 11, 14, 15});
  ExpectNear(
      Run1("MaxPool", {x}, {1, 1, 3, 2},
           {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 0, 1, 0}}}),
      {1, 3, 9, 11, 13, 15});
  std::vector<T> out{T(DType::kFloat32, {1, 2, 1, 1}), T(DType::kInt64, {1, 2, 1, 1})};
  const T two = F({1, 2, 2, 2}, {1, 9, 3, 4, 5, 6, 8, 7});
  ASSERT_TRUE(Call("MaxPool", {two}, out, {{"kernel_shape", Ints{2, 2}}}).ok());
  EXPECT_EQ(out[1].As<int64_t>(), (Ints{1, 6}));
  ASSERT_TRUE(
      Call("MaxPool", {two}, out, {{"kernel_shape", Ints{2, 2}}, {"storage_order", int64_t{1}}})
          .ok());
  EXPECT_EQ(out[1].As<int64_t>(), (Ints{2, 5}));
  EXPECT_EQ(Run1("MaxPool", {S8({1, 1, 3}, {-5, -7, -3})}, {1, 1, 2}, {{"kernel_shape", Ints{2}}})
                .As<int8_t>(),
            (std::vector<int8_t>{-5, -3}));
}

TEST(Pool, AverageCounts) {
  const T x = F({1, 1, 3}, {3, 6, 9});
  const Ints k{2}, s{2};
  ExpectNear(Run1("AveragePool", {x}, {1, 1, 2},
                  {{"kernel_shape", k}, {"strides", s}, {"pads", Ints{1, 0}}}),
             {3, 7.5f});
  ExpectNear(Run1("AveragePool", {x}, {1, 1, 2},
                  {{"kernel_shape", k},
                   {"strides", s},
                   {"pads", Ints{1, 0}},
                   {"count_include_pad", int64_t{1}}}),
             {1.5f, 7.5f});
  // The overhang of ceil_mode never counts.
  ExpectNear(Run1("AveragePool", {x}, {1, 1, 2},
                  {{"kernel_shape", k},
                   {"strides", s},
                   {"ceil_mode", int64_t{1}},
                   {"count_include_pad", int64_t{1}}}),
             {4.5f, 9});
  ExpectNear(Run1("AveragePool", {x}, {1, 1, 3}, {{"kernel_shape", k}, {"auto_pad", "SAME_UPPER"}}),
             {4.5f, 7.5f, 9});
  ExpectNear(Run1("AveragePool", {x}, {1, 1, 1}, {{"kernel_shape", k}, {"dilations", Ints{2}}}),
             {6});
  // 3-D
  ExpectNear(Run1("AveragePool", {Iota({1, 1, 2, 2, 2})}, {1, 1, 1, 1, 1},
                  {{"kernel_shape", Ints{2, 2, 2}}}),
             {3.5f});
}

TEST(Pool, Global) {
  const T x = Iota({1, 2, 2, 3});
  ExpectNear(Run1("GlobalAveragePool", {x}, {1, 2, 1, 1}), {2.5f, 8.5f});
  ExpectNear(Run1("GlobalMaxPool", {x}, {1, 2, 1, 1}), {5, 11});
}

TEST(Reduce, AxesAndRules) {
  const T x = F({2, 3, 2}, {1, -2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  auto reduce = [&](const char* op, Ints axes, Dims out) {
    return Run1(op, {x, I({static_cast<int64_t>(axes.size())}, axes)}, out);
  };
  ExpectNear(reduce("ReduceSum", {1}, {2, 1, 2}), {9, 8, 27, 30});
  ExpectNear(reduce("ReduceSum", {-1, 0}, {1, 3, 1}), {14, 26, 34});
  ExpectNear(reduce("ReduceMean", {0}, {1, 3, 2}), {4, 3, 6, 7, 8, 9});
  ExpectNear(reduce("ReduceMax", {0, 2}, {3}), {8, 10, 12});
  ExpectNear(reduce("ReduceMin", {0, 1, 2}, {}), {-2});
  ExpectNear(reduce("ReduceProd", {2}, {2, 3}), {-2, 12, 30, 56, 90, 132});
  ExpectNear(reduce("ReduceL1", {1}, {2, 2}), {9, 12, 27, 30});
  ExpectNear(reduce("ReduceL2", {2}, {2, 3}),
             {std::sqrt(5.0f), 5, std::sqrt(61.0f), std::sqrt(113.0f), std::sqrt(181.0f),
              std::sqrt(265.0f)});
  ExpectNear(reduce("ReduceSumSquare", {0, 1, 2}, {}), {650});
  ExpectNear(Run1("ReduceSum", {x}, {1, 1, 1}), {74});
  ExpectNear(Run1("ReduceSum", {x, I({0}, {})}, {2, 3, 2}, {{"noop_with_empty_axes", int64_t{1}}}),
             x.As<float>());
  // Over no axes every element is reduced alone.
  auto alone = [&](const char* op) {
    return Run1(op, {F({3}, {-2, 0, 3})}, {3}, {{"noop_with_empty_axes", int64_t{1}}});
  };
  for (const char* op : {"ReduceMean", "ReduceProd", "ReduceMax", "ReduceMin"})
    ExpectNear(alone(op), {-2, 0, 3});
  for (const char* op : {"ReduceL1", "ReduceL2"}) ExpectNear(alone(op), {2, 0, 3});
  ExpectNear(alone("ReduceSumSquare"), {4, 0, 9});
  EXPECT_NE(RunError("ReduceSum", {x, I({1}, {3})}, {2, 3, 2}).find("axis 3"), std::string::npos);
}

TEST(Reduce, IntegersBoolsAndEmpty) {
  EXPECT_EQ(Run1("ReduceMean", {I32({2}, {-3, -4})}, {}).As<int32_t>()[0], -3);
  EXPECT_EQ(Run1("ReduceMax", {U8({3}, {3, 200, 7})}, {}).As<uint8_t>()[0], 200);
  EXPECT_EQ(Run1("ReduceMin", {B({2}, {1, 0})}, {}).As<uint8_t>()[0], 0);
  EXPECT_EQ(Run1("ReduceMax", {B({2}, {1, 0})}, {}).As<uint8_t>()[0], 1);
  const T empty = F({2, 0}, {}), axes = I({1}, {1});
  ExpectNear(Run1("ReduceSum", {empty, axes}, {2}), {0, 0});
  ExpectNear(Run1("ReduceProd", {empty, axes}, {2}), {1, 1});
  ExpectNear(Run1("ReduceMax", {empty, axes}, {2}), {-kInf, -kInf});
  ExpectNear(Run1("ReduceMin", {empty, axes}, {2}), {kInf, kInf});
  ExpectNear(Run1("ReduceSum", {F({}, {4})}, {}), {4});
}

TEST(Reduce, ArgMaxAndMin) {
  const T x = F({2, 3}, {1, 5, 5, 7, 2, 2});
  EXPECT_EQ(Run1("ArgMax", {x}, {2, 1}, {{"axis", int64_t{1}}}, DType::kInt64).As<int64_t>(),
            (Ints{1, 0}));
  EXPECT_EQ(Run1("ArgMax", {x}, {2}, {{"axis", int64_t{-1}}, {"select_last_index", int64_t{1}}},
                 DType::kInt64)
                .As<int64_t>(),
            (Ints{2, 0}));
  EXPECT_EQ(Run1("ArgMin", {x}, {1, 3}, {}, DType::kInt64).As<int64_t>(), (Ints{0, 1, 1}));
}

TEST(Softmax, AxesAndExtremes) {
  const float e = std::exp(1.0f), s = 1 + e;
  ExpectNear(Run1("Softmax", {F({2, 2}, {0, 1, 1000, 1000})}, {2, 2}), {1 / s, e / s, 0.5f, 0.5f});
  ExpectNear(Run1("Softmax", {F({2, 2}, {0, 5, 1, 5})}, {2, 2}, {{"axis", int64_t{0}}}),
             {1 / s, 0.5f, e / s, 0.5f});
  ExpectNear(Run1("LogSoftmax", {F({1, 2}, {0, 1})}, {1, 2}), {-std::log(s), 1 - std::log(s)});
  RunError("Softmax", {F({2}, {1, 2})}, {2}, {{"axis", int64_t{1}}});
}

TEST(Norm, Batch) {
  const T y = Run1("BatchNormalization",
                   {F({1, 2, 2}, {1, 2, 3, 4}), F({2}, {2, 1}), F({2}, {10, 20}), F({2}, {1, 3}),
                    F({2}, {4, 1})},
                   {1, 2, 2}, {{"epsilon", 0.0f}});
  ExpectNear(y, {10, 11, 20, 21});
  RunError(
      "BatchNormalization",
      {F({1, 2, 2}, {1, 2, 3, 4}), F({1}, {2}), F({2}, {10, 20}), F({2}, {1, 3}), F({2}, {4, 1})},
      {1, 2, 2});
}

TEST(Norm, InstanceLayerGroupRms) {
  const T x = F({1, 2, 2}, {1, 3, 2, 6});
  const Attributes exact{{"epsilon", 0.0f}};
  ExpectNear(Run1("InstanceNormalization", {x, F({2}, {1, 2}), F({2}, {0, 1})}, {1, 2, 2}, exact),
             {-1, 1, -1, 3});
  ExpectNear(Run1("LayerNormalization", {x, F({2}, {1, 2}), F({2}, {0, 1})}, {1, 2, 2}, exact),
             {-1, 3, -1, 3});
  std::vector<T> out{T(DType::kFloat32, {1, 2, 2}), T(DType::kFloat32, {1, 1, 1}),
                     T(DType::kFloat32, {1, 1, 1})};
  ASSERT_TRUE(Call("LayerNormalization", {x, F({2, 2}, {1, 1, 1, 1})}, out,
                   {{"axis", int64_t{1}}, {"epsilon", 0.0f}})
                  .ok());
  const float sd = std::sqrt(3.5f);  // mean 3, deviations -2, 0, -1, 3
  ExpectNear(out[0], {-2 / sd, 0, -1 / sd, 3 / sd});
  ExpectNear(out[1], {3});
  ExpectNear(out[2], {1 / sd});
  const Attributes group{{"num_groups", int64_t{1}}, {"epsilon", 0.0f}};
  ExpectNear(Run1("GroupNormalization", {x, F({2}, {1, 2}), F({2}, {0, 1})}, {1, 2, 2}, group),
             {-2 / sd, 0, -2 / sd + 1, 6 / sd + 1});
  RunError("GroupNormalization", {x, F({2}, {1, 2}), F({2}, {0, 1})}, {1, 2, 2},
           {{"num_groups", int64_t{0}}});
  const float r0 = std::sqrt(5.0f), r1 = std::sqrt(20.0f);
  ExpectNear(Run1("RMSNormalization", {x, F({2}, {1, 10})}, {1, 2, 2}, exact),
             {1 / r0, 30 / r0, 2 / r1, 60 / r1});
}

TEST(Norm, LrnAndLp) {
  // size 3, alpha 3 so that alpha/size = 1, beta 1, bias 1.
  ExpectNear(Run1("LRN", {F({1, 3, 1, 1}, {1, 2, 3})}, {1, 3, 1, 1},
                  {{"size", int64_t{3}}, {"alpha", 3.0f}, {"beta", 1.0f}}),
             {1.0f / 6, 2.0f / 15, 3.0f / 14});
  ExpectNear(Run1("LRN", {F({1, 3, 1, 1}, {1, 2, 3})}, {1, 3, 1, 1},
                  {{"size", int64_t{2}}, {"alpha", 2.0f}, {"beta", 1.0f}}),
             {1.0f / 6, 2.0f / 14, 3.0f / 10});
  ExpectNear(Run1("LpNormalization", {F({2, 2}, {3, 4, 0, 0})}, {2, 2}), {0.6f, 0.8f, 0, 0});
  ExpectNear(Run1("LpNormalization", {F({2, 2}, {3, 4, -1, 4})}, {2, 2},
                  {{"axis", int64_t{0}}, {"p", int64_t{1}}}),
             {0.75f, 0.5f, -0.25f, 0.5f});
}

// softmax(q k^T * scale + mask) v by hand, rank 4.
std::vector<float> NaiveAttention(const T& q, const T& k, const T& v, double scale,
                                  const std::function<double(int64_t, int64_t)>& mask) {
  const auto pq = q.As<float>(), pk = k.As<float>(), pv = v.As<float>();
  const int64_t heads = q.dims[1], kv = k.dims[1], lq = q.dims[2], lk = k.dims[2], d = q.dims[3],
                dv = v.dims[3];
  std::vector<float> y;
  for (int64_t b = 0; b < q.dims[0]; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t g = h / (heads / kv);
      for (int64_t i = 0; i < lq; ++i) {
        std::vector<double> w;
        double sum = 0;
        for (int64_t j = 0; j < lk; ++j) {
          double s = 0;
          for (int64_t e = 0; e < d; ++e) {
            s += static_cast<double>(pq[static_cast<size_t>(((b * heads + h) * lq + i) * d + e)]) *
                 static_cast<double>(pk[static_cast<size_t>(((b * kv + g) * lk + j) * d + e)]);
          }
          w.push_back(std::exp(s * scale + mask(i, j)));
          sum += w.back();
        }
        for (int64_t e = 0; e < dv; ++e) {
          double r = 0;
          for (int64_t j = 0; j < lk; ++j)
            r += w[static_cast<size_t>(j)] / sum *
                 static_cast<double>(pv[static_cast<size_t>(((b * kv + g) * lk + j) * dv + e)]);
          y.push_back(static_cast<float>(r));
        }
      }
    }
  }
  return y;
}

T Wave(Dims dims, float step) {
  std::vector<float> v(static_cast<size_t>(dims.count()));
  for (size_t i = 0; i < v.size(); ++i) v[i] = std::sin(step * static_cast<float>(i));
  return F(dims, v);
}

TEST(Attention, AgreesWithTheDefinition) {
  const T q = Wave({2, 4, 3, 10}, 0.7f), k = Wave({2, 2, 150, 10}, 0.3f),
          v = Wave({2, 2, 150, 300}, 0.11f);
  const double scale = 1 / std::sqrt(10.0);
  ExpectNear(Run1("Attention", {q, k, v}, {2, 4, 3, 300}),
             NaiveAttention(q, k, v, scale, [](int64_t, int64_t) { return 0.0; }), 1e-4f);
  ExpectNear(
      Run1("Attention", {q, k, v}, {2, 4, 3, 300}, {{"is_causal", int64_t{1}}, {"scale", 0.5f}}),
      NaiveAttention(q, k, v, 0.5, [](int64_t i, int64_t j) { return j > i ? -1e30 : 0.0; }),
      1e-4f);
  std::vector<uint8_t> keep(150);
  for (size_t j = 0; j < keep.size(); ++j) keep[j] = j >= 70 && j % 3 == 0;
  ExpectNear(Run1("Attention", {q, k, v, B({1, 150}, keep)}, {2, 4, 3, 300}),
             NaiveAttention(
                 q, k, v, scale,
                 [&](int64_t, int64_t j) { return keep[static_cast<size_t>(j)] ? 0.0 : -1e30; }),
             1e-4f);
}

TEST(Attention, Rank3AndFloatMask) {
  // One batch, two heads of size 1: hidden size 2.
  const T q = F({1, 1, 2}, {1, 1}), k = F({1, 2, 2}, {0, 0, 0, 0}),
          v = F({1, 2, 2}, {1, 10, 3, 30});
  const Attributes heads{{"q_num_heads", int64_t{2}}, {"kv_num_heads", int64_t{2}}};
  ExpectNear(Run1("Attention", {q, k, v}, {1, 1, 2}, heads), {2, 20});
  ExpectNear(Run1("Attention", {q, k, v, F({1, 2}, {0, std::log(3.0f)})}, {1, 1, 2}, heads),
             {2.5f, 25});
  RunError("Attention", {q, k, v}, {1, 1, 2});
  RunError("Attention", {q, k, v, F({3, 5}, std::vector<float>(15, 0))}, {1, 1, 2}, heads);
}

}  // namespace
}  // namespace slipway::ops
