#include "device/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

namespace slipway::device {
namespace {

using Clock = std::chrono::steady_clock;

double Milliseconds(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double, std::milli>(b - a).count();
}

double Median(std::span<const float> values) {
  std::vector<float> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  return Percentile(sorted, 0.5);
}

void Judge(Measurement* m, const MeasureOptions& options) {
  char text[96];
  const auto& s = m->stats;
  if (s.n < 2) {
    m->unstable_why = "a single sample";
  } else if (s.spread > options.spread_limit) {
    std::snprintf(text, sizeof text, "spread %.2f over %.2f", s.spread, options.spread_limit);
    m->unstable_why = text;
  } else if (std::fabs(s.drift) > options.spread_limit / 2) {
    std::snprintf(text, sizeof text, "drift %+.3f over %.3f", s.drift, options.spread_limit / 2);
    m->unstable_why = text;
  }
  m->unstable = !m->unstable_why.empty();
}

}  // namespace

double Percentile(std::span<const float> sorted, double q) {
  const double at = std::clamp(q, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
  const size_t low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  const double t = at - static_cast<double>(low);
  return static_cast<double>(sorted[low]) * (1 - t) + static_cast<double>(sorted[high]) * t;
}

LatencyStats Summarize(std::span<const float> samples) {
  LatencyStats s;
  s.n = static_cast<int64_t>(samples.size());
  if (samples.empty()) return s;
  std::vector<float> sorted(samples.begin(), samples.end());
  std::sort(sorted.begin(), sorted.end());
  double sum = 0, squares = 0;
  for (float v : sorted) sum += static_cast<double>(v);
  s.mean = sum / static_cast<double>(s.n);
  for (float v : sorted)
    squares += (static_cast<double>(v) - s.mean) * (static_cast<double>(v) - s.mean);
  s.stddev = s.n > 1 ? std::sqrt(squares / static_cast<double>(s.n - 1)) : 0;
  s.min = static_cast<double>(sorted.front());
  s.max = static_cast<double>(sorted.back());
  s.p50 = Percentile(sorted, 0.5);
  s.p90 = Percentile(sorted, 0.9);
  s.p99 = Percentile(sorted, 0.99);
  if (s.p50 > 0) {
    s.spread = (s.p90 - Percentile(sorted, 0.1)) / s.p50;
    const size_t half = samples.size() / 2;
    if (half >= 5)
      s.drift =
          (Median(samples.subspan(samples.size() - half)) - Median(samples.first(half))) / s.p50;
  }
  const double p75 = Percentile(sorted, 0.75);
  const double fence = p75 + 3 * (p75 - Percentile(sorted, 0.25));
  for (float v : sorted) s.outliers += static_cast<double>(v) > fence;
  return s;
}

Measurement FromSamples(std::vector<float> samples_ms, int warmup_runs,
                        const MeasureOptions& options) {
  Measurement m;
  m.samples_ms = std::move(samples_ms);
  m.stats = Summarize(m.samples_ms);
  m.warmup_runs = warmup_runs;
  m.warmup_settled = true;
  Judge(&m, options);
  return m;
}

Result<Measurement> Measure(const std::function<Status()>& run, const MeasureOptions& options,
                            const std::function<void(double)>& progress) {
  if (options.min_samples < 1 || options.max_samples < options.min_samples) {
    return InvalidArgument("measurement: min_samples must be at least 1 and not over max_samples");
  }
  constexpr size_t kWindow = 5;
  Measurement m;
  std::vector<float> warm;
  auto start = Clock::now();
  while (m.warmup_runs < options.max_warmup) {
    const auto t0 = Clock::now();
    SLIPWAY_RETURN_IF_ERROR(run());
    const auto t1 = Clock::now();
    ++m.warmup_runs;
    warm.push_back(static_cast<float>(Milliseconds(t0, t1)));
    if (m.warmup_runs >= options.min_warmup && warm.size() >= 2 * kWindow) {
      const std::span<const float> all(warm);
      const double last = Median(all.last(kWindow));
      const double before = Median(all.last(2 * kWindow).first(kWindow));
      if (std::fabs(last - before) <= options.settle_tolerance * std::max(last, 1e-6)) {
        m.warmup_settled = true;
        break;
      }
    }
    if (m.warmup_runs >= options.min_warmup &&
        Milliseconds(start, t1) > options.max_warmup_seconds * 1000) {
      break;
    }
  }
  if (!warm.empty()) {
    const std::span<const float> all(warm);
    const double typical = Median(all.last(std::min(kWindow, warm.size())));
    const double wanted = options.min_sample_us / 1000;
    if (typical < wanted) {
      m.runs_per_sample = static_cast<int>(std::min(wanted / std::max(typical, 1e-5) + 1, 1000.0));
    }
  }
  m.samples_ms.reserve(static_cast<size_t>(options.min_samples));
  start = Clock::now();
  double next_report = 0;
  while (static_cast<int>(m.samples_ms.size()) < options.max_samples) {
    const auto t0 = Clock::now();
    for (int i = 0; i < m.runs_per_sample; ++i) SLIPWAY_RETURN_IF_ERROR(run());
    const auto t1 = Clock::now();
    m.samples_ms.push_back(static_cast<float>(Milliseconds(t0, t1) / m.runs_per_sample));
    const double seconds = Milliseconds(start, t1) / 1000;
    const double samples = static_cast<double>(m.samples_ms.size());
    if ((samples >= options.min_samples && seconds >= options.min_seconds) ||
        seconds >= options.max_seconds) {
      break;
    }
    if (progress) {
      const double by_time = options.min_seconds > 0 ? seconds / options.min_seconds : 1;
      const double fraction = std::min({by_time, samples / options.min_samples, 1.0});
      if (fraction >= next_report) {
        progress(fraction);
        next_report = fraction + 0.01;
      }
    }
  }
  if (progress) progress(1);
  m.stats = Summarize(m.samples_ms);
  Judge(&m, options);
  return m;
}

}  // namespace slipway::device
