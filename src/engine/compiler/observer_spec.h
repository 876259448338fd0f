#pragma once
// How a range is chosen from what a tensor holds: the names that platforms, configurations and the
// command line share. quant/observers computes them.

#include <string>
#include <string_view>

#include "base/status.h"

namespace slipway::compiler {

enum class ObserverKind : uint8_t {
  kMinMax = 0,
  kEma = 1,            // moving average of the batches' extremes
  kPercentile = 2,     // all but a share of the values
  kHistogram = 3,      // greedy search from both sides for the least squared error (PyTorch's)
  kMse = 4,            // least mean |error|^p over shrunk ranges
  kOctav = 5,          // the optimal clipping of Sakr et al., 2022
  kKl = 6,             // least divergence between the clipped and the quantized (TensorRT's)
  kAciq = 7,           // analytic clipping of Banner et al., 2019
  kLsq = 8,            // initial step of LSQ, Esser et al., 2020
  kLsqPlus = 9,        // and of LSQ+, Bhalgat et al., 2020
  kPowerOfTwo = 10,    // the least power-of-two step that clips nothing
  kPowerOfTwoMse = 11  // the power-of-two step with the least squared error
};

struct ObserverSpec {
  ObserverKind kind = ObserverKind::kMinMax;
  // ema: weight of the past (0.9); percentile: the share kept (0.9999); mse: the exponent (2).
  double parameter = 0;
  // aciq: the distribution, "" fits one, "gauss", "laplace".
  std::string distribution;
};

// "minmax", "percentile:0.999", "mse:2.4". InvalidArgument lists the names or says what the
// parameter may be.
Result<ObserverSpec> ParseObserver(std::string_view text);
// "minmax, ema[:0.9], percentile[:0.9999], ...": for help and errors.
std::string ObserverNames();

}  // namespace slipway::compiler
