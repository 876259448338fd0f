#include "learn/fake_quant.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <vector>

// Loops that the compiler makes vector code of, for what the CPU has.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define SLIPWAY_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SLIPWAY_CLONES
#endif

namespace slipway::learn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kChunk = 32768;      // what is summed together, whatever the threads
constexpr float kMagic = 12582912.0f;  // rounds half to even what is below 2^22

inline uint32_t Hash(uint32_t i, uint32_t key) {
  uint32_t h = (i * 0x9E3779B1u) ^ key;
  h ^= h >> 16;
  h *= 0x85EBCA6Bu;
  h ^= h >> 13;
  h *= 0xC2B2AE35u;
  return h ^ (h >> 16);
}
inline uint32_t Threshold(double share) {
  return static_cast<uint32_t>(std::clamp(share, 0.0, 1.0) * 4294967295.0);
}

struct StepLoop {
  float scale, lo, hi;
  uint32_t drop, key;
};

SLIPWAY_CLONES void StepForward(const float* x, float* y, int64_t begin, int64_t end, StepLoop p) {
  for (int64_t i = begin; i < end; ++i) {
    float v = x[i] / p.scale;
    v = v > p.lo ? v : p.lo;
    v = v < p.hi ? v : p.hi;
    const float q = ((v + kMagic) - kMagic) * p.scale;
    y[i] = Hash(static_cast<uint32_t>(i), p.key) < p.drop ? x[i] : q;
  }
}
// The sum of what goes to the scale.
SLIPWAY_CLONES double StepBackward(const float* x, const float* g, float* dx, int64_t begin,
                                   int64_t end, StepLoop p) {
  constexpr int kParts = 16;
  float sums[kParts] = {};
  double total = 0;
  int64_t i = begin;
  const auto one = [&](int64_t at) __attribute__((always_inline)) {
    const float v = x[at] / p.scale;
    const bool dropped = Hash(static_cast<uint32_t>(at), p.key) < p.drop;
    const bool low = !(v > p.lo), high = !(v < p.hi);
    const float inside = (v + kMagic) - kMagic - v;
    const float ds = low ? p.lo : high ? p.hi : inside;
    dx[at] = dropped || !(low || high) ? g[at] : 0.0f;
    return dropped ? 0.0f : g[at] * ds;
  };
  for (; i + kParts <= end; i += kParts) {
    for (int j = 0; j < kParts; ++j) sums[j] += one(i + j);
  }
  for (; i < end; ++i) total += static_cast<double>(one(i));
  for (const float s : sums) total += static_cast<double>(s);
  return total;
}

template <typename F>
void Chunks(int64_t count, F&& body) {
  const int64_t chunks = (count + kChunk - 1) / kChunk;
  at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) body(c, c * kChunk, std::min(count, (c + 1) * kChunk));
  });
}

StepLoop LoopOf(const at::Tensor& scale, double lo, double hi, double drop, int64_t key) {
  return {scale.item<float>(), static_cast<float>(lo), static_cast<float>(hi), Threshold(drop),
          static_cast<uint32_t>(key)};
}

struct Step : torch::autograd::Function<Step> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& given,
                            const at::Tensor& scale, double lo, double hi, double drop,
                            int64_t key) {
    const at::Tensor x = given.contiguous(given.suggest_memory_format());
    context->save_for_backward({x, scale});
    context->saved_data["lo"] = lo;
    context->saved_data["hi"] = hi;
    context->saved_data["drop"] = drop;
    context->saved_data["key"] = key;
    const StepLoop p = LoopOf(scale, lo, hi, drop, key);
    at::Tensor y = at::empty_like(x);
    const float* from = x.data_ptr<float>();
    float* to = y.data_ptr<float>();
    Chunks(x.numel(),
           [&](int64_t, int64_t begin, int64_t end) { StepForward(from, to, begin, end, p); });
    return y;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor x = saved[0], g = gradients[0].contiguous(x.suggest_memory_format());
    const StepLoop p =
        LoopOf(saved[1], context->saved_data["lo"].toDouble(), context->saved_data["hi"].toDouble(),
               context->saved_data["drop"].toDouble(), context->saved_data["key"].toInt());
    at::Tensor dx = at::empty_like(x);
    std::vector<double> sums(static_cast<size_t>((x.numel() + kChunk - 1) / kChunk));
    const float *from = x.data_ptr<float>(), *in = g.data_ptr<float>();
    float* to = dx.data_ptr<float>();
    Chunks(x.numel(), [&](int64_t chunk, int64_t begin, int64_t end) {
      sums[static_cast<size_t>(chunk)] = StepBackward(from, in, to, begin, end, p);
    });
    double total = 0;
    for (const double s : sums) total += s;
    return {dx, at::full_like(saved[1], total), {}, {}, {}, {}};
  }
};

