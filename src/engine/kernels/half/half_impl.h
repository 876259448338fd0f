// The source of the products of float16; arm_*.cc include it with SLIPWAY_ISA set to the namespace
// of their instruction set.

#include <cstdint>

#if !defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
#include "engine/kernels/gemm/float_tile.h"
#endif
#include "engine/kernels/half/half.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
typedef uint16_t Element;  // of copied pixels, [k / 8][row][8]
#else
typedef float Element;  // [k / 4][row][4]
#endif

inline int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t Most(int64_t a, int64_t b) { return a > b ? a : b; }

inline float16x8_t Load8(const uint16_t* p) { return vreinterpretq_f16_u16(vld1q_u16(p)); }
inline float32x4_t Low(float16x8_t v) { return vcvt_f32_f16(vget_low_f16(v)); }
inline float32x4_t High(float16x8_t v) { return vcvt_high_f32_f16(v); }
// The first `count` of 8 as floats, and back, rounded to nearest even.
inline void Widen(const uint16_t* p, int64_t count, float32x4_t (&to)[2]) {
  float16x8_t v;
  if (count >= 8) {
    v = Load8(p);
  } else {
    uint16_t all[8] = {};
    for (int64_t i = 0; i < count; ++i) all[i] = p[i];
    v = Load8(all);
  }
  to[0] = Low(v);
  to[1] = High(v);
}
inline void Narrow(const float* from, uint16_t* p, int64_t count) {
  const float16x8_t v = vcvt_high_f16_f32(vcvt_f16_f32(vld1q_f32(from)), vld1q_f32(from + 4));
  if (count >= 8) return vst1q_u16(p, vreinterpretq_u16_f16(v));
  uint16_t all[8];
  vst1q_u16(all, vreinterpretq_u16_f16(v));
  for (int64_t i = 0; i < count; ++i) p[i] = all[i];
}

// sums [kR][kHalfPanel] += kR rows of x, `groups` times 8 numbers, times a panel of kVectors
// vectors of 8 columns.
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
// sum + w * x[kLane]. GCC 12 makes a copy of the lane and two registers of what is one instruction.
template <int kLane>
inline float16x8_t MultiplyAdd(float16x8_t sum, float16x8_t w, float16x8_t x) {
  asm("fmla %0.8h, %1.8h, %2.h[%3]" : "+w"(sum) : "w"(w), "x"(x), "i"(kLane));
  return sum;
}

// Adds the products of a whole tile, 8 rows by 16 columns, of `groups` groups (1 at least) to sums.
// Rows of x lie in v0 to v7, the weights of four numbers in v8 to v15, sums in v16 to v31.
// Registers are loaded again right after their last use, also in the last turn: 128 bytes behind x
// and w are read. bench/arm measures it by llvm-mca.
// clang-format off
#define H_FMLA(S, W, X, LANE) "fmla v" #S ".8h, v" #W ".8h, v" #X ".h[" #LANE "]\n"
#define H_ROW(S0, S1, W0, W1, X, LANE) H_FMLA(S0, W0, X, LANE) H_FMLA(S1, W1, X, LANE)
#define H_LAST(S0, S1, W0, W1, X, LANE) /* this row's next 8 numbers follow */                   \
  H_ROW(S0, S1, W0, W1, X, LANE) "ldr q" #X ", [%[x], #" #X " * 16 + 128]\n"
#define H_STEP(ROW, LANE, W0, W1)                                                                \
  ROW(16, 17, W0, W1, 0, LANE) ROW(18, 19, W0, W1, 1, LANE) ROW(20, 21, W0, W1, 2, LANE)         \
  ROW(22, 23, W0, W1, 3, LANE) ROW(24, 25, W0, W1, 4, LANE) ROW(26, 27, W0, W1, 5, LANE)         \
  ROW(28, 29, W0, W1, 6, LANE) ROW(30, 31, W0, W1, 7, LANE)                                      \
  "ldr q" #W0 ", [%[w], #" #LANE " * 32 + 128]\n"                                                \
  "ldr q" #W1 ", [%[w], #" #LANE " * 32 + 144]\n"
