// The source of the convolutions; x86_*.cc include it with SLIPWAY_ISA set to the namespace of
// their instruction set and, for bfloat16, SLIPWAY_CONV_BF16.

#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "engine/kernels/conv/conv.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/vector.h"

constexpr int kBlock = kLanes == 16 ? 16 : 8;
// Neighbouring pixels of a tile: what 32 or 16 registers hold of sums for two vectors of channels.
#if defined(__aarch64__)
constexpr int kMostPixels = 8;
#else
constexpr int kMostPixels = kLanes == 16 ? 14 : kLanes == 8 ? 6 : 4;
#endif

#if defined(SLIPWAY_CONV_BF16)
typedef uint16_t Element;
constexpr int kPair = 2;
inline V MultiplyAdd(V a, V b, V sum) {
  return reinterpret_cast<V>(_mm512_dpbf16_ps(
      reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)));
}
inline V LoadElements(const Element* p) {
  return reinterpret_cast<V>(_mm512_maskz_slli_epi32(
      0xFFFF,
      _mm512_maskz_cvtepu16_epi32(0xFFFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))),
      16));
}
inline void StoreElements(Element* p, V v) {
  const __m256bh narrow = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(v));
  __builtin_memcpy(p, &narrow, sizeof narrow);
}
#else
typedef float Element;
constexpr int kPair = 1;
inline V MultiplyAdd(V a, V b, V sum) { return Fma(a, b, sum); }
inline V LoadElements(const Element* p) { return Load(p); }
inline void StoreElements(Element* p, V v) { Store(p, v); }
#endif

// sum + the word at p, in every lane, times b: one instruction, where a load and a product of their
// own would make the loads the bottleneck.
inline V MultiplyAddWord(const char* p, V b, V sum) {
#if defined(SLIPWAY_CONV_BF16)
  asm("vdpbf16ps %2%{1to16%}, %1, %0"
      : "+v"(sum)
      : "v"(b), "m"(*reinterpret_cast<const float*>(p)));
  return sum;
#else
  float word;
  __builtin_memcpy(&word, p, sizeof word);
  return Fma(Splat(word), b, sum);
#endif
}
// A word of 4 bytes in every lane.
inline V SplatWord(const char* p) {
  float word;
  __builtin_memcpy(&word, p, sizeof word);
  return Splat(word);
}
// The bound where x is beyond it; NaN stays NaN. (GCC 12 warns of its unmasked intrinsics.)
inline V AtLeast(V low, V x) {
#if defined(__AVX512F__)
  return reinterpret_cast<V>(
      _mm512_maskz_max_ps(0xFFFF, reinterpret_cast<__m512>(low), reinterpret_cast<__m512>(x)));
#else
  return x < low ? low : x;
#endif
}
inline V AtMost(V high, V x) {
#if defined(__AVX512F__)
  return reinterpret_cast<V>(
      _mm512_maskz_min_ps(0xFFFF, reinterpret_cast<__m512>(high), reinterpret_cast<__m512>(x)));
#else
  return x > high ? high : x;
#endif
}

// Activations that a tile applies to its sums where they are, in registers: by way of memory and a
// function, that takes some ten cycles a vector more.
enum class InTile : unsigned char { kNone, kSwish, kHardSwish };
#if defined(__AVX512F__)
#include "engine/kernels/simd/sigmoid512.h"
inline V SwishInTile(V x) {
  const __m512 v = reinterpret_cast<__m512>(x);
#if defined(SLIPWAY_CONV_BF16)
  return reinterpret_cast<V>(RoughSwishOf(v, v));
#else
  return reinterpret_cast<V>(SwishOf(v, v));
#endif
}
inline V HardSwishInTile(V x) {
  return reinterpret_cast<V>(HardSwishOf(reinterpret_cast<__m512>(x)));
}
#endif
// What the tile makes of an activation; the rest is left to Finish.
inline InTile InTileOf(const ConvCall& call) {
#if defined(__AVX512F__)
  if (call.kind == UnaryKind::kSwish && call.a == 1) return InTile::kSwish;
  if (call.kind == UnaryKind::kHardSwish) return InTile::kHardSwish;
#endif
  static_cast<void>(call);
  return InTile::kNone;
}