// 2^x and the logarithm for x > 0, to a few units in the last place: without branches, for vectors.
inline float Exp2(float x) {
  x = x > -126.0f ? x : -126.0f;
  x = x < 126.0f ? x : 126.0f;
  const float whole = (x + kMagic) - kMagic, f = (x - whole) * 0.693147181f;
  float y = 1.0f / 720;
  y = y * f + 1.0f / 120;
  y = y * f + 1.0f / 24;
  y = y * f + 1.0f / 6;
  y = y * f + 0.5f;
  y = y * f + 1.0f;
  y = y * f + 1.0f;
  return y * __builtin_bit_cast(float, (static_cast<int32_t>(whole) + 127) << 23);
}
inline float Log2(float x) {
  const int32_t bits = __builtin_bit_cast(int32_t, x);
  // The mantissa in [0.70, 1.41).
  const int32_t e = (bits - 0x3F330000) >> 23;
  const float m = __builtin_bit_cast(float, bits - (e << 23)), t = (m - 1) / (m + 1), q = t * t;
  const float y = t * (2.0f + q * (2.0f / 3 + q * (2.0f / 5 + q * (2.0f / 7 + q * (2.0f / 9)))));
  return static_cast<float>(e) + y * 1.44269504f;
}
inline float Sigmoid(float a) { return 1.0f / (1.0f + Exp2(a * -1.44269504f)); }

struct RoundingPointers {
  const float *base, *scale, *lo, *hi;
};
SLIPWAY_CLONES void SoftRoundLoop(RoundingPointers p, const float* alpha, float* w, int64_t begin,
                                  int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    float h = Sigmoid(alpha[i]) * 1.2f - 0.1f;
    h = h > 0 ? h : 0.0f;
    h = h < 1 ? h : 1.0f;
    float code = p.base[i] + h;
    code = code > p.lo[i] ? code : p.lo[i];
    code = code < p.hi[i] ? code : p.hi[i];
    w[i] = code * p.scale[i];
  }
}
struct AdamNumbers {
  float rate, v_part, beta, strength;  // rate by m's part; strength 0: no regulariser
};
SLIPWAY_CLONES void LearnLoop(RoundingPointers p, const float* g, float* alpha, float* m, float* v,
                              int64_t begin, int64_t end, AdamNumbers n) {
  for (int64_t i = begin; i < end; ++i) {
    const float s = Sigmoid(alpha[i]), h = s * 1.2f - 0.1f;
    const float slope = h > 0 && h < 1 ? s * (1 - s) * 1.2f : 0.0f;
    const float code = p.base[i] + h;
    const float inside = code >= p.lo[i] && code <= p.hi[i] ? p.scale[i] : 0.0f;
    const float d = h * 2 - 1, size = d < 0 ? -d : d;
    const float power = Exp2((n.beta - 1) * Log2(size > 1e-30f ? size : 1e-30f));
    const float push = (d < 0 ? -power : power) * n.strength;
    const float down = (g[i] * inside - push) * slope;
    m[i] = m[i] * 0.9f + down * 0.1f;
    v[i] = v[i] * 0.999f + down * down * 0.001f;
    alpha[i] -= n.rate * m[i] / (__builtin_sqrtf(v[i] * n.v_part) + 1e-8f);
  }
}

