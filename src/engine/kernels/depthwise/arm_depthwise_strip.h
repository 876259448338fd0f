// Rows of outputs of a window of 3 x 3 taps with stride 1, for a vector of channels, column by
// column: part of the namespace of depthwise_impl.h. Each sum is made in the order of the window's
// columns, whatever the number of rows.

#include "engine/kernels/depthwise/arm_depthwise_tile.h"

// Two columns of padding on either side at most, so that each output has a column of its window in
// the image or next to it.
inline bool StripFits(const DepthwiseShape& d) {
  return d.kernel_h == 3 && d.kernel_w == 3 && d.stride_h == 1 && d.stride_w == 1 &&
         d.dilation_h == 1 && d.dilation_w == 1 && d.pad_left <= 2 &&
         d.out_w <= d.in_w + d.pad_left;
}

struct StripRows {
  const float* x;  // row 0 and column 0 of the image
  int64_t top;     // the row of the image that the first window begins in
  int64_t pixel;   // floats from one column to the next, of x and y
  const float* weights;
  float* y;
  float low, high;
};

template <int kRows>
__attribute__((noinline)) void SumStrip(const DepthwiseShape& d, const StripRows& s) {
  static constexpr float kZeros[kLanes] = {};
  const int64_t pixel = s.pixel, end = MinOf(d.in_w + d.pad_left, d.out_w + 2);
  // Column j of the padded image reaches the outputs j - 2, of which it is the last, to j.
  int64_t j = MaxOf(d.pad_left, 0);
  const float* x[kRows + 2];
  int64_t step[kRows + 2];
  bool inside[kRows + 2];
  for (int i = 0; i < kRows + 2; ++i) {
    inside[i] = s.top + i >= 0 && s.top + i < d.in_h;
    x[i] = inside[i] ? s.x + ((s.top + i) * d.in_w + j - d.pad_left) * pixel : kZeros;
    step[i] = inside[i] ? pixel : 0;
  }
  const float* const taps = s.weights + kLanes;
  const auto load = [](const float* p) { return vld1q_f32(p); };
  const float32x4_t bias = load(s.weights), low = vdupq_n_f32(s.low), high = vdupq_n_f32(s.high);
  float32x4_t done[kRows], next[kRows];
  for (int i = 0; i < kRows; ++i) done[i] = next[i] = bias;
  const auto store = [&](int64_t column, const float32x4_t(&v)[kRows]) {
    if (column < 0 || column >= d.out_w) return;
    for (int i = 0; i < kRows; ++i)
      vst1q_f32(s.y + (i * d.out_w + column) * pixel, vminq_f32(vmaxq_f32(v[i], low), high));
  };
  while (j < end) {
    if constexpr (kRows == kStripRows) {
      if (j >= 2 && end - j >= 3 && inside[1] && inside[kRows]) {
        Strip t;
        for (int i = 0; i < kRows + 2; ++i) t.x[i] = x[i];
        for (int i = 0; i < kRows; ++i) {
          t.y[i] = s.y + (i * d.out_w + j - 2) * pixel;
          vst1q_f32(t.sums[0][i], done[i]);
          vst1q_f32(t.sums[1][i], next[i]);
          vst1q_f32(t.bias[i], bias);
        }
        vst1q_f32(t.low, low);
        vst1q_f32(t.high, high);
        constexpr int64_t kSize = sizeof(float);
        t.first = step[0] * kSize, t.others = pixel * kSize, t.last = step[kRows + 1] * kSize;
        t.turns = (end - j) / 3;
        const int64_t columns = t.turns * 3;
        (HasFeature(CpuFeature::kArmDotprod) ? ColumnsApart : ColumnsTogether)(&t, taps);
        for (int i = 0; i < kRows; ++i) {
          done[i] = load(t.sums[0][i]);
          next[i] = load(t.sums[1][i]);
        }
        for (int i = 0; i < kRows + 2; ++i) x[i] += columns * step[i];
        j += columns;
        continue;
      }
    }
    float32x4_t v[kRows + 2], fresh[kRows];
    for (int i = 0; i < kRows + 2; ++i) {
      v[i] = load(x[i]);
      x[i] += step[i];
    }
    for (int i = 0; i < kRows; ++i) fresh[i] = bias;
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const float32x4_t a = load(taps + (r * 3 + 2) * kLanes),
                        b = load(taps + (r * 3 + 1) * kLanes), c = load(taps + r * 3 * kLanes);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
        done[i] = vfmaq_f32(done[i], v[i + r], a);
        next[i] = vfmaq_f32(next[i], v[i + r], b);
        fresh[i] = vfmaq_f32(fresh[i], v[i + r], c);
      }
    }
    store(j - 2, done);
    for (int i = 0; i < kRows; ++i) {
      done[i] = next[i];
      next[i] = fresh[i];
    }
    ++j;
  }
  store(j - 2, done);
  store(j - 1, next);
}

inline void RunStrip(const DepthwiseShape& d, const StripRows& s, int64_t rows) {
  constexpr void (*kSums[])(const DepthwiseShape&, const StripRows&) = {SumStrip<1>, SumStrip<2>,
                                                                        SumStrip<3>, SumStrip<4>};
  kSums[rows - 1](d, s);
}