// The first elements of a vector, where channels that lie last do not fill it.
#if defined(__AVX512F__)
inline __mmask16 FirstLanes(int count) { return static_cast<__mmask16>((1u << count) - 1); }
inline void StorePart(Element* to, V v, int count) {
#if defined(SLIPWAY_CONV_BF16)
  __m256i narrow;
  const __m256bh rounded = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(v));
  __builtin_memcpy(&narrow, &rounded, sizeof narrow);
  _mm256_mask_storeu_epi16(to, FirstLanes(count), narrow);
#else
  _mm512_mask_storeu_ps(to, FirstLanes(count), reinterpret_cast<__m512>(v));
#endif
}
inline V LoadPart(const Element* from, int count) {
#if defined(SLIPWAY_CONV_BF16)
  return reinterpret_cast<V>(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(FirstLanes(count), from)), 16));
#else
  return reinterpret_cast<V>(_mm512_maskz_loadu_ps(FirstLanes(count), from));
#endif
}
#else
inline void StorePart(Element* to, V v, int count) {
  if (count == kLanes) return StoreElements(to, v);
  Element part[kLanes];
  StoreElements(part, v);
  __builtin_memcpy(to, part, static_cast<size_t>(count) * sizeof(Element));
}
inline V LoadPart(const Element* from, int count) {
  if (count == kLanes) return LoadElements(from);
  Element part[kLanes] = {};
  __builtin_memcpy(part, from, static_cast<size_t>(count) * sizeof(Element));
  return LoadElements(part);
}
#endif

// Of the second-level cache, for weights that are asked for ahead.
constexpr int64_t kAheadBytes = 320 << 10;
struct TileCall {
  const char* x;  // of the first pixel, at offset 0
  const ConvStep *step, *end;
  const int64_t* moves;
  int edges;  // bits as in ConvStep: whether the tile has such a pixel
  int64_t pixel_bytes;
  const float* weights;   // of the first step
  int64_t step_floats;    // weights of a step of one vector
  int64_t vector_floats;  // from one vector's weights to the next's
  // What is needed next is asked for during the products, a line a word; 0 at the end.
  const char* ahead;
  int64_t ahead_bytes;
  const char* ahead_end;
  bool follow;  // it is the next tile's pixels, instead
  const float* bias;
  const Element* residual;  // null for none
  Element* y;
  int64_t vector_elements;  // of y, from one vector to the next
  int64_t pixel_elements;   // of y, from one pixel to the next
  int lanes;                // of the last vector
  float low, high;
  InTile activation;
  float* sums;  // where the tile goes instead of y, if not null: [vector, pixel, lane]
#if defined(__aarch64__)
  bool in_fours;
#endif
};

// Adds the products of one step to the pixels [kFirst, kLast) of a tile.
template <int kPixels, int kVectors, int kFirst, int kLast>
__attribute__((always_inline)) inline void Multiply(const TileCall& c, const ConvStep& step,
                                                    const float* w, const char*& ahead,
                                                    V (&sum)[kPixels][kVectors]) {
  // A pointer for every three pixels: the fewest registers, and no address is computed.
  constexpr int kPointers = (kPixels + 2) / 3;
  const int64_t pixel = c.pixel_bytes;
  const char* x[kPointers];
#pragma GCC unroll 5
  for (int q = 0; q < kPointers; ++q) x[q] = c.x + step.offset + 3 * q * pixel;
  if (c.follow) ahead = x[0] + kPixels * pixel;
  const int64_t* move = c.moves;
  for (int32_t k = step.depth; k > 0; --k) {
    V b[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) b[v] = Load(w + v * c.vector_floats);
#pragma GCC unroll 14
    for (int r = kFirst; r < kLast; ++r) {
      if constexpr (kVectors == 1) {
        sum[r][0] = MultiplyAddWord(x[r / 3] + r % 3 * pixel, b[0], sum[r][0]);
      } else {
        const V a = SplatWord(x[r / 3] + r % 3 * pixel);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[r][v] = MultiplyAdd(a, b[v], sum[r][v]);
      }
    }
    if constexpr (kLanes == 16) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += c.ahead_bytes;
    }
    const int64_t bytes = *move++;
#pragma GCC unroll 5
    for (int q = 0; q < kPointers; ++q) {
      x[q] += bytes;
      asm("" : "+r"(x[q]));  // or the compiler makes pointers of its own
    }
    w += kLanes;
  }
}

