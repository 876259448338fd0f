// The source of the integer products; x86_*.cc include it with SLIPWAY_ISA set to the namespace of
// their instruction set.

#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "engine/kernels/qgemm/qgemm.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/math.h"
#if defined(__AVX512BW__)
#include "engine/kernels/simd/sigmoid512.h"
#endif

// A tile: up to kMaxRows rows and 4 blocks of 16 columns.
constexpr int kTileColumns = 4 * kQGemmBlock;

struct Tile {
  const uint8_t* x;
  int64_t x_stride;
  const int8_t* w;
  int64_t block;  // bytes from one block of columns to the next
  int64_t steps;  // of 4 k
  int column;     // the first
  int columns;    // that exist
  uint8_t* y;     // null: sums go to `sums`, [row][kTileColumns]; with bias: kBiasInSums
  int32_t* sums;
  const QGemmCall* call;
};

#if defined(__AVX512BW__)

inline __mmask16 Live(int left) {
  return static_cast<__mmask16>(left >= 16 ? 0xffff : (1 << left) - 1);
}

// Values to codes.
struct Rounder512 {
  __m512 low, high;
  __m512i zero, least;
  bool is_signed;
  // Nothing leaves int32 and the upper bound is the type's own, so that saturation does the rest.
  bool simple;
  explicit Rounder512(const QGemmCall& c)
      : low(_mm512_set1_ps(static_cast<float>(c.to.lo - c.to.zero_point))),
        high(_mm512_set1_ps(static_cast<float>(c.to.hi - c.to.zero_point))),
        zero(_mm512_set1_epi32(c.to.zero_point)),
        least(_mm512_set1_epi32(c.to.lo)),
        is_signed(c.y_type == CodeType::kS8),
        simple(c.bounded && c.to.zero_point == 0 && c.to.hi == (is_signed ? 127 : 255)) {}
  __m128i Codes(__m512 f) const {
    f = _mm512_min_ps(_mm512_max_ps(f, low), high);  // NaN becomes low
    return _mm512_cvtepi32_epi8(_mm512_add_epi32(_mm512_cvtps_epi32(f), zero));
  }
  __m128i Simple(__m512 f) const {
    const __m512i code = _mm512_max_epi32(_mm512_cvtps_epi32(f), least);
    return is_signed ? _mm512_cvtsepi32_epi8(code) : _mm512_cvtusepi32_epi8(code);
  }
};

#endif

#if defined(__AVX512VNNI__)

constexpr int kMaxRows = 12;
constexpr bool kBiasInSums = true;

template <int kRows, int kBlocks>
void RunTile(const Tile& t) {
  __m512i acc[kRows][kBlocks];
#pragma GCC unroll 12
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < kBlocks; ++v)
      acc[m][v] = _mm512_loadu_si512(t.call->bias + t.column + v * kQGemmBlock);
  }
  const QGemmCall& c = *t.call;
  const __m512i flip = _mm512_set1_epi32(c.flip ? static_cast<int>(0x80808080) : 0);
  // Every third row has a pointer, the others an index.
  constexpr int kPointers = (kRows + 2) / 3;
  const uint8_t* x[kPointers];
#pragma GCC unroll 4
  for (int p = 0; p < kPointers; ++p) x[p] = t.x + 3 * p * t.x_stride;
  const int8_t* w = t.w;
  for (int64_t k = 0; k < t.steps; ++k) {
    __m512i b[kBlocks];
#pragma GCC unroll 4
    for (int v = 0; v < kBlocks; ++v) b[v] = _mm512_load_si512(w + v * t.block);
    w += 64;
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m) {
      int32_t four;
      std::memcpy(&four, x[m / 3] + (m % 3) * t.x_stride, 4);
      const __m512i a = _mm512_xor_si512(_mm512_set1_epi32(four), flip);
#pragma GCC unroll 4
      for (int v = 0; v < kBlocks; ++v) acc[m][v] = _mm512_dpbusd_epi32(acc[m][v], a, b[v]);
    }
#pragma GCC unroll 4
    for (int p = 0; p < kPointers; ++p) x[p] += 4;
  }
  if (!t.y) {
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < kBlocks; ++v)
        _mm512_storeu_si512(t.sums + m * kTileColumns + v * kQGemmBlock, acc[m][v]);
    }
    return;
  }
  const Rounder512 to(c);
