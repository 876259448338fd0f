// Normalisations. Statistics are computed in float64 whatever stash_type says: at least as exact as
// asked for.

#include <cmath>

#include "model/ops/broadcast.h"
#include "model/ops/dispatch.h"

namespace slipway::ops {
namespace {

// y = y * scale (+ bias), both broadcast to y and rounded to T after each step as in ONNX's
// function bodies.
template <typename T>
void ScaleAndShift(const OpContext& c, const TensorView& scale, const TensorView* bias) {
  using C = Compute<T>;
  const TensorView& y = c.outputs[0];
  BroadcastBinary<T, T, T>(c, y, scale, y, [](T a, T b) {
    return static_cast<T>(static_cast<C>(a) * static_cast<C>(b));
  });
  if (!bias) return;
  BroadcastBinary<T, T, T>(c, y, *bias, y, [](T a, T b) {
    return static_cast<T>(static_cast<C>(a) + static_cast<C>(b));
  });
}

struct Moments {
  double mean = 0, inverse = 0;  // inverse = 1 / sqrt(variance + epsilon)
};

template <typename T>
Moments MomentsOf(const T* x, int64_t n, double epsilon) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(static_cast<Compute<T>>(x[i]));
  const double mean = sum / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(static_cast<Compute<T>>(x[i])) - mean;
    squares += d * d;
  }
  return {mean, 1 / std::sqrt(squares / static_cast<double>(n) + epsilon)};
}

// y = (x - mean) * inverse over consecutive blocks of n elements; record(block, moments).
template <typename T, typename Record>
void NormalizeBlocks(const OpContext& c, int64_t blocks, int64_t n, double epsilon, Record record) {
  const T* x = c.inputs[0].as<const T>();
  T* y = c.outputs[0].as<T>();
  For(c, blocks, std::max<int64_t>(1, 4096 / std::max<int64_t>(n, 1)),
      [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
          const T* px = x + b * n;
          T* py = y + b * n;
          const Moments m = MomentsOf(px, n, epsilon);
          for (int64_t i = 0; i < n; ++i) {
            py[i] = static_cast<T>((static_cast<double>(static_cast<Compute<T>>(px[i])) - m.mean) *
                                   m.inverse);
          }
          record(b, m);
        }
      });
}

// y = y * scale[channel] + bias[channel] for [N, C, ...].
template <typename T>
void ChannelScale(const OpContext& c) {
  using C = Compute<T>;
  const TensorView& y = c.outputs[0];
  const T* scale = c.inputs[1].as<const T>();
  const T* bias = c.inputs[2].as<const T>();
  const int64_t channels = y.dims[1], plane = y.dims.count(2, y.dims.rank());
  For(c, y.dims[0] * channels, std::max<int64_t>(1, 4096 / std::max<int64_t>(plane, 1)),
      [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
          const C s = static_cast<C>(scale[p % channels]), b = static_cast<C>(bias[p % channels]);
          T* py = y.as<T>() + p * plane;
          for (int64_t i = 0; i < plane; ++i) py[i] = static_cast<T>(static_cast<C>(py[i]) * s + b);
        }
      });
}

Status CheckChannels(const OpContext& c, size_t first, size_t last) {
  const Dims& x = c.inputs[0].dims;
  const int64_t channels = x.rank() > 1 ? x[1] : 1;
  for (size_t i = first; i <= last; ++i) {
    if (c.inputs[i].count() != channels) {
      return InvalidArgument("input " + std::to_string(i) + " must have one element per channel (" +
                             std::to_string(channels) + "), its extent is " +
                             c.inputs[i].dims.ToString());
    }
  }
  return OkStatus();
}

Status CheckType(const OpContext& c, size_t i) {
  if (c.inputs[i].dtype == c.inputs[0].dtype) return OkStatus();
  return Unsupported("input " + std::to_string(i) + " has element type " +
                     DTypeName(c.inputs[i].dtype) + ", X has " + DTypeName(c.inputs[0].dtype) +
                     "; cast them to one type");
}

