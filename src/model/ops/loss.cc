// Losses that exporters leave in models: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.
// Sums are kept in float64; the positions are [N, d1, ...], the classes dimension 1.

#include <cmath>
#include <limits>

#include "model/ops/dispatch.h"
#include "model/ops/scratch.h"

namespace slipway::ops {
namespace {

enum class Reduction { kNone, kSum, kMean };

struct Problem {
  int64_t classes, inner, positions;
  Reduction reduction = Reduction::kMean;
  bool has_ignored = false;
  int64_t ignored = 0;
};

Status ReadProblem(const OpContext& c, Problem* p) {
  const TensorView &x = c.inputs[0], &target = c.inputs[1];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(target, "the target"));
  if (x.dims.rank() < 2)
    return InvalidArgument("expects scores of rank 2 or more, got " + x.dims.ToString());
  p->classes = x.dims[1];
  p->inner = x.dims.count(2, x.dims.rank());
  p->positions = x.dims[0] * p->inner;
  if (target.count() != p->positions) {
    return InvalidArgument("the target " + target.dims.ToString() + " does not fit the scores " +
                           x.dims.ToString());
  }
  if (c.Has(2) && (c.inputs[2].count() != p->classes || c.inputs[2].dtype != x.dtype))
    return InvalidArgument("weight must have one element of the scores' type per class");
  const auto reduction = c.attributes->String("reduction", "mean");
  if (reduction == "none") {
    p->reduction = Reduction::kNone;
  } else if (reduction == "sum") {
    p->reduction = Reduction::kSum;
  } else if (reduction != "mean") {
    return InvalidArgument("unknown reduction '" + std::string(reduction) +
                           "'; expected none, sum or mean");
  }
  p->has_ignored = c.attributes->Has("ignore_index");
  p->ignored = c.attributes->Int("ignore_index", 0);
  for (int64_t i = 0; i < p->positions; ++i) {
    const int64_t t = IndexAt(target, i);
    if (p->has_ignored && t == p->ignored) continue;
    if (t < 0 || t >= p->classes) {
      return InvalidArgument("target " + std::to_string(t) + " is outside the " +
                             std::to_string(p->classes) + " classes");
    }
  }
  return OkStatus();
}

// log_probability(position, target) is asked once for every position that is not ignored.
template <typename T, typename F>
void Reduce(const OpContext& c, const Problem& p, const F& log_probability) {
  const TensorView &target = c.inputs[1], &y = c.outputs[0];
  const T* weight = c.Has(2) ? c.inputs[2].as<const T>() : nullptr;
  double sum = 0, weights = 0;
  for (int64_t i = 0; i < p.positions; ++i) {
    const int64_t t = IndexAt(target, i);
    double loss = 0;
    if (!p.has_ignored || t != p.ignored) {
      const double w = weight ? static_cast<double>(weight[t]) : 1;
      loss = -w * log_probability(i, t);
      weights += w;
    }
    sum += loss;
    if (p.reduction == Reduction::kNone) y.as<T>()[i] = static_cast<T>(loss);
  }
  if (p.reduction == Reduction::kSum) *y.as<T>() = static_cast<T>(sum);
  if (p.reduction == Reduction::kMean) *y.as<T>() = static_cast<T>(sum / weights);
}

template <typename T>
void Likelihood(const OpContext& c, const Problem& p) {
  const T* x = c.inputs[0].as<const T>();
  Reduce<T>(c, p, [&](int64_t i, int64_t t) {
    return static_cast<double>(x[(i / p.inner * p.classes + t) * p.inner + i % p.inner]);
  });
}

template <typename T>
Status CrossEntropy(const OpContext& c, const Problem& p) {
  const T* x = c.inputs[0].as<const T>();
  T* log_prob = c.outputs.size() > 1 && c.outputs[1].present() ? c.outputs[1].as<T>() : nullptr;
  std::unique_ptr<double[]> shift;  // log of the sum of exponentials, for every position
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(p.positions, &shift));
  For(c, p.positions, std::max<int64_t>(1, 4096 / std::max<int64_t>(p.classes, 1)),
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t base = i / p.inner * p.classes * p.inner + i % p.inner;
          double top = -std::numeric_limits<double>::infinity(), sum = 0;
          for (int64_t k = 0; k < p.classes; ++k)
            top = std::max(top, static_cast<double>(x[base + k * p.inner]));
          for (int64_t k = 0; k < p.classes; ++k)
            sum += std::exp(static_cast<double>(x[base + k * p.inner]) - top);
          shift[i] = top + std::log(sum);
          for (int64_t k = 0; log_prob && k < p.classes; ++k) {
            log_prob[base + k * p.inner] =
                static_cast<T>(static_cast<double>(x[base + k * p.inner]) - shift[i]);
          }
        }
      });
  Reduce<T>(c, p, [&](int64_t i, int64_t t) {
    return static_cast<double>(x[(i / p.inner * p.classes + t) * p.inner + i % p.inner]) - shift[i];
  });
  return OkStatus();
}

Status LikelihoodWide(const OpContext& c) {
  Problem p;
  SLIPWAY_RETURN_IF_ERROR(ReadProblem(c, &p));
  Dispatch<float, double>(c.inputs[0].dtype, [&]<typename T>() { Likelihood<T>(c, p); });
  return OkStatus();
}

Status CrossEntropyWide(const OpContext& c) {
  Problem p;
  SLIPWAY_RETURN_IF_ERROR(ReadProblem(c, &p));
  Status status;
  Dispatch<float, double>(c.inputs[0].dtype, [&]<typename T>() { status = CrossEntropy<T>(c, p); });
  return status;
}

}  // namespace

Status OnnxNegativeLogLikelihoodLoss(const OpContext& c) {
  return RunFloat(c, c.inputs[0].dtype, &LikelihoodWide);
}

Status OnnxSoftmaxCrossEntropyLoss(const OpContext& c) {
  return RunFloat(c, c.inputs[0].dtype, &CrossEntropyWide);
}

}  // namespace slipway::ops
