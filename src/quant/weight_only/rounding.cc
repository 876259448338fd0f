// The codes of one layer's weights.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quant/weight_only/hessian.h"
#include "quant/weight_only/weight_only.h"

namespace slipway::quant {
namespace {

struct Grid {
  double scale = 1;
  int zero = 0, most = 0;

  int Code(double w) const {
    return static_cast<int>(std::clamp(std::nearbyint(w / scale) + zero, 0.0, double(most)));
  }
  double Value(int code) const { return (code - zero) * scale; }
};
Grid GridOf(double lo, double hi, int bits) {
  Grid g;
  g.most = (1 << bits) - 1;
  lo = std::min(lo, 0.0), hi = std::max(hi, 0.0);
  // As the file holds it: float32.
  g.scale = static_cast<double>(static_cast<float>((hi - lo) / g.most));
  if (!(g.scale > 1e-30)) {
    g.scale = 1;
    return g;
  }
  g.zero = static_cast<int>(std::clamp(std::nearbyint(-lo / g.scale), 0.0, double(g.most)));
  return g;
}

// Of weights w[0..n): between their extremes, or with the clipping that makes d^T products d least,
// d being the rounding errors divided by `factors`.
Grid ChooseGrid(const double* w, int64_t n, int bits, const double* products, int64_t stride,
                const double* factors) {
  const auto [lo, hi] = std::minmax_element(w, w + n);
  Grid best = GridOf(*lo, *hi, bits);
  if (!products) return best;
  std::vector<double> d(static_cast<size_t>(n));
  double least = std::numeric_limits<double>::infinity();
  constexpr int kSteps = 24;
  for (int step = 0; step < kSteps; ++step) {
    const double share = 1 - 0.025 * step;
    const Grid grid = GridOf(*lo * share, *hi * share, bits);
    for (int64_t i = 0; i < n; ++i)
      d[static_cast<size_t>(i)] =
          (w[i] - grid.Value(grid.Code(w[i]))) / (factors ? factors[i] : 1.0);
    double error = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double* row = products + i * stride;
      double sum = 0;
      for (int64_t j = 0; j < i; ++j) sum += row[j] * d[static_cast<size_t>(j)];
      error += d[static_cast<size_t>(i)] * (2 * sum + row[i] * d[static_cast<size_t>(i)]);
    }
    if (error < least) least = error, best = grid;
  }
  return best;
}

GroupedCodes Empty(int64_t n, int64_t k, int64_t group) {
  GroupedCodes c;
  c.n = n, c.k = k, c.group = group > 0 ? std::min(group, k) : k;
  c.codes.resize(static_cast<size_t>(n * k));
  c.scales.resize(static_cast<size_t>(n * c.groups()));
  c.zeros.resize(c.scales.size());
  return c;
}
void Set(GroupedCodes& c, int64_t row, int64_t group, const Grid& grid) {
  const auto at = static_cast<size_t>(row * c.groups() + group);
  c.scales[at] = static_cast<float>(grid.scale);
  c.zeros[at] = static_cast<uint8_t>(grid.zero);
}

template <typename F>
void For(Parallel* pool, int64_t count, int64_t grain, F&& body) {
  if (pool)
    pool->ParallelFor(count, grain, body);
  else if (count > 0)
    body(0, count);
}

}  // namespace

GroupedCodes RoundToNearest(std::span<const float> weights, int64_t k, int bits, int64_t group,
                            const InputStatistics* inputs, std::span<const double> factors,
                            Parallel* pool) {
  GroupedCodes c = Empty(static_cast<int64_t>(weights.size()) / k, k, group);
  For(pool, c.n, 4, [&](int64_t begin, int64_t end) {
    std::vector<double> w(static_cast<size_t>(k));
    for (int64_t row = begin; row < end; ++row) {
      std::copy_n(weights.begin() + row * k, k, w.begin());
      for (int64_t g = 0; g < c.groups(); ++g) {
        const int64_t first = g * c.group, count = std::min(c.group, k - first);
        const Grid grid =
            ChooseGrid(w.data() + first, count, bits,
                       inputs ? inputs->products().data() + first * k + first : nullptr, k,
                       factors.empty() ? nullptr : factors.data() + first);
        Set(c, row, g, grid);
        for (int64_t i = first; i < first + count; ++i)
          c.codes[static_cast<size_t>(row * k + i)] =
              static_cast<uint8_t>(grid.Code(w[static_cast<size_t>(i)]));
      }
    }
  });
  return c;
}