#define H_FIRST(X, W, S, V, AT) /* a row of x, a vector of weights, two sums */                   \
  "ldr q" #X ", [%[x], #" #AT "]\nmovi v" #S ".4s, #0\n"                                         \
  "ldr q" #W ", [%[w], #" #AT "]\nmovi v" #V ".4s, #0\n"
// Four sums at a time: to float32 in v8 to v15, with those that there are in v0 to v7.
#define H_LOAD(AT)                                                                               \
  H_LOAD1(0, AT) H_LOAD1(1, AT) H_LOAD1(2, AT) H_LOAD1(3, AT)                                    \
  H_LOAD1(4, AT) H_LOAD1(5, AT) H_LOAD1(6, AT) H_LOAD1(7, AT)
#define H_LOAD1(R, AT) "ldr q" #R ", [%[out], #" #AT " + " #R " * 16]\n"
#define H_WIDEN(A, B, C, D) H_WIDEN1(8, 9, A) H_WIDEN1(10, 11, B) H_WIDEN1(12, 13, C) H_WIDEN1(14, 15, D)
#define H_WIDEN1(L, H, S) "fcvtl v" #L ".4s, v" #S ".4h\nfcvtl2 v" #H ".4s, v" #S ".8h\n"
#define H_ADD(R, BY) "fadd v" #R ".4s, v" #R ".4s, v" #BY ".4s\n"
#define H_ADDS                                                                                   \
  H_ADD(8, 0) H_ADD(9, 1) H_ADD(10, 2) H_ADD(11, 3) H_ADD(12, 4) H_ADD(13, 5) H_ADD(14, 6) H_ADD(15, 7)
#define H_STORE(AT)                                                                              \
  "stp q8, q9, [%[out], #" #AT "]\nstp q10, q11, [%[out], #" #AT " + 32]\n"                      \
  "stp q12, q13, [%[out], #" #AT " + 64]\nstp q14, q15, [%[out], #" #AT " + 96]\n"
__attribute__((noinline)) void LoopHalf(const Element* x, const uint16_t* w, int64_t groups,
                                        float* sums) {
  static_assert(kHalfPanel == 16 && kHalfRows == 8);
  asm volatile(
      H_FIRST(0, 8, 16, 17, 0) H_FIRST(1, 9, 18, 19, 16) H_FIRST(2, 10, 20, 21, 32)
      H_FIRST(3, 11, 22, 23, 48) H_FIRST(4, 12, 24, 25, 64) H_FIRST(5, 13, 26, 27, 80)
      H_FIRST(6, 14, 28, 29, 96) H_FIRST(7, 15, 30, 31, 112)
      ".p2align 4\n1:\n"
      H_STEP(H_ROW, 0, 8, 9) H_STEP(H_ROW, 1, 10, 11) H_STEP(H_ROW, 2, 12, 13)
      H_STEP(H_ROW, 3, 14, 15) H_STEP(H_ROW, 4, 8, 9) H_STEP(H_ROW, 5, 10, 11)
      H_STEP(H_ROW, 6, 12, 13) H_STEP(H_LAST, 7, 14, 15)
      "subs %[k], %[k], #1\nadd %[x], %[x], #128\nadd %[w], %[w], #256\nb.ne 1b\n"
      H_LOAD(0) H_WIDEN(16, 17, 18, 19) H_ADDS
      H_LOAD(128) H_STORE(0) H_WIDEN(20, 21, 22, 23) H_ADDS
      H_LOAD(256) H_STORE(128) H_WIDEN(24, 25, 26, 27) H_ADDS
      H_LOAD(384) H_STORE(256) H_WIDEN(28, 29, 30, 31) H_ADDS H_STORE(384)
      : [k] "+r"(groups), [x] "+r"(x), [w] "+r"(w)
      : [out] "r"(sums)
      : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13",
        "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",
        "v27", "v28", "v29", "v30", "v31", "cc", "memory");
}
// clang-format on
#undef H_STORE
#undef H_ADDS
#undef H_ADD
#undef H_WIDEN1
#undef H_WIDEN
#undef H_LOAD1
#undef H_LOAD
#undef H_FIRST
#undef H_STEP
#undef H_LAST
#undef H_ROW
#undef H_FMLA

