// Operators that put elements elsewhere among zeros: ReverseSequence, CenterCropPad, MaxUnpool,
// Col2Im, EyeLike; and BitCast.

#include <algorithm>
#include <cstring>

#include "model/ops/dispatch.h"
#include "model/ops/scratch.h"

namespace slipway::ops {
namespace {

void Clear(const TensorView& y) {
  const size_t bytes = DTypeBytes(y.dtype, y.count());
  if (bytes > 0) std::memset(y.data, 0, bytes);
}

// `list` when it has n entries, else `fallback` for each.
int64_t Entry(std::span<const int64_t> list, size_t i, int64_t fallback) {
  return i < list.size() ? list[i] : fallback;
}

}  // namespace

// The first sequence_lens[b] entries along the time axis come in reverse order, the rest stays.
Status OnnxReverseSequence(const OpContext& c) {
  const TensorView &x = c.inputs[0], &lens = c.inputs[1], &y = c.outputs[0];
  if (DTypeBits(x.dtype) < 8) return NoKernel(x.dtype);
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(lens, "sequence_lens"));
  const int64_t batch_axis = c.attributes->Int("batch_axis", 1),
                time_axis = c.attributes->Int("time_axis", 0);
  if (x.dims.rank() < 2 || batch_axis < 0 || batch_axis > 1 || time_axis != 1 - batch_axis)
    return InvalidArgument("batch_axis and time_axis must be 0 and 1 or 1 and 0");
  const int64_t batches = x.dims[static_cast<size_t>(batch_axis)],
                times = x.dims[static_cast<size_t>(time_axis)];
  if (lens.count() != batches)
    return InvalidArgument("sequence_lens must have one element per batch");
  const size_t inner = DTypeBytes(x.dtype, x.dims.count(2, x.dims.rank()));
  for (int64_t b = 0; b < batches; ++b) {
    if (const int64_t n = IndexAt(lens, b); n < 0 || n > times) {
      return InvalidArgument("sequence_lens[" + std::to_string(b) + "] = " + std::to_string(n) +
                             " is outside [0, " + std::to_string(times) + "]");
    }
  }
  if (inner == 0) return OkStatus();
  for (int64_t b = 0; b < batches; ++b) {
    const int64_t n = IndexAt(lens, b);
    for (int64_t t = 0; t < times; ++t) {
      const int64_t from = t < n ? n - 1 - t : t;
      auto at = [&](int64_t time) {
        return static_cast<size_t>(batch_axis == 0 ? b * times + time : time * batches + b) * inner;
      };
      std::memcpy(y.as<uint8_t>() + at(t), x.as<const uint8_t>() + at(from), inner);
    }
  }
  return OkStatus();
}

Status OnnxCenterCropPad(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  if (DTypeBits(x.dtype) < 8) return NoKernel(x.dtype);
  const int rank = x.dims.rank();
  if (y.dims.rank() != rank) return Internal("the output's rank is wrong");
  Clear(y);
  Dims part;
  int64_t from[kMaxRank], to[kMaxRank];
  for (size_t d = 0; d < x.dims.size(); ++d) {
    const int64_t in = x.dims[d], out = y.dims[d];
    part.push_back(std::min(in, out));
    from[d] = in > out ? (in - out) / 2 : 0;
    to[d] = out > in ? (out - in) / 2 : 0;
  }
  if (part.count() == 0) return OkStatus();
  const size_t size = DTypeBytes(x.dtype, 1);
  if (rank == 0) {
    std::memcpy(y.data, x.data, size);
    return OkStatus();
  }
  const int64_t row = part.back();
  for (int64_t r = 0, rows = part.count() / row; r < rows; ++r) {
    int64_t rest = r, a = from[rank - 1], b = to[rank - 1];
    int64_t step_a = x.dims.back(), step_b = y.dims.back();
    for (int d = rank - 2; d >= 0; --d) {
      const size_t i = static_cast<size_t>(d);
      const int64_t index = rest % part[i];
      rest /= part[i];
      a += (from[d] + index) * step_a;
      b += (to[d] + index) * step_b;
      step_a *= x.dims[i];
      step_b *= y.dims[i];
    }
    std::memcpy(y.as<uint8_t>() + static_cast<size_t>(b) * size,
                x.as<const uint8_t>() + static_cast<size_t>(a) * size,
                static_cast<size_t>(row) * size);
  }
  return OkStatus();
}

