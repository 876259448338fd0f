// The source of the integer products; x86_*.cc include it with SLIPWAY_ISA set to the namespace of
// their instruction set.

#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "engine/kernels/qgemm/qgemm.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/math.h"
#if defined(__AVX512BW__)
#include "engine/kernels/simd/rectifier512.h"
#endif
#include "engine/kernels/qgemm/qgemm_pack.h"

// A tile: up to kMaxRows rows and 4 blocks of 16 columns.
constexpr int kTileColumns = 4 * kQGemmBlock;
constexpr int kMostRows = 12;  // of any instruction set

struct Tile {
  const uint8_t* x[kMostRows];
  int64_t group_x[4];  // where the codes of a block begin in a row
  const int8_t* w;
  // What is brought into the second-level cache beside, and how far it moves with every 4 k.
  const char* ahead;
  int64_t ahead_step;
  int64_t block;  // bytes from one block of columns to the next
  int64_t steps;  // of 4 k, of a run
  int blocks;
  int bias;                   // the index of the tile's first column among the padded ones
  bool whole;                 // columns lie together
  int column[4], columns[4];  // of a block: the first in y, and those that exist
  const int32_t* row_add;
  const uint8_t* z;  // residual
  uint8_t* y;        // of the first row, where a tall tile may make codes itself; else null
  int32_t* sums;     // [row][block][16], with bias: kBiasInSums
  const QGemmCall* call;
  const struct Epilogue* epilogue;
};

// The runs of a call; one that begins with the row when none are given.
constexpr int64_t kWhole[1] = {0};
inline const int64_t* RunsOf(const QGemmCall& c) { return c.runs ? c.runs : kWhole; }
inline int64_t CountOf(const QGemmCall& c) { return c.runs ? c.num_runs : 1; }

#if defined(__AVX512BW__)

inline __mmask16 Live(int left) {
  return static_cast<__mmask16>(left >= 16 ? 0xffff : (1 << left) - 1);
}

// Values to codes. Unsigned codes are made as signed ones 128 lower: then one saturation serves
// both.
struct Rounder512 {
  __m512 low, high;
  __m512i zero32, zero16, least, most, flip, order;
  bool bounded;
  explicit Rounder512(const QGemmCall& c)
      : low(_mm512_set1_ps(static_cast<float>(c.to.lo - c.to.zero_point))),
        high(_mm512_set1_ps(static_cast<float>(c.to.hi - c.to.zero_point))),
        bounded(c.bounded) {
    const int shift = c.y_type == CodeType::kS8 ? 0 : 128;
    zero32 = _mm512_set1_epi32(c.to.zero_point - shift);
    zero16 = _mm512_set1_epi16(static_cast<int16_t>(c.to.zero_point - shift));
    least = _mm512_set1_epi8(static_cast<char>(c.to.lo - shift));
    most = _mm512_set1_epi8(static_cast<char>(c.to.hi - shift));
    flip = _mm512_set1_epi8(static_cast<char>(shift));
    order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  }
  __m512i Integer(__m512 f) const {
    if (!bounded) f = _mm512_min_ps(_mm512_max_ps(f, low), high);  // NaN becomes low
    return _mm512_cvtps_epi32(f);
  }
  __m128i Codes(__m512 f) const {
    const __m128i v = _mm512_cvtsepi32_epi8(_mm512_add_epi32(Integer(f), zero32));
    return _mm_xor_si128(
        _mm_min_epi8(_mm_max_epi8(v, _mm512_castsi512_si128(least)), _mm512_castsi512_si128(most)),
        _mm512_castsi512_si128(flip));
  }
  // Codes of 4 vectors in a row. Sums of 16 bits saturate, then those of 8.
  __m512i Codes4(__m512i a, __m512i b, __m512i c, __m512i d) const {
    const __m512i ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero16),
                  cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero16),
                  v = _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(ab, cd), least), most);
    return _mm512_permutexvar_epi32(order, _mm512_xor_si512(v, flip));
  }
};

// The activations that are computed in registers: none, those with a table, LeakyRelu (where its
// code is worth it).
enum class Activates { kNot, kTable, kLeaky };
#if defined(__AVX512VNNI__)
constexpr bool kLeakyHere = true;
#else
constexpr bool kLeakyHere = false;
#endif