template <int kR, int kVectors>
__attribute__((noinline)) void Tile(const Element* x, const uint16_t* w, int64_t groups,
                                    float* sums) {
  if constexpr (kR == 8 && kVectors == 2) {
    for (int64_t now; groups > 0; groups -= now) {
      now = Least(groups, kHalfChunk / 8);
      LoopHalf(x, w, now, sums);
      x += now * kR * 8;
      w += now * kVectors * 64;
    }
    return;
  }
  // Products wait for those before them: several sums where there are few rows.
  constexpr int kSums = kR * kVectors >= 8 ? 1 : kR * kVectors >= 4 ? 2 : 4;
  while (groups > 0) {
    int64_t now = Least(groups, kHalfChunk / 8);
    groups -= now;
    float16x8_t sum[kSums][kR][kVectors];
#pragma GCC unroll 4
    for (int s = 0; s < kSums; ++s) {
#pragma GCC unroll 8
      for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[s][r][v] = vreinterpretq_f16_u16(vdupq_n_u16(0));
      }
    }
    do {
      float16x8_t a[kR];
#pragma GCC unroll 8
      for (int r = 0; r < kR; ++r) a[r] = Load8(x + r * 8);
#define SLIPWAY_STEP(LANE)                                                                 \
  {                                                                                        \
    float16x8_t b[kVectors];                                                               \
    _Pragma("GCC unroll 2") for (int v = 0; v < kVectors; ++v) b[v] =                      \
        Load8(w + (LANE * kVectors + v) * 8);                                              \
    _Pragma("GCC unroll 8") for (int r = 0; r < kR; ++r) {                                 \
      _Pragma("GCC unroll 2") for (int v = 0; v < kVectors; ++v) sum[LANE % kSums][r][v] = \
          MultiplyAdd<LANE>(sum[LANE % kSums][r][v], b[v], a[r]);                          \
    }                                                                                      \
  }
      SLIPWAY_STEP(0)
      SLIPWAY_STEP(1)
      SLIPWAY_STEP(2)
      SLIPWAY_STEP(3)
      SLIPWAY_STEP(4)
      SLIPWAY_STEP(5)
      SLIPWAY_STEP(6)
      SLIPWAY_STEP(7)
#undef SLIPWAY_STEP
      x += kR * 8;
      w += kVectors * 64;
    } while (--now > 0);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        float* to = sums + r * kHalfPanel + v * 8;
        float32x4_t low = vld1q_f32(to), high = vld1q_f32(to + 4);
#pragma GCC unroll 4
        for (int s = 0; s < kSums; ++s) {
          low += Low(sum[s][r][v]);
          high += High(sum[s][r][v]);
        }
        vst1q_f32(to, low);
        vst1q_f32(to + 4, high);
      }
    }
  }
}

