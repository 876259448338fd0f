#include "quant/observers/observer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace slipway::quant {
namespace {

const CodeRange kSigned{-127, 127, true}, kUnsigned{0, 255, true}, kAsymmetric{0, 255, false};

std::vector<float> Normal(size_t n, float mean, float sd, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<float> values(n);
  for (float& v : values) v = std::normal_distribution<float>(mean, sd)(rng);
  return values;
}
std::vector<float> Laplace(size_t n, float b, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<float> values(n);
  for (float& v : values) {
    const float u = std::exponential_distribution<float>(1 / b)(rng);
    v = rng() & 1 ? u : -u;
  }
  return values;
}
std::vector<float> Rectified(std::vector<float> values) {
  for (float& v : values) v = std::max(v, 0.0f);
  return values;
}
Observer Seen(std::span<const float> values) {
  Observer o;
  o.Observe(values);
  return o;
}

// The definition, in double and value by value.
double ErrorOf(std::span<const float> values, Range range, const CodeRange& codes, double p = 2) {
  const QuantParams q = ParamsFor(range, codes);
  double sum = 0;
  for (const float v : values) {
    const double code =
        std::clamp(std::nearbyint(double{v} / q.scale) + static_cast<double>(q.zero_point),
                   static_cast<double>(codes.lo), static_cast<double>(codes.hi));
    sum += std::pow(std::fabs(v - (code - static_cast<double>(q.zero_point)) * q.scale), p);
  }
  return sum / static_cast<double>(values.size());
}

Range Chosen(std::span<const float> values, std::string_view observer, const CodeRange& codes) {
  const auto range = Seen(values).Choose(observer, codes);
  EXPECT_TRUE(range.ok()) << range.status().ToString();
  return range.ok() ? *range : Range{};
}

TEST(Observer, DoesNotDependOnHowTheDataWasCutOrWhoCounted) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const std::vector<float> values = Normal(5000, 0, 3, seed);
  Observer whole = Seen(values), pieces, shuffled;
  for (size_t i = 0; i < values.size(); i += 77)
    pieces.Observe(std::span(values).subspan(i, std::min<size_t>(77, values.size() - i)));
  for (const size_t begin : {3000, 0, 1500}) {  // pieces of one batch in any order
    Histogram h;
    h.Count(std::span(values).subspan(begin, begin == 3000 ? 2000 : 1500));
    shuffled.Add(0, h);
  }
  shuffled.EndBatch(0);
  for (const char* name : {"minmax", "percentile:0.99", "histogram", "mse", "mse:2.4", "octav",
                           "kl", "aciq", "lsq", "lsq+", "pot", "pot-mse"}) {
    for (const CodeRange& codes : {kSigned, kAsymmetric}) {
      const Range a = *whole.Choose(name, codes), b = *pieces.Choose(name, codes),
                  c = *shuffled.Choose(name, codes);
      EXPECT_EQ(a.lo, b.lo) << name;
      EXPECT_EQ(a.hi, b.hi) << name;
      EXPECT_EQ(a.hi, c.hi) << name;
    }
  }
  EXPECT_EQ(whole.Choose("ema", kSigned)->hi, shuffled.Choose("ema", kSigned)->hi);
}

TEST(Observer, SummaryHoldsTheDataWithinItsBins) {
  std::vector<float> values = Normal(20000, 1, 2, 5);
  values[3] = 0;
  values[4] = -0.0f;
  values[5] = 1e-41f;  // denormal: as good as zero
  const Distribution d = Seen(values).Summary();
  EXPECT_EQ(d.zeros, 3);
  EXPECT_EQ(d.total(), 20000);
  EXPECT_EQ(d.extremes.hi, *std::max_element(values.begin(), values.end()));
  EXPECT_TRUE(std::is_sorted(d.values.begin(), d.values.end()));
  double mean = 0, exact = 0;
  for (size_t i = 0; i < d.values.size(); ++i) mean += d.values[i] * d.counts[i] / 20000;
  for (const float v : values) exact += v / 20000.0;
  EXPECT_NEAR(mean, exact, 2e-4);
  // The rounding error read off bins is that of the values.
  for (const CodeRange& codes : {CodeRange{-7, 7, true}, kSigned, kAsymmetric}) {
    const QuantParams q = ParamsFor({-6, 6}, codes);
    const double expected = ErrorOf(values, {-6, 6}, codes);
    EXPECT_NEAR(QuantizationError(d, q, codes), expected, 0.02 * expected);
    EXPECT_NEAR(QuantizationError(Distribution::Of(values), q, codes), expected, 1e-4 * expected);
  }
}

