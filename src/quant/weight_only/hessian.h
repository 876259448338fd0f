#pragma once
// What weight-only quantization remembers of the inputs of a layer, and the linear algebra on it.

#include <cstdint>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"

namespace slipway::quant {

// Of rows x [width] seen one after another: the sum of x^T x, the mean magnitude of each column,
// and a sample of rows.
class InputStatistics {
 public:
  static constexpr int64_t kRows = 512;  // kept at most

  explicit InputStatistics(int64_t width);
  // `rows` x width float32. InvalidArgument when a number is not finite.
  Status Add(std::span<const float> values, Parallel* pool);

  int64_t width() const { return width_; }
  int64_t rows() const { return rows_; }
  // Sum over rows of x_i x_j: [width, width], symmetric.
  std::span<const double> products() const { return products_; }
  std::vector<double> MeanMagnitude() const;
  // Some of the rows, evenly spread over all that were seen: [n, width].
  std::span<const float> sample() const { return sample_; }
  // Sum over rows of (d . x)^2 for each row d of `difference` [n, width], added up.
  double SquaredError(std::span<const float> difference, Parallel* pool) const;

 private:
  int64_t width_, rows_ = 0, stride_ = 1;
  std::vector<double> products_, magnitudes_;
  std::vector<float> sample_;
};

// The upper triangular U with U^T U = (A + damping * mean diagonal * I)^-1, row after row in
// float64, as GPTQ needs it. Columns whose diagonal is 0 count as ones on the diagonal. Unavailable
// when A is not positive definite even so; more damping helps.
Result<std::vector<double>> InverseFactor(std::span<const double> a, int64_t n, double damping,
                                          Parallel* pool);

}  // namespace slipway::quant
