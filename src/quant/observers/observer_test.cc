#include "quant/observers/observer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace slipway::quant {
namespace {

const CodeRange kSigned{-127, 127, true}, kUnsigned{0, 255, true}, kAsymmetric{0, 255, false};

TEST(Observer, DoesNotDependOnHowTheDataWasCut) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  std::vector<float> values(5000);
  for (float& v : values) v = std::normal_distribution<float>(0, 3)(rng);
  Observer whole, pieces;
  whole.Observe(values);
  for (size_t i = 0; i < values.size(); i += 77) {
    pieces.Observe(std::span(values).subspan(i, std::min<size_t>(77, values.size() - i)));
  }
  EXPECT_EQ(whole.MinMax().lo, pieces.MinMax().lo);
  EXPECT_EQ(whole.Percentile(0.99).hi, pieces.Percentile(0.99).hi);
  EXPECT_EQ(whole.MinimumError(kSigned).hi, pieces.MinimumError(kSigned).hi);
}

TEST(Observer, PercentileAndErrorClipOutliersThatMinMaxKeeps) {
  std::mt19937 rng(1);
  std::vector<float> values(100000);
  for (float& v : values) v = std::normal_distribution<float>(0, 1)(rng);
  values[7] = 50;
  Observer o;
  o.Observe(values);
  EXPECT_EQ(o.MinMax().hi, 50);
  EXPECT_LT(o.Percentile(0.9999).hi, 10);
  // At 4 bits keeping the outlier would round everything else to zero: 1e5 against 45^2.
  EXPECT_LT(o.MinimumError({-7, 7, true}).hi, 20);
  EXPECT_FALSE(o.Choose("no such", kSigned).ok());
}

TEST(Observer, CountsWhatIsNotFinite) {
  Observer o;
  const float values[] = {1, NAN, -2, std::numeric_limits<float>::infinity()};
  o.Observe(values);
  EXPECT_EQ(o.not_finite(), 2);
  EXPECT_EQ(o.count(), 2);
  EXPECT_EQ(o.MinMax().lo, -2);
}

TEST(Observer, SurvivesExtremeMagnitudes) {
  Observer o;
  const float values[] = {0, 1e-38f, 3e38f, -3e38f};
  for (float v : values) o.Observe(std::span(&v, 1));
  EXPECT_EQ(o.MinMax().hi, 3e38f);
  EXPECT_TRUE(std::isfinite(ParamsFor(o.MinimumError(kSigned), kSigned).scale));
}

TEST(Params, MapRangesOntoCodes) {
  EXPECT_FLOAT_EQ(ParamsFor({-2, 1}, kSigned).scale, 2.0f / 127);
  EXPECT_FLOAT_EQ(ParamsFor({0, 5.1f}, kUnsigned).scale, 5.1f / 255);
  QuantParams a = ParamsFor({-1, 3}, kAsymmetric);
  EXPECT_FLOAT_EQ(a.scale, 4.0f / 255);
  EXPECT_EQ(a.zero_point, 64);
  // Zero must be a code: a range beside it is widened.
  EXPECT_EQ(ParamsFor({2, 4}, kAsymmetric).zero_point, 0);
  EXPECT_EQ(ParamsFor({0, 0}, kSigned).scale, 1);
}

}  // namespace
}  // namespace slipway::quant
