#include "quant/observers/range.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

namespace slipway::quant {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double PowerOfTwoAbove(double scale) {
  int exponent;
  const double mantissa = std::frexp(scale, &exponent);
  return std::ldexp(1.0, mantissa == 0.5 ? exponent - 1 : exponent);
}

// Float32 has an end.
float Saturated(double v) {
  constexpr double kMost = std::numeric_limits<float>::max();
  return static_cast<float>(std::clamp(v, -kMost, kMost));
}

// What `params` can express.
Range Expressible(const QuantParams& params, const CodeRange& codes) {
  return {Saturated(static_cast<double>(codes.lo - params.zero_point) * params.scale),
          Saturated(static_cast<double>(codes.hi - params.zero_point) * params.scale)};
}

Range SymmetricRange(double scale, const CodeRange& codes) {
  return {Saturated(static_cast<double>(codes.lo) * scale),
          Saturated(static_cast<double>(codes.hi) * scale)};
}

// d^p for d >= 0 to some 1e-6, in operations that compilers turn into vectors.
inline float Power(float d, float p) {
  const int32_t bits = std::bit_cast<int32_t>(d);
  const float m = std::bit_cast<float>((bits & 0x007fffff) | 0x3f800000);
  const float t = (m - 1.41421356f) / (m + 1.41421356f), t2 = t * t;
  const float log2 = static_cast<float>((bits >> 23) - 127) + 0.5f +
                     2.88539008f * t * (1 + t2 * (1 / 3.0f + t2 * (0.2f + t2 * (1 / 7.0f))));
  float e = p * log2;
  e = e > -126.0f ? e : -126.0f;
  e = e < 126.0f ? e : 126.0f;
  const int32_t whole = static_cast<int32_t>(e + 127) - 127;  // floor: e + 127 is positive
  const float u = (e - static_cast<float>(whole) - 0.5f) * 0.69314718f;
  const float exp =
      1.41421356f *
      (1 + u * (1 + u * (0.5f + u * (1 / 6.0f + u * (1 / 24.0f + u * (1 / 120.0f + u / 720))))));
  return exp * std::bit_cast<float>((whole + 127) << 23);
}

constexpr size_t kLanes = 8, kBlock = 1024;

double ExactError(std::span<const float> x, double scale, double lo, double hi, double p) {
  const auto s = static_cast<float>(scale), inverse = static_cast<float>(1 / scale);
  const auto low = static_cast<float>(lo), high = static_cast<float>(hi);
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding and taking it away rounds to even
  float error[kBlock];
  double sum = 0;
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const size_t n = std::min(kBlock, x.size() - begin);
    const float* from = x.data() + begin;
    for (size_t i = 0; i < n; ++i) {
      float code = from[i] * inverse;
      code = code > low ? code : low;
      code = code < high ? code : high;
      code = (code + magic) - magic;
      error[i] = std::fabs(from[i] - code * s);
    }
    if (p == 2) {
      for (size_t i = 0; i < n; ++i) error[i] *= error[i];
    } else {
      const auto exponent = static_cast<float>(p);
      for (size_t i = 0; i < n; ++i) error[i] = Power(error[i], exponent);
    }
    for (size_t i = n; i % kLanes != 0; ++i) error[i] = 0;
    float lanes[kLanes] = {};
    for (size_t i = 0; i < n; i += kLanes) {
      for (size_t k = 0; k < kLanes; ++k) lanes[k] += error[i + k];
    }
    for (const float lane : lanes) sum += double{lane};
  }
  return sum;
}

double BinnedError(const Distribution& d, double scale, double lo, double hi, double p) {
  const double inverse = 1 / scale, noise = scale * scale / 12;
  const double magic = 6755399441055744.0;  // 1.5 * 2^52
  const auto step = static_cast<float>(scale);
  double sum = 0;
  double error[kBlock];
  for (size_t begin = 0; begin < d.values.size(); begin += kBlock) {
    const size_t n = std::min(kBlock, d.values.size() - begin);
    const float *x = d.values.data() + begin, *width = d.widths.data() + begin;
    const double* count = d.counts.data() + begin;
    for (size_t i = 0; i < n; ++i) {
      const double v = double{x[i]} * inverse;
      double code = v > lo ? v : lo;
      code = code < hi ? code : hi;
      const double rounded = (code + magic) - magic;
      const double e = (v - rounded) * scale, clipped = (v - code) * scale;
      // Bins wider than steps: clipping, and even noise.
      error[i] = width[i] > step ? clipped * clipped + noise : e * e;
    }
    if (p == 2) {
      for (size_t i = 0; i < n; ++i) sum += error[i] * count[i];
    } else {
      const auto half = static_cast<float>(p / 2);
      for (size_t i = 0; i < n; ++i)
        sum += double{Power(static_cast<float>(error[i]), half)} * count[i];
    }
  }
  return sum;
}