#pragma GCC unroll 4
  for (int v = 0; v < kBlocks; ++v) {
    const int left = t.columns - v * kQGemmBlock;
    const __m512 multiplier = _mm512_loadu_ps(c.multiplier + t.column + v * kQGemmBlock);
    uint8_t* y = t.y + v * kQGemmBlock;
    const __mmask16 live = Live(left);
    if (c.y_type == CodeType::kF32) {
      float* f = reinterpret_cast<float*>(t.y) + v * kQGemmBlock;
#pragma GCC unroll 12
      for (int m = 0; m < kRows; ++m, f += c.y_stride)
        _mm512_mask_storeu_ps(f, live, _mm512_mul_ps(_mm512_cvtepi32_ps(acc[m][v]), multiplier));
      continue;
    }
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m, y += c.y_stride) {
      const __m128i codes = to.Simple(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[m][v]), multiplier));
      if (live == 0xffff) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(y), codes);
      } else {
        _mm_mask_storeu_epi8(y, live, codes);
      }
    }
  }
}

using TileFunction = void (*)(const Tile&);
// Rows of a tile by its blocks: accumulators, weights and two more must fit 32 registers.
constexpr int RowsOf(int blocks) { return blocks == 4 ? 6 : blocks == 3 ? 8 : 12; }
// Not all numbers of rows: code is not free.
constexpr int kHeights[4][7] = {
    {1, 2, 3, 4, 6, 8, 12}, {1, 2, 3, 4, 6, 8, 12}, {1, 2, 4, 6, 8}, {1, 2, 3, 4, 5, 6}};
constexpr TileFunction kTiles[4][7] = {
    {RunTile<1, 1>, RunTile<2, 1>, RunTile<3, 1>, RunTile<4, 1>, RunTile<6, 1>, RunTile<8, 1>,
     RunTile<12, 1>},
    {RunTile<1, 2>, RunTile<2, 2>, RunTile<3, 2>, RunTile<4, 2>, RunTile<6, 2>, RunTile<8, 2>,
     RunTile<12, 2>},
    {RunTile<1, 3>, RunTile<2, 3>, RunTile<4, 3>, RunTile<6, 3>, RunTile<8, 3>},
    {RunTile<1, 4>, RunTile<2, 4>, RunTile<3, 4>, RunTile<4, 4>, RunTile<5, 4>, RunTile<6, 4>}};
// The tile for the next of `left` rows; the last two share what is left.
inline int ChooseTile(int blocks, int64_t left) {
  const int* heights = kHeights[blocks - 1];
  const int64_t most = RowsOf(blocks);
  const int64_t ideal = left >= 2 * most ? most : left > most ? (left + 1) / 2 : left;
  int i = 0;
  while (heights[i] < ideal) ++i;
  return heights[i] <= left ? i : i - 1;
}

#elif defined(__AVX2__)

constexpr bool kBiasInSums = false;

// Codes as 16-bit numbers: one multiply-add gives the sums of k pairs, so a lane holds half of an
// output and its neighbour the other half until the end.
#if defined(__AVX512BW__)
struct Wide {
  using V = __m512i;
  static constexpr int kOutputs = 8;
  static V Zero() { return _mm512_setzero_si512(); }
  static V Weights(const int8_t* w) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
  }
  static V Broadcast(int64_t four) { return _mm512_set1_epi64(four); }
  static V Add(V acc, V a, V b) { return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)); }
  static void Store(V acc, int32_t* y) {
    const V odd = _mm512_srli_epi64(acc, 32);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y),
                        _mm512_cvtepi64_epi32(_mm512_add_epi32(acc, odd)));
  }
};
constexpr int kMaxRows = 4;
#else
struct Wide {
  using V = __m256i;
  static constexpr int kOutputs = 4;
  static V Zero() { return _mm256_setzero_si256(); }
  static V Weights(const int8_t* w) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
  }
  static V Broadcast(int64_t four) { return _mm256_set1_epi64x(four); }
  static V Add(V acc, V a, V b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }
  static void Store(V acc, int32_t* y) {
    const V pairs = _mm256_add_epi32(acc, _mm256_srli_epi64(acc, 32));
    const V packed = _mm256_permutevar8x32_epi32(pairs, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm256_castsi256_si128(packed));
  }
};
constexpr int kMaxRows = 2;
#endif