Result<GroupedCodes> Gptq(std::span<const float> weights, int bits, int64_t group,
                          const InputStatistics& inputs, const WeightOnlyOptions& options) {
  const int64_t k = inputs.width(), n = static_cast<int64_t>(weights.size()) / k;
  GroupedCodes c = Empty(n, k, group);
  const std::span<const double> products = inputs.products();
  const auto size = static_cast<size_t>(k);
  std::vector<int64_t> order(size);
  std::iota(order.begin(), order.end(), 0);
  if (options.act_order)
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return products[static_cast<size_t>(a * k + a)] > products[static_cast<size_t>(b * k + b)];
    });
  std::vector<double> ordered;
  if (options.act_order) {
    ordered.resize(size * size);
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j)
        ordered[static_cast<size_t>(i * k + j)] = products[static_cast<size_t>(
            order[static_cast<size_t>(i)] * k + order[static_cast<size_t>(j)])];
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(
      const std::vector<double> factor,
      InverseFactor(options.act_order ? std::span<const double>(ordered) : products, k,
                    options.damping, options.pool));
  // Blocks end with groups, so that a group's range is chosen when all before it is made up for.
  const int64_t block = c.group >= 128 ? c.group : 128 / c.group * c.group;
  const auto held = [&](int64_t row, int64_t column) {
    return options.keep_zeros && weights[static_cast<size_t>(row * k + column)] == 0;
  };
  const auto grid_of = [&](double* w, int64_t row, int64_t g) {
    const int64_t first = g * c.group, count = std::min(c.group, k - first);
    std::vector<double> kept(w, w + count);
    for (int64_t i = 0; i < count; ++i) {
      if (held(row, first + i)) kept[static_cast<size_t>(i)] = 0;
    }
    return ChooseGrid(kept.data(), count, bits, products.data() + first * k + first, k, nullptr);
  };
  constexpr int64_t kRows = 16;  // that share what is read of the factor
  For(options.pool, (n + kRows - 1) / kRows, 1, [&](int64_t first_task, int64_t last_task) {
    std::vector<double> w(kRows * size), errors(static_cast<size_t>(kRows * block));
    std::vector<Grid> grids(static_cast<size_t>(kRows * c.groups()));
    for (int64_t task = first_task; task < last_task; ++task) {
      const int64_t row0 = task * kRows, rows = std::min(kRows, n - row0);
      for (int64_t r = 0; r < rows; ++r) {
        double* to = w.data() + r * k;
        const float* from = weights.data() + (row0 + r) * k;
        std::copy_n(from, k, to);
        if (!options.act_order) continue;
        for (int64_t g = 0; g < c.groups(); ++g)
          grids[static_cast<size_t>(r * c.groups() + g)] = grid_of(to + g * c.group, row0 + r, g);
        for (int64_t i = 0; i < k; ++i) to[i] = double{from[order[static_cast<size_t>(i)]]};
      }
      for (int64_t begin = 0; begin < k; begin += block) {
        const int64_t end = std::min(k, begin + block);
        for (int64_t r = 0; r < rows; ++r) {
          double* row = w.data() + r * k;
          for (int64_t i = begin; i < end; ++i) {
            const int64_t column = order[static_cast<size_t>(i)], g = column / c.group;
            Grid& grid = grids[static_cast<size_t>(r * c.groups() + g)];
            if (!options.act_order && i % c.group == 0) grid = grid_of(row + i, row0 + r, g);
            const int code = grid.Code(held(row0 + r, column) ? 0 : row[i]);
            c.codes[static_cast<size_t>((row0 + r) * k + column)] = static_cast<uint8_t>(code);
            const double* u = factor.data() + i * k;
            const double error = (row[i] - grid.Value(code)) / u[i];
            errors[static_cast<size_t>(r * block + i - begin)] = error;
            for (int64_t j = i + 1; j < end; ++j) row[j] -= error * u[j];
          }
        }
        for (int64_t i = begin; i < end; ++i) {
          const double* u = factor.data() + i * k;
          for (int64_t r = 0; r < rows; ++r) {
            const double error = errors[static_cast<size_t>(r * block + i - begin)];
            double* row = w.data() + r * k;
            for (int64_t j = end; j < k; ++j) row[j] -= error * u[j];
          }
        }
      }
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t g = 0; g < c.groups(); ++g)
          Set(c, row0 + r, g, grids[static_cast<size_t>(r * c.groups() + g)]);
      }
    }
  });
  return c;
}