// What makes codes of sums when the columns of the blocks lie together and the activation is one of
// these.
struct Epilogue {
  Rounder512 to;
  __m512 z_multiplier;
  __m512i z_zero;
  __m128i z_flip;  // makes signed codes of unsigned ones
  bool residual;
  Rectifier512 rectifier;
  __m512 slope, y_multiplier;

  explicit Epilogue(const QGemmCall& c)
      : to(c),
        z_multiplier(_mm512_set1_ps(c.z_multiplier)),
        residual(c.z != nullptr),
        rectifier(c.rectifier),
        slope(_mm512_set1_ps(c.a)),
        y_multiplier(_mm512_set1_ps(c.y_multiplier)) {
    const int shift = c.z_type == CodeType::kS8 ? 0 : 128;
    z_zero = _mm512_set1_epi32(c.z_zero - shift);
    z_flip = _mm_set1_epi8(static_cast<char>(shift));
  }
  __m512 Add(__m512 f, const uint8_t* z) const {
    const __m128i code =
        _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(z)), z_flip);
    const __m512i v = _mm512_sub_epi32(_mm512_cvtepi8_epi32(code), z_zero);
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), z_multiplier, f);
  }
  template <Activates kActivates>
  __m512 Activated(__m512 f) const {
    if (kActivates == Activates::kTable) return rectifier.Of(f);
    if (kActivates == Activates::kLeaky)
      return _mm512_mul_ps(_mm512_max_ps(f, _mm512_mul_ps(f, slope)), y_multiplier);
    return f;
  }
};

// Masked stores of bytes are slow, and so are masked loads.
__attribute__((noinline)) void StorePart(uint8_t* y, __m128i codes, int columns) {
  alignas(16) uint8_t line[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(line), codes);
  if (columns >= 8) {
    std::memcpy(y, line, 8);
    std::memcpy(y + columns - 8, line + columns - 8, 8);
  } else if (columns >= 4) {
    std::memcpy(y, line, 4);
    std::memcpy(y + columns - 4, line + columns - 4, 4);
  } else {
    for (int i = 0; i < columns; ++i) y[i] = line[i];
  }
}
inline void StoreCodes(uint8_t* y, __m128i codes, int columns) {
  if (columns >= 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), codes);
  } else {
    StorePart(y, codes, columns);
  }
}

// Codes of 4 vectors: of a row, or of several rows of fewer blocks. `columns`: of a row.
template <int kBlocks>
inline void StoreCodes4(uint8_t* y, int64_t stride, __m512i codes, int columns, int rows) {
  const __m128i part[4] = {_mm512_castsi512_si128(codes), _mm512_extracti32x4_epi32(codes, 1),
                           _mm512_extracti32x4_epi32(codes, 2),
                           _mm512_extracti32x4_epi32(codes, 3)};
  if (columns != kBlocks * kQGemmBlock) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      if (v / kBlocks < rows && v % kBlocks * kQGemmBlock < columns)
        StoreCodes(y + v / kBlocks * stride + v % kBlocks * kQGemmBlock, part[v],
                   columns - v % kBlocks * kQGemmBlock);
    }
  } else if (kBlocks == 4) {
    _mm512_storeu_si512(y, codes);
  } else if (kBlocks == 3) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_castsi512_si256(codes));
    StoreCodes(y + 32, part[2], 16);
  } else if (kBlocks == 2) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_castsi512_si256(codes));
    if (rows > 1)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + stride),
                          _mm512_extracti64x4_epi64(codes, 1));
  } else {
#pragma GCC unroll 4
    for (int m = 0; m < 4; ++m) {
      if (m < rows) StoreCodes(y + m * stride, part[m], 16);
    }
  }
}

// Values of a block; whole vectors without a mask, which takes several times as long.
inline void StoreValues(float* y, __m512 v, int columns) {
  if (columns >= kQGemmBlock) {
    _mm512_storeu_ps(y, v);
  } else {
    _mm512_mask_storeu_ps(y, Live(columns), v);
  }
}

#endif

#if defined(__AVX512VNNI__)

constexpr int kMaxRows = 12;
constexpr bool kBiasInSums = true;

