#include "learn/fake_quant.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
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
    const at::Tensor x = given.contiguous();
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
    const at::Tensor x = saved[0], g = gradients[0].contiguous();
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

struct Soft : torch::autograd::Function<Soft> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& alpha,
                            const at::Tensor& base, const at::Tensor& scale, const at::Tensor& lo,
                            const at::Tensor& hi) {
    const at::Tensor code = base + RectifiedSigmoid(alpha);
    context->save_for_backward({alpha, scale, at::logical_and(code >= lo, code <= hi)});
    return at::minimum(at::maximum(code, lo), hi) * scale;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor s = at::sigmoid(saved[0]), h = s * 1.2 - 0.1;
    const at::Tensor inside = at::logical_and(at::logical_and(h > 0, h < 1), saved[2]);
    return {gradients[0] * saved[1] * (s * (1 - s) * 1.2) * inside, {}, {}, {}, {}};
  }
};

SLIPWAY_CLONES void MixLoop(const float* a, const float* b, float* y, int64_t begin, int64_t end,
                            uint32_t share, uint32_t key) {
  for (int64_t i = begin; i < end; ++i)
    y[i] = Hash(static_cast<uint32_t>(i), key) < share ? a[i] : b[i];
}

}  // namespace

at::Tensor QuantizeStep(const at::Tensor& x, const at::Tensor& scale, Codes codes, double drop,
                        uint32_t key) {
  return Step::apply(x, scale, static_cast<double>(codes.lo), static_cast<double>(codes.hi), drop,
                     static_cast<int64_t>(key));
}

at::Tensor RectifiedSigmoid(const at::Tensor& alpha) {
  return (at::sigmoid(alpha) * 1.2 - 0.1).clamp(0, 1);
}
at::Tensor InverseRectifiedSigmoid(const at::Tensor& fraction) {
  return -at::log(1.2 / (fraction + 0.1) - 1);
}
at::Tensor SoftRound(const at::Tensor& alpha, const at::Tensor& base, const at::Tensor& scale,
                     const at::Tensor& lo, const at::Tensor& hi) {
  return Soft::apply(alpha, base, scale, lo, hi);
}

at::Tensor Mix(const at::Tensor& a, const at::Tensor& b, double share, uint32_t key) {
  const at::Tensor x = a.contiguous(), z = b.contiguous();
  at::Tensor y = at::empty_like(x);
  const float *px = x.data_ptr<float>(), *pz = z.data_ptr<float>();
  float* to = y.data_ptr<float>();
  Chunks(x.numel(), [&](int64_t, int64_t begin, int64_t end) {
    MixLoop(px, pz, to, begin, end, Threshold(share), key);
  });
  return y;
}

}  // namespace slipway::learn