// The same in float32, of a tile that left the range of float16 on the way.
__attribute__((noinline)) void WideTile(const Element* x, const uint16_t* w, int64_t groups,
                                        int rows, int of, int vectors, float* sums) {
  for (int r = 0; r < rows; ++r) {
    for (int v = 0; v < vectors; ++v) {
      float* to = sums + r * kHalfPanel + v * 8;
      float32x4_t low = vld1q_f32(to), high = vld1q_f32(to + 4);
      for (int64_t k = 0; k < groups * 8; ++k) {
        const float32x4_t a =
            Low(vreinterpretq_f16_u16(vdupq_n_u16(x[(k / 8 * of + r) * 8 + k % 8])));
        const float16x8_t b = Load8(w + (k * vectors + v) * 8);
        low = vfmaq_f32(low, Low(b), a);
        high = vfmaq_f32(high, High(b), a);
      }
      vst1q_f32(to, low);
      vst1q_f32(to + 4, high);
    }
  }
}
bool Finite(const float* sums, int rows, int vectors) {
  uint32x4_t most = vdupq_n_u32(0);
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < vectors * 8; i += 4) {
      const uint32x4_t bits = vreinterpretq_u32_f32(vld1q_f32(sums + r * kHalfPanel + i));
      most = vmaxq_u32(most, vaddq_u32(bits, bits));  // without the sign
    }
  }
  return vmaxvq_u32(most) < 0xff000000u;
}
#else
template <int kR, int kVectors>
__attribute__((noinline)) void Tile(const Element* x, const uint16_t* w, int64_t groups,
                                    float* sums) {
#pragma GCC unroll 1
  for (int v = 0; v < kVectors; ++v) {
    const Element* from = x;
    const uint16_t* by = w + v * 8;
    float32x4_t sum[kR][2];
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      sum[r][0] = vld1q_f32(sums + r * kHalfPanel + v * 8);
      sum[r][1] = vld1q_f32(sums + r * kHalfPanel + v * 8 + 4);
    }
#pragma GCC unroll 1
    for (int64_t g = 0; g < groups; ++g) {
#pragma GCC unroll 1
      for (int part = 0; part < 8; part += 4) {
        float32x4_t a[kR];
#pragma GCC unroll 8
        for (int r = 0; r < kR; ++r) a[r] = vld1q_f32(from + part * kR + r * 4);
#define SLIPWAY_STEP(LANE)                                      \
  {                                                             \
    const float16x8_t b = Load8(by + LANE * kVectors * 8);      \
    const float32x4_t low = Low(b), high = High(b);             \
    _Pragma("GCC unroll 8") for (int r = 0; r < kR; ++r) {      \
      sum[r][0] = vfmaq_laneq_f32(sum[r][0], low, a[r], LANE);  \
      sum[r][1] = vfmaq_laneq_f32(sum[r][1], high, a[r], LANE); \
    }                                                           \
  }
        SLIPWAY_STEP(0)
        SLIPWAY_STEP(1)
        SLIPWAY_STEP(2)
        SLIPWAY_STEP(3)
#undef SLIPWAY_STEP
        by += 4 * kVectors * 8;
      }
      from += kR * 8;
    }
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      vst1q_f32(sums + r * kHalfPanel + v * 8, sum[r][0]);
      vst1q_f32(sums + r * kHalfPanel + v * 8 + 4, sum[r][1]);
    }
  }
}
#endif

using TileFunction = void (*)(const Element*, const uint16_t*, int64_t, float*);
// There are tiles for few rows and for 8; others are filled up to 8 with what is not used.
inline int TileRows(int64_t rows) { return rows < 4 ? static_cast<int>(rows) : 8; }
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
constexpr TileFunction kTiles[2][4] = {{Tile<1, 1>, Tile<2, 1>, Tile<3, 1>, Tile<8, 1>},
                                       {Tile<1, 2>, Tile<2, 2>, Tile<3, 2>, Tile<8, 2>}};
#else
constexpr TileFunction kTiles[2][3] = {{Tile<1, 1>, Tile<2, 1>, Tile<3, 1>},
                                       {Tile<1, 2>, Tile<2, 2>, Tile<3, 2>}};

// Weights that are widened at a time, for some tiles one after another.
constexpr int64_t kWide = 256, kWideTiles = 8;

