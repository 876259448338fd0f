#include "data/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace slipway::data {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Accuracy, TopKWithTiesAndNan) {
  EXPECT_EQ(ArgMax(std::vector<float>{1, 3, 3, kNan}), 1);
  EXPECT_EQ(ArgMax(std::vector<float>{kNan}), -1);
  const std::vector<float> v = {0.1f, 0.5f, 0.5f, kNan, 0.9f};
  EXPECT_TRUE(InTopK(v, 4, 1));
  EXPECT_TRUE(InTopK(v, 1, 2));
  EXPECT_FALSE(InTopK(v, 2, 2));
  EXPECT_FALSE(InTopK(v, 3, 5));
  AccuracyCounter counter;
  EXPECT_TRUE(
      counter
          .Add(std::vector<float>{1, 0, 0, 0, 0, 0, 9, 8, 7, 6, 5, 4}, std::vector<int64_t>{0, 5})
          .ok());
  EXPECT_EQ(counter.n(), 2);
  EXPECT_EQ(counter.top1(), 0.5);
  EXPECT_EQ(counter.top5(), 0.5);
  EXPECT_FALSE(counter.Add(std::vector<float>{1, 2}, std::vector<int64_t>{2}).ok());
  EXPECT_FALSE(counter.Add(std::vector<float>{1, 2, 3}, std::vector<int64_t>{0, 1}).ok());
}

TEST(Intervals, WilsonAndPairedBootstrap) {
  // Known answer: 8 of 10 at 95 %.
  const Interval w = WilsonInterval(8, 10);
  EXPECT_NEAR(w.low, 0.4901, 1e-3);
  EXPECT_NEAR(w.high, 0.9433, 1e-3);
  EXPECT_EQ(WilsonInterval(0, 0).high, 1);
  std::vector<bool> a(1000), b(1000);
  for (size_t i = 0; i < 1000; ++i) {
    a[i] = i < 900;
    b[i] = i >= 20 && i < 910;  // 20 lost, 10 won
  }
  const auto d = PairedBootstrap(a, b);
  ASSERT_TRUE(d.ok());
  // sd of the difference: sqrt(0.03)/sqrt(1000) = 0.0055
  EXPECT_NEAR(d->low, -0.01 - 1.96 * 0.0055, 0.003);
  EXPECT_NEAR(d->high, -0.01 + 1.96 * 0.0055, 0.003);
  EXPECT_EQ(PairedBootstrap(a, a)->low, 0);
  EXPECT_FALSE(PairedBootstrap(a, {true}).ok());
}

TEST(Distance, SqnrCosineErrors) {
  const std::vector<float> r = {3, -4}, x = {3, -3.5};
  EXPECT_NEAR(SqnrDb(r, x), 20, 1e-9);  // 25 : 0.25
  EXPECT_EQ(SqnrDb(r, r), std::numeric_limits<double>::infinity());
  EXPECT_EQ(SqnrDb(std::vector<float>{0}, std::vector<float>{1}),
            -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(SqnrDb(r, std::vector<float>{kNan, 0})));
  EXPECT_NEAR(CosineSimilarity(r, std::vector<float>{-6, 8}), -1, 1e-12);
  EXPECT_EQ(CosineSimilarity(std::vector<float>{0, 0}, r), 0);
  const ErrorSummary e = CompareTensors(r, x);
  EXPECT_EQ(e.max_abs, 0.5);
  EXPECT_EQ(e.worst, 1);
  EXPECT_NEAR(e.range_relative, 0.5 / 7, 1e-12);
  EXPECT_NEAR(e.max_relative, 0.125, 1e-12);
  EXPECT_EQ(CompareTensors(std::vector<float>{kNan, kInf}, std::vector<float>{kNan, kInf}).max_abs,
            0);
  EXPECT_TRUE(
      std::isinf(CompareTensors(std::vector<float>{1, 2}, std::vector<float>{kNan, 2}).max_abs));
  EXPECT_TRUE(std::isinf(
      CompareTensors(std::vector<float>{kInf, 2}, std::vector<float>{-kInf, 2}).max_abs));
}

}  // namespace
}  // namespace slipway::data