// The sums of a tile to codes, in their registers: stores of sums would take as long as a sixth of
// the products of 64 k.
template <bool kResidual, Activates kActivates, int kRows, int kBlocks>
__attribute__((always_inline)) inline void ToCodes(const Tile& t, __m512i (&acc)[kRows][kBlocks]) {
  constexpr int kTogether = kBlocks == 1 ? 4 : kBlocks == 2 ? 2 : 1;
  static_assert(kRows % kTogether == 0);
  const QGemmCall& c = *t.call;
  const Epilogue* e = t.epilogue;
  const float* multiplier = c.multiplier + t.bias;
  const int columns = (kBlocks - 1) * kQGemmBlock + t.columns[kBlocks - 1];
  uint8_t* y = t.y;
  const uint8_t* z = t.z;
#pragma GCC unroll 12
  for (int m = 0; m < kRows; m += kTogether, y += kTogether * c.y_stride) {
    // Nothing of these is to stay in registers, which hold sums.
    asm("" : "+r"(e), "+r"(multiplier));
    __m512i v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm512_setzero_si512();
      if (i >= kTogether * kBlocks) continue;
      const int b = i % kBlocks;
      __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[m + i / kBlocks][b]),
                               _mm512_loadu_ps(multiplier + b * kQGemmBlock));
      if (kResidual) f = e->Add(f, z + i / kBlocks * c.z_stride + b * kQGemmBlock);
      f = e->Activated<kActivates>(f);
      v[i] = _mm512_cvtps_epi32(f);
    }
    if (kResidual) z += kTogether * c.z_stride;
    StoreCodes4<kBlocks>(y, c.y_stride, e->to.Codes4(v[0], v[1], v[2], v[3]), columns, kTogether);
  }
}

// The same where values themselves are wanted.
template <Activates kActivates, int kRows, int kBlocks>
__attribute__((always_inline)) inline void ToFloats(const Tile& t, __m512i (&acc)[kRows][kBlocks]) {
  const QGemmCall& c = *t.call;
  const Epilogue* e = t.epilogue;
  asm("" : "+r"(e));
  const int last = t.columns[kBlocks - 1];
  float* y = reinterpret_cast<float*>(t.y);
#pragma GCC unroll 4
  for (int v = 0; v < kBlocks; ++v) {
    const __m512 multiplier = _mm512_loadu_ps(c.multiplier + t.bias + v * kQGemmBlock);
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m) {
      const __m512 f =
          e->Activated<kActivates>(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[m][v]), multiplier));
      StoreValues(y + m * c.y_stride + v * kQGemmBlock, f, v + 1 < kBlocks ? kQGemmBlock : last);
    }
  }
}

// acc += sums of four products. As an instruction of its own: GCC 12 makes two copies of the
// intrinsic's result where loops nest, and spills one.
inline void AddProducts(__m512i& acc, __m512i a, __m512i b) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
}

// kGrouped: the blocks belong to different groups and have codes of their own.
template <int kRows, int kBlocks, bool kGrouped>
void RunTile(const Tile& t) {
  const QGemmCall& c = *t.call;
  const __m512i flip = _mm512_set1_epi32(c.flip ? static_cast<int>(0x80808080) : 0);
  const int8_t* w = t.w;
  const char* ahead = t.ahead;
  const int64_t ahead_step = t.ahead_step;
  const int64_t* runs = RunsOf(c);
  const int64_t* const last = runs + CountOf(c);
  __m512i acc[kRows][kBlocks];
  const uint8_t* x[kRows];
#pragma GCC unroll 12
  for (int m = 0; m < kRows; ++m) {
    x[m] = t.x[m] + (kGrouped ? 0 : t.group_x[0]);
#pragma GCC unroll 4
    for (int v = 0; v < kBlocks; ++v)
      acc[m][v] = _mm512_loadu_si512(c.bias + t.bias + v * kQGemmBlock);
  }
  do {
    int64_t at = *runs++;
    const int64_t end = at + 4 * t.steps;
    do {
      __m512i b[kBlocks];
#pragma GCC unroll 4
      for (int v = 0; v < kBlocks; ++v) b[v] = _mm512_load_si512(w + v * t.block);
      w += 64;
      if (kBlocks > 2) {
        _mm_prefetch(ahead, _MM_HINT_T1);
        ahead += ahead_step;
      }
#pragma GCC unroll 12
      for (int m = 0; m < kRows; ++m) {
        __m512i a = flip;
#pragma GCC unroll 4
        for (int v = 0; v < kBlocks; ++v) {
          if (v == 0 || kGrouped) {
            int32_t four;
            std::memcpy(&four, x[m] + at + (kGrouped ? t.group_x[v] : 0), 4);
            a = _mm512_xor_si512(_mm512_set1_epi32(four), flip);
          }
          AddProducts(acc[m][v], a, b[v]);
        }
      }
      at += 4;
    } while (at != end);
  } while (runs != last);
  if constexpr (kRows * kBlocks == 24 || kRows == 12) {
    if (t.y) {
      if (t.row_add) {
#pragma GCC unroll 12
        for (int m = 0; m < kRows; ++m) {
          const __m512i add = _mm512_set1_epi32(t.row_add[m]);
#pragma GCC unroll 4
          for (int v = 0; v < kBlocks; ++v) acc[m][v] = _mm512_add_epi32(acc[m][v], add);
        }
      }
      // A border: else GCC 12 plans for both ways at once and keeps sums in memory.
#pragma GCC unroll 12
      for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
        for (int v = 0; v < kBlocks; ++v) asm volatile("" : "+v"(acc[m][v]));
      }
      if (c.y_type == CodeType::kF32)
        return c.activation ? ToFloats<Activates::kLeaky>(t, acc)
                            : ToFloats<Activates::kNot>(t, acc);
      if (t.z) return ToCodes<true, Activates::kNot>(t, acc);
      if (!c.activation) return ToCodes<false, Activates::kNot>(t, acc);
      if (c.leaky) return ToCodes<false, Activates::kLeaky>(t, acc);
      return ToCodes<false, Activates::kTable>(t, acc);
    }
  }