// 8 columns of `count` (a multiple of 8) rows of w, `vectors` times 8 wide.
__attribute__((noinline)) void WidenColumns(const uint16_t* w, int64_t vectors, int64_t count,
                                            float* to) {
  for (; count > 0; count -= 8, w += vectors * 64, to += 64) {
    float16x8_t v[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) v[i] = Load8(w + i * vectors * 8);
    float32x4_t wide[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      wide[2 * i] = Low(v[i]);
      wide[2 * i + 1] = High(v[i]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) vst1q_f32(to + i * 4, wide[i]);
  }
}

// As Tile for `tiles` tiles of 8 rows, kWideTiles at most: sums [tiles][8][kHalfPanel].
void WholeTiles(const float* x, const uint16_t* w, int64_t groups, int vectors, int64_t tiles,
                float* sums) {
  alignas(64) float wide[kWide * 8];
  const FloatTile multiply = GetFloatTile();
  for (int v = 0; v < vectors; ++v) {
    for (int64_t k = 0; k < groups * 8; k += kWide) {
      const int64_t now = Least(kWide, groups * 8 - k);
      WidenColumns(w + (k * vectors + v) * 8, vectors, now, wide);
      for (int64_t t = 0; t < tiles; ++t) {
        float* to = sums + t * kHalfRows * kHalfPanel + v * 8;
        multiply(x + (t * groups * 8 + k) * kHalfRows, wide, now / 4, to, kHalfPanel, to,
                 kHalfPanel);
      }
    }
  }
}
#endif

// The window of an output pixel as one row: where it lies, or copied to `line`.
const uint16_t* WindowOf(const HalfShape& s, const uint16_t* image, int64_t pixel, uint16_t* line) {
  const int64_t channels = s.groups * s.in_channels;
  if (s.pointwise()) return image + pixel * channels;
  const int64_t top = pixel / s.out_width * s.stride_height - s.pad_top,
                left = pixel % s.out_width * s.stride_width - s.pad_left;
  const auto bytes = static_cast<unsigned long>(s.in_channels) * 2;
  uint16_t* to = line;
  for (int64_t h = 0; h < s.kernel_height; ++h) {
    const int64_t row = top + h * s.dilation_height;
    const bool inside = row >= 0 && row < s.height;
    if (inside && s.groups == 1 && s.dilation_width == 1 && left >= 0 &&
        left + s.kernel_width <= s.width) {
      const int64_t run = s.kernel_width * s.in_channels;
      __builtin_memcpy(to, image + (row * s.width + left) * channels,
                       static_cast<unsigned long>(run) * 2);
      to += run;
      continue;
    }
    for (int64_t w = 0; w < s.kernel_width; ++w, to += s.in_channels) {
      const int64_t column = left + w * s.dilation_width;
      if (inside && column >= 0 && column < s.width)
        __builtin_memcpy(to, image + (row * s.width + column) * channels, bytes);
      else
        __builtin_memset(to, 0, bytes);
    }
  }
  return line;
}

inline void StoreGroup(float16x8_t v, [[maybe_unused]] int64_t rows, Element* to) {
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
  vst1q_u16(to, vreinterpretq_u16_f16(v));
#else
  vst1q_f32(to, Low(v));
  vst1q_f32(to + rows * 4, High(v));
#endif
}

// A row to its places in a tile of `rows`.
void CopyRow(const uint16_t* from, int64_t depth, int64_t rows, Element* to) {
  int64_t k = 0;
  for (; k + 8 <= depth; k += 8, to += rows * 8) StoreGroup(Load8(from + k), rows, to);
  if (k == depth) return;
  uint16_t last[8] = {};
  for (int64_t i = 0; k + i < depth; ++i) last[i] = from[k + i];
  StoreGroup(Load8(last), rows, to);
}

// What becomes of a tile's sums.
void Finish(const HalfCall& c, float* sums, int rows, int64_t columns, const uint16_t* residual,
            uint16_t* y, int64_t pixel) {
  const float32x4_t low = vdupq_n_f32(c.low), high = vdupq_n_f32(c.high);
  for (int r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < columns; i += 8) {
      float* at = sums + r * kHalfPanel + i;
      float32x4_t v[2] = {vld1q_f32(at), vld1q_f32(at + 4)};
      if (residual) {
        float32x4_t z[2];
        Widen(residual + r * pixel + i, columns - i, z);
        v[0] += z[0];
        v[1] += z[1];
      }
      vst1q_f32(at, vminq_f32(high, vmaxq_f32(low, v[0])));
      vst1q_f32(at + 4, vminq_f32(high, vmaxq_f32(low, v[1])));
    }
  }
  if (c.activation) c.activation(sums, sums, rows * kHalfPanel, c.a, c.b);
  for (int r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < columns; i += 8)
      Narrow(sums + r * kHalfPanel + i, y + r * pixel + i, columns - i);
  }
}