// Two sides clip at +-s with steps of s * r, one side at [0, s] likewise.
struct Clipping {
  bool one_sided;
  double step;  // r
};
Clipping ClippingOf(const Range& extremes, const CodeRange& codes) {
  const bool one = extremes.lo >= 0 || extremes.hi <= 0;
  if (codes.symmetric) {
    const int64_t steps = extremes.hi <= 0 && codes.lo < 0 ? -codes.lo : codes.hi;
    return {one, 1.0 / static_cast<double>(std::max<int64_t>(1, steps))};
  }
  return {one, (one ? 1.0 : 2.0) / static_cast<double>(std::max<int64_t>(1, codes.hi - codes.lo))};
}

Range Within(double lo, double hi, const Range& extremes) {
  return {static_cast<float>(std::max(lo, std::min(0.0, double{extremes.lo}))),
          static_cast<float>(std::min(hi, std::max(0.0, double{extremes.hi})))};
}

class Chooser {
 public:
  Chooser(Distribution& d, const ObserverSpec& spec, const CodeRange& codes)
      : d_(d), spec_(spec), codes_(codes) {}

  Range Percentile();
  Range Histogram();
  Range LeastError();
  Range Octav();
  Range Divergence();
  Range Aciq();
  Range Lsq();
  Range LsqPlus();
  Range PowerOfTwo();

 private:
  double Error(const Range& r) const {
    return QuantizationError(d_, ParamsFor(r, codes_), codes_, spec_.parameter);
  }
  Range LeastSymmetric();
  Range LeastAsymmetric();
  double MeanMagnitude() const;

  Distribution& d_;
  ObserverSpec spec_;
  const CodeRange& codes_;
};

Range Chooser::Percentile() {
  d_.Sort();
  const double clipped = std::floor((1 - spec_.parameter) * d_.total() * (1 + 1e-12));
  const Range all = d_.extremes;
  Range r{std::min(all.lo, 0.0f), std::max(all.hi, 0.0f)};
  double seen = 0;
  const size_t n = d_.values.size();
  for (size_t i = n; i-- > 0;) {
    const double v = d_.values[i];
    if (v < 0 || (seen += d_.count_of(i)) > clipped) {
      r.hi = v < 0 ? 0 : static_cast<float>(std::min<double>(r.hi, v + d_.width_of(i) / 2));
      break;
    }
    if (i == 0 || d_.values[i - 1] < 0) r.hi = 0;
  }
  seen = 0;
  for (size_t i = 0; i < n; ++i) {
    const double v = d_.values[i];
    if (v > 0 || (seen += d_.count_of(i)) > clipped) {
      r.lo = v > 0 ? 0 : static_cast<float>(std::max<double>(r.lo, v - d_.width_of(i) / 2));
      break;
    }
    if (i + 1 == n || d_.values[i + 1] > 0) r.lo = 0;
  }
  // A tensor that is nearly always zero keeps its range: there would be nothing left.
  return r.lo == 0 && r.hi == 0 ? all : r;
}