template <int kPixels, int kVectors>
void Tile(const TileCall& c) {
  V sum[kPixels][kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    const V bias = Load(c.bias + v * kLanes);
#pragma GCC unroll 14
    for (int r = 0; r < kPixels; ++r) sum[r][v] = bias;
  }
  const float* w = c.weights;
  const char* ahead = c.ahead;
  if (kLanes == 16 && !c.sums) {  // what will be written
    const Element* to = c.y;
#pragma GCC unroll 14
    for (int r = 0; r < kPixels; ++r, to += c.pixel_elements) {
      __builtin_prefetch(to, 1);
      if constexpr (kVectors == 2) __builtin_prefetch(to + c.vector_elements, 1);
    }
  }
  for (const ConvStep* step = c.step; step != c.end; ++step) {
    const int outside = step->edges & c.edges;
    if (outside == 0) {
      Multiply<kPixels, kVectors, 0, kPixels>(c, *step, w, ahead, sum);
    } else if constexpr (kPixels > 1) {
      if (outside == 1)
        Multiply<kPixels, kVectors, 1, kPixels>(c, *step, w, ahead, sum);
      else
        Multiply<kPixels, kVectors, 0, kPixels - 1>(c, *step, w, ahead, sum);
    }
    w += c.step_floats;
  }
  if (c.residual) {
    const Element* from = c.residual;
#pragma GCC unroll 14
    for (int r = 0; r < kPixels; ++r, from += c.pixel_elements) {
      if constexpr (kVectors == 2) sum[r][0] += LoadElements(from);
      const Element* end = from + (kVectors - 1) * c.vector_elements;
      sum[r][kVectors - 1] +=
          kLanes != 16 || c.lanes == kLanes ? LoadElements(end) : LoadPart(end, c.lanes);
    }
  }
  if (c.low > -__builtin_inff()) {
    const V low = Splat(c.low);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 14
      for (int r = 0; r < kPixels; ++r) sum[r][v] = AtLeast(low, sum[r][v]);
    }
  }
  if (c.high < __builtin_inff()) {
    const V high = Splat(c.high);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 14
      for (int r = 0; r < kPixels; ++r) sum[r][v] = AtMost(high, sum[r][v]);
    }
  }
  if (c.sums) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 14
      for (int r = 0; r < kPixels; ++r) Store(c.sums + (v * kPixels + r) * kLanes, sum[r][v]);
    }
    return;
  }
#if defined(__AVX512F__)
  if (c.activation == InTile::kSwish) {
#pragma GCC unroll 14
    for (int r = 0; r < kPixels; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[r][v] = SwishInTile(sum[r][v]);
    }
  } else if (c.activation == InTile::kHardSwish) {
#pragma GCC unroll 14
    for (int r = 0; r < kPixels; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[r][v] = HardSwishInTile(sum[r][v]);
    }
  }
#endif
  Element* to = c.y;
  if (kLanes != 16 || c.lanes == kLanes) {
#pragma GCC unroll 14
    for (int r = 0; r < kPixels; ++r, to += c.pixel_elements) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) StoreElements(to + v * c.vector_elements, sum[r][v]);
    }
    return;
  }
#pragma GCC unroll 14
  for (int r = 0; r < kPixels; ++r, to += c.pixel_elements) {
    if constexpr (kVectors == 2) StoreElements(to, sum[r][0]);
    StorePart(to + (kVectors - 1) * c.vector_elements, sum[r][kVectors - 1], c.lanes);
  }
}

struct Tiles {
  int pixels;
  void (*run[2])(const TileCall&);  // for 1 and 2 vectors
};
#define SLIPWAY_TILES(PIXELS)                    \
  {                                              \
    PIXELS, { Tile<PIXELS, 1>, Tile<PIXELS, 2> } \
  }
