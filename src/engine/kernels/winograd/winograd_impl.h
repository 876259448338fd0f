// The source of Winograd's convolutions; x86_*.cc include it with SLIPWAY_ISA set to the namespace
// of their instruction set.

#include <cstdint>
#include <type_traits>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__aarch64__)
#include "engine/kernels/gemm/float_tile.h"
#endif
#include "engine/kernels/winograd/winograd.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/vector.h"

#if defined(__aarch64__)
constexpr int kMostRows = kFloatTileRows;
#else
constexpr int kMostRows = kLanes == 16  ? 12
                          : kLanes == 8 ? 6
                                        : 4;  // tiles of a step of the product
#endif
constexpr int kPanelVectors = 2;
constexpr int64_t kPanel =
    kPanelVectors * kLanes;  // output channels of a panel; the last may have half

inline V Fma(float a, V b, V c) { return Fma(Splat(a), b, c); }
// The bound where x is beyond it; NaN stays NaN.
inline V AtLeast(V low, V x) { return x < low ? low : x; }
inline V AtMost(V high, V x) { return x > high ? high : x; }

int64_t GroupPanels(const WinogradShape& s) { return (s.out_channels + kPanel - 1) / kPanel; }
int64_t Panels(const WinogradShape& s) { return s.groups * GroupPanels(s); }
int64_t InputVectors(const WinogradShape& s) { return s.in_channels / kLanes; }
int64_t PanelWidth(const WinogradShape& s, int64_t panel) {
  const int64_t left = s.out_channels - panel * kPanel;
  return left < kPanel ? left : kPanel;
}
// Where the transformed weights of a panel of a group begin.
int64_t PanelAt(const WinogradShape& s, int64_t group, int64_t panel) {
  return (group * s.out_channels + panel * kPanel) * s.points() * s.in_channels;
}

// --- the three transforms, in one dimension

template <int kTile>
struct Transform;

template <>
struct Transform<2> {
  static constexpr int kSize = 4;
  static inline void Input(const V* d, V* t) {
    t[0] = d[0] - d[2];
    t[1] = d[1] + d[2];
    t[2] = d[2] - d[1];
    t[3] = d[1] - d[3];
  }
  static inline void Output(const V* m, V* y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  }
  static inline void Weights(const V* g, V* u) {
    const V half = Splat(0.5f), outer = g[0] + g[2];
    u[0] = g[0];
    u[1] = half * (outer + g[1]);
    u[2] = half * (outer - g[1]);
    u[3] = g[2];
  }
};

// Points 0, ±a, ±b and infinity with a = 5/8 and b = 3/2: products of them are exact in float32,
// and results round 2.5 times less than with the usual 1 and 2.
template <>
struct Transform<4> {
  static constexpr int kSize = 6;
  static constexpr float kA = 0.625f, kB = 1.5f, kA2 = kA * kA, kB2 = kB * kB;
  static inline void Input(const V* d, V* t) {
    t[0] = Fma(kA2 * kB2, d[0], Fma(-(kA2 + kB2), d[2], d[4]));
    const V even_a = Fma(-kB2, d[2], d[4]), odd_a = Fma(-kB2, d[1], d[3]);
    t[1] = Fma(kA, odd_a, even_a);
    t[2] = Fma(-kA, odd_a, even_a);
    const V even_b = Fma(-kA2, d[2], d[4]), odd_b = Fma(-kA2, d[1], d[3]);
    t[3] = Fma(kB, odd_b, even_b);
    t[4] = Fma(-kB, odd_b, even_b);
    t[5] = Fma(kA2 * kB2, d[1], Fma(-(kA2 + kB2), d[3], d[5]));
  }
  static inline void Output(const V* m, V* y) {
    const V even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = Fma(kA, odd_a, Splat(kB) * odd_b);
    y[2] = Fma(kA2, even_a, Splat(kB2) * even_b);
    y[3] = Fma(kA2 * kA, odd_a, Fma(kB2 * kB, odd_b, m[5]));
  }
  static inline void Weights(const V* g, V* u) {
    constexpr float kScaleA = 1 / (2 * kA2 * (kA2 - kB2)), kScaleB = 1 / (2 * kB2 * (kB2 - kA2));
    const V even_a = Fma(kA2, g[2], g[0]), even_b = Fma(kB2, g[2], g[0]);
    u[0] = Splat(1 / (kA2 * kB2)) * g[0];
    u[1] = Splat(kScaleA) * Fma(kA, g[1], even_a);
    u[2] = Splat(kScaleA) * Fma(-kA, g[1], even_a);
    u[3] = Splat(kScaleB) * Fma(kB, g[1], even_b);
    u[4] = Splat(kScaleB) * Fma(-kB, g[1], even_b);
    u[5] = g[2];
  }
};