TEST(Observer, MovingAverageFollowsItsRecurrence) {
  Observer o;
  double lo = 0, hi = 0;
  for (int i = 0; i < 5; ++i) {
    const float batch[] = {-1.0f - static_cast<float>(i), 0.5f, 2.0f * static_cast<float>(i)};
    o.Observe(batch);
    const double min = -1.0 - i, max = std::max(0.5, 2.0 * i);
    lo = i == 0 ? min : 0.8 * lo + 0.2 * min;
    hi = i == 0 ? max : 0.8 * hi + 0.2 * max;
  }
  EXPECT_FLOAT_EQ(o.Choose("ema:0.8", kSigned)->lo, static_cast<float>(lo));
  EXPECT_FLOAT_EQ(o.Choose("ema:0.8", kSigned)->hi, static_cast<float>(hi));
  EXPECT_EQ(o.Choose("minmax", kSigned)->hi, 8);
}

TEST(Observer, PercentileIsThatOfTheSortedValues) {
  for (const bool rectified : {false, true}) {
    std::vector<float> values = Normal(100000, 0.5, 1, 2);
    if (rectified) values = Rectified(values);
    values[7] = 50;
    for (const double share : {0.9, 0.999, 0.9999}) {
      const Range r = Chosen(values, "percentile:" + std::to_string(share), kSigned);
      std::vector<float> sorted = values;
      std::sort(sorted.begin(), sorted.end());
      const auto clipped = static_cast<size_t>((1 - share) * 100000 + 1e-6);
      EXPECT_NEAR(r.hi, sorted[sorted.size() - 1 - clipped], 0.015);
      EXPECT_NEAR(r.lo, std::min(0.0f, sorted[clipped]), 0.015);
      EXPECT_LE(std::count_if(values.begin(), values.end(), [&](float v) { return v > r.hi; }),
                static_cast<std::ptrdiff_t>(clipped));
      // Exact for weights.
      const Range w = *ChooseWeightRange(values, "percentile:" + std::to_string(share), kSigned);
      EXPECT_EQ(w.hi, sorted[sorted.size() - 1 - clipped]);
    }
  }
}

// No range of a fine grid over both ends is much better than what the search found.
TEST(Observer, LeastErrorIsThatOfAFineGrid) {
  std::vector<float> skewed = Laplace(1500, 1, 8);
  for (float& v : skewed) v = v < 0 ? v * 0.2f : v;
  std::vector<float> outlier = Normal(1500, 0, 1, 9);
  outlier[17] = 60;
  outlier[99] = -3000;
  for (const auto& values : {Normal(1500, 0.3f, 1, 1), Rectified(Normal(1500, 0, 1, 3)),
                             Laplace(1500, 0.1f, 4), skewed, outlier}) {
    const Range all = Seen(values).MinMax();
    for (const int bits : {2, 4, 8}) {
      const int64_t top = (int64_t{1} << bits) - 1, half = top / 2;
      for (const CodeRange& codes : {CodeRange{-half - 1, half, true}, CodeRange{-half, half, true},
                                     CodeRange{0, top, false}}) {
        for (const double p : {2.0, 2.4}) {
          const std::string name = p == 2 ? "mse" : "mse:2.4";
          double best = std::numeric_limits<double>::infinity();
          for (int i = 1; i <= (codes.symmetric ? 200 : 30); ++i) {
            for (int j = codes.symmetric ? i : 1; j <= (codes.symmetric ? i : 30); ++j) {
              const double n = codes.symmetric ? 200 : 30;
              const Range r{static_cast<float>(all.lo * std::pow(i / n, 2)),
                            static_cast<float>(all.hi * std::pow(j / n, 2))};
              best = std::min(best, ErrorOf(values, r, codes, p));
            }
          }
          const double seen = ErrorOf(values, Chosen(values, name, codes), codes, p);
          EXPECT_LT(seen, best * 1.03) << name << ' ' << bits << ' ' << codes.symmetric;
          const double exact = ErrorOf(values, *ChooseWeightRange(values, name, codes), codes, p);
          EXPECT_LT(exact, best * 1.02) << name << ' ' << bits << ' ' << codes.symmetric;
        }
      }
    }
  }
}

