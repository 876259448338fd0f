#pragma once
// What calibration remembers of one tensor.

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "quant/observers/range.h"

namespace slipway::quant {

// One piece of a tensor, counted: made without a lock, then added to an Observer.
class Histogram;

// Extremes and a histogram by the upper bits of float32: 512 bins of equal width an octave, so a
// bin is narrower than 1/512 of its values whatever the data's span. One pass is enough, and sums
// of counts do not depend on how the data were cut or who counted them.
class Observer {
 public:
  static constexpr int kMantissaBits = 9;
  static constexpr int kPageBins = 1 << kMantissaBits;  // an octave of one sign

  // One batch. Not-a-number and infinite values are counted, not recorded.
  void Observe(std::span<const float> values);

  // The same in pieces, in any order: add them with the batch's number, then end the batch. Ends
  // must come in the batches' order (only `ema` looks at it).
  void Add(int64_t batch, const Histogram& piece);
  void EndBatch(int64_t batch);

  int64_t count() const { return count_; }  // of finite values
  int64_t zeros() const;
  int64_t not_finite() const;
  Range MinMax() const { return count_ > 0 ? extremes_ : Range{}; }
  // Of the batches' extremes e_1, e_2, ...: m_1 = e_1, m_i = past * m_(i-1) + (1 - past) * e_i.
  Range MovingAverage(double past) const;
  // What was seen. Bins narrower than 1/4096 of the largest magnitude are taken together.
  Distribution Summary() const;

  // See ChooseRange in range.h.
  Result<Range> Choose(std::string_view observer, const CodeRange& codes) const;

 private:
  std::map<int, std::vector<uint64_t>> pages_;  // by sign and exponent, the upper bits of float32
  Range extremes_;
  int64_t count_ = 0;
  std::map<int64_t, Range> open_;  // batches that have not ended
  std::vector<Range> batches_;     // extremes, in order
};

class Histogram {
 public:
  // Replaces what was counted before.
  void Count(std::span<const float> values);
  bool empty() const { return count_ == 0; }

 private:
  friend class Observer;
  // Bins by the upper bits of float32; bins of exponent 255 hold what is not finite.
  std::vector<uint32_t> bins_;
  int64_t values_ = 0;  // all, finite or not
  int64_t count_ = 0;   // finite
  Range extremes_;
  // Exponents with values: 0 (zeros) and lowest_ .. high_page_. low_page_ is 1 before the first
  // use.
  int low_page_ = 1, lowest_ = 0, high_page_ = 0;
};

}  // namespace slipway::quant