// --- weights

template <int kTile>
void PackPanel(const WinogradShape& s, const float* weights, float* packed, int64_t group,
               int64_t panel) {
  using T = Transform<kTile>;
  constexpr int kSize = T::kSize;
  const int64_t width = PanelWidth(s, panel), first = group * s.out_channels + panel * kPanel;
  float* to = packed + PanelAt(s, group, panel);
  for (int64_t c = 0; c < s.in_channels; ++c) {
    for (int64_t v = 0; v < width; v += kLanes) {
      V g[9], half[kSize][3], u[kSize];
      for (int i = 0; i < 9; ++i) {
        for (int lane = 0; lane < kLanes; ++lane)
          g[i][lane] = weights[((first + v + lane) * s.in_channels + c) * 9 + i];
      }
      for (int j = 0; j < 3; ++j) {
        const V column[3] = {g[j], g[3 + j], g[6 + j]};
        T::Weights(column, u);
        for (int i = 0; i < kSize; ++i) half[i][j] = u[i];
      }
      for (int i = 0; i < kSize; ++i) {
        T::Weights(half[i], u);
        for (int j = 0; j < kSize; ++j)
          Store(to + ((i * kSize + j) * s.in_channels + c) * width + v, u[j]);
      }
    }
  }
}

void Pack(const WinogradShape& s, const float* weights, float* packed, int64_t panel, int64_t end) {
  const int64_t per_group = GroupPanels(s);
  for (; panel < end; ++panel) {
    if (s.tile == 2)
      PackPanel<2>(s, weights, packed, panel / per_group, panel % per_group);
    else
      PackPanel<4>(s, weights, packed, panel / per_group, panel % per_group);
  }
}

// --- images

#if defined(__aarch64__)
// Transformed tiles lie in eights, [channel / 4][8][4]; behind the last of them are more.
inline int64_t TileAt(int64_t tile, int64_t channel, int64_t channels) {
  return tile / kMostRows * kMostRows * channels + channel * kMostRows + tile % kMostRows * kLanes;
}
constexpr int64_t kWhole = kMostRows;
#else
inline int64_t TileAt(int64_t tile, int64_t channel, int64_t channels) {
  return tile * channels + channel;
}
constexpr int64_t kWhole = 1;
#endif
// Blocks are whole steps of tiles, where that counts.
inline int64_t Steps(int64_t tiles) { return (tiles + kWhole - 1) / kWhole; }

struct TilePlace {
  int64_t image, row, column;  // of the first output
};
inline TilePlace PlaceOf(const WinogradShape& s, int64_t tile) {
  const int64_t across = s.tiles_across(), down = s.tiles_down();
  return {tile / (across * down), tile / across % down * s.tile, tile % across * s.tile};
}

// Where a vector of channels (counted over all groups) lies: its block and its place in there.
inline int64_t ChannelAt(int64_t channel, int64_t pixels, int block) {
  return channel / block * pixels * block + channel % block;
}