constexpr Tiles kTiles[] = {
#if defined(__AVX512F__)
    SLIPWAY_TILES(14), SLIPWAY_TILES(7),
#elif defined(__AVX2__)
    SLIPWAY_TILES(6),
#endif
    SLIPWAY_TILES(4), SLIPWAY_TILES(2), SLIPWAY_TILES(1)};
#undef SLIPWAY_TILES

inline int64_t Most(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

inline void Zero(char* p, int64_t bytes) { __builtin_memset(p, 0, static_cast<size_t>(bytes)); }

// Input rows [row, end) of a group from column `left` on (which may lie outside) to the workspace.
void CopyRows(const ConvPlan& p, const char* image, int64_t group, int64_t row, int64_t end,
              int64_t left, char* to) {
  const ConvShape& s = p.shape;
  // Columns of the copy that lie in the image.
  const int64_t first = Least(Most(0, -left), p.columns);
  const int64_t last = Most(first, Least(p.columns, s.width - left));
  const int64_t pixel = p.column_bytes;
  const int64_t planes = s.input == ConvInput::kBlocked ? s.in_blocks()
                         : s.input == ConvInput::kPlain ? s.in_channels
                                                        : 1;
  for (int64_t b = 0; b < planes; ++b) {
    char* out = to + b * p.plane_bytes;
    const char* in =
        image + (((group * planes + b) * s.height + row) * s.width + first + left) * pixel;
    for (int64_t r = row; r < end; ++r) {
      Zero(out, first * pixel);
      __builtin_memcpy(out + first * pixel, in, static_cast<size_t>((last - first) * pixel));
      Zero(out + last * pixel, p.row_bytes - last * pixel);
      out += p.row_bytes;
      in += s.width * pixel;
    }
  }
}

// Where a row's results go if not to blocks: a tile's sums are finished in the first-level cache.
struct Target {
  int64_t pixel;  // elements from one pixel of y to the next
  int lanes;      // of the last vector
  bool apart;     // not whole: the tile leaves residual and bounds to Finish
};

// The sums of a tile on their way to y.
void Finish(const TileCall& c, const ConvCall& call, const Target& t, int pixels, int vectors,
            const Element* residual) {
  float* sums = c.sums;
  const V low = Splat(call.low), high = Splat(call.high);
  for (int r = 0; t.apart && r < pixels; ++r) {
    for (int v = 0; v < vectors; ++v) {
      const int64_t at = v * c.vector_elements + r * t.pixel;
      const int count = v + 1 == vectors ? t.lanes : kLanes;
      V sum = Load(sums + (v * pixels + r) * kLanes);
      if (residual) sum += LoadPart(residual + at, count);
      sum = AtMost(high, AtLeast(low, sum));
      if (call.activation)
        Store(sums + (v * pixels + r) * kLanes, sum);
      else
        StorePart(c.y + at, sum, count);
    }
  }
  if (!call.activation) return;
  call.activation(sums, sums, vectors * pixels * kLanes, call.a, call.b);
  for (int r = 0; r < pixels; ++r) {
    for (int v = 0; v < vectors; ++v) {
      StorePart(c.y + v * c.vector_elements + r * t.pixel, Load(sums + (v * pixels + r) * kLanes),
                v + 1 == vectors ? t.lanes : kLanes);
    }
  }
}

#if defined(__aarch64__)
#include "engine/kernels/conv/arm_conv_tile.h"

// Fours of input channels whose places a thread has at hand.
constexpr int64_t kFours = 512;
// Whether all steps are as long as can be, in fours of words. What a block lacks is zero.
bool InFours(const ConvPlan& p) {
  const ConvShape& s = p.shape;
  return !s.few() && p.step_words % 4 == 0 &&
         (s.input == ConvInput::kBlocked || s.in_channels % p.step_words == 0);
}

// The places of the fours from the `skip`th on; `edges` and the pixels are those of the tile.
void PlacesOf(const TileCall& c, int64_t skip, int64_t count, const char* const* x, Offsets* to) {
  alignas(16) static constexpr float kZeros[4] = {};
  const int64_t fours = c.step_floats / (4 * kLanes);
  const auto zeros = reinterpret_cast<int64_t>(kZeros);
  const ConvStep* step = c.step + skip / fours;
  for (int64_t i = skip % fours; count > 0; ++step, i = 0) {
    const int outside = step->edges & c.edges;
    for (; i < fours && count > 0; ++i, --count, ++to) {
      const int64_t at = step->offset + i * 16;
      *to = {at, outside & 1 ? zeros - reinterpret_cast<int64_t>(x[0]) : at,
             outside & 2 ? zeros - reinterpret_cast<int64_t>(x[7]) : at};
    }
  }
}

// Which of `count` pixels comes as number r of eight: the last one comes last.
inline int64_t PixelOf(int64_t r, int64_t count) {
  return r == 7 ? count - 1 : Least(r, Most(count - 2, 0));
}
void StartEight(const TileCall& c, int vectors, float (&sums)[8][2][kLanes]) {
  const V bias[2] = {Load(c.bias), vectors == 2 ? Load(c.bias + kLanes) : V{}};
  for (auto& sum : sums) {
    Store(sum[0], bias[0]);
    Store(sum[1], bias[1]);
  }
}
void FinishEight(const TileCall& c, const ConvCall& call, const Target& target, int64_t count,
                 int vectors, const float (&sums)[8][2][kLanes], const Element* residual) {
  const V low = Splat(c.low), high = Splat(c.high);
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t v = 0; v < vectors; ++v) {
      V sum = Load(sums[r == count - 1 ? 7 : r][v]);
      const int64_t place = r * target.pixel + v * c.vector_elements;
      if (residual && !target.apart) sum += Load(residual + place);
      sum = AtMost(high, AtLeast(low, sum));
      if (c.sums)
        Store(c.sums + (v * count + r) * kLanes, sum);
      else
        Store(c.y + place, sum);
    }
  }
  if (c.sums) Finish(c, call, target, static_cast<int>(count), vectors, residual);
}

