// MaxPool of 8-bit codes that lie channels last: whole lines of the image at once, the rows of the
// window first, then shifted by its columns.

#include <algorithm>
#include <cstring>

#include "engine/backends/x86/run/pooling.h"
#include "engine/kernels/quant/quant.h"
#include "model/ops/window.h"

namespace slipway::backends::x86 {

Status BuildQMaxPool(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  if (b.num_outputs() > 1 && b.output(1).dtype != 0) return Unsupported("indices of the greatest");
  const DType type = b.in_type();
  if ((type != DType::kUInt8 && type != DType::kInt8) || b.out_type() != type)
    return Unsupported("a pooling of codes that is not 8 bit");
  const Dims x = b.in_dims(), y = b.out_dims();
  SLIPWAY_RETURN_IF_ERROR(CheckPooled(b));
  if (b.in_layout() != Layout::kChannelsLast || b.out_layout() != Layout::kChannelsLast)
    return Unsupported("a layout other than nhwc");
  if (y.count() == 0) return OkStatus();
  if (x.count() == 0) return Unsupported("a pooling over nothing");
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Window w, ReadPooling(b));
  // Columns of the image and the padding that a line of outputs covers.
  const int64_t channels = x[1];
  const int64_t columns = (w.out[2] - 1) * w.stride[2] + (w.kernel[2] - 1) * w.dilation[2] + 1,
                starts = (w.out[2] - 1) * w.stride[2] + 1;
  const auto line = CheckedMul(columns, channels);
  if (!line || *line > int64_t{1} << 28) return Unsupported("a window that spreads too far");
  const int64_t scratch = RoundUp(*line, int64_t{64});
  const int64_t rows = x[0] * w.out[0] * w.out[1], slots = std::min<int64_t>(rows, 4 * b.threads());
  b.Workspace(static_cast<uint64_t>(2 * slots * scratch));
  const auto max = kernels::GetQuant(b.isa()).max[type == DType::kInt8 ? 1 : 0];
  const int lowest = type == DType::kInt8 ? 0x80 : 0;
  b.Run([=, bytes = *line](const RunContext& c) {
    c.parallel.ParallelFor(slots, 1, [&](int64_t slot, int64_t slot_end) {
      for (; slot < slot_end; ++slot) {
        uint8_t *above = static_cast<uint8_t*>(c.workspace) + 2 * slot * scratch,
                *aside = above + scratch;
        const int64_t first = -w.pad_begin[2] * channels;  // of the line in the image
        const int64_t lo = std::clamp<int64_t>(-first, 0, bytes),
                      hi = std::clamp<int64_t>(w.in[2] * channels - first, lo, bytes);
        for (int64_t row = rows * slot / slots; row < rows * (slot + 1) / slots; ++row) {
          const int64_t o1 = row % w.out[1], o0 = row / w.out[1] % w.out[0],
                        image = row / (w.out[1] * w.out[0]);
          bool any = false;
          for (int64_t d = 0; d < w.kernel[0]; ++d) {
            const int64_t p0 = o0 * w.stride[0] - w.pad_begin[0] + d * w.dilation[0];
            if (p0 < 0 || p0 >= w.in[0]) continue;
            for (int64_t h = 0; h < w.kernel[1]; ++h) {
              const int64_t p1 = o1 * w.stride[1] - w.pad_begin[1] + h * w.dilation[1];
              if (p1 < 0 || p1 >= w.in[1] || hi == lo) continue;
              const uint8_t* from = c.in<uint8_t>(0) +
                                    ((image * w.in[0] + p0) * w.in[1] + p1) * w.in[2] * channels +
                                    first + lo;
              if (any) {
                max(from, above + lo, hi - lo);
              } else {
                std::memcpy(above + lo, from, static_cast<size_t>(hi - lo));
              }
              any = true;
            }
          }
          if (any) {
            std::memset(above, lowest, static_cast<size_t>(lo));
            std::memset(above + hi, lowest, static_cast<size_t>(bytes - hi));
          } else {
            std::memset(above, lowest, static_cast<size_t>(bytes));
          }
          // Where every column begins a window the outputs are the line itself.
          uint8_t* y = c.out<uint8_t>() + row * w.out[2] * channels;
          uint8_t* to = w.stride[2] == 1 ? y : aside;
          std::memcpy(to, above, static_cast<size_t>(starts * channels));
          for (int64_t v = 1; v < w.kernel[2]; ++v)
            max(above + v * w.dilation[2] * channels, to, starts * channels);
          if (to == y) continue;
          for (int64_t o = 0; o < w.out[2]; ++o)
            std::memcpy(y + o * channels, aside + o * w.stride[2] * channels,
                        static_cast<size_t>(channels));
        }
      }
    });
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