// Where the density is smooth, OCTAV's fixed point, ACIQ's solution and the least error of the
// uniform-noise model are one: the published clips of ACIQ, in sd of a Gaussian and b of a
// Laplacian.
TEST(Observer, AnalyticClipsAreThePublishedOnes) {
  const double gauss[] = {1.71, 2.15, 2.55, 2.93, 3.28, 3.61, 3.92};
  const double laplace[] = {2.83, 3.89, 5.03, 6.20, 7.41, 8.64, 9.89};
  const double laplace_relu[] = {3.89, 5.03, 6.20, 7.41, 8.64, 9.89, 11.16};
  const auto normal = Normal(1000000, 0, 2, 11), two_sided = Laplace(1000000, 3, 12);
  const auto rectified = Rectified(two_sided);
  for (int bits = 3; bits <= 8; ++bits) {
    const int64_t codes_count = int64_t{1} << bits;
    // As in the paper 2^M steps span the range.
    const CodeRange codes{0, codes_count, false};
    const auto at = static_cast<size_t>(bits - 2);
    EXPECT_NEAR(Chosen(normal, "aciq", codes).hi / 2, gauss[at], 0.03) << bits;
    EXPECT_NEAR(Chosen(two_sided, "aciq", codes).hi / 3, laplace[at], 0.05) << bits;
    EXPECT_NEAR(Chosen(rectified, "aciq", codes).hi / 3, laplace_relu[at], 0.08) << bits;
    if (bits > 6) continue;  // beyond, the samples' own tails decide
    if (bits <= 4) {
      EXPECT_NEAR(Chosen(normal, "aciq:laplace", codes).hi / 2,
                  laplace[at] * std::sqrt(2 / 3.14159265), 0.05);
    }
    EXPECT_NEAR(Chosen(normal, "octav", codes).hi / 2, gauss[at], 0.05) << bits;
    EXPECT_NEAR(Chosen(two_sided, "octav", codes).hi / 3, laplace[at], 0.25) << bits;
    EXPECT_NEAR(Chosen(rectified, "octav", codes).hi / 3, laplace_relu[at], 0.35) << bits;
  }
}

TEST(Observer, HistogramClipsFromBothSides) {
  std::vector<float> values = Normal(50000, 0, 1, 21);
  values[5] = 40;  // only above
  const CodeRange codes{0, 15, false};
  const Range r = Chosen(values, "histogram", codes);
  EXPECT_LT(r.hi, 8);
  EXPECT_LT(r.lo, -1);
  EXPECT_LT(ErrorOf(values, r, codes), 0.2 * ErrorOf(values, {-4, 40}, codes));
  // Even data at 8 bits: nothing is to be gained.
  std::vector<float> even(10000);
  for (size_t i = 0; i < even.size(); ++i) even[i] = static_cast<float>(i) / 10000 - 0.3f;
  const Range e = Chosen(even, "histogram", kAsymmetric);
  EXPECT_NEAR(e.lo, -0.3f, 0.01);
  EXPECT_NEAR(e.hi, 0.7f, 0.01);
}