template <int kRows>
void RunTile(const Tile& t) {
  constexpr int kParts = kQGemmBlock / Wide::kOutputs;
  const __m128i flip = _mm_set1_epi8(t.call->flip ? static_cast<char>(0x80) : 0);
  for (int v = 0; v * kQGemmBlock < t.columns; ++v) {
    typename Wide::V acc[kRows][kParts];
    for (int m = 0; m < kRows; ++m) {
      for (int p = 0; p < kParts; ++p) acc[m][p] = Wide::Zero();
    }
    const int8_t* w = t.w + v * t.block;
    for (int64_t k = 0; k < t.steps; ++k, w += 64) {
      typename Wide::V b[kParts];
      for (int p = 0; p < kParts; ++p) b[p] = Wide::Weights(w + p * Wide::kOutputs * 4);
      for (int m = 0; m < kRows; ++m) {
        int32_t four;
        std::memcpy(&four, t.x + m * t.x_stride + 4 * k, 4);
        const __m128i codes = _mm_xor_si128(_mm_cvtsi32_si128(four), flip);
        const typename Wide::V a = Wide::Broadcast(_mm_cvtsi128_si64(_mm_cvtepu8_epi16(codes)));
        for (int p = 0; p < kParts; ++p) acc[m][p] = Wide::Add(acc[m][p], a, b[p]);
      }
    }
    for (int m = 0; m < kRows; ++m) {
      for (int p = 0; p < kParts; ++p)
        Wide::Store(acc[m][p], t.sums + m * kTileColumns + v * kQGemmBlock + p * Wide::kOutputs);
    }
  }
}

using TileFunction = void (*)(const Tile&);
#if defined(__AVX512BW__)
constexpr TileFunction kOneTile[kMaxRows] = {RunTile<1>, RunTile<2>, RunTile<3>, RunTile<4>};
#else
constexpr TileFunction kOneTile[kMaxRows] = {RunTile<1>, RunTile<2>};
#endif

#else

constexpr bool kBiasInSums = false;
constexpr int kMaxRows = 1;
__attribute__((noinline)) void RunTile(const Tile& t) {
  const int flip = t.call->flip ? 0x80 : 0;
  for (int v = 0; v * kQGemmBlock < t.columns; ++v) {
    uint32_t acc[kQGemmBlock] = {};
    const int8_t* w = t.w + v * t.block;
    for (int64_t k = 0; k < t.steps; ++k, w += 64) {
      int a[4];
      for (int i = 0; i < 4; ++i) a[i] = t.x[4 * k + i] ^ flip;
#pragma GCC unroll 1
      for (int j = 0; j < kQGemmBlock; ++j) {
        acc[j] += static_cast<uint32_t>(a[0] * w[4 * j] + a[1] * w[4 * j + 1] +
                                        a[2] * w[4 * j + 2] + a[3] * w[4 * j + 3]);
      }
    }
    for (int j = 0; j < kQGemmBlock; ++j)
      t.sums[v * kQGemmBlock + j] = static_cast<int32_t>(acc[j]);
  }
}
using TileFunction = void (*)(const Tile&);
constexpr TileFunction kOneTile[1] = {RunTile};

#endif

// The sums of a tile, still in the first-level cache, to outputs: values in rows of whole blocks,
// the activation over all of them at once, then rounding.
#if defined(__AVX512BW__)

inline __m512i LoadCodes(const void* z, int64_t at, CodeType type, __mmask16 live) {
  const __m128i v = _mm_maskz_loadu_epi8(live, static_cast<const uint8_t*>(z) + at);
  return type == CodeType::kS8 ? _mm512_cvtepi8_epi32(v) : _mm512_cvtepu8_epi32(v);
}

