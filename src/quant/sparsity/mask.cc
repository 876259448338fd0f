#include "quant/sparsity/mask.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "quant/weight_only/hessian.h"

namespace slipway::quant {
namespace {

template <typename F>
void For(Parallel* pool, int64_t count, int64_t grain, F&& body) {
  if (pool)
    pool->ParallelFor(count, grain, body);
  else if (count > 0)
    body(0, count);
}
size_t At(int64_t i) { return static_cast<size_t>(i); }

// Blocks of the matrix: row strips by column pieces; pieces do not cross taps.
struct Tiles {
  int64_t rows, columns, per_tap, down, across;
  Tiles(const WeightShape& s, const SparsityPattern& p)
      : rows(std::max(1, p.rows)),
        columns(std::max(1, p.columns)),
        per_tap((s.channels + columns - 1) / columns),
        down((s.rows + rows - 1) / rows),
        across(per_tap * s.taps) {}
  int64_t count() const { return down * across; }
  // The columns [first, last) of piece c.
  std::pair<int64_t, int64_t> Columns(const WeightShape& s, int64_t c) const {
    const int64_t first = c / per_tap * s.channels + c % per_tap * columns;
    return {first, std::min(first + columns, (c / per_tap + 1) * s.channels)};
  }
  std::pair<int64_t, int64_t> Rows(const WeightShape& s, int64_t r) const {
    return {r * rows, std::min((r + 1) * rows, s.rows)};
  }
};

int64_t WantedZeros(const WeightShape& shape, double ratio) {
  return static_cast<int64_t>(
      std::ceil(ratio * static_cast<double>(shape.rows * shape.columns()) - 1e-6));
}

// The mask without the blocks of the least scores [down, across] a weight, so many that the ratio
// of weights is gone; one block stays.
std::vector<uint8_t> DropBlocks(std::vector<double> scores, const WeightShape& shape,
                                const Tiles& tiles, double ratio) {
  std::vector<int64_t> order(scores.size()), sizes(scores.size());
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto [row, row_end] = tiles.Rows(shape, static_cast<int64_t>(i) / tiles.across);
    const auto [column, column_end] = tiles.Columns(shape, static_cast<int64_t>(i) % tiles.across);
    sizes[i] = (row_end - row) * (column_end - column);
    scores[i] /= static_cast<double>(sizes[i]);
  }
  // Of equals the last goes first.
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores[At(a)] != scores[At(b)] ? scores[At(a)] < scores[At(b)] : a > b;
  });
  std::vector<uint8_t> mask(At(shape.rows * shape.columns()), 1);
  int64_t left = WantedZeros(shape, ratio);
  for (size_t i = 0; i + 1 < order.size() && left > 0; ++i) {
    const auto [row, row_end] = tiles.Rows(shape, order[i] / tiles.across);
    const auto [column, column_end] = tiles.Columns(shape, order[i] % tiles.across);
    for (int64_t r = row; r < row_end; ++r) {
      for (int64_t c = column; c < column_end; ++c) mask[At(r * shape.columns() + c)] = 0;
    }
    left -= sizes[At(order[i])];
  }
  return mask;
}

// Marks all but the `keep` largest scores of [0, n) with 0.
void KeepLargest(const double* scores, int64_t n, int64_t keep, uint8_t* mask) {
  std::vector<int64_t> order(At(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  for (int64_t i = 0; i < n; ++i) mask[order[At(i)]] = i < keep;
}

// Rows that are refined together, so that the matrix is read once for all of them.
constexpr int kLanes = 8;
// (Products and sums apart, -ffp-contract=off: every CPU gives the same bits.)
typedef double Lanes __attribute__((vector_size(kLanes * sizeof(double))));

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // (which choose too late)
#define SLIPWAY_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SLIPWAY_CLONES
#endif

// y[i] = sum over j of a[i, j] x[j], in every lane, of the rows i that are wanted.
SLIPWAY_CLONES void Multiply(const double* a, int64_t n, const uint8_t* wanted, const double* x,
                             double* y) {
  for (int64_t i = 0; i < n; i += 4) {
    const int64_t rows = std::min<int64_t>(4, n - i);
    bool any = false;
    for (int64_t r = 0; r < rows; ++r) any |= wanted[i + r] != 0;
    if (!any) continue;
    Lanes sums[4] = {};
    if (rows == 4) {
      const double *a0 = a + i * n, *a1 = a0 + n, *a2 = a1 + n, *a3 = a2 + n;
      Lanes s0 = {}, s1 = {}, s2 = {}, s3 = {};
      for (int64_t j = 0; j < n; ++j) {
        Lanes v;  // aligned for no more than a double
        std::memcpy(&v, x + j * kLanes, sizeof v);
        s0 += a0[j] * v;
        s1 += a1[j] * v;
        s2 += a2[j] * v;
        s3 += a3[j] * v;
      }
      sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
    } else {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t j = 0; j < n; ++j) {
          Lanes v;
          std::memcpy(&v, x + j * kLanes, sizeof v);
          sums[r] += a[(i + r) * n + j] * v;
        }
      }
    }
    for (int64_t r = 0; r < rows; ++r) std::memcpy(y + (i + r) * kLanes, &sums[r], sizeof sums[r]);
  }
}

