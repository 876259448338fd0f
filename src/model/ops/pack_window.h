#pragma once
// The B operand of a convolution as a matrix product: rows are (channel, tap), columns are output
// positions in memory order.

#include <algorithm>
#include <cstdint>

#include "model/ops/tiled_gemm.h"
#include "model/ops/window.h"

namespace slipway::ops {

// Writes to[r * kTile + col] = convert(x at channel, tap of row k + r, output position j + col), 0
// where the tap lies in the padding, for r < kn and col < n. `x` points at the first channel of the
// group; rows count channels slowest: row = channel * KernelCount + tap.
template <typename X, typename Buf, typename Convert>
void PackWindow(const Window& w, const X* x, int64_t j, int n, int64_t k, int kn, Buf* to,
                const Convert& convert) {
  const int64_t plane = w.InCount(), taps = w.KernelCount();
  if (w.IsPointwise()) {
    for (int r = 0; r < kn; ++r) {
      const X* from = x + (k + r) * plane + j;
      Buf* row = to + r * kTile;
      for (int i = 0; i < n; ++i) row[i] = convert(from[i]);
    }
    return;
  }
  const int64_t out_h = w.out[1], out_w = w.out[2];
  const int64_t first_w = j % out_w, first_h = j / out_w % out_h, first_d = j / out_w / out_h;
  for (int r = 0; r < kn; ++r) {
    const int64_t tap = (k + r) % taps;
    const int64_t kw = tap % w.kernel[2], kh = tap / w.kernel[2] % w.kernel[1],
                  kd = tap / w.kernel[2] / w.kernel[1];
    const X* channel = x + (k + r) / taps * plane;
    int64_t lo, hi;
    w.ValidRange(2, kw, &lo, &hi);
    const int64_t shift = kw * w.dilation[2] - w.pad_begin[2], step = w.stride[2];
    Buf* row = to + r * kTile;
    int64_t od = first_d, oh = first_h, ow = first_w;
    for (int done = 0; done < n;) {
      const int64_t run = std::min<int64_t>(out_w - ow, n - done);
      const int64_t id = od * w.stride[0] - w.pad_begin[0] + kd * w.dilation[0];
      const int64_t ih = oh * w.stride[1] - w.pad_begin[1] + kh * w.dilation[1];
      Buf* at = row + done - ow;  // at[o] is output column o of this line
      int64_t from = ow, to_end = ow;
      if (id >= 0 && id < w.in[0] && ih >= 0 && ih < w.in[1]) {
        from = std::clamp(lo, ow, ow + run);
        to_end = std::clamp(hi, from, ow + run);
        const X* line = channel + (id * w.in[1] + ih) * w.in[2] + shift;
        if (step == 1) {
          for (int64_t o = from; o < to_end; ++o) at[o] = convert(line[o]);
        } else {
          for (int64_t o = from; o < to_end; ++o) at[o] = convert(line[o * step]);
        }
      }
      for (int64_t o = ow; o < from; ++o) at[o] = Buf{0};
      for (int64_t o = to_end; o < ow + run; ++o) at[o] = Buf{0};
      done += static_cast<int>(run);
      ow = 0;
      if (++oh == out_h) {
        oh = 0;
        ++od;
      }
    }
  }
}

}  // namespace slipway::ops
