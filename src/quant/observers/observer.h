#pragma once
// What calibration remembers of one tensor, and how a clipping range is read off it.

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace slipway::quant {

struct Range {
  float lo = 0, hi = 0;
};

// The integers that a range is mapped onto: real = (code - zero_point) * scale.
struct CodeRange {
  int64_t lo, hi;  // codes, for example -127..127
  bool symmetric;  // zero_point is 0
};

// Extremes and a histogram that grows with the data: 2048 bins over a symmetric span that doubles
// (merging pairs of bins) when a larger value comes, so one pass over the data is enough and the
// result does not depend on how it was cut into batches.
class Observer {
 public:
  static constexpr int kBins = 2048;

  // Not-a-number and infinite values are counted, not recorded.
  void Observe(std::span<const float> values);

  int64_t count() const { return count_; }
  int64_t not_finite() const { return not_finite_; }
  Range MinMax() const { return {min_, max_}; }
  // The smallest range that holds this share of the values on both sides (0.9999: one in ten
  // thousand may be clipped).
  Range Percentile(double share) const;
  // The clipping that minimises the mean squared error of quantizing to `codes`, over 96 shrinks of
  // the observed range.
  Range MinimumError(const CodeRange& codes) const;
  // method: minmax | percentile | mse
  Result<Range> Choose(std::string_view method, const CodeRange& codes) const;

 private:
  double BinValue(int bin) const;  // its centre
  void Grow(float magnitude);

  std::array<uint64_t, kBins> bins_{};
  float span_ = 0;  // the histogram covers [-span_, span_]
  float min_ = 0, max_ = 0;
  int64_t count_ = 0, not_finite_ = 0;
};

// The range of constant values, all of them given. Methods as of Observer::Choose.
Result<Range> ChooseWeightRange(std::span<const float> values, std::string_view method,
                                const CodeRange& codes);

struct QuantParams {
  float scale = 1;
  int64_t zero_point = 0;
};

// Scale and zero point that map `range` (widened to contain 0) onto `codes`. A degenerate range
// (all zero) gives scale 1.
QuantParams ParamsFor(Range range, const CodeRange& codes);

}  // namespace slipway::quant