// The least-squares weights on a mask: A_SS x_S = (A w)_S by conjugate gradients (Hestenes and
// Stiefel, 1952) with the diagonal as preconditioner, from `x` on, which is 0 off the mask. Up to
// kLanes rows at once, none of which knows of the others.
class Refiner {
 public:
  struct Row {
    const double* w;
    const uint8_t* mask;
    double* x;
    double* cost;  // gets (w - x)^T A (w - x), without dead inputs
  };
  Refiner(std::span<const double> a, int64_t n, int64_t steps, std::span<const uint8_t> dead)
      : a_(a), n_(n), steps_(steps), dead_(dead), all_(At(n), 1) {}

  void Run(std::span<const Row> rows) {
    const int count = static_cast<int>(rows.size());
    const int64_t size = n_ * kLanes;
    std::vector<double> r(At(size)), p(At(size)), q(At(size)), d(At(size));
    std::vector<uint8_t> wanted(At(n_), 0);
    double scale[kLanes] = {}, rho[kLanes] = {};
    bool done[kLanes];
    for (int64_t i = 0; i < n_; ++i) {
      for (int l = 0; l < count; ++l) {
        d[At(i * kLanes + l)] = rows[At(l)].w[i] - rows[At(l)].x[i];
        wanted[At(i)] |= rows[At(l)].mask[i];
      }
    }
    Multiply(a_.data(), n_, wanted.data(), d.data(), q.data());
    for (int l = 0; l < count; ++l) {
      const Row& row = rows[At(l)];
      for (int64_t i = 0; i < n_; ++i) {
        if (row.mask[i] == 0) continue;
        const double diagonal = a_[At(i * n_ + i)], v = q[At(i * kLanes + l)];
        r[At(i * kLanes + l)] = v;
        p[At(i * kLanes + l)] = v / diagonal;
        rho[l] += v * (v / diagonal);
        scale[l] += diagonal * row.w[i] * row.w[i];
      }
      done[l] = false;
    }
    for (int64_t step = 0; step < steps_; ++step) {
      bool going = false;
      for (int l = 0; l < count; ++l) {
        done[l] = done[l] || !(rho[l] > 1e-12 * scale[l]);
        going |= !done[l];
      }
      if (!going) break;
      Multiply(a_.data(), n_, wanted.data(), p.data(), q.data());
      for (int l = 0; l < count; ++l) {
        if (!done[l]) done[l] = !Step(rows[At(l)], l, r, p, q, &rho[l]);
      }
    }
    for (int64_t i = 0; i < n_; ++i) {
      for (int l = 0; l < count; ++l)
        d[At(i * kLanes + l)] = dead_[At(i)] ? 0 : rows[At(l)].w[i] - rows[At(l)].x[i];
    }
    Multiply(a_.data(), n_, all_.data(), d.data(), q.data());
    for (int l = 0; l < count; ++l) {
      double sum = 0;
      for (int64_t i = 0; i < n_; ++i) sum += d[At(i * kLanes + l)] * q[At(i * kLanes + l)];
      *rows[At(l)].cost = sum;
    }
  }