#pragma GCC unroll 12
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < kBlocks; ++v)
      _mm512_store_si512(t.sums + (m * kBlocks + v) * kQGemmBlock, acc[m][v]);
  }
}

using TileFunction = void (*)(const Tile&);
// Rows of a tile by its blocks: accumulators, weights and two more must fit 32 registers.
constexpr int RowsOf(int blocks) { return blocks == 4 ? 6 : blocks == 3 ? 8 : 12; }
// Not all numbers of rows: code is not free.
constexpr int kHeights[4][7] = {
    {1, 2, 3, 4, 6, 8, 12}, {1, 2, 3, 4, 6, 8, 12}, {1, 2, 4, 6, 8}, {1, 2, 3, 4, 5, 6}};
template <int kRows, int kBlocks>
constexpr TileFunction kOne = RunTile<kRows, kBlocks, false>;
constexpr TileFunction kTiles[4][7] = {
    {kOne<1, 1>, kOne<2, 1>, kOne<3, 1>, kOne<4, 1>, kOne<6, 1>, kOne<8, 1>, kOne<12, 1>},
    {kOne<1, 2>, kOne<2, 2>, kOne<3, 2>, kOne<4, 2>, kOne<6, 2>, kOne<8, 2>, kOne<12, 2>},
    {kOne<1, 3>, kOne<2, 3>, kOne<4, 3>, kOne<6, 3>, kOne<8, 3>},
    {kOne<1, 4>, kOne<2, 4>, kOne<3, 4>, kOne<4, 4>, kOne<5, 4>, kOne<6, 4>}};
// Of several groups.
constexpr int kGroupedHeights[4] = {1, 2, 4, 6};
template <int kBlocks>
constexpr TileFunction kGroups[4] = {RunTile<1, kBlocks, true>, RunTile<2, kBlocks, true>,
                                     RunTile<4, kBlocks, true>, RunTile<6, kBlocks, true>};
constexpr const TileFunction* kGroupedTiles[5] = {nullptr, nullptr, kGroups<2>, kGroups<3>,
                                                  kGroups<4>};
// The index of the tile's height for the next of `left` rows; the last two share what is left.
inline int ChooseTile(const int* heights, int64_t most, int64_t left) {
  const int64_t ideal = left >= 2 * most ? most : left > most ? (left + 1) / 2 : left;
  int i = 0;
  while (heights[i] < ideal) ++i;
  return heights[i] <= left ? i : i - 1;
}