// In parts, which the compiler keeps in vectors.
SLIPWAY_CLONES double ErrorLoop(const float* y, const float* t, const float* w, int64_t begin,
                                int64_t end) {
  constexpr int kParts = 32;
  float sums[kParts] = {};
  double total = 0;
  int64_t i = begin;
  if (w) {
    for (; i + kParts <= end; i += kParts) {
      for (int j = 0; j < kParts; ++j) {
        const float d = y[i + j] - t[i + j];
        sums[j] += d * d * w[i + j];
      }
    }
  } else {
    for (; i + kParts <= end; i += kParts) {
      for (int j = 0; j < kParts; ++j) {
        const float d = y[i + j] - t[i + j];
        sums[j] += d * d;
      }
    }
  }
  for (; i < end; ++i) {
    const double d = static_cast<double>(y[i] - t[i]);
    total += d * d * (w ? static_cast<double>(w[i]) : 1.0);
  }
  for (const float s : sums) total += static_cast<double>(s);
  return total;
}
SLIPWAY_CLONES void ErrorSlope(const float* y, const float* t, const float* w, float* dy,
                               int64_t begin, int64_t end, float factor) {
  if (w) {
    for (int64_t i = begin; i < end; ++i) dy[i] = (y[i] - t[i]) * w[i] * factor;
  } else {
    for (int64_t i = begin; i < end; ++i) dy[i] = (y[i] - t[i]) * factor;
  }
}
struct Error : torch::autograd::Function<Error> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& given,
                            const at::Tensor& target, const at::Tensor& importance, double factor) {
    const at::Tensor y = given.contiguous(target.suggest_memory_format());
    context->save_for_backward({y, target, importance});
    context->saved_data["factor"] = factor;
    std::vector<double> sums(static_cast<size_t>((y.numel() + kChunk - 1) / kChunk));
    const float *a = y.data_ptr<float>(), *b = target.data_ptr<float>(),
                *w = importance.numel() > 0 ? importance.data_ptr<float>() : nullptr;
    Chunks(y.numel(), [&](int64_t chunk, int64_t begin, int64_t end) {
      sums[static_cast<size_t>(chunk)] = ErrorLoop(a, b, w, begin, end);
    });
    double total = 0;
    for (const double s : sums) total += s;
    return at::full({}, total * factor, y.options());
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor y = saved[0];
    at::Tensor dy = at::empty_like(y);
    const float *a = y.data_ptr<float>(), *b = saved[1].data_ptr<float>(),
                *w = saved[2].numel() > 0 ? saved[2].data_ptr<float>() : nullptr;
    float* to = dy.data_ptr<float>();
    const auto factor = static_cast<float>(2 * context->saved_data["factor"].toDouble() *
                                           gradients[0].item<double>());
    Chunks(y.numel(), [&](int64_t, int64_t begin, int64_t end) {
      ErrorSlope(a, b, w, to, begin, end, factor);
    });
    return {dy, {}, {}, {}};
  }
};

struct MixLoop {
  uint32_t share = 0, key = 0;
};
// Elements of a plane [channels, points] as [points, channels]; `first` is the number of the first
// one of what is made. Tiles, so that lines of both sides stay in cache.
SLIPWAY_CLONES void PickPlane(const float* a, const float* b, float* y, int64_t channels,
                              int64_t points, int64_t first, MixLoop mix) {
  constexpr int64_t kTile = 16;
  for (int64_t p0 = 0; p0 < points; p0 += kTile) {
    const int64_t p1 = std::min(points, p0 + kTile);
    for (int64_t c0 = 0; c0 < channels; c0 += kTile) {
      const int64_t c1 = std::min(channels, c0 + kTile);
      for (int64_t p = p0; p < p1; ++p) {
        float* to = y + p * channels;
        for (int64_t c = c0; c < c1; ++c) to[c] = a[c * points + p];
        if (!b) continue;
        const int64_t at = first + p * channels;
        for (int64_t c = c0; c < c1; ++c) {
          const bool other = Hash(static_cast<uint32_t>(at + c), mix.key) < mix.share;
          to[c] = other ? b[c * points + p] : to[c];
        }
      }
    }
  }
}
SLIPWAY_CLONES void PickRow(const float* a, const float* b, float* y, int64_t count, int64_t first,
                            MixLoop mix) {
  for (int64_t i = 0; i < count; ++i) y[i] = a[i];
  if (!b) return;
  for (int64_t i = 0; i < count; ++i)
    y[i] = Hash(static_cast<uint32_t>(first + i), mix.key) < mix.share ? b[i] : y[i];
}

}  // namespace