 private:
  // One step of lane l; false: it has come to its end.
  bool Step(const Row& row, int l, std::vector<double>& r, std::vector<double>& p,
            const std::vector<double>& q, double* rho) const {
    double pq = 0, next = 0;
    for (int64_t i = 0; i < n_; ++i) {
      if (row.mask[i]) pq += p[At(i * kLanes + l)] * q[At(i * kLanes + l)];
    }
    if (!(pq > 0)) return false;
    const double alpha = *rho / pq;
    for (int64_t i = 0; i < n_; ++i) {
      if (row.mask[i] == 0) continue;
      row.x[i] += alpha * p[At(i * kLanes + l)];
      r[At(i * kLanes + l)] -= alpha * q[At(i * kLanes + l)];
      next += r[At(i * kLanes + l)] * r[At(i * kLanes + l)] / a_[At(i * n_ + i)];
    }
    const double beta = next / *rho;
    for (int64_t i = 0; i < n_; ++i) {
      if (row.mask[i])
        p[At(i * kLanes + l)] =
            r[At(i * kLanes + l)] / a_[At(i * n_ + i)] + beta * p[At(i * kLanes + l)];
    }
    *rho = next;
    return true;
  }

  std::span<const double> a_;
  int64_t n_, steps_;
  std::span<const uint8_t> dead_;
  std::vector<uint8_t> all_;
};

// One row, column after column: what is dropped is made up for by the columns behind it. `choose`:
// the mask is found on the way, group by group. `w` is used up.
void Sweep(double* w, const WeightShape& shape, const SparsityPattern& pattern,
           std::span<const double> factor, std::span<const uint8_t> dead, bool choose,
           double* scores, uint8_t* mask, double* x) {
  const int64_t k = shape.columns();
  for (int64_t i = 0; i < k; ++i) {
    if (choose && i % shape.channels % pattern.group == 0) {
      const int64_t size = std::min<int64_t>(pattern.group, shape.channels - i % shape.channels);
      for (int64_t j = 0; j < size; ++j) {
        const double u = factor[At((i + j) * k + i + j)], v = w[i + j];
        // What never has an input goes first, the smallest of it.
        scores[j] = dead[At(i + j)] ? -1 / (1 + std::fabs(v)) : v * v / (u * u);
      }
      KeepLargest(scores, size, pattern.keep, mask + i);
    }
    x[i] = mask[i] ? w[i] : 0;
    const double error = (w[i] - x[i]) / factor[At(i * k + i)];
    if (error == 0) continue;
    const double* u = factor.data() + i * k;
    for (int64_t j = i + 1; j < k; ++j) w[j] -= error * u[j];
  }
}

// The Cholesky factor of a small symmetric matrix, in place in its lower half.
void FactorSmall(std::vector<double>& l, int64_t n) {
  for (int64_t a = 0; a < n; ++a) {
    for (int64_t b = 0; b <= a; ++b) {
      double v = l[At(a * n + b)];
      for (int64_t i = 0; i < b; ++i) v -= l[At(a * n + i)] * l[At(b * n + i)];
      l[At(a * n + b)] = a == b ? std::sqrt(std::max(v, 1e-300)) : v / l[At(b * n + b)];
    }
  }
}
// z = L^-1 w, and |z|^2.
double SolveSmall(const std::vector<double>& l, int64_t n, const double* w, double* z) {
  double sum = 0;
  for (int64_t a = 0; a < n; ++a) {
    double v = w[a];
    for (int64_t b = 0; b < a; ++b) v -= l[At(a * n + b)] * z[b];
    z[a] = v / l[At(a * n + a)];
    sum += z[a] * z[a];
  }
  return sum;
}

// H^-1 = U^T U.
std::vector<double> InverseOf(std::span<const double> factor, int64_t k, Parallel* pool) {
  std::vector<double> inverse(At(k * k), 0);
  For(pool, k, 8, [&](int64_t begin, int64_t end) {
    for (int64_t a = begin; a < end; ++a) {
      double* to = inverse.data() + a * k;
      for (int64_t i = 0; i <= a; ++i) {
        const double* u = factor.data() + i * k;
        for (int64_t b = i; b < k; ++b) to[b] += u[a] * u[b];
      }
    }
  });
  return inverse;
}