// Words of a window of few channels that are copied.
constexpr int64_t kFewWords = 512;

// The windows of eight pixels as [word / 4][pixel][4]; x points to the first column of each in
// input row `top`.
void CopyWindows(const ConvPlan& p, const char* const* x, int64_t top, float* to) {
  const ConvShape& s = p.shape;
  int64_t k = 0, at = 0;
  for (int64_t row = 0; row < s.kernel_height; ++row, top += s.dilation_height) {
    const bool inside = top >= 0 && top < s.height;
    at = row * s.dilation_height * p.row_bytes;
    for (int64_t word = 0; word < p.step_words; ++word, ++k) {
      float* place = to + k / 4 * 32 + k % 4;
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) {
        float number = 0;
        if (inside) __builtin_memcpy(&number, x[r] + at, sizeof number);
        place[r * 4] = number;
      }
      at += p.moves[word];
    }
  }
  for (; k % 4 != 0; ++k) {
    for (int r = 0; r < 8; ++r) to[k / 4 * 32 + r * 4 + k % 4] = 0;
  }
}

// Rows of images of few channels: eight windows are copied for all panels [pair, end) of two
// vectors. x is where the first column of output row 0's window in input row 0 would lie.
void FewRows(const ConvPlan& p, const ConvCall& call, TileCall& c, const char* x, int64_t image_at,
             int64_t row, int64_t row_end, int64_t column, int64_t column_end, int64_t out_row,
             int64_t out_plane, int64_t pair, int64_t end) {
  const ConvShape& s = p.shape;
  const auto multiply = HasFeature(CpuFeature::kArmDotprod) ? PixelsApart : PixelsTogether;
  const int64_t fours = (s.kernel_height * p.step_words + 3) / 4;
  alignas(16) float windows[kFewWords * 8];
  alignas(16) float sums[8][2][kLanes], apart_sums[2 * 8 * kLanes];
  Offsets places[kFewWords / 4];
  for (int64_t i = 0; i < fours; ++i) places[i] = {i * 128, i * 128, i * 128};
  const char* rows[8];
  for (int64_t r = 0; r < 8; ++r) rows[r] = reinterpret_cast<const char*>(windows + r * 4);
  for (int64_t i = row; i < row_end; ++i) {
    const int64_t top = i * s.stride_height - s.pad_top;
    for (int64_t at = column, now; at < column_end; at += now) {
      now = Least(8, column_end - at);
      const char* pixels[8];
      for (int64_t r = 0; r < 8; ++r)
        pixels[r] = x + top * p.row_bytes + (at + PixelOf(r, now)) * c.pixel_bytes;
      CopyWindows(p, pixels, top, windows);
      for (int64_t panel = pair; panel < end; ++panel) {
        const int64_t vector = 2 * panel, vectors = vector + 1 < p.vectors ? 2 : 1;
        const float* w = call.weights + vector * c.vector_floats;
        c.bias = call.weights + p.vectors * c.vector_floats + vector * kLanes;
        const int64_t lanes =
            s.last ? Least(s.out_channels - (vector + vectors - 1) * kLanes, kLanes) : kLanes;
        const bool apart = lanes < kLanes;
        const Target target = {c.pixel_elements, static_cast<int>(lanes), apart};
        c.low = apart ? -__builtin_inff() : call.low;
        c.high = apart ? __builtin_inff() : call.high;
        c.sums = apart || call.activation ? apart_sums : nullptr;
        StartEight(c, static_cast<int>(vectors), sums);
        multiply(rows, places, fours, w, vectors == 2 ? w + c.vector_floats : w, sums[0][0]);
        const int64_t y =
            image_at + i * out_row + at * target.pixel +
            (s.last ? vector * kLanes
                    : vector * kLanes / kBlock * out_plane + vector * kLanes % kBlock);
        c.y = static_cast<Element*>(call.y) + y;
        FinishEight(c, call, target, now, static_cast<int>(vectors), sums,
                    call.residual ? static_cast<const Element*>(call.residual) + y : nullptr);
      }
    }
  }
}