template <typename T, bool kLog>
void Softmax(const OpContext& c, int axis) {
  using C = Compute<T>;
  const TensorView& x = c.inputs[0];
  const int64_t n = x.dims[static_cast<size_t>(axis)],
                inner = x.dims.count(axis + 1, x.dims.rank());
  const int64_t rows = x.dims.count(0, axis) * inner;
  For(c, rows, std::max<int64_t>(1, 1024 / std::max<int64_t>(n, 1)),
      [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const int64_t base = r / inner * n * inner + r % inner;
          const T* px = x.as<const T>() + base;
          T* py = c.outputs[0].as<T>() + base;
          C top = static_cast<C>(px[0]);
          for (int64_t i = 1; i < n; ++i) top = std::max(top, static_cast<C>(px[i * inner]));
          double sum = 0;
          for (int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<C>(px[i * inner]) - top);
          const C shift = static_cast<C>(std::log(sum)), scale = static_cast<C>(1 / sum);
          for (int64_t i = 0; i < n; ++i) {
            const C v = static_cast<C>(px[i * inner]) - top;
            py[i * inner] = static_cast<T>(kLog ? v - shift : std::exp(v) * scale);
          }
        }
      });
}

template <bool kLog>
Status RunSoftmax(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  if (x.dims.rank() == 0) return InvalidArgument("expects X of rank 1 or more");
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", -1), x.dims.rank(), &axis));
  if (x.count() == 0) return OkStatus();
  if (!DispatchFloat(x.dtype, [&]<typename T>() { Softmax<T, kLog>(c, axis); }))
    return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace

Status OnnxSoftmax(const OpContext& c) { return RunSoftmax<false>(c); }
Status OnnxLogSoftmax(const OpContext& c) { return RunSoftmax<true>(c); }

// scale, B, mean and variance may have other float types than X.
Status OnnxBatchNormalization(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckChannels(c, 1, 4));
  const double epsilon = c.attributes->Float("epsilon", 1e-5f);
  const int64_t channels = x.dims.rank() > 1 ? x.dims[1] : 1,
                plane = x.dims.count(2, x.dims.rank());
  const int64_t batch = x.dims.rank() > 0 ? x.dims[0] : 1;
  auto at = [](const TensorView& t, int64_t i) {
    TensorView one = t;
    one.data = t.as<uint8_t>() + DTypeBytes(t.dtype, i);
    return ScalarAt(one);
  };
  for (size_t i = 1; i < 5; ++i) {
    if (!IsFloating(c.inputs[i].dtype) || DTypeBits(c.inputs[i].dtype) < 16)
      return NoKernel(c.inputs[i].dtype);
  }
  auto run = [&]<typename T>() {
    using C = Compute<T>;
    For(c, batch * channels, std::max<int64_t>(1, 4096 / std::max<int64_t>(plane, 1)),
        [&](int64_t begin, int64_t end) {
          for (int64_t p = begin; p < end; ++p) {
            const int64_t ch = p % channels;
            const C factor =
                static_cast<C>(at(c.inputs[1], ch) / std::sqrt(at(c.inputs[4], ch) + epsilon));
            const C mean = static_cast<C>(at(c.inputs[3], ch)),
                    shift = static_cast<C>(at(c.inputs[2], ch));
            const T* px = x.as<const T>() + p * plane;
            T* py = c.outputs[0].as<T>() + p * plane;
            for (int64_t i = 0; i < plane; ++i) {
              py[i] = static_cast<T>((static_cast<C>(px[i]) - mean) * factor + shift);
            }
          }
        });
  };
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxInstanceNormalization(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  if (x.dims.rank() < 2)
    return InvalidArgument("expects X of rank 2 or more, got " + x.dims.ToString());
  SLIPWAY_RETURN_IF_ERROR(CheckChannels(c, 1, 2));
  for (size_t i = 1; i < 3; ++i) SLIPWAY_RETURN_IF_ERROR(CheckType(c, i));
  const double epsilon = c.attributes->Float("epsilon", 1e-5f);
  auto run = [&]<typename T>() {
    NormalizeBlocks<T>(c, x.dims[0] * x.dims[1], x.dims.count(2, x.dims.rank()), epsilon,
                       [](int64_t, const Moments&) {});
    ChannelScale<T>(c);
  };
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxGroupNormalization(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  if (x.dims.rank() < 2)
    return InvalidArgument("expects X of rank 2 or more, got " + x.dims.ToString());
  const int64_t groups = c.attributes->Int("num_groups", 0);
  if (groups < 1 || x.dims[1] % groups != 0) {
    return InvalidArgument("num_groups " + std::to_string(groups) + " does not divide the " +
                           std::to_string(x.dims[1]) + " channels");
  }
  SLIPWAY_RETURN_IF_ERROR(CheckChannels(c, 1, 2));
  for (size_t i = 1; i < 3; ++i) SLIPWAY_RETURN_IF_ERROR(CheckType(c, i));
  const double epsilon = c.attributes->Float("epsilon", 1e-5f);
  const int64_t n = x.dims[1] / groups * x.dims.count(2, x.dims.rank());
  auto run = [&]<typename T>() {
    NormalizeBlocks<T>(c, x.dims[0] * groups, n, epsilon, [](int64_t, const Moments&) {});
    ChannelScale<T>(c);
  };
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

// Optional outputs 1 and 2: mean and 1 / sqrt(variance + epsilon) per normalised block, float32 (or
// T when T is float64).
Status OnnxLayerNormalization(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", -1), x.dims.rank(), &axis));
  SLIPWAY_RETURN_IF_ERROR(CheckType(c, 1));
  if (c.Has(2)) SLIPWAY_RETURN_IF_ERROR(CheckType(c, 2));
  const double epsilon = c.attributes->Float("epsilon", 1e-5f);
  auto record = [&](int64_t block, const Moments& m) {
    const double values[2] = {m.mean, m.inverse};
    for (size_t i = 1; i < c.outputs.size() && i < 3; ++i) {
      if (!c.outputs[i].present()) continue;
      DispatchFloat(c.outputs[i].dtype, [&]<typename S>() {
        c.outputs[i].as<S>()[block] = static_cast<S>(values[i - 1]);
      });
    }
  };
  auto run = [&]<typename T>() {
    NormalizeBlocks<T>(c, x.dims.count(0, axis), x.dims.count(axis, x.dims.rank()), epsilon,
                       record);
    ScaleAndShift<T>(c, c.inputs[1], c.Has(2) ? &c.inputs[2] : nullptr);
  };
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxRMSNormalization(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", -1), x.dims.rank(), &axis));
  SLIPWAY_RETURN_IF_ERROR(CheckType(c, 1));
  const double epsilon = c.attributes->Float("epsilon", 1e-5f);
  const int64_t blocks = x.dims.count(0, axis), n = x.dims.count(axis, x.dims.rank());
  auto run = [&]<typename T>() {
    For(c, blocks, std::max<int64_t>(1, 4096 / std::max<int64_t>(n, 1)),
        [&](int64_t begin, int64_t end) {
          for (int64_t b = begin; b < end; ++b) {
            const T* px = x.as<const T>() + b * n;
            T* py = c.outputs[0].as<T>() + b * n;
            double squares = 0;
            for (int64_t i = 0; i < n; ++i) {
              const double v = static_cast<double>(static_cast<Compute<T>>(px[i]));
              squares += v * v;
            }
            const double inverse = 1 / std::sqrt(squares / static_cast<double>(n) + epsilon);
            for (int64_t i = 0; i < n; ++i) {
              py[i] = static_cast<T>(static_cast<double>(static_cast<Compute<T>>(px[i])) * inverse);
            }
          }
        });
    ScaleAndShift<T>(c, c.inputs[1], nullptr);
  };
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

// 1 at the first largest element along the axis, 0 elsewhere.
Status OnnxHardmax(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", -1), x.dims.rank(), &axis));
  if (x.count() == 0) return OkStatus();
  const int64_t n = x.dims[static_cast<size_t>(axis)],
                inner = x.dims.count(axis + 1, x.dims.rank());
  auto run = [&]<typename T>() {
    For(c, x.count() / n, 64, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t base = r / inner * n * inner + r % inner;
        const T* px = x.as<const T>() + base;
        T* py = c.outputs[0].as<T>() + base;
        int64_t best = 0;
        for (int64_t i = 1; i < n; ++i) {
          if (static_cast<Compute<T>>(px[i * inner]) > static_cast<Compute<T>>(px[best * inner]))
            best = i;
        }
        for (int64_t i = 0; i < n; ++i) py[i * inner] = static_cast<T>(i == best ? 1.0f : 0.0f);
      }
    });
  };
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

Status OnnxLRN(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  if (x.dims.rank() < 2)
    return InvalidArgument("expects X of rank 2 or more, got " + x.dims.ToString());
  const int64_t size = c.attributes->Int("size", 0);
  if (size < 1) return InvalidArgument("size must be positive, is " + std::to_string(size));
  const double alpha = c.attributes->Float("alpha", 1e-4f),
               beta = c.attributes->Float("beta", 0.75f);
  const double bias = c.attributes->Float("bias", 1);
  const int64_t channels = x.dims[1], plane = x.dims.count(2, x.dims.rank());
  const int64_t before = (size - 1) / 2, after = size - 1 - before;
  auto run = [&]<typename T>() {
    For(c, x.dims[0] * channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t ch = p % channels;
        const int64_t first = ch - std::min(before, ch),
                      last = ch + std::min(after, channels - 1 - ch);
        const T* image = x.as<const T>() + (p - ch) * plane;
        for (int64_t i = 0; i < plane; ++i) {
          double sum = 0;
          for (int64_t k = first; k <= last; ++k) {
            const double v = static_cast<double>(static_cast<Compute<T>>(image[k * plane + i]));
            sum += v * v;
          }
          const double v = static_cast<double>(static_cast<Compute<T>>(image[ch * plane + i]));
          c.outputs[0].as<T>()[p * plane + i] =
              static_cast<T>(v / std::pow(bias + alpha / static_cast<double>(size) * sum, beta));
        }
      }
    });
  };
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

// A block of norm 0 stays 0.
Status OnnxLpNormalization(const OpContext& c) {
  const TensorView& x = c.inputs[0];
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.attributes->Int("axis", -1), x.dims.rank(), &axis));
  const int64_t p = c.attributes->Int("p", 2);
  if (p != 1 && p != 2) return InvalidArgument("p must be 1 or 2, is " + std::to_string(p));
  const int64_t n = x.dims[static_cast<size_t>(axis)],
                inner = x.dims.count(axis + 1, x.dims.rank());
  auto run = [&]<typename T>() {
    const int64_t rows = x.dims.count(0, axis) * inner;
    For(c, rows, 64, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t base = r / inner * n * inner + r % inner;
        const T* px = x.as<const T>() + base;
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) {
          const double v = static_cast<double>(static_cast<Compute<T>>(px[i * inner]));
          sum += p == 1 ? std::fabs(v) : v * v;
        }
        const double norm = p == 1 ? sum : std::sqrt(sum);
        for (int64_t i = 0; i < n; ++i) {
          const double v = static_cast<double>(static_cast<Compute<T>>(px[i * inner]));
          c.outputs[0].as<T>()[base + i * inner] = static_cast<T>(norm == 0 ? 0 : v / norm);
        }
      }
    });
  };
  if (x.count() == 0) return OkStatus();
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace slipway::ops