void ToValues(const QGemmCall& c, const Tile& t, int64_t row, int rows, int blocks, float* v) {
  const __m512i z_zero = _mm512_set1_epi32(c.z_zero);
  const __m512 z_multiplier = _mm512_set1_ps(c.z_multiplier);
  for (int b = 0; b < blocks; ++b) {
    const int at = b * kQGemmBlock, left = t.columns - at;
    const __mmask16 live = Live(left);
    const __m512i bias =
        kBiasInSums ? _mm512_setzero_si512() : _mm512_loadu_si512(c.bias + t.column + at);
    const __m512 multiplier = _mm512_loadu_ps(c.multiplier + t.column + at);
    for (int m = 0; m < rows; ++m) {
      __m512i sum = _mm512_add_epi32(_mm512_load_si512(t.sums + m * kTileColumns + at), bias);
      if (c.row_add) sum = _mm512_add_epi32(sum, _mm512_set1_epi32(c.row_add[row + m]));
      __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
      if (c.z) {
        const __m512i z = LoadCodes(c.z, (row + m) * c.z_stride + t.column + at, c.z_type, live);
        f = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(z, z_zero)), z_multiplier, f);
      }
      _mm512_store_ps(v + (m * blocks + b) * kQGemmBlock, f);
    }
  }
}

void Round(const QGemmCall& c, const Tile& t, int64_t row, int rows, int blocks, const float* v) {
  const Rounder512 to(c);
  const __m512 multiplier = _mm512_set1_ps(c.activation ? c.y_multiplier : 1.0f);
  for (int m = 0; m < rows; ++m) {
    for (int b = 0; b < blocks; ++b, v += kQGemmBlock) {
      const __mmask16 live = Live(t.columns - b * kQGemmBlock);
      const int64_t at = (row + m) * c.y_stride + t.column + b * kQGemmBlock;
      const __m512 f = _mm512_mul_ps(_mm512_load_ps(v), multiplier);
      if (c.y_type == CodeType::kF32) {
        _mm512_mask_storeu_ps(static_cast<float*>(c.y) + at, live, f);
      } else {
        _mm_mask_storeu_epi8(static_cast<uint8_t*>(c.y) + at, live, to.Codes(f));
      }
    }
  }
}

// Swish with a = 1 without a stop in between; its y_multiplier is in the table.
template <bool kSimple>
void FinishSwish(const QGemmCall& c, const Tile& t, int64_t row, int rows, int blocks) {
  const Rounder512 to(c);
  SigmoidTable table;
  const __m512 limit = _mm512_set1_ps(87.0f), inverse = _mm512_set1_ps(1.0f / c.y_multiplier);
  table.low = _mm512_mul_ps(table.low, inverse);
  table.high = _mm512_mul_ps(table.high, inverse);
  for (int b = 0; b < blocks; ++b) {
    const int at = b * kQGemmBlock;
    const __mmask16 live = Live(t.columns - at);
    const __m512i bias =
        kBiasInSums ? _mm512_setzero_si512() : _mm512_loadu_si512(c.bias + t.column + at);
    const __m512 multiplier = _mm512_loadu_ps(c.multiplier + t.column + at);
    uint8_t* y = static_cast<uint8_t*>(c.y) + row * c.y_stride + t.column + at;
    for (int m = 0; m < rows; ++m, y += c.y_stride) {
      __m512i sum = _mm512_load_si512(t.sums + m * kTileColumns + at);
      if constexpr (!kBiasInSums) sum = _mm512_add_epi32(sum, bias);
      const __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
      const __m512 f = _mm512_mul_ps(v, SigmoidOf<false>(Limited(v, limit), table, inverse));
      const __m128i codes = kSimple ? to.Simple(f) : to.Codes(f);
      if (live == 0xffff) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(y), codes);
      } else {
        _mm_mask_storeu_epi8(y, live, codes);
      }
    }
  }
}

#else

