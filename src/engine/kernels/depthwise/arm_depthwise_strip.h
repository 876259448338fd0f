// Rows of outputs of a window of 3 x 3 taps with stride 1 or 2, for a vector of channels, column by
// column: part of the namespace of depthwise_impl.h. Each sum is made in the order of the window's
// columns, whatever the number of rows.

#include "engine/kernels/depthwise/arm_depthwise_tile.h"

// Two columns of padding on either side at most, so that each output has a column of its window in
// the image or next to it.
inline bool StripFits(const DepthwiseShape& d) {
  if (d.kernel_h != 3 || d.kernel_w != 3 || d.dilation_h != 1 || d.dilation_w != 1) return false;
  if (d.stride_h == 1 && d.stride_w == 1) return d.pad_left <= 2 && d.out_w <= d.in_w + d.pad_left;
  return d.stride_h == 2 && d.stride_w == 2;
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

// With stride 2: the first column of a window is the last one of that before it.
template <int kRows>
__attribute__((noinline)) void SumStripOfTwo(const DepthwiseShape& d, const StripRows& s) {
  static constexpr float kZeros[kLanes] = {};
  constexpr int kInputs = kRows * 2 + 1;
  const int64_t pixel = s.pixel;
  const float* x[kInputs];  // column 0
  int64_t step[kInputs];
  for (int i = 0; i < kInputs; ++i) {
    const bool inside = s.top + i >= 0 && s.top + i < d.in_h;
    x[i] = inside ? s.x + (s.top + i) * d.in_w * pixel : kZeros;
    step[i] = inside ? pixel : 0;
  }
  const float* const taps = s.weights + kLanes;
  const auto load = [](const float* p) { return vld1q_f32(p); };
  const float32x4_t bias = load(s.weights), low = vdupq_n_f32(s.low), high = vdupq_n_f32(s.high);
  float32x4_t sum[kRows];
  // Adds a column's products by tap k of each row of the window.
  const auto add = [&](const float32x4_t(&v)[kInputs], int k, float32x4_t(&to)[kRows])
      __attribute__((always_inline)) {
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const float32x4_t w = load(taps + (r * 3 + k) * kLanes);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) to[i] = vfmaq_f32(to[i], v[i * 2 + r], w);
    }
  };
  const auto column = [&](int64_t c, float32x4_t(&v)[kInputs]) __attribute__((always_inline)) {
#pragma GCC unroll 9
    for (int i = 0; i < kInputs; ++i) v[i] = load(x[i] + c * step[i]);
  };
  float* y = s.y;
  for (int i = 0; i < kRows; ++i) sum[i] = bias;
  float32x4_t v[kInputs];
  int64_t c = -d.pad_left;
  if (c >= 0 && c < d.in_w) {
    column(c, v);
    add(v, 0, sum);
  }
  for (int64_t o = 0; o < d.out_w; ++o, c += 2, y += pixel) {
    if constexpr (kRows == kStripRows) {
      const int64_t turns = MinOf(d.out_w - o, (d.in_w - 1 - c) / 2) / 2;
      if (turns > 0 && c >= -1 && step[1] != 0 && step[kInputs - 2] != 0) {
        StripOfTwo t;
        for (int i = 0; i < kInputs; ++i) t.x[i] = x[i] + (c + 1) * step[i];
        for (int i = 0; i < kRows; ++i) {
          t.y[i] = y + i * d.out_w * pixel;
          vst1q_f32(t.sums[i], sum[i]);
          vst1q_f32(t.bias[i], bias);
        }
        vst1q_f32(t.low, low);
        vst1q_f32(t.high, high);
        constexpr int64_t kSize = sizeof(float);
        t.first = step[0] * kSize, t.others = pixel * kSize, t.last = step[kInputs - 1] * kSize;
        t.pixel = pixel * kSize, t.turns = turns;
        (HasFeature(CpuFeature::kArmDotprod) ? TwoApart : TwoTogether)(&t, taps);
        for (int i = 0; i < kRows; ++i) sum[i] = load(t.sums[i]);
        o += turns * 2, c += turns * 4, y += turns * 2 * pixel;
        if (o >= d.out_w) break;
      }
    }
    float32x4_t next[kRows];
    for (int i = 0; i < kRows; ++i) next[i] = bias;
    if (c + 1 >= 0 && c + 1 < d.in_w) {
      column(c + 1, v);
      add(v, 1, sum);
    }
    if (c + 2 >= 0 && c + 2 < d.in_w) {
      column(c + 2, v);
      add(v, 2, sum);
      add(v, 0, next);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      vst1q_f32(y + i * d.out_w * pixel, vminq_f32(vmaxq_f32(sum[i], low), high));
      sum[i] = next[i];
    }
  }
}

inline void RunStrip(const DepthwiseShape& d, const StripRows& s, int64_t rows) {
  using Function = void (*)(const DepthwiseShape&, const StripRows&);
  constexpr Function kOne[] = {SumStrip<1>, SumStrip<2>, SumStrip<3>, SumStrip<4>},
                     kTwo[] = {SumStripOfTwo<1>, SumStripOfTwo<2>, SumStripOfTwo<3>,
                               SumStripOfTwo<4>};
  (d.stride_w == 1 ? kOne : kTwo)[rows - 1](d, s);
}