// One tile of kLanes input channels to all points.
template <int kTile>
inline void TransformIn(const WinogradShape& s, const float* x, const TilePlace& place, float* to,
                        int64_t point_stride) {
  using T = Transform<kTile>;
  constexpr int kSize = T::kSize;
  const int64_t top = place.row - s.pad_top, left = place.column - s.pad_left;
  const int64_t row_stride = s.width * s.block;
  V half[kSize][kSize];
  if (top >= 0 && left >= 0 && top + kSize <= s.height && left + kSize <= s.width) {
    const float* from = x + top * row_stride + left * s.block;
#pragma GCC unroll 6
    for (int j = 0; j < kSize; ++j) {
      V d[kSize], t[kSize];
#pragma GCC unroll 6
      for (int i = 0; i < kSize; ++i) d[i] = Load(from + i * row_stride + j * s.block);
      T::Input(d, t);
#pragma GCC unroll 6
      for (int i = 0; i < kSize; ++i) half[i][j] = t[i];
    }
  } else {
    for (int j = 0; j < kSize; ++j) {
      V d[kSize] = {}, t[kSize];
      const int64_t column = left + j;
      if (column >= 0 && column < s.width) {
        for (int i = 0; i < kSize; ++i) {
          const int64_t row = top + i;
          if (row >= 0 && row < s.height) d[i] = Load(x + row * row_stride + column * s.block);
        }
      }
      T::Input(d, t);
      for (int i = 0; i < kSize; ++i) half[i][j] = t[i];
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kSize; ++i) {
    V t[kSize];
    T::Input(half[i], t);
#pragma GCC unroll 6
    for (int j = 0; j < kSize; ++j) Store(to + (i * kSize + j) * point_stride, t[j]);
  }
}

// One tile of kLanes output channels back into the image.
template <int kTile>
inline void TransformOut(const WinogradShape& s, const WinogradCall& c, const float* from,
                         int64_t point_stride, const TilePlace& place, int64_t channel_at, V bias) {
  using T = Transform<kTile>;
  constexpr int kSize = T::kSize;
  V half[kTile][kSize];
#pragma GCC unroll 6
  for (int j = 0; j < kSize; ++j) {
    V m[kSize], y[kTile];
#pragma GCC unroll 6
    for (int i = 0; i < kSize; ++i) m[i] = Load(from + (i * kSize + j) * point_stride);
    T::Output(m, y);
#pragma GCC unroll 4
    for (int i = 0; i < kTile; ++i) half[i][j] = y[i];
  }
  V y[kTile][kTile];
#pragma GCC unroll 4
  for (int i = 0; i < kTile; ++i) {
    T::Output(half[i], y[i]);
#pragma GCC unroll 4
    for (int j = 0; j < kTile; ++j) y[i][j] += bias;
  }
  const int64_t rows = s.out_height - place.row < kTile ? s.out_height - place.row : kTile;
  const int64_t columns = s.out_width - place.column < kTile ? s.out_width - place.column : kTile;
  const int64_t row_stride = s.out_width * s.block;
  const int64_t at = channel_at + place.row * row_stride + place.column * s.block;
  const V low = Splat(c.low), high = Splat(c.high);
  const auto finish = [&](int64_t i, int64_t j) {
    V v = y[i][j];
    if (c.residual) v += Load(c.residual + at + i * row_stride + j * s.block);
    y[i][j] = AtMost(high, AtLeast(low, v));
  };
  if (rows == kTile && columns == kTile && !c.activation) {
#pragma GCC unroll 4
    for (int i = 0; i < kTile; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kTile; ++j) {
        finish(i, j);
        Store(c.y + at + i * row_stride + j * s.block, y[i][j]);
      }
    }
    return;
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) finish(i, j);
  }
  if (c.activation) {
    float* values = reinterpret_cast<float*>(y);
    c.activation(values, values, kTile * kTile * kLanes, c.a, c.b);
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) Store(c.y + at + i * row_stride + j * s.block, y[i][j]);
  }
}

// --- products

#if defined(__aarch64__)
// y[r][v] = sum over k of x[r][k] * w[k][v] for the first 4 tiles of 8.
void Product(const float* x, const float* w, int64_t depth, float* y) {
  V sum[4][kPanelVectors] = {};
  for (int64_t k = 0; k < depth; k += kLanes, x += kMostRows * kLanes) {
#pragma GCC unroll 4
    for (int i = 0; i < kLanes; ++i, w += kPanel) {
      const V b[kPanelVectors] = {Load(w), Load(w + kLanes)};
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        for (int v = 0; v < kPanelVectors; ++v) sum[r][v] = Fma(x[r * kLanes + i], b[v], sum[r][v]);
      }
    }
  }
  for (int r = 0; r < 4; ++r) {
    for (int v = 0; v < kPanelVectors; ++v) Store(y + r * kPanel + v * kLanes, sum[r][v]);
  }
}

