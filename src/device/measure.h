#pragma once
// How a latency is measured. The protocol has a version that is part of the platform key: change
// what is done here and raise it, so that figures of two protocols are never mixed.
//
// 1. Warm-up: at least min_warmup runs, then on until the medians of the last two windows of 5 runs
// agree within
//    settle_tolerance, at most max_warmup runs or max_warmup_seconds.
// 2. Runs shorter than min_sample_us are grouped so that one sample covers at least that time (the
// clock costs some 20 ns).
// 3. Samples until both min_samples and min_seconds are reached, at most max_samples or
// max_seconds.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace slipway::device {

inline constexpr int kProtocolVersion = 1;

struct MeasureOptions {
  int min_warmup = 3;
  int max_warmup = 200;
  double max_warmup_seconds = 3;
  double settle_tolerance = 0.03;
  int min_samples = 30;
  int max_samples = 20000;
  double min_seconds = 1.0;
  double max_seconds = 20.0;
  double min_sample_us = 20;
  double spread_limit =
      0.10;  // above it, or with a drift over its half, the figure is marked unstable
};

struct LatencyStats {
  int64_t n = 0;
  // Milliseconds of one run. Percentiles interpolate linearly between order statistics.
  double min = 0, mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0, stddev = 0;
  double spread = 0;     // (p90 - p10) / p50
  double drift = 0;      // (median of the second half - of the first half) / p50
  int64_t outliers = 0;  // beyond p75 + 3 (p75 - p25)
};

struct Measurement {
  LatencyStats stats;
  std::vector<float> samples_ms;  // in the order they were taken
  int warmup_runs = 0;
  int runs_per_sample = 1;
  bool warmup_settled = false;
  bool unstable = false;
  std::string unstable_why;  // "spread 0.23 over 0.10"
  int protocol = kProtocolVersion;
};

// Linear interpolation between closest ranks; q in 0..1; `sorted` ascending and not empty.
double Percentile(std::span<const float> sorted, double q);
LatencyStats Summarize(std::span<const float> samples_ms);

// Calls `run` as the protocol says. The first failure of `run` ends the measurement and is
// returned. `progress`, when given, is called between samples with a fraction 0..1, never inside a
// timed region.
Result<Measurement> Measure(const std::function<Status()>& run, const MeasureOptions& options = {},
                            const std::function<void(double)>& progress = {});

// Marks a set of samples that was taken elsewhere (on a device) by the same rules.
Measurement FromSamples(std::vector<float> samples_ms, int warmup_runs,
                        const MeasureOptions& options = {});

}  // namespace slipway::device