#include "engine/kernels/qgemm/qgemm_narrow.h"

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
  const int64_t* runs = RunsOf(*t.call);
  const int64_t count = CountOf(*t.call);
  for (int v = 0; v < t.blocks; ++v) {
    typename Wide::V acc[kRows][kParts];
    for (int m = 0; m < kRows; ++m) {
      for (int p = 0; p < kParts; ++p) acc[m][p] = Wide::Zero();
    }
    const int8_t* w = t.w + v * t.block;
    for (int64_t r = 0; r < count; ++r) {
      const int64_t at = runs[r] + t.group_x[v];
      for (int64_t k = at; k < at + 4 * t.steps; k += 4, w += 64) {
        typename Wide::V b[kParts];
        for (int p = 0; p < kParts; ++p) b[p] = Wide::Weights(w + p * Wide::kOutputs * 4);
        for (int m = 0; m < kRows; ++m) {
          int32_t four;
          std::memcpy(&four, t.x[m] + k, 4);
          const __m128i codes = _mm_xor_si128(_mm_cvtsi32_si128(four), flip);
          const typename Wide::V a = Wide::Broadcast(_mm_cvtsi128_si64(_mm_cvtepu8_epi16(codes)));
          for (int p = 0; p < kParts; ++p) acc[m][p] = Wide::Add(acc[m][p], a, b[p]);
        }
      }
    }
    for (int m = 0; m < kRows; ++m) {
      for (int p = 0; p < kParts; ++p)
        Wide::Store(acc[m][p], t.sums + (m * t.blocks + v) * kQGemmBlock + p * Wide::kOutputs);
    }
  }
}

using TileFunction = void (*)(const Tile&);
#if defined(__AVX512BW__)
constexpr TileFunction kOneTile[kMaxRows] = {RunTile<1>, RunTile<2>, RunTile<3>, RunTile<4>};
#else
constexpr TileFunction kOneTile[kMaxRows] = {RunTile<1>, RunTile<2>};
#endif

#elif defined(__aarch64__)

#include "engine/kernels/qgemm/arm_tile.h"

#else