void Multiply(int64_t rows, const float* x, const float* w, int64_t depth, float* y) {
  alignas(16) static constexpr float kNothing[kPanel] = {};
  const FloatTile whole = GetFloatTile();
  for (; rows > 0; rows -= kMostRows) {
    if (rows > 4)
      whole(x, w, depth / kLanes, kNothing, 0, y, kPanel);
    else
      Product(x, w, depth, y);
    x += kMostRows * depth;
    y += kMostRows * kPanel;
  }
}
#else
// How far ahead weights are asked for, in floats.
constexpr int64_t kAhead = 1024;

// y[r][v] = sum over k of x[r][k] * w[k][v] for kRows tiles and kVectors vectors of channels.
template <int kRows, int kVectors>
inline void Product(const float* x, int64_t x_stride, const float* w, int64_t depth, float* y,
                    int64_t y_stride) {
  V sum[kRows][kVectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    V b[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      b[v] = Load(w + v * kLanes);
      if constexpr (kLanes == 16) __builtin_prefetch(w + v * kLanes + kAhead);
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const V a = Splat(x[r * x_stride + k]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[r][v] = Fma(a, b[v], sum[r][v]);
    }
    w += kVectors * kLanes;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) Store(y + r * y_stride + v * kLanes, sum[r][v]);
  }
}

template <int kVectors, int kRows>
inline void Rows(int64_t rows, const float* x, int64_t x_stride, const float* w, int64_t depth,
                 float* y, int64_t y_stride) {
  if (rows == kRows) return Product<kRows, kVectors>(x, x_stride, w, depth, y, y_stride);
  if constexpr (kRows > 1)
    return Rows<kVectors, kRows - 1>(rows, x, x_stride, w, depth, y, y_stride);
}

// `rows` tiles in steps that are as equal as can be.
template <int kVectors>
void Multiply(int64_t rows, const float* x, int64_t x_stride, const float* w, int64_t depth,
              float* y, int64_t y_stride) {
  for (int64_t steps = (rows + kMostRows - 1) / kMostRows; steps > 0; --steps) {
    const int64_t now = (rows + steps - 1) / steps;
    Rows<kVectors, kMostRows>(now, x, x_stride, w, depth, y, y_stride);
    rows -= now;
    x += now * x_stride;
    y += now * y_stride;
  }
}
#endif

// --- the whole

struct Job {
  int64_t group, first, count;  // tiles
};
// Blocks are as equal as can be; the groups of a block follow one another.
inline Job JobOf(const WinogradShape& s, const WinogradPlan& p, int64_t job) {
  const int64_t block = job / s.groups, tiles = s.tiles();
#if defined(__aarch64__)
  const int64_t steps = Steps(tiles), begin = steps * block / p.blocks * kWhole;
  const int64_t end = steps * (block + 1) / p.blocks * kWhole;
  return {job % s.groups, begin, (end < tiles ? end : tiles) - begin};
#else
  const int64_t first = tiles * block / p.blocks;
  return {job % s.groups, first, tiles * (block + 1) / p.blocks - first};
#endif
}

template <int kTile>
void InputOf(const WinogradShape& s, const WinogradPlan& p, const WinogradCall& c, const Job& job,
             float* to, int64_t vector, int64_t end) {
  const int64_t pixels = s.height * s.width, channels = s.groups * s.in_channels;
  for (int64_t t = 0; t < job.count; ++t) {
    const TilePlace place = PlaceOf(s, job.first + t);
    const float* image = c.x + place.image * channels * pixels;
    for (int64_t v = vector; v < end; ++v) {
      const int64_t channel = job.group * s.in_channels + v * kLanes;
      TransformIn<kTile>(s, image + ChannelAt(channel, pixels, s.block), place,
                         to + TileAt(t, v * kLanes, s.in_channels), p.point_stride);
    }
  }
}