// TensorRT's procedure over the values themselves.
double DivergenceOf(const std::vector<float>& values, double top, int cut, int levels) {
  std::vector<double> hist(2048, 0), q(2048, 0);
  for (const float v : values) {
    if (v != 0) hist[std::min<size_t>(2047, static_cast<size_t>(std::fabs(v) / top * 2048))] += 1;
  }
  std::vector<double> p(hist.begin(), hist.begin() + cut);
  double outliers = 0, kept = 0, divergence = 0;
  for (int i = 0; i < 2048; ++i) (i < cut ? kept : outliers) += hist[static_cast<size_t>(i)];
  p.back() += outliers;
  for (int level = 0; level < levels; ++level) {
    const int a = (level * cut + levels - 1) / levels,
              b = ((level + 1) * cut + levels - 1) / levels;
    double sum = 0;
    int used = 0;
    for (int i = a; i < b; ++i) {
      sum += hist[static_cast<size_t>(i)];
      used += hist[static_cast<size_t>(i)] > 0;
    }
    for (int i = a; i < b; ++i) {
      if (hist[static_cast<size_t>(i)] > 0) q[static_cast<size_t>(i)] = sum / used / kept;
    }
  }
  for (int i = 0; i < cut; ++i) {
    const double pi = p[static_cast<size_t>(i)] / (kept + outliers);
    if (pi > 0 && q[static_cast<size_t>(i)] == 0) return std::numeric_limits<double>::infinity();
    if (pi > 0) divergence += pi * std::log(pi / q[static_cast<size_t>(i)]);
  }
  return divergence;
}

TEST(Observer, DivergenceIsLeastAtTheChosenCut) {
  for (const bool rectified : {false, true}) {
    std::vector<float> values = Laplace(200000, 1, 31);
    if (rectified) values = Rectified(values);
    const CodeRange codes = rectified ? kUnsigned : kSigned;
    const int levels = rectified ? 256 : 128;
    const Range all = Seen(values).MinMax(), r = Chosen(values, "kl", codes);
    const double top = std::max(-all.lo, all.hi);
    double best = std::numeric_limits<double>::infinity();
    for (int cut = levels; cut <= 2048; cut += 8)
      best = std::min(best, DivergenceOf(values, top, cut, levels));
    const int cut = static_cast<int>(std::lround(r.hi / top * 2048));
    EXPECT_LT(cut, 2048);
    // Counts spread over neighbouring bins there, single values here: empty bins of the tail
    // differ.
    double near = std::numeric_limits<double>::infinity();
    for (int c = cut - 8; c <= std::min(2048, cut + 8); ++c)
      near = std::min(near, DivergenceOf(values, top, c, levels));
    EXPECT_LT(near, best * 1.05) << rectified;
  }
  EXPECT_EQ(Chosen(Laplace(1000, 1, 3), "entropy", kSigned).hi,
            Chosen(Laplace(1000, 1, 3), "kl", kSigned).hi);
}

TEST(Observer, LearnedStepsStartWhereTheirPapersSay) {
  const std::vector<float> values = {-1, 2, 0, 3, -2, 4};
  EXPECT_NEAR(ParamsFor(*ChooseWeightRange(values, "lsq", kSigned), kSigned).scale,
              2 * 2.0 / std::sqrt(127.0), 1e-6);
  const CodeRange four{-8, 7, true};
  const double mean = 1, sd = std::sqrt(34 / 6.0 - 1);
  EXPECT_NEAR(ParamsFor(*ChooseWeightRange(values, "lsq+", four), four).scale, (mean + 3 * sd) / 8,
              1e-5);
}

TEST(Observer, PowersOfTwo) {
  const std::vector<float> values = Laplace(20000, 1, 41);
  for (const CodeRange& codes : {CodeRange{-8, 7, true}, kSigned, CodeRange{0, 15, false}}) {
    for (const char* name : {"pot", "pot-mse"}) {
      for (const Range r : {Chosen(values, name, codes), *ChooseWeightRange(values, name, codes)}) {
        int exponent;
        EXPECT_EQ(std::frexp(ParamsFor(r, codes).scale, &exponent), 0.5f) << name;
      }
    }
    const float widest = ParamsFor(Chosen(values, "minmax", codes), codes).scale;
    const float covering = ParamsFor(Chosen(values, "pot", codes), codes).scale;
    EXPECT_GE(covering, widest);
    EXPECT_LT(covering, 2 * widest);
    // The best of all powers of two, zero points included.
    double best = std::numeric_limits<double>::infinity();
    for (int e = -12; e <= 4; ++e) {
      for (int64_t z = codes.symmetric ? 0 : codes.lo; z <= (codes.symmetric ? 0 : codes.hi); ++z) {
        const double s = std::ldexp(1.0, e);
        best = std::min(best, ErrorOf(values,
                                      {static_cast<float>(static_cast<double>(codes.lo - z) * s),
                                       static_cast<float>(static_cast<double>(codes.hi - z) * s)},
                                      codes));
      }
    }
    EXPECT_LT(ErrorOf(values, Chosen(values, "pot-mse", codes), codes), best * 1.02);
    // A scheme of such steps gets them from every observer.
    CodeRange power = codes;
    power.power_of_two = true;
    int exponent;
    for (const char* name : {"minmax", "mse", "percentile"})
      EXPECT_EQ(std::frexp(ParamsFor(Chosen(values, name, power), power).scale, &exponent), 0.5f);
  }
}