// Pixels [column, end) of a row by eights, while there are more than four; returns how far it came.
int64_t Eights(const TileCall& at, const ConvCall& call, const Target& target, int64_t column,
               int64_t end, int64_t width) {
  TileCall c = at;
  const auto multiply = HasFeature(CpuFeature::kArmDotprod) ? PixelsApart : PixelsTogether;
  const int64_t fours = (c.end - c.step) * (c.step_floats / (4 * kLanes));
  Offsets places[kFours];
  bool ready = false;
  for (int64_t now; end - column > 4; column += now) {
    now = Least(8, end - column);
    const char* x[8];
    for (int64_t r = 0; r < 8; ++r) x[r] = at.x + (column + PixelOf(r, now)) * at.pixel_bytes;
    alignas(16) float sums[8][2][kLanes];
    StartEight(c, 2, sums);
    const int edges = (column == 0 ? 1 : 0) | (column + now == width ? 2 : 0);
    if (edges != c.edges) ready = false;
    c.edges = edges;
    for (int64_t done = 0, part; done < fours; done += part) {
      part = Least(kFours, fours - done);
      if (!ready) PlacesOf(c, done, part, x, places);
      const float* w = c.weights + done * 4 * kLanes;
      multiply(x, places, part, w, w + c.vector_floats, sums[0][0]);
    }
    ready = edges == 0 && fours <= kFours;
    c.y = at.y + column * target.pixel;
    FinishEight(c, call, target, now, 2, sums,
                at.residual ? at.residual + column * target.pixel : nullptr);
  }
  return column;
}
#endif

