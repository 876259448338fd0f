// The source of the products; x86_*.cc include it with SLIPWAY_ISA set to the namespace of their
// instruction set. avx512bf16 makes the products of bfloat16, the others those of float32.

#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__aarch64__)
#include "engine/kernels/gemm/float_tile.h"
#endif
#include "engine/kernels/gemm/gemm.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/vector.h"

#if defined(__AVX512BF16__)
constexpr GemmType kType = GemmType::kBFloat16;
constexpr int kInWord = 2;  // numbers in a word of 32 bits, which the tiles take one of at a time
typedef uint16_t Number;
#else
constexpr GemmType kType = GemmType::kFloat32;
constexpr int kInWord = 1;
typedef float Number;
#endif
#if defined(__aarch64__)
constexpr int kRows = kFloatTileRows;
#else
constexpr int kRows = kLanes == 16 ? 14 : kLanes == 8 ? 6 : 4;
#endif
constexpr int64_t kGroup = 4;  // words that lie together for a row of x
constexpr int64_t kPanel = 2 * kLanes;

constexpr int64_t Groups(int64_t k) {  // at least one
  return k > 0 ? (k + kGroup * kInWord - 1) / (kGroup * kInWord) : 1;
}

// sum += the numbers of the word *x times those of the words of w. In AVX-512 as one instruction
// that reads the word itself: GCC 12 takes a register for it and then lacks one for the sums.
inline void MultiplyAdd(const float* x, V w, V& sum) {
#if defined(__AVX512BF16__)
  asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*x));
#elif defined(__AVX512F__)
  asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*x));
#else
  sum = Fma(Splat(*x), w, sum);
#endif
}

// --- the tile: kR rows of x, [groups][kR][4 words], by a panel of kVectors vectors of columns.
// start and y: kR rows of the panel's width, start perhaps one row for all (stride 0). Two lines
// from `ahead` on are asked for with every group.
template <int kR, int kVectors>
__attribute__((noinline)) void Tile(const float* x, const float* w, int64_t groups,
                                    const float* start, int64_t start_stride, float* y,
                                    int64_t y_stride, const char* ahead) {
  V sum[kR][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[r][v] = Load(start + v * kLanes);
    start += start_stride;
  }
  do {
    if constexpr (kLanes == 16) {
      __builtin_prefetch(ahead, 0, 2);
      __builtin_prefetch(ahead + 64, 0, 2);
      ahead += 128;
    }
#pragma GCC unroll 4
    for (int i = 0; i < kGroup; ++i) {
      V b[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) b[v] = Load(w + (i * kVectors + v) * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) MultiplyAdd(x + r * kGroup + i, b[v], sum[r][v]);
      }
    }
    x += kR * kGroup;
    w += kGroup * kVectors * kLanes;
  } while (--groups > 0);
#pragma GCC unroll 16
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) Store(y + v * kLanes, sum[r][v]);
    y += y_stride;
  }
}

using TileFunction = decltype(&Tile<1, 1>);

#if defined(__aarch64__)
constexpr bool HasTile(int64_t rows) { return rows <= 4 || rows == kRows; }
#else
// The numbers of rows that there are tiles for.
constexpr bool HasTile(int64_t rows) {
  return rows <= 4 || (rows <= kRows && (rows % 2 == 0 || rows == 13));
}
#endif
#if defined(__aarch64__)
constexpr bool kWhole = true;  // those are in assembly
#else
constexpr bool kWhole = false;
#endif
template <int kR, int kVectors>
TileFunction Pick(int64_t rows) {
  if constexpr (HasTile(kR) && !(kWhole && kR == kRows && kVectors == 2)) {
    if (rows == kR) return Tile<kR, kVectors>;
  }
  if constexpr (kR > 1) return Pick<kR - 1, kVectors>(rows);
  return nullptr;
}
// Of `left` rows the next tile's: about equal numbers; on ARM as many as go by assembly.
int64_t TileRows(int64_t left) {
#if defined(__aarch64__)
  if (left >= kRows) return kRows;
#endif
  const int64_t tiles = (left + kRows - 1) / kRows;
  int64_t rows = (left + tiles - 1) / tiles;
  while (!HasTile(rows)) ++rows;
  if (rows > left) rows = left;
  while (!HasTile(rows)) --rows;
  return rows;
}