constexpr bool kBiasInSums = false;
constexpr int kMaxRows = 1;
__attribute__((noinline)) void RunTile(const Tile& t) {
  const int flip = t.call->flip ? 0x80 : 0;
  const int64_t* runs = RunsOf(*t.call);
  const int64_t count = CountOf(*t.call);
  for (int v = 0; v < t.blocks; ++v) {
    uint32_t acc[kQGemmBlock] = {};
    const int8_t* w = t.w + v * t.block;
    for (int64_t r = 0; r < count; ++r) {
      const uint8_t* x = t.x[0] + runs[r] + t.group_x[v];
      for (int64_t k = 0; k < t.steps; ++k, w += 64) {
        int a[4];
        for (int i = 0; i < 4; ++i) a[i] = x[4 * k + i] ^ flip;
#pragma GCC unroll 1
        for (int j = 0; j < kQGemmBlock; ++j) {
          acc[j] += static_cast<uint32_t>(a[0] * w[4 * j] + a[1] * w[4 * j + 1] +
                                          a[2] * w[4 * j + 2] + a[3] * w[4 * j + 3]);
        }
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

void ToValues(const QGemmCall& c, const Tile& t, int64_t row, int rows, float* v) {
  const __m512i z_zero = _mm512_set1_epi32(c.z_zero);
  const __m512 z_multiplier = _mm512_set1_ps(c.z_multiplier);
  for (int b = 0; b < t.blocks; ++b) {
    const int at = b * kQGemmBlock;
    const __mmask16 live = Live(t.columns[b]);
    const __m512i bias =
        kBiasInSums ? _mm512_setzero_si512() : _mm512_loadu_si512(c.bias + t.bias + at);
    const __m512 multiplier = _mm512_loadu_ps(c.multiplier + t.bias + at);
    for (int m = 0; m < rows; ++m) {
      __m512i sum =
          _mm512_add_epi32(_mm512_load_si512(t.sums + (m * t.blocks + b) * kQGemmBlock), bias);
      if (c.row_add) sum = _mm512_add_epi32(sum, _mm512_set1_epi32(c.row_add[row + m]));
      __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
      if (c.z) {
        const __m512i z = LoadCodes(c.z, (row + m) * c.z_stride + t.column[b], c.z_type, live);
        f = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(z, z_zero)), z_multiplier, f);
      }
      _mm512_store_ps(v + (m * t.blocks + b) * kQGemmBlock, f);
    }
  }
}

void Round(const QGemmCall& c, const Tile& t, int64_t row, int rows, const float* v) {
  const Rounder512& to = t.epilogue->to;
  const __m512 multiplier = _mm512_set1_ps(c.activation ? c.y_multiplier : 1.0f);
  for (int m = 0; m < rows; ++m) {
    for (int b = 0; b < t.blocks; ++b, v += kQGemmBlock) {
      const __mmask16 live = Live(t.columns[b]);
      const int64_t at = (row + m) * c.y_stride + t.column[b];
      const __m512 f = _mm512_mul_ps(_mm512_load_ps(v), multiplier);
      if (c.y_type == CodeType::kF32) {
        _mm512_mask_storeu_ps(static_cast<float*>(c.y) + at, live, f);
      } else {
        StoreCodes(static_cast<uint8_t*>(c.y) + at, to.Codes(f), t.columns[b]);
      }
    }
  }
}

// Codes of kBlocks blocks whose columns lie together.
template <int kBlocks, Activates kActivates>
void FinishCodes(const Tile& t, int64_t row, int rows) {
  constexpr int kTogether = kBlocks == 1 ? 4 : kBlocks == 2 ? 2 : 1;
  const QGemmCall& c = *t.call;
  const Epilogue& e = *t.epilogue;
  const int columns = (kBlocks - 1) * kQGemmBlock + t.columns[kBlocks - 1];
  uint8_t* y = static_cast<uint8_t*>(c.y) + row * c.y_stride + t.column[0];
  const uint8_t* z =
      e.residual ? static_cast<const uint8_t*>(c.z) + row * c.z_stride + t.column[0] : nullptr;
  const int32_t* sums = t.sums;
  for (int m = 0; m < rows; m += kTogether, sums += kTogether * kBlocks * kQGemmBlock) {
    __m512i v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm512_setzero_si512();
      if (i >= kTogether * kBlocks) continue;
      const int b = i % kBlocks, at = t.bias + b * kQGemmBlock;
      __m512i sum = _mm512_load_si512(sums + i * kQGemmBlock);
      if (!kBiasInSums) sum = _mm512_add_epi32(sum, _mm512_loadu_si512(c.bias + at));
      if (c.row_add && m + i / kBlocks < rows)
        sum = _mm512_add_epi32(sum, _mm512_set1_epi32(c.row_add[row + m + i / kBlocks]));
      __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(c.multiplier + at));
      if (e.residual && m + i / kBlocks < rows) {
        const uint8_t* from = z + (m + i / kBlocks) * c.z_stride + b * kQGemmBlock;
        alignas(16) uint8_t part[16];
        if (columns < (b + 1) * kQGemmBlock) {
          std::memcpy(part, from, static_cast<size_t>(columns - b * kQGemmBlock));
          from = part;
        }
        f = e.Add(f, from);
      }
      f = e.Activated<kActivates>(f);
      v[i] = e.to.Integer(f);
    }
    StoreCodes4<kBlocks>(y + m * c.y_stride, c.y_stride, e.to.Codes4(v[0], v[1], v[2], v[3]),
                         columns, rows - m < kTogether ? rows - m : kTogether);
  }
}
using FinishFunction = void (*)(const Tile&, int64_t, int);
template <Activates kActivates>
constexpr FinishFunction kFinishCodes[4] = {FinishCodes<1, kActivates>, FinishCodes<2, kActivates>,
                                            FinishCodes<3, kActivates>, FinishCodes<4, kActivates>};

// Values without a residual, of blocks whose columns lie together; the activation is LeakyRelu or
// none.
template <Activates kActivates>
void FinishFloats(const Tile& t, int64_t row, int rows) {
  const QGemmCall& c = *t.call;
  for (int b = 0; b < t.blocks; ++b) {
    const int at = b * kQGemmBlock;
    const __m512i bias =
        kBiasInSums ? _mm512_setzero_si512() : _mm512_loadu_si512(c.bias + t.bias + at);
    const __m512 multiplier = _mm512_loadu_ps(c.multiplier + t.bias + at);
    float* y = static_cast<float*>(c.y) + row * c.y_stride + t.column[b];
    for (int m = 0; m < rows; ++m, y += c.y_stride) {
      __m512i sum =
          _mm512_add_epi32(_mm512_load_si512(t.sums + (m * t.blocks + b) * kQGemmBlock), bias);
      if (c.row_add) sum = _mm512_add_epi32(sum, _mm512_set1_epi32(c.row_add[row + m]));
      const __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
      StoreValues(y, t.epilogue->Activated<kActivates>(f), t.columns[b]);
    }
  }
}

#else