Range Chooser::Histogram() {
  d_.Sort();
  constexpr int kBins = 2048;
  constexpr double kStep = 1e-5;
  const double lo = d_.extremes.lo, width = (double{d_.extremes.hi} - lo) / kBins;
  if (!(width > 0)) return d_.extremes;
  std::vector<double> below(kBins, 0);  // cumulative
  const auto bin = [&](double v) {
    return std::clamp(static_cast<int>((v - lo) / width), 0, kBins - 1);
  };
  for (size_t i = 0; i < d_.values.size(); ++i)
    below[static_cast<size_t>(bin(d_.values[i]))] += d_.count_of(i);
  below[static_cast<size_t>(bin(0))] += d_.zeros;
  std::partial_sum(below.begin(), below.end(), below.begin());
  const double total = below.back();
  double alpha = 0, beta = 1, best = kInfinity;
  int first = 0, last = kBins - 1;
  const auto range = [&](int a, int b) {
    return Range{static_cast<float>(lo + width * a), static_cast<float>(lo + width * (b + 1))};
  };
  while (alpha < beta) {
    int l = first, r = last;
    while (l < last && below[static_cast<size_t>(l)] < (alpha + kStep) * total) ++l;
    while (r > first && below[static_cast<size_t>(r)] > (beta - kStep) * total) --r;
    int next_first = first, next_last = last;
    if (l - first > last - r) {
      next_first = l;
      alpha += kStep;
    } else {
      next_last = r;
      beta -= kStep;
    }
    if (next_first == first && next_last == last) continue;
    const double error = Error(range(next_first, next_last));
    if (error > best) break;
    best = error;
    first = next_first;
    last = next_last;
  }
  const Range r = range(first, last);
  return first == 0 && last == kBins - 1 ? d_.extremes : Within(r.lo, r.hi, d_.extremes);
}

Range Chooser::LeastSymmetric() {
  const double widest = ParamsFor(d_.extremes, codes_).scale;
  double best = kInfinity, best_share = 1;
  const auto attempt = [&](double share) {
    const double error = Error(SymmetricRange(widest * share, codes_));
    if (error < best) {
      best = error;
      best_share = share;
    }
  };
  for (int i = 0; i < 80; ++i) attempt(1 - i * 0.01);
  for (double share = 0.2; share > 0.001; share *= 0.95) attempt(share);
  const double centre = best_share, around = std::max(0.01, centre * 0.03);
  for (int i = -10; i <= 10; ++i) {
    if (i != 0 && centre + around * i / 10 <= 1) attempt(centre + around * i / 10);
  }
  return SymmetricRange(widest * best_share, codes_);
}

Range Chooser::LeastAsymmetric() {
  const double lo = std::min(0.0f, d_.extremes.lo), hi = std::max(0.0f, d_.extremes.hi);
  double best = kInfinity, low = 1, high = 1;  // shares of lo and hi
  const auto attempt = [&](double a, double b) {
    if (a < 0 || a > 1 || b < 0 || b > 1 || (a * lo == 0 && b * hi == 0)) return false;
    const double error = Error({static_cast<float>(lo * a), static_cast<float>(hi * b)});
    if (!(error < best)) return false;
    best = error;
    low = a;
    high = b;
    return true;
  };
  static constexpr double kShares[] = {1,    0.92, 0.84, 0.76, 0.68, 0.6,  0.52, 0.44,  0.36,
                                       0.28, 0.2,  0.14, 0.1,  0.07, 0.05, 0.03, 0.015, 0.005};
  for (const double a : kShares) {
    for (const double b : kShares) {
      attempt(a, b);
      if (hi == 0) break;
    }
    if (lo == 0) break;
  }
  for (double step = 0.04; step > 0.0004; step /= 2) {
    for (int rounds = 0; rounds < 8; ++rounds) {
      const double a = low, b = high, da = std::max(step * a, step / 20),
                   db = std::max(step * b, step / 20);
      bool better = false;
      for (const int i : {-1, 0, 1}) {
        for (const int j : {-1, 0, 1}) better |= attempt(a + da * i, b + db * j);
      }
      if (!better) break;
    }
  }
  return {static_cast<float>(lo * low), static_cast<float>(hi * high)};
}

Range Chooser::LeastError() {
  if (codes_.power_of_two) return PowerOfTwo();
  return codes_.symmetric ? LeastSymmetric() : LeastAsymmetric();
}

Range Chooser::PowerOfTwo() {
  const QuantParams widest = ParamsFor(d_.extremes, codes_);
  double best = kInfinity;
  QuantParams chosen = widest;
  int exponent;
  std::frexp(double{widest.scale}, &exponent);
  const double lo = std::min(0.0f, d_.extremes.lo), hi = std::max(0.0f, d_.extremes.hi);
  for (int e = exponent; e > exponent - 14 && e > -125; --e) {
    const double scale = std::ldexp(1.0, e);
    std::vector<double> zeros = {0};
    if (!codes_.symmetric) {
      const double keep_lo = static_cast<double>(codes_.lo) - std::nearbyint(lo / scale);
      const double keep_hi = static_cast<double>(codes_.hi) - std::nearbyint(hi / scale);
      zeros.clear();
      const int pieces = static_cast<int>(std::clamp(std::fabs(keep_hi - keep_lo), 1.0, 32.0));
      for (int i = 0; i <= pieces; ++i)
        zeros.push_back(std::nearbyint(keep_lo + (keep_hi - keep_lo) * i / pieces));
    }
    for (const double z : zeros) {
      QuantParams q{static_cast<float>(scale), 0};
      if (!codes_.symmetric)
        q.zero_point = std::llrint(
            std::clamp(z, static_cast<double>(codes_.lo), static_cast<double>(codes_.hi)));
      const double error = QuantizationError(d_, q, codes_);
      if (error < best) {
        best = error;
        chosen = q;
      }
    }
  }
  return Expressible(chosen, codes_);
}

