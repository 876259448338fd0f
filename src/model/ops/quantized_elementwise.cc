// QAdd, QMul, QAffine, QAveragePool, QRescale and QLookup: the integer contract of operators.inc,
// bit-exact.

#include <cmath>
#include <cstring>

#include "model/ops/broadcast.h"
#include "model/ops/dispatch.h"
#include "model/ops/quantized.h"
#include "model/ops/window.h"

namespace slipway::ops {
namespace {

template <typename F>
bool DispatchCode(DType t, F&& f) {
  return Dispatch<uint8_t, int8_t>(t, f);
}

// f(a, b) -> v for the codes a and b less their zero points.
template <typename F>
Status Binary(const OpContext& c, F f) {
  const TensorView &a = c.inputs[0], &b = c.inputs[1], &y = c.outputs[0];
  SLIPWAY_ASSIGN_OR_RETURN(const Requantizer to, MakeRequantizer(*c.attributes, y.dtype));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t za, ReadZeroPoint(*c.attributes, "a_zero_point", a.dtype));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t zb, ReadZeroPoint(*c.attributes, "b_zero_point", b.dtype));
  bool done = false;
  DispatchCode(a.dtype, [&]<typename A>() {
    DispatchCode(b.dtype, [&]<typename B>() {
      done = Dispatch<uint8_t, int8_t, float>(y.dtype, [&]<typename Y>() {
        BroadcastBinary<A, B, Y>(
            c, a, b, y, [=](A va, B vb) { return to.template Convert<Y>(f(va - za, vb - zb)); });
      });
    });
  });
  return done ? OkStatus() : NoKernel(y.dtype);
}

template <typename X, typename Y>
void AveragePool(const OpContext& c, const Window& w, int32_t zero, float multiplier,
                 bool include_pad, const Requantizer& to) {
  using Sum = std::conditional_t<sizeof(X) == 1, uint32_t, uint64_t>;
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const int64_t plane = w.InCount(), out_plane = w.OutCount();
  For(c, x.dims[0] * x.dims[1], 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const X* px = x.as<const X>() + p * plane;
      for (int64_t o = 0; o < out_plane; ++o) {
        const int64_t at[3] = {o / w.out[2] / w.out[1], o / w.out[2] % w.out[1], o % w.out[2]};
        // Taps k in [lo, hi) of each dimension lie inside the input; those below `padded` inside
        // input plus padding.
        int64_t start[3], lo[3], hi[3], taps = 1, padded = 1;
        for (int d = 0; d < 3; ++d) {
          start[d] = at[d] * w.stride[d] - w.pad_begin[d];
          auto below =
              [&](int64_t limit) {  // how many taps start[d] + k * dilation lie below limit
                const int64_t n =
                    start[d] >= limit ? 0 : (limit - start[d] + w.dilation[d] - 1) / w.dilation[d];
                return std::min(n, w.kernel[d]);
              };
          lo[d] = below(0);
          hi[d] = std::max(lo[d], below(w.in[d]));
          taps *= hi[d] - lo[d];
          padded *= below(w.in[d] + w.pad_end[d]);
        }
        Sum sum = 0;
        for (int64_t i = lo[0]; i < hi[0]; ++i) {
          for (int64_t j = lo[1]; j < hi[1]; ++j) {
            const X* row =
                px +
                ((start[0] + i * w.dilation[0]) * w.in[1] + start[1] + j * w.dilation[1]) * w.in[2];
            for (int64_t k = lo[2]; k < hi[2]; ++k) {
              sum +=
                  static_cast<Sum>(static_cast<int32_t>(row[start[2] + k * w.dilation[2]]) - zero);
            }
          }
        }
        const int64_t count = include_pad ? padded : taps;
        const float v = count == 0 ? 0.0f
                                   : static_cast<float>(static_cast<std::make_signed_t<Sum>>(sum)) *
                                         (multiplier / static_cast<float>(count));
        y.as<Y>()[p * out_plane + o] = to.Convert<Y>(v);
      }
    }
  });
}