__attribute__((noinline)) void ToValues(const QGemmCall& c, const Tile& t, int64_t row, int rows,
                                        float* v) {
  for (int m = 0; m < rows; ++m, v += t.blocks * kQGemmBlock) {
    const uint32_t add = c.row_add ? static_cast<uint32_t>(c.row_add[row + m]) : 0;
    const int32_t* sums = t.sums + m * t.blocks * kQGemmBlock;
    const int32_t* bias = c.bias + t.bias;
    static_assert(!kBiasInSums);
    const float* multiplier = c.multiplier + t.bias;
    SLIPWAY_INDEPENDENT
    for (int j = 0; j < t.blocks * kQGemmBlock; ++j) {
      const uint32_t sum = static_cast<uint32_t>(sums[j]) + static_cast<uint32_t>(bias[j]) + add;
      v[j] = static_cast<float>(static_cast<int32_t>(sum)) * multiplier[j];
    }
    if (!c.z) continue;
    const bool is_signed = c.z_type == CodeType::kS8;
    for (int b = 0; b < t.blocks; ++b) {
      const uint8_t* z = static_cast<const uint8_t*>(c.z) + (row + m) * c.z_stride + t.column[b];
      float* to = v + b * kQGemmBlock;
      for (int j = 0; j < t.columns[b]; ++j) {
        const int32_t code = is_signed ? static_cast<int8_t>(z[j]) : z[j];
        to[j] = __builtin_fmaf(static_cast<float>(code - c.z_zero), c.z_multiplier, to[j]);
      }
    }
  }
}

__attribute__((noinline)) void Round(const QGemmCall& c, const Tile& t, int64_t row, int rows,
                                     float* v) {
  constexpr float kMagic = 12582912.0f;  // rounds half to even, as quant_impl.h does
  const float low = static_cast<float>(c.to.lo - c.to.zero_point),
              high = static_cast<float>(c.to.hi - c.to.zero_point),
              multiplier = c.activation ? c.y_multiplier : 1.0f;
  const int32_t zero = c.to.zero_point;
  for (int m = 0; m < rows; ++m) {
    for (int b = 0; b < t.blocks; ++b, v += kQGemmBlock) {
      const int64_t at = (row + m) * c.y_stride + t.column[b];
      if (c.y_type == CodeType::kF32) {
        for (int j = 0; j < t.columns[b]; ++j) static_cast<float*>(c.y)[at + j] = v[j] * multiplier;
        continue;
      }
      uint8_t* y = static_cast<uint8_t*>(c.y) + at;
      for (int j = 0; j < t.columns[b]; ++j) {
        float f = v[j] * multiplier;
        f = f > low ? f : low;
        f = f < high ? f : high;
        y[j] = static_cast<uint8_t>(static_cast<int32_t>((f + kMagic) - kMagic) + zero);
      }
    }
  }
}

#endif

void Finish(const Tile& t, int64_t row, int rows) {
  const QGemmCall& c = *t.call;
#if defined(__AVX512BW__)
  if (t.whole && c.y_type != CodeType::kF32) {
    if (!c.activation) return kFinishCodes<Activates::kNot>[t.blocks - 1](t, row, rows);
    if (kLeakyHere && c.leaky) return kFinishCodes<Activates::kLeaky>[t.blocks - 1](t, row, rows);
    if (c.rectifier.limit > 0) return kFinishCodes<Activates::kTable>[t.blocks - 1](t, row, rows);
  }
#endif
  alignas(64) float v[kMaxRows * kTileColumns];
  ToValues(c, t, row, rows, v);
  if (c.activation) c.activation(v, v, rows * t.blocks * kQGemmBlock, c.a, c.b);
  Round(c, t, row, rows, v);
}