// --- copying rows of x

struct Group {
  char bytes[16];
};

// A group of a row; zeros behind the end of the row.
inline void PackGroup(const Number* x, int64_t count, Group* to) {
  Number last[kGroup * kInWord] = {};
  for (int64_t i = 0; i < count; ++i) last[i] = x[i];
  __builtin_memcpy(to, last, sizeof(Group));
}
#if defined(__AVX512BF16__)
inline void PackGroup(const float* x, int64_t count, Group* to) {
  const auto mask = static_cast<__mmask8>((1 << count) - 1);
  const __m128bh half = _mm256_cvtneps_pbh(_mm256_maskz_loadu_ps(mask, x));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), reinterpret_cast<__m128i>(half));
}
#endif

#if defined(__AVX512F__)
// Four groups of four rows.
inline void Interleave4(const Number* x, int64_t stride, Group* to, int64_t rows) {
  constexpr __mmask16 kAll = 0xFFFF;  // GCC 12 warns of its own header without
  const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + stride),
               c = _mm512_loadu_ps(x + 2 * stride), d = _mm512_loadu_ps(x + 3 * stride);
  const __m512 t0 = _mm512_maskz_shuffle_f32x4(kAll, a, b, 0x44),
               t1 = _mm512_maskz_shuffle_f32x4(kAll, a, b, 0xEE);
  const __m512 t2 = _mm512_maskz_shuffle_f32x4(kAll, c, d, 0x44),
               t3 = _mm512_maskz_shuffle_f32x4(kAll, c, d, 0xEE);
  _mm512_storeu_ps(to, _mm512_maskz_shuffle_f32x4(kAll, t0, t2, 0x88));
  _mm512_storeu_ps(to + rows, _mm512_maskz_shuffle_f32x4(kAll, t0, t2, 0xDD));
  _mm512_storeu_ps(to + 2 * rows, _mm512_maskz_shuffle_f32x4(kAll, t1, t3, 0x88));
  _mm512_storeu_ps(to + 3 * rows, _mm512_maskz_shuffle_f32x4(kAll, t1, t3, 0xDD));
}
#endif

// Rows to [groups][rows][16 bytes].
template <typename T>
void PackRows(const GemmCall& c, int64_t row, int64_t rows, Group* to) {
  constexpr int64_t kNumbers = kGroup * kInWord, kAtOnce = 4;  // groups: a line of the cache
  const T* x = static_cast<const T*>(c.x) + row * c.x_stride;
  if (c.k == 0) __builtin_memset(to, 0, sizeof(Group) * static_cast<unsigned long>(rows));
  int64_t k = 0;
  for (; k + kAtOnce * kNumbers <= c.k; k += kAtOnce * kNumbers, to += kAtOnce * rows) {
    int64_t r = 0;
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == sizeof(Number)) {
      for (; r + 4 <= rows; r += 4) Interleave4(x + r * c.x_stride + k, c.x_stride, to + r, rows);
    }
#endif
    for (; r < rows; ++r) {
      const T* from = x + r * c.x_stride + k;
#pragma GCC unroll 4
      for (int64_t g = 0; g < kAtOnce; ++g) {
        if constexpr (sizeof(T) == sizeof(Number)) {
          __builtin_memcpy(to + g * rows + r, from + g * kNumbers, sizeof(Group));
        } else {
          PackGroup(from + g * kNumbers, kNumbers, to + g * rows + r);
        }
      }
    }
  }
  for (; k < c.k; k += kNumbers, to += rows) {
    const int64_t count = c.k - k < kNumbers ? c.k - k : kNumbers;
    for (int64_t r = 0; r < rows; ++r) PackGroup(x + r * c.x_stride + k, count, to + r);
  }
}

// --- what stands before and after the sums