// The indices address the extent that kernel, strides and pads give; a larger output_shape pads
// that at its end.
Status OnnxMaxUnpool(const OpContext& c) {
  const TensorView &x = c.inputs[0], &indices = c.inputs[1], &y = c.outputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(indices, "indices"));
  if (indices.count() != x.count()) return InvalidArgument("indices must have X's extent");
  const auto kernel = c.attributes->Ints("kernel_shape"), pads = c.attributes->Ints("pads"),
             strides = c.attributes->Ints("strides");
  const size_t spatial = x.dims.size() - 2;
  if (x.dims.rank() < 3 || kernel.size() != spatial)
    return InvalidArgument("kernel_shape does not fit X " + x.dims.ToString());
  Dims inner{x.dims[0], x.dims[1]};
  bool fits = y.dims.rank() == x.dims.rank() && y.dims[0] == x.dims[0] && y.dims[1] == x.dims[1];
  for (size_t i = 0; i < spatial; ++i) {
    inner.push_back((x.dims[i + 2] - 1) * Entry(strides, i, 1) + kernel[i] - Entry(pads, i, 0) -
                    Entry(pads, spatial + i, 0));
    fits = fits && y.dims[i + 2] >= inner[i + 2] && inner[i + 2] >= 0;
  }
  if (!fits) {
    return InvalidArgument("output_shape " + y.dims.ToString() + " is smaller than " +
                           inner.ToString() + ", which the indices address");
  }
  Clear(y);
  const bool same = y.dims == inner;
  Status status;
  auto run = [&]<typename T>() {
    for (int64_t i = 0, n = x.count(), most = inner.count(); i < n; ++i) {
      int64_t at = IndexAt(indices, i);
      if (at < 0 || at >= most) {
        status = InvalidArgument("index " + std::to_string(at) + " is outside the " +
                                 std::to_string(most) + " elements of " + inner.ToString());
        return;
      }
      if (!same) {
        int64_t rest = at, stride = 1;
        at = 0;
        for (size_t d = inner.size(); d-- > 0;) {
          at += rest % inner[d] * stride;
          rest /= inner[d];
          stride *= y.dims[d];
        }
      }
      y.as<T>()[at] = x.as<const T>()[i];
    }
  };
  if (!DispatchSize(x.dtype, run)) return NoKernel(x.dtype);
  return status;
}

namespace {

// [N, C * block, L] -> [N, C, image...], overlapping places added. float32 and float64.
Status Col2ImWide(const OpContext& c) {
  const TensorView &x = c.inputs[0], &block = c.inputs[2], &y = c.outputs[0];
  const auto dilations = c.attributes->Ints("dilations"), pads = c.attributes->Ints("pads"),
             strides = c.attributes->Ints("strides");
  const size_t spatial = y.dims.size() - 2;
  int64_t taps = 1, blocks = 1, kernel[kMaxRank], columns[kMaxRank];
  for (size_t i = 0; i < spatial; ++i) {
    kernel[i] = IndexAt(block, static_cast<int64_t>(i));
    if (kernel[i] < 1 ||
        kernel[i] > y.dims[i + 2] + Entry(pads, i, 0) + Entry(pads, spatial + i, 0))
      return InvalidArgument("block_shape does not fit the image " + y.dims.ToString());
    if (Entry(strides, i, 1) < 1 || Entry(dilations, i, 1) < 1 || Entry(pads, i, 0) < 0)
      return InvalidArgument("strides and dilations must be positive, pads not negative");
    const int64_t span = Entry(dilations, i, 1) * (kernel[i] - 1) + 1;
    const int64_t room = y.dims[i + 2] + Entry(pads, i, 0) + Entry(pads, spatial + i, 0) - span;
    columns[i] = room < 0 ? 0 : room / Entry(strides, i, 1) + 1;
    taps *= kernel[i];
    blocks *= columns[i];
  }
  if (x.dims[1] != y.dims[1] * taps || x.dims[2] != blocks) {
    return InvalidArgument("the input " + x.dims.ToString() + " must have " + std::to_string(taps) +
                           " rows a channel and " + std::to_string(blocks) + " columns for image " +
                           y.dims.ToString());
  }
  const int64_t plane = y.dims.count(2, y.dims.rank());
  auto run = [&]<typename T>() {
    For(c, y.dims[0] * y.dims[1], 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        T* to = y.as<T>() + p * plane;
        std::fill_n(to, plane, T{0});
        for (int64_t tap = 0; tap < taps; ++tap) {
          const T* from = x.as<const T>() + (p * taps + tap) * blocks;
          for (int64_t b = 0; b < blocks; ++b) {
            int64_t tap_rest = tap, block_rest = b, at = 0, stride = 1;
            bool inside = true;
            for (size_t i = spatial; i-- > 0;) {
              const int64_t place = block_rest % columns[i] * Entry(strides, i, 1) -
                                    Entry(pads, i, 0) +
                                    tap_rest % kernel[i] * Entry(dilations, i, 1);
              block_rest /= columns[i];
              tap_rest /= kernel[i];
              inside = inside && place >= 0 && place < y.dims[i + 2];
              at += place * stride;
              stride *= y.dims[i + 2];
            }
            if (inside) to[at] += from[b];
          }
        }
      }
    });
  };
  if (!Dispatch<float, double>(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace

Status OnnxCol2Im(const OpContext& c) {
  const TensorView& y = c.outputs[0];
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[2], "block_shape"));
  if (c.inputs[0].dims.rank() != 3 || y.dims.rank() < 3 ||
      c.inputs[2].count() != y.dims.rank() - 2 || c.inputs[0].dims[0] != y.dims[0]) {
    return InvalidArgument("expects a [N, C, L] input and as many block sizes as image sizes");
  }
  if (y.count() == 0) return OkStatus();
  return RunFloat(c, c.inputs[0].dtype, &Col2ImWide);
}