double Chooser::MeanMagnitude() const {
  double sum = 0;
  for (size_t i = 0; i < d_.values.size(); ++i)
    sum += std::fabs(double{d_.values[i]}) * d_.count_of(i);
  return sum / d_.total();
}

Range Chooser::Octav() {
  const Clipping clipping = ClippingOf(d_.extremes, codes_);
  const double k = clipping.step * clipping.step / 12;
  double s = MeanMagnitude();
  for (int i = 0; i < 100; ++i) {
    double over = 0, sum_over = 0, under = 0;
    for (size_t j = 0; j < d_.values.size(); ++j) {
      const double x = std::fabs(double{d_.values[j]}), n = d_.count_of(j);
      if (x > s) {
        over += n;
        sum_over += x * n;
      } else {
        under += n;
      }
    }
    const double next = sum_over / (k * under + over);
    if (!(next > 0)) break;
    const bool settled = std::fabs(next - s) <= 1e-7 * s;
    s = next;
    if (settled) break;
  }
  return Within(-s, s, d_.extremes);
}

Range Chooser::Aciq() {
  const Clipping clipping = ClippingOf(d_.extremes, codes_);
  double n = 0, mean = 0, square = 0, deviation = 0;
  for (size_t i = 0; i < d_.values.size(); ++i) {
    n += d_.count_of(i);
    mean += d_.values[i] * d_.count_of(i);
  }
  if (!clipping.one_sided) n += d_.zeros;
  // After a ReLU the positive half stands for the whole.
  mean = clipping.one_sided ? 0 : mean / n;
  for (size_t i = 0; i < d_.values.size(); ++i) {
    const double e = d_.values[i] - mean;
    square += e * e * d_.count_of(i);
    deviation += std::fabs(e) * d_.count_of(i);
  }
  if (!clipping.one_sided) {
    square += mean * mean * d_.zeros;
    deviation += std::fabs(mean) * d_.zeros;
  }
  const double sd = std::sqrt(square / n), b = deviation / n;
  if (!(sd > 0)) return d_.extremes;
  // E|x| / sd is sqrt(2 / pi) of a Gaussian, sqrt(1 / 2) of a Laplacian.
  const bool gauss = spec_.distribution.empty()
                         ? b / sd > (std::sqrt(2 / std::numbers::pi) + std::sqrt(0.5)) / 2
                         : spec_.distribution == "gauss";
  // Derivative of clipping + rounding noise by the clip a, in units of sd or b; it rises.
  const double k = clipping.step * clipping.step / 12;
  const auto slope = [&](double a) {
    if (!gauss) return a * k - std::exp(-a);
    const double tail = std::erfc(a / std::numbers::sqrt2);
    return a * tail - std::sqrt(2 / std::numbers::pi) * std::exp(-a * a / 2) + a * k;
  };
  double low = 0, high = 60;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (slope(middle) > 0 ? high : low) = middle;
  }
  const double clip = low * (gauss ? sd : b);
  return Within(mean - clip, mean + clip, d_.extremes);
}

Range Chooser::Lsq() {
  if (codes_.symmetric)
    return SymmetricRange(
        2 * MeanMagnitude() / std::sqrt(static_cast<double>(std::max<int64_t>(1, codes_.hi))),
        codes_);
  // With a zero point: the same step, spread as the extremes are.
  const double steps = static_cast<double>(codes_.hi - codes_.lo);
  const Range& e = d_.extremes;
  const double lo = std::min(0.0f, e.lo), hi = std::max(0.0f, e.hi);
  const double half = lo < 0 && hi > 0 ? steps / 2 : steps;
  const double width = 2 * MeanMagnitude() / std::sqrt(half) * steps;
  const double share = std::min(1.0, width / (hi - lo));
  return {static_cast<float>(lo * share), static_cast<float>(hi * share)};
}