__attribute__((noinline)) void ToValues(const QGemmCall& c, const Tile& t, int64_t row, int rows,
                                        int blocks, float* v) {
  for (int m = 0; m < rows; ++m, v += blocks * kQGemmBlock) {
    const uint32_t add = c.row_add ? static_cast<uint32_t>(c.row_add[row + m]) : 0;
    const int32_t* sums = t.sums + m * kTileColumns;
    const int32_t* bias = c.bias + t.column;
    static_assert(!kBiasInSums);
    const float* multiplier = c.multiplier + t.column;
    SLIPWAY_INDEPENDENT
    for (int j = 0; j < blocks * kQGemmBlock; ++j) {
      const uint32_t sum = static_cast<uint32_t>(sums[j]) + static_cast<uint32_t>(bias[j]) + add;
      v[j] = static_cast<float>(static_cast<int32_t>(sum)) * multiplier[j];
    }
    if (!c.z) continue;
    const uint8_t* z = static_cast<const uint8_t*>(c.z) + (row + m) * c.z_stride + t.column;
    const bool is_signed = c.z_type == CodeType::kS8;
    for (int j = 0; j < t.columns; ++j) {
      const int32_t code = is_signed ? static_cast<int8_t>(z[j]) : z[j];
      v[j] = __builtin_fmaf(static_cast<float>(code - c.z_zero), c.z_multiplier, v[j]);
    }
  }
}

__attribute__((noinline)) void Round(const QGemmCall& c, const Tile& t, int64_t row, int rows,
                                     int blocks, float* v) {
  constexpr float kMagic = 12582912.0f;  // rounds half to even, as quant_impl.h does
  const float low = static_cast<float>(c.to.lo - c.to.zero_point),
              high = static_cast<float>(c.to.hi - c.to.zero_point),
              multiplier = c.activation ? c.y_multiplier : 1.0f;
  const int32_t zero = c.to.zero_point;
  for (int m = 0; m < rows; ++m, v += blocks * kQGemmBlock) {
    const int64_t at = (row + m) * c.y_stride + t.column;
    if (c.y_type == CodeType::kF32) {
      for (int j = 0; j < t.columns; ++j) static_cast<float*>(c.y)[at + j] = v[j] * multiplier;
      continue;
    }
    uint8_t* y = static_cast<uint8_t*>(c.y) + at;
    for (int j = 0; j < t.columns; ++j) {
      float f = v[j] * multiplier;
      f = f > low ? f : low;
      f = f < high ? f : high;
      y[j] = static_cast<uint8_t>(static_cast<int32_t>((f + kMagic) - kMagic) + zero);
    }
  }
}

#endif

void Finish(const Tile& t, int64_t row, int rows) {
  const QGemmCall& c = *t.call;
  const int blocks = (t.columns + kQGemmBlock - 1) / kQGemmBlock;
#if defined(__AVX512BW__)
  if (c.swish && c.a == 1 && !c.z && !c.row_add && c.y_type != CodeType::kF32)
    return Rounder512(c).simple ? FinishSwish<true>(c, t, row, rows, blocks)
                                : FinishSwish<false>(c, t, row, rows, blocks);
#endif
  alignas(64) float v[kMaxRows * kTileColumns];
  ToValues(c, t, row, rows, blocks, v);
  if (c.activation) c.activation(v, v, rows * blocks * kQGemmBlock, c.a, c.b);
  Round(c, t, row, rows, blocks, v);
}

void RunCall(const QGemmCall& c) {
  alignas(64) int32_t sums[kMaxRows * kTileColumns];
  const int64_t steps = (c.k + 3) / 4, block = steps * 64, blocks = (c.columns + 15) / 16;
#if defined(__AVX512VNNI__)
  const bool direct =
      !c.row_add && !c.z && !c.activation && (c.y_type == CodeType::kF32 || Rounder512(c).simple);
#else
  constexpr bool direct = false;
#endif
  // Blocks in panels of at most 4, as even as can be.
  const int64_t panels = (blocks + 3) / 4;
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t first = blocks * p / panels;
    const int wide = static_cast<int>(blocks * (p + 1) / panels - first);
    Tile t;
    t.x_stride = c.x_stride;
    t.w = c.weights + first * block;
    t.block = block;
    t.steps = steps;
    t.column = static_cast<int>(first * kQGemmBlock);
    t.columns = static_cast<int>(c.columns - t.column < wide * kQGemmBlock ? c.columns - t.column
                                                                           : wide * kQGemmBlock);
    t.sums = sums;
    t.call = &c;
    for (int64_t row = 0; row < c.rows;) {
#if defined(__AVX512VNNI__)
      const int tile = ChooseTile(wide, c.rows - row);
      const int rows = kHeights[wide - 1][tile];
      const TileFunction run = kTiles[wide - 1][tile];
#else
      const int rows = static_cast<int>(c.rows - row < kMaxRows ? c.rows - row : kMaxRows);
      const TileFunction run = kOneTile[rows - 1];
#endif
      t.x = c.x + row * c.x_stride;
      const int64_t at = row * c.y_stride + t.column;
      t.y =
          direct ? static_cast<uint8_t*>(c.y) + at * (c.y_type == CodeType::kF32 ? 4 : 1) : nullptr;
      run(t);
      if (!direct) Finish(t, row, rows);
      row += rows;
    }
  }
}