Status OnnxEyeLike(const OpContext& c) {
  const TensorView& y = c.outputs[0];
  if (y.dims.rank() != 2) return InvalidArgument("expects a matrix, got " + y.dims.ToString());
  const int64_t k = c.attributes->Int("k", 0), rows = y.dims[0], columns = y.dims[1];
  Clear(y);
  auto run = [&]<typename T>() {
    for (int64_t i = 0; i < rows; ++i) {
      if (k < columns && k > -rows && i + k >= 0 && i + k < columns)
        y.as<T>()[i * columns + i + k] = static_cast<T>(1);
    }
  };
  if (y.dtype == DType::kBool) {
    run.template operator()<uint8_t>();
  } else if (!DispatchNumber(y.dtype, run)) {
    return NoKernel(y.dtype);
  }
  return OkStatus();
}

// The same bits as another type of the same size.
Status OnnxBitCast(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  if (DTypeBits(x.dtype) != DTypeBits(y.dtype) || x.count() != y.count())
    return InvalidArgument(std::string("cannot see ") + DTypeName(x.dtype) + " as " +
                           DTypeName(y.dtype) + ", which has another size");
  const size_t bytes = DTypeBytes(x.dtype, x.count());
  if (bytes > 0 && x.data != y.data) std::memmove(y.data, x.data, bytes);
  return OkStatus();
}

Status ShapeCenterCropPad(const OpContext& c, std::span<Dims> outputs) {
  const Dims& x = c.inputs[0].dims;
  const auto axes = c.attributes->Ints("axes");
  const size_t count = c.attributes->Has("axes") ? axes.size() : x.size();
  outputs[0] = x;
  for (size_t i = 0; i < count; ++i) {
    int axis;
    SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(
        c.attributes->Has("axes") ? axes[i] : static_cast<int64_t>(i), x.rank(), &axis));
    SLIPWAY_RETURN_IF_ERROR(SizeAt(c.inputs[1], static_cast<int64_t>(i), 0, "shape",
                                   &outputs[0][static_cast<size_t>(axis)]));
  }
  return OkStatus();
}

Status ShapeMaxUnpool(const OpContext& c, std::span<Dims> outputs) {
  const Dims& x = c.inputs[0].dims;
  const auto kernel = c.attributes->Ints("kernel_shape"), pads = c.attributes->Ints("pads"),
             strides = c.attributes->Ints("strides");
  if (x.rank() < 3 || kernel.size() != x.size() - 2)
    return InvalidArgument("kernel_shape does not fit X " + x.ToString());
  outputs[0] = x;
  for (size_t i = 0; i < x.size(); ++i) {
    if (c.Has(2)) {
      SLIPWAY_RETURN_IF_ERROR(
          SizeAt(c.inputs[2], static_cast<int64_t>(i), 0, "output_shape", &outputs[0][i]));
    } else if (i >= 2) {
      outputs[0][i] = (x[i] - 1) * Entry(strides, i - 2, 1) + kernel[i - 2] -
                      Entry(pads, i - 2, 0) - Entry(pads, kernel.size() + i - 2, 0);
      if (outputs[0][i] < 0) return InvalidArgument("the pads exceed the unpooled extent");
    }
  }
  return OkStatus();
}

Status ShapeCol2Im(const OpContext& c, std::span<Dims> outputs) {
  const TensorView &x = c.inputs[0], &image = c.inputs[1], &block = c.inputs[2];
  if (x.dims.rank() != 3 || image.count() != block.count() || image.count() < 1 ||
      image.count() > kMaxRank - 2) {
    return InvalidArgument("expects a [N, C, L] input and as many block sizes as image sizes");
  }
  int64_t rows = x.dims[1];
  outputs[0] = {x.dims[0], 0};
  for (int64_t i = 0; i < image.count(); ++i) {
    int64_t extent, taps;
    SLIPWAY_RETURN_IF_ERROR(SizeAt(image, i, 0, "image_shape", &extent));
    SLIPWAY_RETURN_IF_ERROR(SizeAt(block, i, 1, "block_shape", &taps));
    if (rows % taps != 0)
      return InvalidArgument("the block does not divide the " + std::to_string(x.dims[1]) +
                             " rows of the input");
    rows /= taps;
    outputs[0].push_back(extent);
  }
  outputs[0][1] = rows;
  return OkStatus();
}

}  // namespace slipway::ops
