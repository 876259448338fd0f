#include "quant/observers/observer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace slipway::quant {

void Observer::Grow(float magnitude) {
  if (span_ == 0) {
    // A power of two, so that spans of different runs nest and merging stays exact.
    int exponent;
    std::frexp(magnitude, &exponent);
    span_ = std::ldexp(1.0f, std::min(exponent, 127));
    return;
  }
  while (magnitude > span_ && span_ < std::numeric_limits<float>::max() / 2) {
    // Doubling the span folds the bins towards the middle, two into one.
    std::array<uint64_t, kBins> merged{};
    for (int i = 0; i < kBins; ++i)
      merged[static_cast<size_t>(kBins / 4 + i / 2)] += bins_[static_cast<size_t>(i)];
    bins_ = merged;
    span_ *= 2;
  }
}

void Observer::Observe(std::span<const float> values) {
  float lo = std::numeric_limits<float>::max(), hi = -lo;
  int64_t finite = 0;
  for (float v : values) {
    if (!std::isfinite(v)) continue;
    lo = std::min(lo, v);
    hi = std::max(hi, v);
    ++finite;
  }
  not_finite_ += static_cast<int64_t>(values.size()) - finite;
  if (finite == 0) return;
  min_ = count_ == 0 ? lo : std::min(min_, lo);
  max_ = count_ == 0 ? hi : std::max(max_, hi);
  count_ += finite;
  float magnitude = std::max(std::fabs(lo), std::fabs(hi));
  if (magnitude > span_) Grow(magnitude);
  if (span_ == 0) {  // only zeros so far: they belong to the middle of whatever span comes
    bins_[kBins / 2] += static_cast<uint64_t>(finite);
    return;
  }
  const float to_bin = kBins / 2 / span_;
  for (float v : values) {
    if (!std::isfinite(v)) continue;
    int bin = static_cast<int>(std::floor(v * to_bin)) + kBins / 2;
    ++bins_[static_cast<size_t>(std::clamp(bin, 0, kBins - 1))];
  }
}

double Observer::BinValue(int bin) const { return (bin - kBins / 2 + 0.5) * span_ / (kBins / 2); }

Range Observer::Percentile(double share) const {
  if (count_ == 0 || span_ == 0) return MinMax();
  const auto clipped = static_cast<uint64_t>(std::floor((1 - share) * static_cast<double>(count_)));
  Range r = MinMax();
  uint64_t seen = 0;
  for (int i = kBins - 1; i >= kBins / 2; --i) {
    seen += bins_[static_cast<size_t>(i)];
    if (seen > clipped) {
      r.hi = std::min(r.hi, static_cast<float>((i - kBins / 2 + 1) * span_ / (kBins / 2)));
      break;
    }
  }
  seen = 0;
  for (int i = 0; i < kBins / 2; ++i) {
    seen += bins_[static_cast<size_t>(i)];
    if (seen > clipped) {
      r.lo = std::max(r.lo, static_cast<float>((i - kBins / 2) * span_ / (kBins / 2)));
      break;
    }
  }
  return r;
}

Range Observer::MinimumError(const CodeRange& codes) const {
  Range best = MinMax();
  if (count_ == 0 || span_ == 0) return best;
  double best_error = std::numeric_limits<double>::infinity();
  for (int step = 0; step < 96; ++step) {
    float shrink = 1.0f - static_cast<float>(step) / 100;
    Range r{min_ * shrink, max_ * shrink};
    QuantParams q = ParamsFor(r, codes);
    double error = 0;
    const double within =
        double{q.scale} * q.scale / 12;  // of a value inside the range, uniformly rounded
    const double lo = static_cast<double>(codes.lo - q.zero_point) * q.scale;
    const double hi = static_cast<double>(codes.hi - q.zero_point) * q.scale;
    const double bin_width = span_ / (kBins / 2);
    for (int i = 0; i < kBins; ++i) {
      uint64_t n = bins_[static_cast<size_t>(i)];
      if (n == 0) continue;
      double x = BinValue(i);
      double e;
      if (x < lo || x > hi) {
        double d = x < lo ? lo - x : x - hi;
        e = d * d + within;
      } else if (q.scale > bin_width) {
        double d = x - std::nearbyint(x / q.scale) *
                           q.scale;  // steps wider than bins: the bin's own rounding error
        e = d * d;
      } else {
        e = within;
      }
      error += e * static_cast<double>(n);
    }
    if (error < best_error) {
      best_error = error;
      best = r;
    }
  }
  return best;
}

Result<Range> Observer::Choose(std::string_view method, const CodeRange& codes) const {
  if (method == "minmax") return MinMax();
  if (method == "percentile") return Percentile(0.9999);
  if (method == "mse") return MinimumError(codes);
  return InvalidArgument("there is no observer '" + std::string(method) +
                         "'; choose minmax, percentile or mse");
}

Result<Range> ChooseWeightRange(std::span<const float> values, std::string_view method,
                                const CodeRange& codes) {
  Observer seen;
  seen.Observe(values);
  return seen.Choose(method, codes);
}

QuantParams ParamsFor(Range range, const CodeRange& codes) {
  range.lo = std::min(range.lo, 0.0f);
  range.hi = std::max(range.hi, 0.0f);
  QuantParams q;
  if (codes.symmetric) {
    double scale = 0;
    if (codes.hi > 0) scale = std::max(scale, double{range.hi} / static_cast<double>(codes.hi));
    if (codes.lo < 0) scale = std::max(scale, double{range.lo} / static_cast<double>(codes.lo));
    q.scale = static_cast<float>(scale);
  } else {
    q.scale = static_cast<float>((double{range.hi} - range.lo) /
                                 static_cast<double>(codes.hi - codes.lo));
  }
  // Below the smallest normal number 1 / scale would overflow.
  if (!(q.scale > 1e-30f))
    return {1.0f, codes.symmetric ? 0 : std::clamp<int64_t>(0, codes.lo, codes.hi)};
  if (!codes.symmetric) {
    q.zero_point =
        std::clamp<int64_t>(codes.lo - std::llrint(double{range.lo} / q.scale), codes.lo, codes.hi);
  }
  return q;
}

}  // namespace slipway::quant