// `count` numbers from position `at` on as float32.
inline void Widen(const void* from, GemmType type, int64_t at, int64_t count, float* to) {
#if defined(__AVX512BF16__)
  if (type == GemmType::kBFloat16) {
    const uint16_t* half = static_cast<const uint16_t*>(from) + at;
    for (int64_t j = 0; j < count; j += kLanes) {
      const auto mask = static_cast<__mmask16>(count - j < 16 ? (1 << (count - j)) - 1 : -1);
      const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, half + j));
      Store(to + j, reinterpret_cast<V>(_mm512_slli_epi32(wide, 16)));
    }
    return;
  }
#endif
  (void)type;
  __builtin_memcpy(to, static_cast<const float*>(from) + at, static_cast<unsigned long>(count) * 4);
}

// tmp = z + bias, kPanel apart.
void Start(const GemmCall& c, int64_t row, int64_t rows, int64_t column, int64_t columns,
           const float* bias, float* tmp) {
  for (int64_t r = 0; r < rows; ++r, tmp += kPanel) {
    Widen(c.z, c.z_type, (row + r) * c.z_stride + column, columns, tmp);
    Store(tmp, Load(tmp) + Load(bias));
    Store(tmp + kLanes, Load(tmp + kLanes) + Load(bias + kLanes));
  }
}

// y = activation(tmp).
void Finish(const GemmCall& c, int64_t row, int64_t rows, int64_t column, int64_t columns,
            float* tmp) {
  if (c.activation) c.activation(tmp, tmp, rows * kPanel, c.a, c.b);
  for (int64_t r = 0; r < rows; ++r, tmp += kPanel) {
    const int64_t at = (row + r) * c.y_stride + column;
#if defined(__AVX512BF16__)
    if (c.y_type == GemmType::kBFloat16) {
      uint16_t* y = static_cast<uint16_t*>(c.y) + at;
      if (columns == kPanel) {  // stores with a mask are slow
        const __m512 low = reinterpret_cast<__m512>(Load(tmp)),
                     high = reinterpret_cast<__m512>(Load(tmp + kLanes));
        _mm512_storeu_si512(y, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
        continue;
      }
      for (int64_t j = 0; j < columns; j += kLanes) {
        const auto mask = static_cast<__mmask16>(columns - j < 16 ? (1 << (columns - j)) - 1 : -1);
        const auto half =
            reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(Load(tmp + j))));
        _mm256_mask_storeu_epi16(y + j, mask, half);
      }
      continue;
    }
#endif
    float* y = static_cast<float*>(c.y) + at;
    if (columns == kPanel) {
      Store(y, Load(tmp));
      Store(y + kLanes, Load(tmp + kLanes));
    } else {
      __builtin_memcpy(y, tmp, static_cast<unsigned long>(columns) * 4);
    }
  }
}

// The lines of a tile's result, while its sums are made: they are often in no cache.
inline void AskFor(const GemmCall& c, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  const int64_t size = c.y_type == GemmType::kFloat32 ? 4 : 2;
  const char* line = static_cast<const char*>(c.y) + (row * c.y_stride + column) * size;
  for (; rows > 0; --rows, line += c.y_stride * size) {
    __builtin_prefetch(line, 1);
    __builtin_prefetch(line + columns * size - 1, 1);
  }
}

// --- the loops