void Run(const HalfPlan& p, const HalfCall& c, void* workspace, int64_t job, int64_t end) {
  const HalfShape& s = p.shape;
  const int64_t groups = s.groups8(), depth = s.depth(), pixels = s.pixels(), panels = s.panels();
  auto* const copy = static_cast<Element*>(workspace);
  auto* const line = reinterpret_cast<uint16_t*>(copy + p.rows * groups * 8);
  const auto* const weights = static_cast<const uint16_t*>(c.weights);
  const auto* const biases =
      reinterpret_cast<const float*>(weights + s.groups * s.columns() * groups * 8);
  const int64_t out_pixel = s.groups * s.out_channels;
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
  alignas(16) float sums[kHalfRows * kHalfPanel] = {};
#else
  alignas(16) float sums[kWideTiles * kHalfRows * kHalfPanel] = {};
#endif
  for (; job < end; ++job) {
    const int64_t part = job % p.parts, block = job / p.parts % p.blocks,
                  group = job / (p.parts * p.blocks) % s.groups,
                  image = job / (p.parts * p.blocks * s.groups);
    const int64_t first = block * p.rows, last = Least(pixels, first + p.rows);
    const uint16_t* x =
        c.x + image * s.height * s.width * s.groups * s.in_channels + group * s.in_channels;
    Element* to = copy;
    for (int64_t row = first; row < last; row += kHalfRows) {
      const int64_t rows = Least(kHalfRows, last - row), of = TileRows(rows);
      for (int64_t r = 0; r < rows; ++r)
        CopyRow(WindowOf(s, x, row + r, line), depth, of, to + r * (16 / sizeof(Element)));
      to += of * groups * 8;
    }
    for (int64_t panel = panels * part / p.parts; panel < panels * (part + 1) / p.parts; ++panel) {
      const int64_t column = panel * kHalfPanel;
      const int64_t columns = Least(kHalfPanel, s.out_channels - column);
      const int vectors = columns > 8 ? 2 : 1;
      const uint16_t* w = weights + (group * s.columns() + column) * groups * 8;
      const float* bias = biases + group * s.columns() + column;
      const Element* from = copy;
      const auto start = [&](float* to, int64_t rows) {
        for (int64_t r = 0; r < rows; ++r) {
          for (int i = 0; i < vectors * 8; i += 4)
            vst1q_f32(to + r * kHalfPanel + i, vld1q_f32(bias + i));
        }
      };
      const auto finish = [&](float* tile, int64_t row, int rows) {
        const int64_t at = (image * pixels + row) * out_pixel + group * s.out_channels + column;
        Finish(c, tile, rows, columns, c.residual ? c.residual + at : nullptr, c.y + at, out_pixel);
      };
      for (int64_t row = first; row < last;) {
#if !defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
        // Tiles of 8, also those that are filled up.
        const int64_t left = last - row;
        const int64_t tiles = Least(kWideTiles, left / 8 + (TileRows(left % 8) == 8 ? 1 : 0));
        if (tiles > 0) {
          start(sums, tiles * kHalfRows);
          WholeTiles(from, w, groups, vectors, tiles, sums);
          for (int64_t t = 0; t < tiles; ++t, row += kHalfRows)
            finish(sums + t * kHalfRows * kHalfPanel, row, static_cast<int>(Least(8, last - row)));
          from += tiles * kHalfRows * groups * 8;
          continue;
        }
#endif
        const int rows = static_cast<int>(Least(kHalfRows, last - row)), of = TileRows(rows);
        start(sums, rows);
        kTiles[vectors - 1][of < 8 ? of - 1 : 3](from, w, groups, sums);
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
        if (!Finite(sums, rows, vectors)) {
          start(sums, rows);
          WideTile(from, w, groups, rows, of, vectors, sums);
        }
#endif
        finish(sums, row, rows);
        from += of * groups * 8;
        row += kHalfRows;
      }
    }
  }
}

}  // namespace

const HalfKernels kHalf = {Run};

}  // namespace slipway::kernels::SLIPWAY_ISA