void RunCall(const QGemmCall& c) {
  alignas(64) int32_t sums[(kMaxRows + 3) * kTileColumns];  // 4 vectors may be read at the end
  Tile t;
  t.call = &c;
  t.sums = sums;
#if defined(__AVX512BW__)
  const Epilogue epilogue(c);
  t.epilogue = &epilogue;
#if defined(__AVX512VNNI__)
  if (TryNarrow(c, epilogue)) return;
#endif
#endif
  t.steps = (c.k + 3) / 4;
  t.block = QGemmPackedBytes(CountOf(c) * t.steps * 4, kQGemmBlock);
  const int64_t own = (c.columns + kQGemmBlock - 1) / kQGemmBlock;  // blocks of a group
  const int64_t end = c.end_block < own * c.groups ? c.end_block : own * c.groups;
  const int64_t line = c.line > 0 ? c.line : c.rows;
  [[maybe_unused]] const bool values = c.y_type == CodeType::kF32;
#if defined(__AVX512BW__)
  const bool floats = values && (!c.activation || (kLeakyHere && c.leaky)) && !c.z;
#endif
  for (int64_t first = c.first_block; first < end; first += t.blocks) {
    // At most 4 blocks: of a group, as even as can be, or of several narrow groups.
    const int64_t group = first / own;
    int64_t left = end - first, most = own == 3 ? 3 : 4;
    if (own > 2) {
      left = left < (group + 1) * own - first ? left : (group + 1) * own - first;
      most = (left + (left + 3) / 4 - 1) / ((left + 3) / 4);
    }
    t.blocks = static_cast<int>(left < most ? left : most);
    t.w = c.weights + first * t.block;
    t.bias = static_cast<int>(first * kQGemmBlock);
    [[maybe_unused]] bool grouped = false;
    t.whole = true;
    for (int v = 0; v < t.blocks; ++v) {
      const int64_t g = (first + v) / own, j = (first + v) % own * kQGemmBlock;
      t.group_x[v] = g * c.x_group;
      t.column[v] = static_cast<int>(g * c.columns + j);
      t.columns[v] = static_cast<int>(c.columns - j < kQGemmBlock ? c.columns - j : kQGemmBlock);
      grouped |= g != group;
      t.whole &= t.columns[v] == kQGemmBlock || v + 1 == t.blocks;
    }
#if defined(__AVX512VNNI__)
    const int* heights = grouped ? kGroupedHeights : kHeights[t.blocks - 1];
    const TileFunction* tiles = grouped ? kGroupedTiles[t.blocks] : kTiles[t.blocks - 1];
    const int tallest = grouped ? 6 : RowsOf(t.blocks);
    const bool codes = c.bounded &&
                       (!c.activation || ((c.leaky || c.rectifier.limit > 0) && !c.z)) &&
                       (!c.z || t.columns[t.blocks - 1] == kQGemmBlock);
    const bool direct = t.whole && (!grouped || t.blocks == 4) && (values ? floats : codes);
#else
    constexpr bool direct = false;
    constexpr int tallest = 0;
#endif
    // Weights of the next blocks, a block with every tile.
    const int8_t* const next = t.w + t.blocks * t.block;
    int64_t to_fetch = first + t.blocks < end ? t.blocks : 0;
    const uint8_t* x = c.x;
    int64_t at = 0;  // in the line
    for (int64_t row = 0; row < c.rows;) {
#if defined(__AVX512VNNI__)
      const int tile = ChooseTile(heights, tallest, c.rows - row);
      const int rows = heights[tile];
      const TileFunction run = tiles[tile];
#else
      const int rows = static_cast<int>(c.rows - row < kMaxRows ? c.rows - row : kMaxRows);
      const TileFunction run = kOneTile[rows - 1];
#endif
      for (int m = 0; m < rows; ++m) {
        t.x[m] = x + at * c.x_stride;
        if (++at == line) at = 0, x += c.line_stride;
      }
      t.y = direct && rows == tallest
                ? static_cast<uint8_t*>(c.y) + (row * c.y_stride + t.column[0]) * (values ? 4 : 1)
                : nullptr;
      t.ahead_step = to_fetch > 0 ? 64 : 0;
      t.ahead = reinterpret_cast<const char*>(to_fetch > 0 ? next + (t.blocks - to_fetch) * t.block
                                                           : t.w);
      if (to_fetch > 0) --to_fetch;
      t.row_add = c.row_add ? c.row_add + row : nullptr;
      t.z = c.z ? static_cast<const uint8_t*>(c.z) + row * c.z_stride + t.column[0] : nullptr;
      run(t);
#if defined(__AVX512BW__)
      if (!t.y && floats) {
        if (kLeakyHere && c.activation)
          FinishFloats<Activates::kLeaky>(t, row, rows);
        else
          FinishFloats<Activates::kNot>(t, row, rows);
      } else
#endif
          if (!t.y) {
        Finish(t, row, rows);
      }
      row += rows;
    }
  }
}

}  // namespace

const QGemmKernels kQGemm = {RunCall, Pack, PackRows, {RowSums<uint8_t>, RowSums<int8_t>}};

}  // namespace slipway::kernels::SLIPWAY_ISA