// Rows [row, end), copied to `buffer` in tiles of equal numbers of rows, by the columns of a part.
void Block(const GemmCall& c, const GemmPart& part, int64_t row, int64_t end, void* buffer) {
  const int64_t groups = Groups(c.k), rows = end - row;
  auto* to = static_cast<Group*>(buffer);
  for (int64_t r = row; r < end;) {
    const int64_t now = TileRows(end - r);
#if defined(__AVX512BF16__)
    if (c.x_type == GemmType::kFloat32) {
      PackRows<float>(c, r, now, to);
    } else {
      PackRows<Number>(c, r, now, to);
    }
#else
    PackRows<float>(c, r, now, to);
#endif
    to += now * groups;
    r += now;
  }
  // What is needed next: the rows behind a single tile, else the next panel of weights, a quarter
  // with each tile.
  const bool more_rows = rows <= kRows && end < part.row_end;
  const int64_t size = c.x_type == GemmType::kFloat32 ? 4 : 2;
  const char* next_rows = static_cast<const char*>(c.x) + end * c.x_stride * size;
  alignas(64) float tmp[kRows * kPanel] = {};
#if defined(__aarch64__)
  const FloatTile whole = GetFloatTile();
#endif
  for (int64_t column = part.column; column < part.column_end; column += kPanel) {
    const int64_t left = part.column_end - column;
    const int64_t width = left > kLanes ? kPanel : kLanes, columns = left < width ? left : width;
    const float* w = static_cast<const float*>(c.w) + column * groups * kGroup;
    const char* next_weights = reinterpret_cast<const char*>(w + width * groups * kGroup);
    alignas(64) float bias[kPanel] = {};
    if (c.bias) Widen(c.bias, c.bias_type, column, columns, bias);
    const bool straight = columns == width && !c.activation && c.y_type == GemmType::kFloat32;
    const float* x = static_cast<const float*>(buffer);
    int64_t r = row;
    for (int64_t t = 0; r < end; ++t) {
      const int64_t now = TileRows(end - r);
      if (c.z) Start(c, r, now, column, columns, bias, tmp);
      const char* ahead = more_rows ? next_rows : next_weights + (t % 4) * groups * 128;
      if (more_rows) next_rows += groups * 128;
      AskFor(c, r, now, column, columns);
      const TileFunction tile = width == kPanel ? Pick<kRows, 2>(now) : Pick<kRows, 1>(now);
      float* y = straight ? static_cast<float*>(c.y) + r * c.y_stride + column : tmp;
#if defined(__aarch64__)
      if (now == kRows && width == kPanel)
        whole(x, w, groups, c.z ? tmp : bias, c.z ? kPanel : 0, y, straight ? c.y_stride : kPanel);
      else
#endif
        tile(x, w, groups, c.z ? tmp : bias, c.z ? kPanel : 0, y, straight ? c.y_stride : kPanel,
             ahead);
      if (!straight) Finish(c, r, now, column, columns, tmp);
      x += now * groups * kGroup;
      r += now;
    }
  }
}

void Run(const GemmCall& call, const GemmPart& part, int64_t step, void* buffer) {
#if defined(__aarch64__)
  if (step >= kRows) {  // whole tiles
    for (int64_t row = part.row, end; row < part.row_end; row = end) {
      end = row + step / kRows * kRows;
      if (end > part.row_end) end = part.row_end;
      Block(call, part, row, end, buffer);
    }
    return;
  }
#endif
  const int64_t rows = part.row_end - part.row, blocks = (rows + step - 1) / step;
  for (int64_t b = 0; b < blocks; ++b)
    Block(call, part, part.row + rows * b / blocks, part.row + rows * (b + 1) / blocks, buffer);
}

// --- weights: panels one after another, in each [groups * 4 words][its width][numbers of a word].
void Pack(const void* weights, int64_t k, int64_t n, bool transposed, void* packed, int64_t panel,
          int64_t end) {
  const auto* w = static_cast<const Number*>(weights);
  const int64_t depth = Groups(k) * kGroup;
  constexpr int64_t kAtOnce = 16 * kInWord;
  for (; panel < end; ++panel) {
    const int64_t column = panel * kPanel, left = n - column;
    const int64_t width = left > kLanes ? kPanel : kLanes, columns = left < width ? left : width;
    auto* to = static_cast<Number*>(packed) + column * depth * kInWord;
    for (int64_t i = 0; i < depth * kInWord; i += kAtOnce) {
      const int64_t stop = i + kAtOnce < depth * kInWord ? i + kAtOnce : depth * kInWord;
      for (int64_t j = 0; j < width; ++j) {
        for (int64_t at = i; at < stop; ++at) {
          const bool inside = j < columns && at < k;
          const Number number = !inside      ? Number{0}
                                : transposed ? w[(column + j) * k + at]
                                             : w[at * n + column + j];
          to[(at / kInWord * width + j) * kInWord + at % kInWord] = number;
        }
      }
    }
  }
}

}  // namespace

const GemmKernels kGemm = {kType, kRows, kLanes, Pack, Run};

}  // namespace slipway::kernels::SLIPWAY_ISA
