#include "quant/weight_only/hessian.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace slipway::quant {
namespace {

// In eight parts, which the compiler keeps in registers.
template <typename T>
double Dot(const T* a, const T* b, int64_t n) {
  constexpr int kParts = 8;
  double sums[kParts] = {};
  int64_t i = 0;
  for (; i + kParts <= n; i += kParts) {
    for (int j = 0; j < kParts; ++j) sums[j] += double{a[i + j]} * double{b[i + j]};
  }
  double sum = 0;
  for (; i < n; ++i) sum += double{a[i]} * double{b[i]};
  for (const double s : sums) sum += s;
  return sum;
}

template <typename F>
void For(Parallel* pool, int64_t count, int64_t grain, F&& body) {
  if (pool)
    pool->ParallelFor(count, grain, body);
  else if (count > 0)
    body(0, count);
}

}  // namespace

InputStatistics::InputStatistics(int64_t width)
    : width_(width),
      products_(static_cast<size_t>(width * width)),
      magnitudes_(static_cast<size_t>(width)) {}

Status InputStatistics::Add(std::span<const float> values, Parallel* pool) {
  const int64_t rows = static_cast<int64_t>(values.size()) / width_;
  for (const float v : values) {
    if (!std::isfinite(v)) return InvalidArgument("it is not finite on the calibration data");
  }
  const auto w = static_cast<size_t>(width_);
  for (int64_t r = 0; r < rows; ++r) {
    const float* x = values.data() + r * width_;
    for (size_t i = 0; i < w; ++i) magnitudes_[i] += std::fabs(double{x[i]});
    if ((rows_ + r) % stride_ != 0) continue;
    if (static_cast<int64_t>(sample_.size()) == kRows * width_) {  // every second of them stays
      for (int64_t k = 0; 2 * k < kRows; ++k)
        std::copy_n(sample_.begin() + 2 * k * width_, width_, sample_.begin() + k * width_);
      sample_.resize(static_cast<size_t>(kRows / 2 * width_));
      stride_ *= 2;
      if ((rows_ + r) % stride_ != 0) continue;
    }
    sample_.insert(sample_.end(), x, x + width_);
  }
  rows_ += rows;
  // Columns as rows, so that both sides of a product lie together; the lower half is enough.
  std::vector<float> columns(values.size());
  For(pool, width_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t r = 0; r < rows; ++r)
        columns[static_cast<size_t>(i * rows + r)] = values[static_cast<size_t>(r * width_ + i)];
    }
  });
  For(pool, width_, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j <= i; ++j)
        products_[static_cast<size_t>(i * width_ + j)] +=
            Dot(columns.data() + i * rows, columns.data() + j * rows, rows);
    }
  });
  for (size_t i = 0; i < w; ++i) {
    for (size_t j = 0; j < i; ++j) products_[j * w + i] = products_[i * w + j];
  }
  return OkStatus();
}

std::vector<double> InputStatistics::MeanMagnitude() const {
  std::vector<double> mean = magnitudes_;
  for (double& v : mean) v /= static_cast<double>(std::max<int64_t>(1, rows_));
  return mean;
}

double InputStatistics::SquaredError(std::span<const float> difference, Parallel* pool) const {
  const int64_t rows = static_cast<int64_t>(difference.size()) / width_;
  std::vector<double> errors(static_cast<size_t>(rows));
  For(pool, rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> d(static_cast<size_t>(width_));
    for (int64_t r = begin; r < end; ++r) {
      std::copy_n(difference.begin() + r * width_, width_, d.begin());
      double sum = 0;
      for (int64_t i = 0; i < width_; ++i) {
        if (d[static_cast<size_t>(i)] != 0)
          sum += d[static_cast<size_t>(i)] * Dot(products_.data() + i * width_, d.data(), width_);
      }
      errors[static_cast<size_t>(r)] = sum;
    }
  });
  double sum = 0;
  for (const double e : errors) sum += e;
  return std::max(0.0, sum);
}

Result<std::vector<double>> InverseFactor(std::span<const double> a, int64_t n, double damping,
                                          Parallel* pool) {
  const auto at = [n](int64_t i, int64_t j) { return static_cast<size_t>(i * n + j); };
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += a[at(i, i)] / static_cast<double>(n);
  if (!(mean > 0)) mean = 1;
  // With both orders reversed A = R R^T, R upper triangular; then U = R^-1, for (R R^T)^-1 =
  // R^-T R^-1. So: a Cholesky factor L of the reversed matrix, its inverse, reversed again.
  std::vector<double> l(a.size());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) l[at(i, j)] = a[at(n - 1 - i, n - 1 - j)];
    if (l[at(i, i)] == 0) l[at(i, i)] = mean;
    l[at(i, i)] += damping * mean;
  }
  // By blocks of rows: what a block needs of those before it is worked off by all threads.
  constexpr int64_t kBlock = 32;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = begin; j <= i; ++j) {
        const double v = l[at(i, j)] - Dot(&l[at(i, 0)], &l[at(j, 0)], j);
        if (i != j) {
          l[at(i, j)] = v / l[at(j, j)];
        } else if (v > 0 && std::isfinite(v)) {
          l[at(i, i)] = std::sqrt(v);
        } else {
          return Unavailable(
              "the products of its inputs are not positive definite; use more "
              "calibration samples or more damping");
        }
      }
    }
    For(pool, n - end, 8, [&](int64_t first, int64_t last) {
      for (int64_t i = end + first; i < end + last; ++i) {
        for (int64_t j = begin; j < end; ++j)
          l[at(i, j)] = (l[at(i, j)] - Dot(&l[at(i, 0)], &l[at(j, 0)], j)) / l[at(j, j)];
      }
    });
  }
  // Columns of the inverse one by one; written as rows, to be read as rows.
  std::vector<double> inverse(a.size());
  For(pool, n, 4, [&](int64_t first, int64_t last) {
    std::vector<double> x(static_cast<size_t>(n));
    for (int64_t c = first; c < last; ++c) {
      for (int64_t i = c; i < n; ++i) {
        const double sum = Dot(&l[at(i, c)], &x[static_cast<size_t>(c)], i - c);
        x[static_cast<size_t>(i)] = ((i == c ? 1.0 : 0.0) - sum) / l[at(i, i)];
      }
      // Of the inverse V of L: U[i][j] = V[n-1-i][n-1-j], whose column c is U's column n-1-c.
      for (int64_t i = c; i < n; ++i) inverse[at(n - 1 - i, n - 1 - c)] = x[static_cast<size_t>(i)];
    }
  });
  return inverse;
}

}  // namespace slipway::quant