template <int kTile>
void OutputOf(const WinogradShape& s, const WinogradPlan& p, const WinogradCall& c, const Job& job,
              const float* input, float* sums, int64_t panel, int64_t end) {
  const int64_t pixels = s.out_height * s.out_width, channels = s.groups * s.out_channels;
  for (; panel < end; ++panel) {
    const int64_t width = PanelWidth(s, panel);
    const float* w = c.weights + PanelAt(s, job.group, panel);
    for (int64_t point = 0; point < s.points(); ++point) {
#if defined(__aarch64__)  // blocks fill panels
      Multiply(job.count, input + point * p.point_stride, w, s.in_channels,
               sums + point * p.sum_stride);
#else
      const auto multiply = width == kPanel ? Multiply<kPanelVectors> : Multiply<1>;
      multiply(job.count, input + point * p.point_stride, s.in_channels, w, s.in_channels,
               sums + point * p.sum_stride, width);
#endif
      w += s.in_channels * width;
    }
    for (int64_t v = 0; v < width; v += kLanes) {
      const int64_t channel = job.group * s.out_channels + panel * kPanel + v;
      const V bias = c.bias ? Load(c.bias + channel) : V{};
      const int64_t channel_at = ChannelAt(channel, pixels, s.block);
      for (int64_t t = 0; t < job.count; ++t) {
        const TilePlace place = PlaceOf(s, job.first + t);
        TransformOut<kTile>(s, c, sums + t * width + v, p.sum_stride, place,
                            place.image * channels * pixels + channel_at, bias);
      }
    }
  }
}

void Input(const WinogradShape& s, const WinogradPlan& p, const WinogradCall& c, int64_t job,
           int64_t vector, int64_t end) {
  (s.tile == 2 ? InputOf<2> : InputOf<4>)(s, p, c, JobOf(s, p, job), c.workspace, vector, end);
}

void Output(const WinogradShape& s, const WinogradPlan& p, const WinogradCall& c, int64_t slot,
            int64_t job, int64_t panel, int64_t end) {
  float* sums = c.workspace + p.input_floats + slot * p.sum_floats;
  (s.tile == 2 ? OutputOf<2> : OutputOf<4>)(s, p, c, JobOf(s, p, job), c.workspace, sums, panel,
                                            end);
}

void Block(const WinogradShape& s, const WinogradPlan& p, const WinogradCall& c, int64_t slot,
           int64_t job, int64_t end) {
  float* input = c.workspace + slot * (p.input_floats + p.sum_floats);
  float* sums = input + p.input_floats;
  for (; job < end; ++job) {
    const Job j = JobOf(s, p, job);
    (s.tile == 2 ? InputOf<2> : InputOf<4>)(s, p, c, j, input, 0, InputVectors(s));
    (s.tile == 2 ? OutputOf<2> : OutputOf<4>)(s, p, c, j, input, sums, 0, GroupPanels(s));
  }
}

// An odd number of cache lines, so that the points of a tile do not fall into one set of the cache.
inline int64_t OddLines(int64_t floats) {
  return (floats + 15) / 16 * 16 + ((floats + 15) / 16 % 2 ? 0 : 16);
}

WinogradPlan Plan(const WinogradShape& s, int threads) {
  WinogradPlan p;
  // What a block of tiles leaves of the second-level cache is for the weights.
  constexpr int64_t kCache = 720 * 1024;
  const int64_t width = s.out_channels < kPanel ? s.out_channels : kPanel, tiles = s.tiles();
  int64_t most = kCache / (s.points() * (s.in_channels + width) * 4);
  // Fewer would read the weights too often.
  if (most < 2 * kMostRows) most = 2 * kMostRows;
  p.blocks = (tiles + most - 1) / most;
  if (p.blocks * s.groups < threads || (p.blocks * s.groups) % threads != 0) {
    if (tiles * s.groups >= threads * kMostRows) {
      // As many jobs as threads can share evenly.
      p.blocks = (p.blocks + threads - 1) / threads * threads;
      if (p.blocks > Steps(tiles)) p.blocks = Steps(tiles);
    } else if (threads > 1) {
      p.shared = true;
    }
  }
  p.tiles = (Steps(tiles) + p.blocks - 1) / p.blocks * kWhole;
  p.point_stride = OddLines(p.tiles * s.in_channels);
  p.sum_stride = OddLines(p.tiles * width);
  p.input_floats = s.points() * p.point_stride;
  p.sum_floats = s.points() * p.sum_stride;
  p.workspace_bytes = 4 * (p.shared ? p.input_floats + threads * p.sum_floats
                                    : threads * (p.input_floats + p.sum_floats));
  return p;
}

}  // namespace

const WinogradKernels kWinograd = {Plan,         Pack,        Panels, Block,
                                   InputVectors, GroupPanels, Input,  Output};

}  // namespace slipway::kernels::SLIPWAY_ISA