// One strip of rows loses block after block, always the one whose loss then costs least for each
// of its weights, the others making up for it: pieces in that order, and what each costs.
using Trace = std::vector<std::pair<int64_t, double>>;
Trace Eliminate(std::span<const float> weights, const WeightShape& shape, const Tiles& tiles,
                std::vector<double> inverse, std::span<const uint8_t> dead, int64_t strip,
                bool once) {
  const int64_t k = shape.columns();
  const auto [row, row_end] = tiles.Rows(shape, strip);
  const int64_t rows = row_end - row;
  std::vector<double> w(At(rows * k)), l, z(At(tiles.columns)), y;
  for (int64_t i = 0; i < rows * k; ++i)
    w[At(i)] = dead[At(i % k)] ? 0 : double{weights[At(row * k + i)]};
  const auto factor = [&](int64_t first, int64_t n) {
    l.resize(At(n * n));
    for (int64_t a = 0; a < n; ++a) {
      for (int64_t b = 0; b <= a; ++b) l[At(a * n + b)] = inverse[At((first + a) * k + first + b)];
    }
    FactorSmall(l, n);
  };
  const auto cost = [&](int64_t first, int64_t n) {
    factor(first, n);
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) sum += SolveSmall(l, n, &w[At(r * k + first)], z.data());
    return sum / static_cast<double>(n * rows);
  };
  Trace trace;
  std::vector<uint8_t> gone(At(tiles.across), 0);
  for (int64_t turn = 0; turn < tiles.across; ++turn) {
    int64_t best = -1;
    double least = 0;
    for (int64_t piece = 0; piece < tiles.across; ++piece) {
      if (gone[At(piece)]) continue;
      const auto [first, last] = tiles.Columns(shape, piece);
      const double c = cost(first, last - first);
      if (once) trace.emplace_back(piece, c);
      if (best < 0 || c <= least) least = c, best = piece;  // of equals the last goes first
    }
    if (once) {
      std::sort(trace.begin(), trace.end(), [](const auto& a, const auto& b) {
        return a.second != b.second ? a.second < b.second : a.first > b.first;
      });
      return trace;
    }
    trace.emplace_back(best, least);
    gone[At(best)] = 1;
    const auto [first, last] = tiles.Columns(shape, best);
    const int64_t n = last - first;
    factor(first, n);
    // y = L^-1 [H^-1]_B: then H^-1 -= y^T y, and w -= (L^-1 w_B)^T y.
    y.resize(At(n * k));
    for (int64_t a = 0; a < n; ++a) {
      double* to = &y[At(a * k)];
      std::copy_n(&inverse[At((first + a) * k)], k, to);
      for (int64_t b = 0; b < a; ++b) {
        const double f = l[At(a * n + b)];
        for (int64_t j = 0; j < k; ++j) to[j] -= f * y[At(b * k + j)];
      }
      for (int64_t j = 0; j < k; ++j) to[j] /= l[At(a * n + a)];
    }
    for (int64_t r = 0; r < rows; ++r) {
      SolveSmall(l, n, &w[At(r * k + first)], z.data());
      for (int64_t a = 0; a < n; ++a) {
        for (int64_t j = 0; j < k; ++j) w[At(r * k + j)] -= z[At(a)] * y[At(a * k + j)];
      }
    }
    for (int64_t piece = 0; piece < tiles.across; ++piece) {
      if (gone[At(piece)]) continue;
      const auto [begin, end] = tiles.Columns(shape, piece);
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t a = 0; a < n; ++a) {
          const double f = y[At(a * k + i)];
          double* to = &inverse[At(i * k)];
          const double* from = &y[At(a * k)];
          for (int64_t j = 0; j < k; ++j) to[j] -= f * from[j];
        }
      }
    }
  }
  return trace;
}

// Which blocks stay: strips give their next block in turn, the one that costs least first (as
// optimal brain compression merges rows: Frantar and Alistarh, 2022).
std::vector<uint8_t> DropByElimination(std::span<const float> weights, const WeightShape& shape,
                                       const Tiles& tiles, std::span<const double> factor,
                                       std::span<const uint8_t> dead, double ratio,
                                       Parallel* pool) {
  const int64_t k = shape.columns();
  const std::vector<double> inverse = InverseOf(factor, k, pool);
  // Large layers take what each block costs alone.
  const bool once = static_cast<double>(tiles.down) * std::pow(static_cast<double>(k), 3) > 3e11;
  std::vector<Trace> traces(At(tiles.down));
  For(pool, tiles.down, 1, [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip)
      traces[At(strip)] = Eliminate(weights, shape, tiles, inverse, dead, strip, once);
  });
  std::vector<uint8_t> mask(At(shape.rows * k), 1);
  std::vector<size_t> next(traces.size(), 0);
  int64_t left = WantedZeros(shape, ratio);
  for (int64_t blocks = 0; blocks + 1 < tiles.count() && left > 0; ++blocks) {
    size_t best = traces.size();
    for (size_t s = 0; s < traces.size(); ++s) {
      if (next[s] < traces[s].size() &&
          (best == traces.size() || traces[s][next[s]].second <= traces[best][next[best]].second))
        best = s;
    }
    const auto [row, row_end] = tiles.Rows(shape, static_cast<int64_t>(best));
    const auto [first, last] = tiles.Columns(shape, traces[best][next[best]++].first);
    for (int64_t r = row; r < row_end; ++r) {
      for (int64_t c = first; c < last; ++c) mask[At(r * k + c)] = 0;
    }
    left -= (row_end - row) * (last - first);
  }
  return mask;
}

}  // namespace

