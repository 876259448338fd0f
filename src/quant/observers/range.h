#pragma once
// From what a tensor holds to the range that is mapped onto codes.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/compiler/observer_spec.h"

namespace slipway::quant {

using compiler::ObserverKind;
using compiler::ObserverSpec;

struct Range {
  float lo = 0, hi = 0;
};

// The integers that a range is mapped onto: real = (code - zero_point) * scale.
struct CodeRange {
  int64_t lo, hi;             // codes, for example -127..127
  bool symmetric;             // zero_point is 0
  bool power_of_two = false;  // scales are powers of two
};

struct QuantParams {
  float scale = 1;
  int64_t zero_point = 0;
};

// Scale and zero point that map `range` (widened to contain 0) onto `codes`. A degenerate range
// (all zero) gives scale 1. A power-of-two scale is the least that holds the range.
QuantParams ParamsFor(Range range, const CodeRange& codes);

// Values with how often each occurs. Zeros apart: they are codes of their own whatever the range.
class Distribution {
 public:
  Distribution() = default;
  // Exact values. Those that are not finite are only counted.
  static Distribution Of(std::span<const float> values);

  // No zeros. Sorted unless made by Of. Where `widths` and `counts` are empty, values are exact and
  // occur once each.
  std::vector<float> values;  // means of bins
  std::vector<float> widths;  // of the bins
  std::vector<double> counts;
  Range extremes;  // exact; {0, 0} when there are no values
  Range average;   // of the batches' extremes, see Observer; `extremes` where unknown
  double zeros = 0, not_finite = 0;

  bool exact() const { return counts.empty(); }
  double count_of(size_t i) const { return counts.empty() ? 1 : counts[i]; }
  double width_of(size_t i) const { return widths.empty() ? 0 : double{widths[i]}; }
  double total() const;  // with zeros
  void Sort();
};

// Mean |x - q(x)|^p over all values, zeros included. Inside bins that are wider than a step the
// values count as spread evenly (p = 2 only).
double QuantizationError(const Distribution& d, const QuantParams& params, const CodeRange& codes,
                         double p = 2);

// The range that `spec` chooses for `codes`; never wider than the extremes except where steps are
// powers of two. Deterministic.
//  minmax      the extremes
//  ema:w       moving average of the batches' extremes (Jacob et al., 2018)
//  percentile  on each side the share 1 - p of all values may be clipped
//  histogram   2048 even bins; from both sides whichever loses fewer values is drawn in, by 1e-5 of
//              them a step, until the squared error rises: what PyTorch's HistogramObserver does
//  mse:p       least mean |error|^p; both ends on their own where zero points are free
//  octav       fixed point of s = E[|x|; |x| > s] / (k P[0 < |x| <= s] + P[|x| > s]), k s^2 the
//  noise
//              of rounding (Sakr et al., 2022)
//  kl          TensorRT's calibration: 2048 bins of |x|, the cut with the least divergence
//  aciq        argmin of clipping + rounding noise of a Gaussian or Laplacian of the data's
//  moments,
//              of its positive half after a ReLU (Banner et al., 2019)
//  lsq         step 2 E|x| / sqrt(hi) (Esser et al., 2020)
//  lsq+        symmetric: max(|mean - 3 sd|, |mean + 3 sd|) / 2^(bits - 1); else as mse
//              (Bhalgat et al., 2020)
//  pot         the least power-of-two step that clips nothing
//  pot-mse     the power-of-two step of the least squared error
Result<Range> ChooseRange(Distribution& d, const ObserverSpec& spec, const CodeRange& codes);

// Of one channel, group or tensor of weights, from their exact values. InvalidArgument: a value is
// not finite, or there is no such observer. (`ema` is `minmax` here: there are no batches.)
Result<Range> ChooseWeightRange(std::span<const float> weights, std::string_view observer,
                                const CodeRange& codes);

}  // namespace slipway::quant