Range Chooser::LsqPlus() {
  if (!codes_.symmetric) return LeastError();
  double mean = 0, square = 0;
  for (size_t i = 0; i < d_.values.size(); ++i) {
    const double v = d_.values[i];
    mean += v * d_.count_of(i);
    square += v * v * d_.count_of(i);
  }
  mean /= d_.total();
  const double sd = std::sqrt(std::max(0.0, square / d_.total() - mean * mean));
  const int64_t half = codes_.lo < 0 ? codes_.hi + 1 : codes_.hi;
  return SymmetricRange(
      std::max(std::fabs(mean - 3 * sd), std::fabs(mean + 3 * sd)) / static_cast<double>(half),
      codes_);
}

// The counts of |x| in `bins` even bins up to `top`; those of wide bins spread evenly.
std::vector<double> Magnitudes(const Distribution& d, int bins, double top) {
  std::vector<double> out(static_cast<size_t>(bins), 0);
  const double scale = bins / top;
  for (size_t i = 0; i < d.values.size(); ++i) {
    const double x = std::fabs(double{d.values[i]}) * scale, half = d.width_of(i) * scale / 2;
    const double a = std::clamp(x - half, 0.0, double(bins)),
                 b = std::clamp(x + half, 0.0, double(bins));
    const int first = std::min(static_cast<int>(a), bins - 1);
    const int last = std::min(static_cast<int>(b), bins - 1);
    if (first == last || b <= a) {
      out[static_cast<size_t>(std::min(static_cast<int>(x), bins - 1))] += d.count_of(i);
      continue;
    }
    for (int j = first; j <= last; ++j) {
      const double part = std::min(b, j + 1.0) - std::max(a, double(j));
      out[static_cast<size_t>(j)] += d.count_of(i) * std::max(0.0, part) / (b - a);
    }
  }
  return out;
}

Range Chooser::Divergence() {
  const bool one_sided = d_.extremes.lo >= 0 || d_.extremes.hi <= 0;
  const int64_t spread = codes_.hi - codes_.lo + 1;
  const int64_t levels = codes_.symmetric ? codes_.hi + 1 : one_sided ? spread : (spread + 1) / 2;
  const int bins = 2048;
  const double top = std::max(std::fabs(double{d_.extremes.lo}), std::fabs(double{d_.extremes.hi}));
  if (levels < 2 || levels >= bins || !(top > 0)) return d_.extremes;
  const std::vector<double> p = Magnitudes(d_, bins, top);
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  double below = 0, best = kInfinity;
  int cut = bins;
  std::vector<double> merged(static_cast<size_t>(levels)), members(merged.size());
  for (int64_t i = 0; i < levels; ++i) below += p[static_cast<size_t>(i)];
  for (int64_t i = levels; i <= bins; below += i < bins ? p[static_cast<size_t>(i)] : 0, ++i) {
    // Q: the first i bins taken together into `levels`, spread over those that are not empty.
    std::fill(merged.begin(), merged.end(), 0.0);
    std::fill(members.begin(), members.end(), 0.0);
    for (int64_t j = 0; j < i; ++j) {
      const auto level = static_cast<size_t>(j * levels / i);
      merged[level] += p[static_cast<size_t>(j)];
      members[level] += p[static_cast<size_t>(j)] > 0;
    }
    const double outliers = total - below;
    if (p[static_cast<size_t>(i - 1)] == 0 && outliers > 1e-9 * total) continue;  // infinite
    if (below <= 0) continue;
    double divergence = 0;
    for (int64_t j = 0; j < i; ++j) {
      double pj = p[static_cast<size_t>(j)];
      if (pj == 0) continue;
      const auto level = static_cast<size_t>(j * levels / i);
      const double q = merged[level] / members[level] / below;
      if (j == i - 1) pj += outliers;
      divergence += pj / total * std::log(pj / total / q);
    }
    if (divergence < best) {
      best = divergence;
      cut = static_cast<int>(i);
    }
  }
  const double clip = top * cut / bins;
  return Within(-clip, clip, d_.extremes);
}

}  // namespace

