#include "data/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

namespace slipway::data {

int64_t ArgMax(std::span<const float> values) {
  int64_t best = -1;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    if (best < 0 || values[i] > values[static_cast<size_t>(best)]) best = static_cast<int64_t>(i);
  }
  return best;
}

bool InTopK(std::span<const float> logits, int64_t label, int k) {
  const float own = logits[static_cast<size_t>(label)];
  if (std::isnan(own)) return false;
  int better = 0;
  for (size_t i = 0; i < logits.size() && better < k; ++i) {
    if (logits[i] > own || (logits[i] == own && static_cast<int64_t>(i) < label)) ++better;
  }
  return better < k;
}

Status AccuracyCounter::Add(std::span<const float> logits, std::span<const int64_t> labels) {
  if (labels.empty() || logits.size() % labels.size() != 0 || logits.empty()) {
    return InvalidArgument("accuracy: " + std::to_string(logits.size()) + " scores for " +
                           std::to_string(labels.size()) + " labels; expected classes x labels");
  }
  const size_t classes = logits.size() / labels.size();
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || labels[i] >= static_cast<int64_t>(classes)) {
      return InvalidArgument("accuracy: label " + std::to_string(labels[i]) + " of sample " +
                             std::to_string(top1_hits_.size()) +
                             " but the model has classes 0 to " + std::to_string(classes - 1) +
                             "; does the data belong to this model?");
    }
    const auto row = logits.subspan(i * classes, classes);
    const bool hit = InTopK(row, labels[i], 1);
    top1_hits_.push_back(hit);
    hits1_ += hit;
    hits5_ += InTopK(row, labels[i], 5);
  }
  return OkStatus();
}

double AccuracyCounter::top1() const {
  return n() ? static_cast<double>(hits1_) / static_cast<double>(n()) : 0;
}
double AccuracyCounter::top5() const {
  return n() ? static_cast<double>(hits5_) / static_cast<double>(n()) : 0;
}

Interval WilsonInterval(int64_t hits, int64_t n, double z) {
  if (n <= 0) return {0, 1};
  const double dn = static_cast<double>(n), p = static_cast<double>(hits) / dn;
  const double denominator = 1 + z * z / dn;
  const double center = (p + z * z / (2 * dn)) / denominator;
  const double half = z * std::sqrt(p * (1 - p) / dn + z * z / (4 * dn * dn)) / denominator;
  return {std::max(0.0, center - half), std::min(1.0, center + half)};
}

Result<Interval> PairedBootstrap(const std::vector<bool>& a, const std::vector<bool>& b,
                                 int resamples, uint64_t seed) {
  if (a.size() != b.size() || a.empty() || resamples < 1) {
    return InvalidArgument("paired bootstrap: needs the same samples on both sides (" +
                           std::to_string(a.size()) + " and " + std::to_string(b.size()) + ")");
  }
  // A sample adds -1, 0 or +1: resampling n of them is a multinomial draw of the three counts.
  int64_t plus = 0, minus = 0;
  const int64_t n = static_cast<int64_t>(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    plus += b[i] && !a[i];
    minus += a[i] && !b[i];
  }
  std::mt19937_64 random(seed);
  std::vector<double> differences(static_cast<size_t>(resamples));
  for (auto& d : differences) {
    const int64_t up = std::binomial_distribution<int64_t>(
        n, static_cast<double>(plus) / static_cast<double>(n))(random);
    const double rest = plus < n ? static_cast<double>(minus) / static_cast<double>(n - plus) : 0;
    const int64_t down = std::binomial_distribution<int64_t>(n - up, std::min(rest, 1.0))(random);
    d = static_cast<double>(up - down) / static_cast<double>(n);
  }
  std::sort(differences.begin(), differences.end());
  const auto at = [&](double q) {
    return differences[static_cast<size_t>(q * static_cast<double>(resamples - 1) + 0.5)];
  };
  return Interval{at(0.025), at(0.975)};
}

double SqnrDb(std::span<const float> reference, std::span<const float> value) {
  double signal = 0, noise = 0;
  const size_t n = std::min(reference.size(), value.size());
  for (size_t i = 0; i < n; ++i) {
    const double r = static_cast<double>(reference[i]), d = r - static_cast<double>(value[i]);
    signal += r * r;
    noise += d * d;
  }
  if (std::isnan(signal) || std::isnan(noise)) return std::numeric_limits<double>::quiet_NaN();
  if (noise == 0) return std::numeric_limits<double>::infinity();
  if (signal == 0) return -std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal / noise);
}

double CosineSimilarity(std::span<const float> a, std::span<const float> b) {
  double ab = 0, aa = 0, bb = 0;
  const size_t n = std::min(a.size(), b.size());
  for (size_t i = 0; i < n; ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  if (aa == 0 && bb == 0) return 1;
  if (aa == 0 || bb == 0) return 0;
  return ab / std::sqrt(aa) / std::sqrt(bb);
}

ErrorSummary CompareTensors(std::span<const float> reference, std::span<const float> value) {
  ErrorSummary s;
  const size_t n = std::min(reference.size(), value.size());
  s.n = static_cast<int64_t>(n);
  double low = std::numeric_limits<double>::infinity(), high = -low, sum = 0, squares = 0;
  for (size_t i = 0; i < n; ++i) {
    const double r = static_cast<double>(reference[i]), v = static_cast<double>(value[i]);
    if (std::isfinite(r)) {
      low = std::min(low, r);
      high = std::max(high, r);
    }
    double d = std::fabs(r - v);
    if (!std::isfinite(d)) {
      const bool same = (std::isnan(r) && std::isnan(v)) || r == v;
      d = same ? 0 : std::numeric_limits<double>::infinity();
    }
    sum += d;
    squares += d * d;
    if (d > s.max_abs || s.worst < 0) {
      s.max_abs = d;
      s.worst = static_cast<int64_t>(i);
    }
    s.max_relative = std::max(
        s.max_relative, d == 0 ? 0 : d / std::max(std::isfinite(r) ? std::fabs(r) : 0.0, 1e-6));
  }
  if (n == 0) return s;
  s.mean_abs = sum / static_cast<double>(n);
  s.rmse = std::sqrt(squares / static_cast<double>(n));
  const double range = high - low;
  s.range_relative = s.max_abs == 0 ? 0
                     : range > 0    ? s.max_abs / range
                                    : s.max_abs / std::max(std::fabs(high), 1e-6);
  return s;
}

}  // namespace slipway::data