// Means of whole planes of floats that are rounded to codes on the way.
Status RoundedMeans(const OpContext& c, const Requantizer& to) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  SLIPWAY_ASSIGN_OR_RETURN(const InputRounding from, ReadInputRounding(*c.attributes));
  if (c.attributes->Int("global", 0) == 0 || x.dims.rank() < 2)
    return InvalidArgument("a float32 input of " + x.dims.ToString() +
                           " needs global = 1 and rank 2 or more");
  const int64_t plane = x.dims.count(2, x.dims.rank());
  const float multiplier = c.attributes->Float("multiplier", 1) / static_cast<float>(plane);
  const bool done = Dispatch<uint8_t, int8_t, float>(y.dtype, [&]<typename Y>() {
    For(c, x.dims[0] * x.dims[1], 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const float* px = x.as<const float>() + p * plane;
        uint32_t sum = 0;
        for (int64_t i = 0; i < plane; ++i) {
          const int32_t code =
              Requantize(px[i] / from.scale, from.to.zero_point, from.to.lo, from.to.hi);
          sum += static_cast<uint32_t>(code - from.to.zero_point);
        }
        y.as<Y>()[p] = to.Convert<Y>(
            plane == 0 ? 0.0f : static_cast<float>(static_cast<int32_t>(sum)) * multiplier);
      }
    });
  });
  return done ? OkStatus() : NoKernel(y.dtype);
}

}  // namespace

Status SlipwayQAdd(const OpContext& c) {
  const float ma = c.attributes->Float("a_multiplier", 1),
              mb = c.attributes->Float("b_multiplier", 1);
  return Binary(c, [=](int32_t a, int32_t b) {
    return std::fma(static_cast<float>(a), ma, static_cast<float>(b) * mb);
  });
}

Status SlipwayQMul(const OpContext& c) {
  const float m = c.attributes->Float("multiplier", 1);
  return Binary(c, [=](int32_t a, int32_t b) { return static_cast<float>(a * b) * m; });
}

Status SlipwayMulQuantize(const OpContext& c) {
  const TensorView &a = c.inputs[0], &b = c.inputs[1], &y = c.outputs[0];
  SLIPWAY_ASSIGN_OR_RETURN(const Requantizer to, MakeRequantizer(*c.attributes, y.dtype));
  const float scale = c.attributes->Float("scale", 1);
  const bool done = DispatchCode(y.dtype, [&]<typename Y>() {
    BroadcastBinary<float, float, Y>(
        c, a, b, y, [=](float x, float f) { return to.Convert<Y>(x * f / scale); });
  });
  return done ? OkStatus() : NoKernel(y.dtype);
}

Status SlipwayQAveragePool(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const Attributes& a = *c.attributes;
  const bool wide = IsWideCode(x.dtype);
  SLIPWAY_ASSIGN_OR_RETURN(const Requantizer to, MakeRequantizer(a, y.dtype, wide));
  if (x.dtype == DType::kFloat32) return RoundedMeans(c, to);
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t zero, ReadZeroPoint(a, "x_zero_point", x.dtype, wide));
  if (y.count() == 0) return OkStatus();
  Window w;
  if (a.Int("global", 0) != 0) {
    if (x.dims.rank() < 2)
      return InvalidArgument("expects X of rank 2 or more, got " + x.dims.ToString());
    w.in[2] = w.kernel[2] = x.dims.count(2, x.dims.rank());
  } else {
    SLIPWAY_ASSIGN_OR_RETURN(w, ResolveWindow(a, x.dims, y.dims));
  }
  const bool include_pad = a.Int("count_include_pad", 0) != 0;
  const float multiplier = a.Float("multiplier", 1);
  bool done = false;
  DispatchCode(x.dtype, [&]<typename X>() {
    done = Dispatch<uint8_t, int8_t, float>(
        y.dtype, [&]<typename Y>() { AveragePool<X, Y>(c, w, zero, multiplier, include_pad, to); });
  });
  if (wide) {
    Dispatch<uint16_t, int16_t>(x.dtype, [&]<typename X>() {
      done = Dispatch<uint16_t, int16_t, float>(y.dtype, [&]<typename Y>() {
        AveragePool<X, Y>(c, w, zero, multiplier, include_pad, to);
      });
    });
  }
  return done ? OkStatus() : NoKernel(x.dtype);
}