QuantParams ParamsFor(Range range, const CodeRange& codes) {
  range.lo = std::min(range.lo, 0.0f);
  range.hi = std::max(range.hi, 0.0f);
  QuantParams q;
  double scale = 0;
  if (codes.symmetric) {
    if (codes.hi > 0) scale = std::max(scale, double{range.hi} / static_cast<double>(codes.hi));
    if (codes.lo < 0) scale = std::max(scale, double{range.lo} / static_cast<double>(codes.lo));
  } else {
    scale = (double{range.hi} - range.lo) / static_cast<double>(codes.hi - codes.lo);
  }
  q.scale = Saturated(scale);
  // Below the smallest normal number 1 / scale would overflow.
  if (!(q.scale > 1e-30f))
    return {1.0f, codes.symmetric ? 0 : std::clamp<int64_t>(0, codes.lo, codes.hi)};
  if (codes.power_of_two) q.scale = static_cast<float>(PowerOfTwoAbove(double{q.scale}));
  if (!codes.symmetric) {
    q.zero_point =
        std::clamp<int64_t>(codes.lo - std::llrint(double{range.lo} / q.scale), codes.lo, codes.hi);
  }
  return q;
}

Distribution Distribution::Of(std::span<const float> values) {
  Distribution d;
  d.values.reserve(values.size());
  for (const float v : values) {
    if (!std::isfinite(v)) {
      d.not_finite += 1;
    } else if (v == 0) {
      d.zeros += 1;
    } else {
      d.values.push_back(v);
    }
  }
  if (!d.values.empty()) {
    const auto [lo, hi] = std::minmax_element(d.values.begin(), d.values.end());
    d.extremes = {*lo, *hi};
    if (d.zeros > 0) d.extremes = {std::min(*lo, 0.0f), std::max(*hi, 0.0f)};
  }
  d.average = d.extremes;
  return d;
}

double Distribution::total() const {
  return zeros + (exact() ? static_cast<double>(values.size())
                          : std::accumulate(counts.begin(), counts.end(), 0.0));
}

void Distribution::Sort() {
  if (exact()) std::sort(values.begin(), values.end());  // else they come sorted
}

double QuantizationError(const Distribution& d, const QuantParams& params, const CodeRange& codes,
                         double p) {
  const double total = d.total();
  if (total == 0) return 0;
  const auto lo = static_cast<double>(codes.lo - params.zero_point),
             hi = static_cast<double>(codes.hi - params.zero_point);
  return (d.exact() ? ExactError(d.values, params.scale, lo, hi, p)
                    : BinnedError(d, params.scale, lo, hi, p)) /
         total;
}

Result<Range> ChooseRange(Distribution& d, const ObserverSpec& spec, const CodeRange& codes) {
  if (d.values.empty()) return d.extremes;
  ObserverSpec s = spec;
  if (s.kind != ObserverKind::kMse) s.parameter = s.parameter == 0 ? 2 : s.parameter;
  Chooser chooser(d, s, codes);
  switch (s.kind) {
    case ObserverKind::kMinMax:
      return d.extremes;
    case ObserverKind::kEma:
      return d.average;
    case ObserverKind::kPercentile:
      return chooser.Percentile();
    case ObserverKind::kHistogram:
      return chooser.Histogram();
    case ObserverKind::kMse:
      return chooser.LeastError();
    case ObserverKind::kOctav:
      return chooser.Octav();
    case ObserverKind::kKl:
      return chooser.Divergence();
    case ObserverKind::kAciq:
      return chooser.Aciq();
    case ObserverKind::kLsq:
      return chooser.Lsq();
    case ObserverKind::kLsqPlus:
      return chooser.LsqPlus();
    case ObserverKind::kPowerOfTwo: {
      CodeRange power = codes;
      power.power_of_two = true;
      return Expressible(ParamsFor(d.extremes, power), power);
    }
    case ObserverKind::kPowerOfTwoMse:
      return chooser.PowerOfTwo();
  }
  return Internal("an observer that ChooseRange does not know");
}

Result<Range> ChooseWeightRange(std::span<const float> weights, std::string_view observer,
                                const CodeRange& codes) {
  SLIPWAY_ASSIGN_OR_RETURN(const ObserverSpec spec, compiler::ParseObserver(observer));
  Distribution d = Distribution::Of(weights);
  if (d.not_finite > 0) return InvalidArgument("weights are not finite; retrain or repair them");
  return ChooseRange(d, spec, codes);
}

}  // namespace slipway::quant