// One row's pixels [column, end) for one or two vectors: `at` points to pixel 0.
void Row(TileCall& at, const ConvCall& call, const Target& target, int64_t column, int64_t end,
         int64_t width, int64_t words, int vectors) {
#if defined(__aarch64__)
  if (vectors == 2 && at.in_fours) column = Eights(at, call, target, column, end, width);
#endif
  TileCall c = at;
  for (const Tiles& tiles : kTiles) {
    for (; end - column >= tiles.pixels; column += tiles.pixels) {
      c.x = at.x + column * at.pixel_bytes;
      c.y = at.y + column * target.pixel;
      const Element* residual = at.residual ? at.residual + column * target.pixel : nullptr;
      c.residual = target.apart ? nullptr : residual;
      c.edges = (column == 0 ? 1 : 0) | (column + tiles.pixels == width ? 2 : 0);
      if (kLanes == 16 && c.sums) {  // what will be written
        for (int r = 0; r < tiles.pixels; ++r) {
          for (int v = 0; v < vectors; ++v)
            __builtin_prefetch(c.y + r * target.pixel + v * c.vector_elements, 1);
        }
      }
      tiles.run[vectors - 1](c);
      c.ahead += words * c.ahead_bytes;
      if (c.ahead >= c.ahead_end) {
        c.ahead = c.ahead_end;
        c.ahead_bytes = 0;
      }
      if (c.sums) Finish(c, call, target, tiles.pixels, vectors, residual);
    }
  }
  at.ahead = c.ahead;
  at.ahead_bytes = c.ahead_bytes;
}