Status SlipwayQAffine(const OpContext& c) {
  const TensorView &multiplier = c.inputs[0], &offset = c.inputs[1], &y = c.outputs[0];
  SLIPWAY_ASSIGN_OR_RETURN(const Requantizer to, MakeRequantizer(*c.attributes, y.dtype));
  const int64_t rank = y.dims.rank(), given = c.attributes->Int("axis", 1),
                axis = given < 0 ? given + rank : given;
  if (axis < 0 || axis >= rank) return InvalidArgument("axis outside of the output");
  const int64_t channels = y.dims[static_cast<size_t>(axis)];
  for (const TensorView* t : {&multiplier, &offset}) {
    if (t->dtype != DType::kFloat32 || (t->count() != 1 && t->count() != channels))
      return InvalidArgument("multiplier and offset must be float32 with 1 or " +
                             std::to_string(channels) + " elements");
  }
  const int at = static_cast<int>(axis);
  const int64_t outer = y.dims.count(0, at), inner = y.dims.count(at + 1, y.dims.rank());
  const float *m = multiplier.as<const float>(), *o = offset.as<const float>();
  const int64_t step_m = multiplier.count() > 1 ? 1 : 0, step_o = offset.count() > 1 ? 1 : 0;
  int64_t first = 0;
  for (size_t i = 2; i < c.inputs.size(); ++i) {
    const TensorView& x = c.inputs[i];
    if (x.dims.rank() != y.dims.rank() ||
        x.count() != outer * x.dims[static_cast<size_t>(axis)] * inner ||
        x.dims[static_cast<size_t>(axis)] > channels - first)
      return InvalidArgument("a piece " + x.dims.ToString() + " does not fit " + y.dims.ToString());
    const int64_t own = x.dims[static_cast<size_t>(axis)];
    bool done = false;
    DispatchCode(x.dtype, [&]<typename X>() {
      done = Dispatch<uint8_t, int8_t, float>(y.dtype, [&]<typename Y>() {
        For(c, outer * own, 1, [&](int64_t begin, int64_t end) {
          for (int64_t row = begin; row < end; ++row) {
            const int64_t channel = first + row % own;
            const X* from = x.as<const X>() + row * inner;
            Y* out = y.as<Y>() + (row / own * channels + channel) * inner;
            for (int64_t k = 0; k < inner; ++k)
              out[k] = to.Convert<Y>(
                  std::fma(static_cast<float>(from[k]), m[channel * step_m], o[channel * step_o]));
          }
        });
      });
    });
    if (!done) return NoKernel(x.dtype);
    first += own;
  }
  return first == channels ? OkStatus() : InvalidArgument("pieces that do not fill the output");
}

Status SlipwayQRescale(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  SLIPWAY_ASSIGN_OR_RETURN(const Requantizer to, MakeRequantizer(*c.attributes, y.dtype));
  SLIPWAY_ASSIGN_OR_RETURN(const int32_t zero,
                           ReadZeroPoint(*c.attributes, "x_zero_point", x.dtype));
  const float m = c.attributes->Float("multiplier", 1);
  bool done = false;
  DispatchCode(x.dtype, [&]<typename X>() {
    done = Dispatch<uint8_t, int8_t, float>(y.dtype, [&]<typename Y>() {
      For(c, x.count(), kElementGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          y.as<Y>()[i] = to.template Convert<Y>(static_cast<float>(x.as<const X>()[i] - zero) * m);
        }
      });
    });
  });
  return done ? OkStatus() : NoKernel(x.dtype);
}

Status SlipwayQLookup(const OpContext& c) {
  const TensorView &x = c.inputs[0], &table = c.inputs[1], &y = c.outputs[0];
  if (x.dtype != DType::kInt8 && x.dtype != DType::kUInt8) return NoKernel(x.dtype);
  int64_t channels = 1, inner = 1;
  if (table.dims.rank() == 2) {
    const int rank = x.dims.rank();
    const int64_t given = c.attributes->Int("axis", -1), axis = given < 0 ? given + rank : given;
    if (axis < 0 || axis >= rank)
      return InvalidArgument("axis " + std::to_string(given) + " for rank " + std::to_string(rank));
    channels = x.dims[static_cast<size_t>(axis)];
    inner = x.dims.count(static_cast<int>(axis) + 1, rank);
  }
  if (table.dims.rank() < 1 || table.dims.rank() > 2 || table.dims.back() != 256 ||
      table.count() != channels * 256 || table.dtype != y.dtype) {
    return InvalidArgument(
        "table must have 256 elements of the output's type, for all or for each "
        "channel, has " +
        table.dims.ToString() + " of " + DTypeName(table.dtype));
  }
  auto run = [&]<typename T>() {
    const uint8_t* codes = x.as<const uint8_t>();
    const T* values = table.as<const T>();
    For(c, x.count(), kElementGrain, [&](int64_t begin, int64_t end) {
      if (channels == 1) {
        for (int64_t i = begin; i < end; ++i) y.as<T>()[i] = values[codes[i]];
      } else {
        for (int64_t i = begin; i < end; ++i)
          y.as<T>()[i] = values[i / inner % channels * 256 + codes[i]];
      }
    });
  };
  if (!DispatchSize(y.dtype, run)) return NoKernel(y.dtype);
  return OkStatus();
}

}  // namespace slipway::ops