std::vector<uint8_t> MagnitudeMask(std::span<const float> weights, const WeightShape& shape,
                                   const SparsityPattern& pattern) {
  const int64_t k = shape.columns();
  if (pattern.block) {
    const Tiles tiles(shape, pattern);
    std::vector<double> scores(At(tiles.count()), 0);
    for (int64_t piece = 0; piece < tiles.across; ++piece) {
      const auto [first, last] = tiles.Columns(shape, piece);
      for (int64_t r = 0; r < shape.rows; ++r) {
        double& score = scores[At(r / tiles.rows * tiles.across + piece)];
        for (int64_t c = first; c < last; ++c)
          score += double{weights[At(r * k + c)]} * double{weights[At(r * k + c)]};
      }
    }
    return DropBlocks(scores, shape, tiles, pattern.ratio);
  }
  std::vector<uint8_t> mask(At(shape.rows * k), 1);
  std::vector<double> scores(At(pattern.group));
  for (int64_t r = 0; r < shape.rows; ++r) {
    for (int64_t tap = 0; tap < shape.taps; ++tap) {
      for (int64_t c = 0; c < shape.channels; c += pattern.group) {
        const int64_t n = std::min<int64_t>(pattern.group, shape.channels - c),
                      at = r * k + tap * shape.channels + c;
        for (int64_t i = 0; i < n; ++i) scores[At(i)] = std::fabs(double{weights[At(at + i)]});
        KeepLargest(scores.data(), n, pattern.keep, mask.data() + at);
      }
    }
  }
  return mask;
}