TEST(Observer, CountsWhatIsNotFinite) {
  Observer o;
  const float infinity = std::numeric_limits<float>::infinity();
  const float values[] = {1, NAN, -2, infinity, -infinity, -NAN};
  o.Observe(values);
  EXPECT_EQ(o.not_finite(), 4);
  EXPECT_EQ(o.count(), 2);
  EXPECT_EQ(o.MinMax().lo, -2);
  EXPECT_EQ(o.MinMax().hi, 1);
  EXPECT_FALSE(ChooseWeightRange(values, "minmax", kSigned).ok());
}

TEST(Observer, EveryObserverSurvivesOddData) {
  const float huge[] = {0, 1e-38f, 3e38f, -3e38f}, zeros[] = {0, 0, -0.0f}, one[] = {5},
              same[] = {2, 2, 2, 2}, negative[] = {-1, -3, -2}, tiny[] = {1e-40f, 2e-45f};
  for (const char* name : {"minmax", "ema", "percentile", "histogram", "mse", "mse:2.4", "octav",
                           "kl", "aciq", "lsq", "lsq+", "pot", "pot-mse"}) {
    for (const CodeRange& codes : {kSigned, kUnsigned, kAsymmetric, CodeRange{-2, 1, true},
                                   CodeRange{-32768, 32767, true}, CodeRange{0, 3, false}}) {
      for (const std::span<const float> data :
           {std::span<const float>(huge), std::span<const float>(zeros),
            std::span<const float>(one), std::span<const float>(same),
            std::span<const float>(negative), std::span<const float>(tiny)}) {
        for (const auto& range :
             {Seen(data).Choose(name, codes), ChooseWeightRange(data, name, codes)}) {
          ASSERT_TRUE(range.ok()) << name;
          const QuantParams q = ParamsFor(*range, codes);
          EXPECT_TRUE(std::isfinite(q.scale) && q.scale > 0)
              << name << ": " << data.back() << " of " << data.size() << " to " << range->lo << ".."
              << range->hi << ", codes " << codes.lo << ".." << codes.hi;
        }
      }
    }
  }
  EXPECT_EQ(Observer().Choose("mse", kSigned)->hi, 0);
}

TEST(Observer, NamesAreParsedAndRefused) {
  EXPECT_EQ(compiler::ParseObserver("mse:2.4")->parameter, 2.4);
  EXPECT_EQ(compiler::ParseObserver("percentile")->parameter, 0.9999);
  EXPECT_EQ(compiler::ParseObserver("aciq:laplace")->distribution, "laplace");
  for (const char* wrong : {"", "no such", "mse:", "mse:x", "mse:2.4x", "mse:100", "mse:nan",
                            "percentile:1.1", "minmax:1", "aciq:cauchy", "ema:1", "kl:3"}) {
    const auto parsed = compiler::ParseObserver(wrong);
    ASSERT_FALSE(parsed.ok()) << wrong;
    EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_NE(compiler::ParseObserver("x").status().message().find("pot-mse"), std::string::npos);
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
  // The zero point belongs to the scale that is used.
  const QuantParams p = ParamsFor({-1, 3}, {0, 255, false, true});
  EXPECT_EQ(p.scale, 1.0f / 32);
  EXPECT_EQ(p.zero_point, 32);
}

}  // namespace
}  // namespace slipway::quant