std::vector<double> AwqFactors(const std::vector<std::vector<float>>& layers, int bits,
                               int64_t group, const InputStatistics& inputs, Parallel* pool) {
  const int64_t k = inputs.width();
  const std::vector<double> magnitude = inputs.MeanMagnitude();
  const std::span<const float> sample = inputs.sample();
  const int64_t rows = static_cast<int64_t>(sample.size()) / k;
  constexpr int kSteps = 20;
  std::vector<double> best, factors(static_cast<size_t>(k));
  double least = 0;
  for (int step = 0; step < kSteps; ++step) {
    const double power = static_cast<double>(step) / kSteps;
    double lo = std::numeric_limits<double>::infinity(), hi = 0;
    for (size_t i = 0; i < factors.size(); ++i) {
      factors[i] = std::max(std::pow(magnitude[i], power), 1e-4);
      lo = std::min(lo, factors[i]), hi = std::max(hi, factors[i]);
    }
    for (double& f : factors) f /= std::sqrt(lo * hi);
    double error = 0;
    for (const std::vector<float>& weights : layers) {
      std::vector<float> scaled(weights.size());
      for (size_t i = 0; i < scaled.size(); ++i)
        scaled[i] = static_cast<float>(double{weights[i]} * factors[i % factors.size()]);
      const GroupedCodes c = RoundToNearest(scaled, k, bits, group, nullptr, {}, pool);
      std::vector<double> errors(static_cast<size_t>(c.n));
      For(pool, c.n, 1, [&](int64_t begin, int64_t end) {
        std::vector<float> d(static_cast<size_t>(k));
        for (int64_t row = begin; row < end; ++row) {
          for (int64_t i = 0; i < k; ++i)
            d[static_cast<size_t>(i)] =
                weights[static_cast<size_t>(row * k + i)] -
                c.Value(row, i) / static_cast<float>(factors[static_cast<size_t>(i)]);
          double sum = 0;
          for (int64_t t = 0; t < rows; ++t) {
            constexpr int kParts = 8;
            float parts[kParts] = {};
            const float* x = sample.data() + t * k;
            int64_t i = 0;
            for (; i + kParts <= k; i += kParts) {
              for (int j = 0; j < kParts; ++j) parts[j] += x[i + j] * d[static_cast<size_t>(i + j)];
            }
            double y = 0;
            for (; i < k; ++i) y += double{x[i]} * double{d[static_cast<size_t>(i)]};
            for (const float p : parts) y += double{p};
            sum += y * y;
          }
          errors[static_cast<size_t>(row)] = sum;
        }
      });
      error += std::accumulate(errors.begin(), errors.end(), 0.0);
    }
    if (step == 0) {
      least = 0.95 * error;
    } else if (error < least) {
      least = error;
      best = factors;
    }
  }
  return best;
}

}  // namespace slipway::quant