void Pack(const uint8_t* b, int64_t row_stride, int64_t k, int64_t n, bool flip, int8_t* packed,
          int32_t* sums) {
  const uint8_t mask = flip ? 0x80 : 0;
  for (int64_t j = 0; j < n; j += kQGemmBlock) {
    const int64_t columns = n - j < kQGemmBlock ? n - j : kQGemmBlock;
#if defined(__AVX2__)
    const __m128i flips = _mm_set1_epi8(static_cast<char>(mask));
    __m256i low = _mm256_setzero_si256(), high = low;  // sums of columns 0 to 7, 8 to 15
    const __m256i ones = _mm256_set1_epi8(1), pairs = _mm256_set1_epi16(1);
#else
    for (int c = 0; c < kQGemmBlock; ++c) sums[j + c] = 0;
#endif
    for (int64_t i = 0; i < k; i += 4, packed += 64) {
      const uint8_t* from = b + i * row_stride + j;
#if defined(__AVX2__)
      if (columns == kQGemmBlock && i + 4 <= k) {
        __m128i r[4];
        for (int t = 0; t < 4; ++t)
          r[t] = _mm_xor_si128(
              _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + t * row_stride)), flips);
        const __m128i ab = _mm_unpacklo_epi8(r[0], r[1]), cd = _mm_unpacklo_epi8(r[2], r[3]),
                      ef = _mm_unpackhi_epi8(r[0], r[1]), gh = _mm_unpackhi_epi8(r[2], r[3]);
        __m128i out[4] = {_mm_unpacklo_epi16(ab, cd), _mm_unpackhi_epi16(ab, cd),
                          _mm_unpacklo_epi16(ef, gh), _mm_unpackhi_epi16(ef, gh)};
        std::memcpy(packed, out, 64);
      } else
#endif
      {
        std::memset(packed, 0, 64);
        const int64_t rows = k - i < 4 ? k - i : 4;
        for (int64_t t = 0; t < rows; ++t) {
          for (int64_t c = 0; c < columns; ++c)
            packed[c * 4 + t] = static_cast<int8_t>(from[t * row_stride + c] ^ mask);
        }
      }
#if defined(__AVX2__)
      // Pairs of signed bytes do not leave 16 bits.
      const auto four = [&](const int8_t* at) {
        const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
        return _mm256_madd_epi16(_mm256_maddubs_epi16(ones, v), pairs);
      };
      low = _mm256_add_epi32(low, four(packed));
      high = _mm256_add_epi32(high, four(packed + 32));
#else
      for (int c = 0; c < kQGemmBlock; ++c)
        sums[j + c] += packed[4 * c] + packed[4 * c + 1] + packed[4 * c + 2] + packed[4 * c + 3];
#endif
    }
#if defined(__AVX2__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + j), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + j + 8), high);
#endif
  }
}

template <typename X>
void RowSums(const void* vx, int64_t stride, int64_t rows, int64_t k, int32_t* sums) {
  for (int64_t m = 0; m < rows; ++m) {
    const X* x = static_cast<const X*>(vx) + m * stride;
    int32_t sum = 0;
    for (int64_t i = 0; i < k; ++i) sum += x[i];
    sums[m] = sum;
  }
}

}  // namespace

const QGemmKernels kQGemm = {RunCall, Pack, {RowSums<uint8_t>, RowSums<int8_t>}};

}  // namespace slipway::kernels::SLIPWAY_ISA