Result<Pruned> PruneByInputs(std::span<const float> weights, const WeightShape& shape,
                             const SparsityPattern& pattern, const InputStatistics& inputs,
                             double damping, Parallel* pool) {
  const int64_t k = shape.columns(), n = shape.rows;
  if (inputs.width() != k || static_cast<int64_t>(weights.size()) != n * k)
    return Internal("pruning: weights and inputs do not fit");
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<double> factor,
                           InverseFactor(inputs.products(), k, damping, pool));
  const Tiles tiles(shape, pattern);
  // As InverseFactor damps it.
  std::vector<double> a(inputs.products().begin(), inputs.products().end());
  std::vector<uint8_t> dead(At(k), 0);
  double mean = 0;
  for (int64_t i = 0; i < k; ++i) mean += a[At(i * k + i)] / static_cast<double>(k);
  if (!(mean > 0)) mean = 1;
  for (int64_t i = 0; i < k; ++i) {
    dead[At(i)] = a[At(i * k + i)] == 0;
    a[At(i * k + i)] += damping * mean + (dead[At(i)] ? mean : 0);
  }
  // Steps of the refinement: at most some 10^11 operations a layer.
  const auto steps = static_cast<int64_t>(
      std::clamp(1e11 / (static_cast<double>(k) * static_cast<double>(k) * static_cast<double>(n)),
                 8.0, 200.0));
  const std::vector<uint8_t> magnitude = MagnitudeMask(weights, shape, pattern);
  std::vector<uint8_t> costs;
  if (pattern.block)
    costs = DropByElimination(weights, shape, tiles, factor, dead, pattern.ratio, pool);
  // Of both masks; rows of blocks then belong together.
  std::vector<double> lost(At(2 * n)), found(At(2 * n * k));
  std::vector<uint8_t> masks(At(2 * n * k));
  constexpr int64_t kRows = kLanes / 2;
  For(pool, (n + kRows - 1) / kRows, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> given(At(kRows * k)), w(At(k)), scores(At(pattern.span()));
    Refiner refine(a, k, steps, dead);
    for (int64_t first = begin * kRows; first < std::min(n, end * kRows); first += kRows) {
      std::vector<Refiner::Row> rows;
      for (int64_t r = first; r < std::min(n, first + kRows); ++r) {
        double* const own = given.data() + (r - first) * k;
        for (int64_t i = 0; i < k; ++i) own[i] = w[At(i)] = double{weights[At(r * k + i)]};
        for (int64_t way = 0; way < 2; ++way) {
          uint8_t* mask = masks.data() + (way * n + r) * k;
          double* x = found.data() + (way * n + r) * k;
          const std::vector<uint8_t>& fixed = way == 0 ? costs : magnitude;
          if (!fixed.empty()) std::copy_n(fixed.begin() + r * k, k, mask);
          if (way == 0)
            Sweep(w.data(), shape, pattern, factor, dead, fixed.empty(), scores.data(), mask, x);
          else
            for (int64_t i = 0; i < k; ++i) x[i] = mask[i] ? own[i] : 0;
          rows.push_back({own, mask, x, &lost[At(way * n + r)]});
        }
      }
      refine.Run(rows);
    }
  });
  // What loses less: of each strip of rows whose mask is its own.
  const int64_t strip = pattern.block ? n : 1;
  Pruned out;
  out.mask.resize(At(n * k));
  out.weights.resize(At(n * k));
  for (int64_t first = 0; first < n; first += strip) {
    double sums[2] = {0, 0};
    for (int64_t way = 0; way < 2; ++way) {
      for (int64_t r = first; r < first + strip; ++r) sums[way] += lost[At(way * n + r)];
    }
    const int64_t from = ((sums[1] < sums[0] ? n : 0) + first) * k;
    for (int64_t i = 0; i < strip * k; ++i) {
      out.mask[At(first * k + i)] = masks[At(from + i)];
      out.weights[At(first * k + i)] = static_cast<float>(found[At(from + i)]);
    }
  }
  return out;
}

bool Satisfies(std::span<const uint8_t> zero, const WeightShape& shape,
               const SparsityPattern& pattern) {
  const int64_t k = shape.columns();
  if (pattern.block) {
    const Tiles tiles(shape, pattern);
    int64_t gone = 0, full = 0;
    for (int64_t strip = 0; strip < tiles.down; ++strip) {
      const auto [row, row_end] = tiles.Rows(shape, strip);
      for (int64_t piece = 0; piece < tiles.across; ++piece) {
        const auto [first, last] = tiles.Columns(shape, piece);
        bool all = true;
        for (int64_t r = row; r < row_end && all; ++r) {
          for (int64_t c = first; c < last && all; ++c) all = zero[At(r * k + c)] != 0;
        }
        if (all)
          gone += (row_end - row) * (last - first);
        else
          ++full;
      }
    }
    return full <= 1 || gone >= WantedZeros(shape, pattern.ratio);
  }
  for (int64_t r = 0; r < shape.rows; ++r) {
    for (int64_t tap = 0; tap < shape.taps; ++tap) {
      for (int64_t c = 0; c < shape.channels; c += pattern.group) {
        const int64_t size = std::min<int64_t>(pattern.group, shape.channels - c);
        int64_t kept = 0;
        for (int64_t i = 0; i < size; ++i)
          kept += zero[At(r * k + tap * shape.channels + c + i)] == 0;
        if (kept > pattern.keep) return false;
      }
    }
  }
  return true;
}

int64_t StoredWeights(const WeightShape& shape, const SparsityPattern& pattern) {
  const int64_t a_tap = pattern.block
                            ? shape.channels
                            : (shape.channels + pattern.group - 1) / pattern.group * pattern.keep;
  const int64_t all = shape.rows * shape.taps * a_tap;
  return pattern.block ? all - WantedZeros(shape, pattern.ratio) : all;
}

int64_t IndexBits(const WeightShape& shape, const SparsityPattern& pattern) {
  if (pattern.block) return Tiles(shape, pattern).count();
  const auto bits = std::bit_width(static_cast<unsigned>(pattern.group - 1));
  return StoredWeights(shape, pattern) * static_cast<int64_t>(bits);
}

}  // namespace slipway::quant