void Run(const ConvPlan& p, const ConvCall& call, void* workspace, int64_t job, int64_t end) {
  const ConvShape& s = p.shape;
  const int64_t blocks = s.in_blocks(), element = sizeof(Element);
  const int64_t out_blocks = (s.out_channels + kBlock - 1) / kBlock;
  // Elements of y.
  const int64_t out_pixel = s.last ? s.groups * s.out_channels : kBlock;
  const int64_t out_row =
      s.y_height ? s.y_step_height * s.y_width * out_pixel : s.out_width * out_pixel;
  const int64_t out_plane =
      s.y_height ? s.y_height * s.y_width * out_pixel : s.out_height * s.out_width * out_pixel;
  const int64_t image_bytes =
      (s.input == ConvInput::kBlocked ? s.groups * blocks * kBlock : s.groups * s.in_channels) *
      s.height * s.width * element;
  const bool flat = s.out_height == 1;
  const int64_t units = flat ? s.out_width : s.out_height;
  const int64_t pairs = (p.vectors + 1) / 2;
  TileCall c;
  c.pixel_bytes = p.column_bytes * s.stride_width;
  c.moves = p.moves;
  c.step_floats = p.step_words * kLanes;
  c.vector_floats = p.num_steps * c.step_floats;
  c.vector_elements = kLanes == kBlock && !s.last ? out_plane : kLanes;
  c.pixel_elements = s.y_step_width * out_pixel;
#if defined(__aarch64__)
  c.in_fours = InFours(p);
#endif
  const InTile in_tile = InTileOf(call);
  alignas(64) float sums[2 * kMostPixels * kLanes];
  for (; job < end; ++job) {
    const int64_t split = job % p.splits, band = job / p.splits % p.bands,
                  group = job / (p.splits * p.bands) % s.groups,
                  image = job / (p.splits * p.bands * s.groups);
    int64_t first = units * band / p.bands, last = units * (band + 1) / p.bands;
    if (flat && p.bands > 1) {  // whole tiles
      const int64_t tiles = (units + kMostPixels - 1) / kMostPixels;
      first = tiles * band / p.bands * kMostPixels;
      last = Least(units, tiles * (band + 1) / p.bands * kMostPixels);
    }
    const int64_t row = flat ? 0 : first, row_end = flat ? 1 : last;
    const int64_t column = flat ? first : 0, column_end = flat ? last : s.out_width;
    const char* x = static_cast<const char*>(call.x) + image * image_bytes;
    // Then: where the first column of output row 0's window in input row 0 would lie.
    if (p.copies) {
      const int64_t top = row * s.stride_height - s.pad_top;
      const int64_t begin = Most(0, top);
      const int64_t bottom = Least(s.height, top + (row_end - row - 1) * s.stride_height +
                                                 (s.kernel_height - 1) * s.dilation_height + 1);
      if (begin < bottom) {
        CopyRows(p, x, group, begin, bottom, column * s.stride_width - s.pad_left,
                 static_cast<char*>(workspace));
      }
      x = static_cast<const char*>(workspace) - begin * p.row_bytes - column * c.pixel_bytes;
    } else {
      x += group * (s.last ? s.in_channels * element : blocks * p.plane_bytes) -
           s.pad_left * p.column_bytes;
    }
#if defined(__aarch64__)
    if (s.few() && s.kernel_height * p.step_words <= kFewWords) {
      FewRows(p, call, c, x, image * (s.last ? out_plane : out_blocks * out_plane), row, row_end,
              column, column_end, out_row, out_plane, pairs * split / p.splits,
              pairs * (split + 1) / p.splits);
      continue;
    }
#endif
    for (int64_t pair = pairs * split / p.splits; pair < pairs * (split + 1) / p.splits; ++pair) {
      const int64_t vector = 2 * pair;
      const int vectors = vector + 1 < p.vectors ? 2 : 1;
      const float* weights = call.weights + (group * p.vectors + vector) * c.vector_floats;
      c.bias = call.weights + s.groups * p.vectors * c.vector_floats +
               (group * p.vectors + vector) * kLanes;
      const int64_t y = s.last
                            ? image * out_plane + group * s.out_channels + vector * kLanes
                            : (image * s.groups + group) * out_blocks * out_plane +
                                  vector * kLanes / kBlock * out_plane + vector * kLanes % kBlock;
      const int64_t left = s.out_channels - (vector + vectors - 1) * kLanes;
      const int lanes = static_cast<int>(s.last ? Least(left, kLanes) : kLanes);
      const bool apart = kLanes != 16 && lanes < kLanes;  // without masks
      const Target target = {c.pixel_elements, lanes, apart};
      c.low = apart ? -__builtin_inff() : call.low;
      c.high = apart ? __builtin_inff() : call.high;
      c.lanes = lanes;
      c.activation = apart ? InTile::kNone : in_tile;
      c.sums = apart || (call.activation && in_tile == InTile::kNone) ? sums : nullptr;
      // While the first panel reads x, x; then the weights of the next panel, if they leave room
      // for what is at work.
      const bool first_panel = pair == pairs * split / p.splits,
                 last_panel = pair + 1 == pairs * (split + 1) / p.splits;
      const int64_t panel_bytes = 2 * c.vector_floats * 4;
      c.follow = first_panel && !p.copies;
      c.ahead = reinterpret_cast<const char*>(weights + vectors * c.vector_floats);
      c.ahead_end = c.ahead + panel_bytes;
      c.ahead_bytes = 64;
      if (!c.follow && (panel_bytes > kAheadBytes || last_panel)) {
        c.ahead = c.ahead_end = reinterpret_cast<const char*>(weights);
        c.ahead_bytes = 0;
      }
      for (int64_t i = row; i < row_end; ++i) {
        const int64_t top = i * s.stride_height - s.pad_top;
        // Kernel rows that lie inside of the image.
        const int64_t dilation = s.dilation_height;
        const int64_t tap = top < 0 ? Least(s.kernel_height, (dilation - 1 - top) / dilation) : 0;
        const int64_t tap_end =
            top >= s.height
                ? tap
                : Most(tap, Least(s.kernel_height, (s.height - top + dilation - 1) / dilation));
        c.x = x + top * p.row_bytes;
        ConvStep whole;
        if (!s.few()) {
          c.step = p.steps + tap * p.row_steps;
          c.end = p.steps + tap_end * p.row_steps;
        } else {
          whole = {tap * s.dilation_height * p.row_bytes,
                   static_cast<int32_t>((tap_end - tap) * p.step_words), 0};
          c.moves = p.moves + tap * p.step_words;
          c.step = &whole;
          c.end = &whole + 1;
        }
        c.weights = weights + tap * p.row_steps * c.step_floats;
        c.y = static_cast<Element*>(call.y) + y + i * out_row;
        c.residual =
            call.residual ? static_cast<const Element*>(call.residual) + y + i * out_row : nullptr;
        Row(c, call, target, column, column_end, s.out_width,
            (tap_end - tap) * p.row_steps * p.step_words, vectors);
      }
    }
  }
}

}  // namespace

const ConvKernels kConv = {{kLanes, kPair, kBlock}, Run};

}  // namespace slipway::kernels::SLIPWAY_ISA
