#pragma once
// Figures of merit: accuracy with its uncertainty, and how far one tensor is from another.

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace slipway::data {

// Position of the largest value; the first among equals; NaN never wins. -1 when all are NaN.
int64_t ArgMax(std::span<const float> values);
// Whether `label` is among the k largest. Equal values rank by position; NaN ranks last.
bool InTopK(std::span<const float> logits, int64_t label, int k);

// Counts hits over batches. One bit a sample is kept so that two models can be compared on the same
// samples.
class AccuracyCounter {
 public:
  // logits: [labels.size(), classes] row major. InvalidArgument when the sizes do not fit or a
  // label is out of range.
  Status Add(std::span<const float> logits, std::span<const int64_t> labels);
  int64_t n() const { return static_cast<int64_t>(top1_hits_.size()); }
  double top1() const;  // 0..1; 0 when n() is 0
  double top5() const;
  const std::vector<bool>& top1_hits() const { return top1_hits_; }

 private:
  std::vector<bool> top1_hits_;
  int64_t hits1_ = 0, hits5_ = 0;
};

struct Interval {
  double low = 0, high = 1;
};
// Wilson score interval of hits/n (E. B. Wilson 1927); z = 1.96 for 95 %. [0, 1] for n = 0.
Interval WilsonInterval(int64_t hits, int64_t n, double z = 1.96);

// 95 % percentile-bootstrap interval of accuracy(b) - accuracy(a) over the same samples (paired),
// deterministic by `seed`. InvalidArgument when the lengths differ or are 0.
Result<Interval> PairedBootstrap(const std::vector<bool>& a, const std::vector<bool>& b,
                                 int resamples = 2000, uint64_t seed = 1);

// Signal-to-quantization-noise ratio in dB: 10 log10(sum ref^2 / sum (ref - x)^2). +inf for equal
// tensors, also both zero; -inf for a zero reference that is not met, NaN when either holds NaN.
// Sizes must be equal.
double SqnrDb(std::span<const float> reference, std::span<const float> value);
// Cosine of the angle; 1 for two zero tensors, 0 when only one is.
double CosineSimilarity(std::span<const float> a, std::span<const float> b);

struct ErrorSummary {
  double max_abs = 0;  // infinity when one side has NaN or infinity where the other has not
  double mean_abs = 0;
  double max_relative = 0;  // max |a-b| / max(|reference|, 1e-6)
  double range_relative =
      0;  // max_abs / (max - min of the reference), the figure of the agreement tables
  double rmse = 0;
  int64_t worst = -1;  // index of max_abs
  int64_t n = 0;
};
// Equal infinities and NaN against NaN count as no error.
ErrorSummary CompareTensors(std::span<const float> reference, std::span<const float> value);

}  // namespace slipway::data
