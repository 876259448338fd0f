// Random numbers: RandomNormal, RandomUniform, their -Like forms, Bernoulli and Multinomial.
//
// Number i of a tensor is SplitMix64's output for state key + (i + 1) * 0x9e3779b97f4a7c15 (Steele,
// Lea and Flood, OOPSLA 2014), so that results do not depend on threads. key is the bits of the
// attribute `seed` as float32, mixed once; without `seed` it is a process-wide counter, so that
// runs differ. Uniform numbers are the upper 53 bits over 2^53; normal ones come from pairs by Box
// and Muller's method. The values are Slipway's own: ONNX fixes the distribution, not the
// generator.

#include <atomic>
#include <bit>
#include <cmath>

#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

class Generator {
 public:
  explicit Generator(const Attributes& a) {
    if (a.Has("seed")) {
      key_ = Mix(std::bit_cast<uint32_t>(a.Float("seed", 0)));
    } else {
      static std::atomic<uint64_t> next{1};
      key_ = Mix(next.fetch_add(1, std::memory_order_relaxed) << 32);
    }
  }
  double Uniform(int64_t i) const {  // [0, 1)
    const uint64_t z = Mix(key_ + (static_cast<uint64_t>(i) + 1) * 0x9e3779b97f4a7c15u);
    return static_cast<double>(z >> 11) * 0x1p-53;
  }
  double Normal(int64_t i) const {
    const double radius = std::sqrt(-2 * std::log(1 - Uniform(2 * i)));
    return radius * std::cos(2 * M_PI * Uniform(2 * i + 1));
  }

 private:
  uint64_t key_;
};

template <typename F>
Status Fill(const OpContext& c, F f) {
  const TensorView& y = c.outputs[0];
  auto run = [&]<typename T>() {
    For(c, y.count(), 8192, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y.as<T>()[i] = static_cast<T>(f(i));
    });
  };
  if (!DispatchFloat(y.dtype, run)) return NoKernel(y.dtype);
  return OkStatus();
}

Status Normal(const OpContext& c) {
  const Generator g(*c.attributes);
  const double mean = static_cast<double>(c.attributes->Float("mean", 0)),
               scale = static_cast<double>(c.attributes->Float("scale", 1));
  return Fill(c, [&](int64_t i) { return mean + scale * g.Normal(i); });
}

Status Uniform(const OpContext& c) {
  const Generator g(*c.attributes);
  const double low = static_cast<double>(c.attributes->Float("low", 0)),
               high = static_cast<double>(c.attributes->Float("high", 1));
  return Fill(c, [&](int64_t i) { return low + (high - low) * g.Uniform(i); });
}

}  // namespace

Status OnnxRandomNormal(const OpContext& c) { return Normal(c); }
Status OnnxRandomNormalLike(const OpContext& c) { return Normal(c); }
Status OnnxRandomUniform(const OpContext& c) { return Uniform(c); }
Status OnnxRandomUniformLike(const OpContext& c) { return Uniform(c); }

// 1 with the probability that the input says.
Status OnnxBernoulli(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const Generator g(*c.attributes);
  bool known = false;
  auto run = [&]<typename T>() {
    known = DispatchFloat(x.dtype, [&]<typename P>() {
      for (int64_t i = 0, n = x.count(); i < n; ++i) {
        const double p = static_cast<double>(static_cast<Compute<P>>(x.as<const P>()[i]));
        y.as<T>()[i] = static_cast<T>(g.Uniform(i) < p ? 1 : 0);
      }
    });
  };
  if (y.dtype == DType::kBool) {
    run.template operator()<uint8_t>();
  } else if (!DispatchNumber(y.dtype, run)) {
    return NoKernel(y.dtype);
  }
  return known ? OkStatus() : NoKernel(x.dtype);
}

// Classes drawn with the probabilities softmax(row): [batch, classes] -> [batch, sample_size].
Status OnnxMultinomial(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  if (y.count() == 0) return OkStatus();
  const Generator g(*c.attributes);
  if (x.dims.rank() != 2 || y.dims.rank() != 2 || x.dims[0] != y.dims[0])
    return InvalidArgument("expects a matrix of scores, got " + x.dims.ToString());
  const int64_t classes = x.dims[1], samples = y.dims[1];
  if (classes == 0) return InvalidArgument("there are no classes to draw from");
  auto run = [&]<typename T>() {
    For(c, x.dims[0], 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const T* row = x.as<const T>() + b * classes;
        auto at = [&](int64_t k) { return static_cast<double>(static_cast<Compute<T>>(row[k])); };
        double top = at(0), sum = 0;
        for (int64_t k = 1; k < classes; ++k) top = std::max(top, at(k));
        for (int64_t k = 0; k < classes; ++k) sum += std::exp(at(k) - top);
        for (int64_t s = 0; s < samples; ++s) {
          double left = g.Uniform(b * samples + s) * sum;
          int64_t k = 0;
          for (; k < classes - 1; ++k) {
            left -= std::exp(at(k) - top);
            if (left < 0) break;
          }
          if (y.dtype == DType::kInt64) {
            y.as<int64_t>()[b * samples + s] = k;
          } else {
            y.as<int32_t>()[b * samples + s] = static_cast<int32_t>(k);
          }
        }
      }
    });
  };
  if (y.dtype != DType::kInt64 && y.dtype != DType::kInt32) return NoKernel(y.dtype);
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace slipway::ops