at::Tensor QuantizeStep(const at::Tensor& x, const at::Tensor& scale, Codes codes, double drop,
                        uint32_t key) {
  return Step::apply(x, scale, static_cast<double>(codes.lo), static_cast<double>(codes.hi), drop,
                     static_cast<int64_t>(key));
}

at::Tensor InverseRectifiedSigmoid(const at::Tensor& fraction) {
  return -at::log(1.2 / (fraction + 0.1) - 1);
}

namespace {
RoundingPointers PointersOf(const Roundings& r) {
  return {r.base.data_ptr<float>(), r.scale.data_ptr<float>(), r.lo.data_ptr<float>(),
          r.hi.data_ptr<float>()};
}
}  // namespace

void SoftRound(const Roundings& r, at::Tensor& weights) {
  const RoundingPointers p = PointersOf(r);
  const float* alpha = r.alpha.data_ptr<float>();
  float* to = weights.data_ptr<float>();
  Chunks(weights.numel(),
         [&](int64_t, int64_t begin, int64_t end) { SoftRoundLoop(p, alpha, to, begin, end); });
}
void LearnRoundings(Roundings& r, const at::Tensor& gradient, double rate, double strength,
                    double beta) {
  ++r.steps;
  const auto steps = static_cast<double>(r.steps);
  const bool regular = beta > 0 && strength > 0;
  const AdamNumbers n = {static_cast<float>(rate / (1 - std::pow(0.9, steps))),
                         static_cast<float>(1 / (1 - std::pow(0.999, steps))),
                         static_cast<float>(regular ? beta : 2),
                         static_cast<float>(regular ? 2 * beta * strength : 0)};
  const at::Tensor g = gradient.contiguous();
  const RoundingPointers p = PointersOf(r);
  float *alpha = r.alpha.data_ptr<float>(), *m = r.m.data_ptr<float>(), *v = r.v.data_ptr<float>();
  Chunks(g.numel(), [&](int64_t, int64_t begin, int64_t end) {
    LearnLoop(p, g.data_ptr<float>(), alpha, m, v, begin, end, n);
  });
}

at::Tensor SquaredError(const at::Tensor& y, const at::Tensor& target, const at::Tensor& importance,
                        double factor) {
  // (A function of torch takes no undefined array.)
  return Error::apply(y, target, importance.defined() ? importance : at::empty({0}, y.options()),
                      factor);
}

at::Tensor PickSamples(const at::Tensor& from, const int64_t* picked, int64_t count,
                       const at::Tensor& mixed, double share, uint32_t key) {
  std::vector<int64_t> shape(from.sizes().begin(), from.sizes().end());
  shape[0] = count;
  const bool last = shape.size() == 4;
  at::Tensor y = at::empty(shape, from.options(),
                           last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
  int64_t each = 1;
  for (size_t i = 1; i < shape.size(); ++i) each *= shape[i];
  const int64_t channels = last ? shape[1] : 1, points = last ? shape[2] * shape[3] : each;
  const float *a = from.data_ptr<float>(),
              *b = mixed.defined() && share > 0 ? mixed.data_ptr<float>() : nullptr;
  float* to = y.data_ptr<float>();
  const MixLoop mix = {Threshold(share), key};
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = picked[i] * each;
      if (last)
        PickPlane(a + at, b ? b + at : nullptr, to + i * each, channels, points, i * each, mix);
      else
        PickRow(a + at, b ? b + at : nullptr, to + i * each, each, i * each, mix);
    }
  });
  return y;
}

}  // namespace slipway::learn
