// The source of the weight-only products; x86_*.cc include it with SLIPWAY_ISA set to the namespace
// of their instruction set.

#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "engine/kernels/nbits/nbits.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/vector.h"
constexpr int kParts = kNBitsPanel / kLanes;  // vectors of a panel
typedef int32_t VI __attribute__((vector_size(kLanes * 4)));
typedef int8_t VB __attribute__((vector_size(kLanes)));

template <typename T, typename P>
inline T LoadAs(const P* p) {
  T v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
// Codes of one row of words, as numbers around 0.
template <int kBits>
struct Decoder {
  static constexpr int kCount = 32 / kBits;
#if defined(__AVX512F__)
  // Lane i of a table of 16 holds the number of every index whose low bits are the code: the
  // permutation ignores what lies above its four bits.
  V table;
  Decoder() {
    for (int i = 0; i < 16; ++i)
      table[i] = static_cast<float>((i & ((1 << kBits) - 1)) - (1 << (kBits - 1)));
  }
#endif
  inline V At(const uint8_t* row, int part, int i) const {
    const VI word = LoadAs<VI>(row + part * kLanes * 4);
#if defined(__AVX512F__)
    if constexpr (kBits <= 4) {
      return reinterpret_cast<V>(_mm512_permutexvar_ps(
          _mm512_srli_epi32(reinterpret_cast<__m512i>(word), static_cast<unsigned>(i * kBits)),
          reinterpret_cast<__m512>(table)));
    }
#endif
    return __builtin_convertvector(
        ((word >> (i * kBits)) & ((1 << kBits) - 1)) - (1 << (kBits - 1)), V);
  }
};
template <>
struct Decoder<8> {
  static constexpr int kCount = 4;
  inline V At(const uint8_t* row, int part, int i) const {
    const uint8_t* p = row + i * kNBitsPanel + part * kLanes;
    // GCC 12 takes the bytes one by one where it converts a vector that comes from memory.
#if defined(__AVX512F__)
    return reinterpret_cast<V>(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(LoadAs<__m128i>(p))));
#elif defined(__AVX2__)
    return reinterpret_cast<V>(
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(LoadAs<long long>(p)))));
#else
    return __builtin_convertvector(__builtin_convertvector(LoadAs<VB>(p), VI), V);
#endif
  }
};

// Bytes that a product with one row asks for ahead: it runs at the speed of memory.
constexpr int kAhead = 4096;

// kRows rows of x with one part of a panel.
template <int kBits, int kRows>
inline void Part(const NBitsShape& s, const NBitsCall& c, const Decoder<kBits>& decoder,
                 int64_t panel, int part, int64_t row) {
  // Independent sums hide the latency of the additions.
  constexpr int kSums = kLanes == 4 ? 1 : kRows == 1 ? 4 : kRows == 2 ? 2 : 1;
  constexpr int kCount = Decoder<kBits>::kCount;
  const int64_t groups = s.groups();
  const uint8_t* words = c.packed + panel * s.panel_bytes();
  const float* scales = reinterpret_cast<const float*>(c.packed + s.scales_at()) +
                        panel * groups * kNBitsPanel + part * kLanes;
  const float* offsets = reinterpret_cast<const float*>(c.packed + s.offsets_at()) +
                         panel * groups * kNBitsPanel + part * kLanes;
  const float* x = c.x + row * s.k;
  const float* sums = s.offsets ? c.sums + row * groups : nullptr;
  V total[kRows] = {};
  for (int64_t g = 0; g < groups; ++g) {
    V acc[kRows][kSums] = {};
    int64_t at = g * s.group;
    const int64_t end = at + s.group < s.k ? at + s.group : s.k;
    for (; at + kCount <= end; at += kCount, words += kNBitsPanel * 4) {
      if constexpr (kRows == 1) __builtin_prefetch(words + kAhead);
#if defined(__AVX2__) || defined(__aarch64__)  // the baseline of x86 stays small
#pragma GCC unroll 32
#endif
      for (int i = 0; i < kCount; ++i) {
        const V w = decoder.At(words, part, i);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r)
          acc[r][i % kSums] = Fma(w, Splat(x[r * s.k + at + i]), acc[r][i % kSums]);
      }
    }
    if (at < end) {
      for (int i = 0; at + i < end; ++i) {
        const V w = decoder.At(words, part, i);
        for (int r = 0; r < kRows; ++r) acc[r][0] = Fma(w, Splat(x[r * s.k + at + i]), acc[r][0]);
      }
      words += kNBitsPanel * 4;
    }
    const V scale = LoadAs<V>(scales + g * kNBitsPanel);
    for (int r = 0; r < kRows; ++r) {
      V sum = acc[r][0];
      for (int j = 1; j < kSums; ++j) sum += acc[r][j];
      total[r] = Fma(scale, sum, total[r]);
    }
    if (!sums) continue;
    const V offset = LoadAs<V>(offsets + g * kNBitsPanel);
    for (int r = 0; r < kRows; ++r) total[r] = Fma(offset, Splat(sums[r * groups + g]), total[r]);
  }
  const int64_t first = panel * kNBitsPanel + part * kLanes;
  for (int r = 0; r < kRows; ++r) {
    float* y = c.y + (row + r) * s.n + first;
    const int64_t count = s.n - first < kLanes ? s.n - first : kLanes;
    for (int64_t j = 0; j < count; ++j) y[j] = total[r][j] + (c.bias ? c.bias[first + j] : 0.0f);
  }
}

// Rows of x that share a decoded weight; more would not fit the registers.
constexpr int kMostRows = kLanes == 16 ? 8 : 4;

template <int kBits, int kRows>
inline void Rows(const NBitsShape& s, const NBitsCall& c, const Decoder<kBits>& decoder,
                 int64_t panel, int64_t row) {
  for (int part = 0; part < kParts; ++part) Part<kBits, kRows>(s, c, decoder, panel, part, row);
}

template <int kBits>
void Linear(const NBitsShape& s, const NBitsCall& c, int64_t panel, int64_t end) {
  const Decoder<kBits> decoder;
  for (; panel < end; ++panel) {
    int64_t row = 0;
    for (; row + kMostRows <= c.m; row += kMostRows)
      Rows<kBits, kMostRows>(s, c, decoder, panel, row);
    for (; row + 2 <= c.m; row += 2) Rows<kBits, 2>(s, c, decoder, panel, row);
    if (row < c.m) Rows<kBits, 1>(s, c, decoder, panel, row);
  }
}

void Sums(const NBitsShape& s, const float* x, float* sums, int64_t row, int64_t end) {
  const int64_t groups = s.groups();
  for (; row < end; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * s.group, stop = begin + s.group < s.k ? begin + s.group : s.k;
      const float* p = x + row * s.k;
      V acc = {};
      int64_t at = begin;
      for (; at + kLanes <= stop; at += kLanes) acc += LoadAs<V>(p + at);
      float sum = 0;
      for (int j = 0; j < kLanes; ++j) sum += acc[j];
      for (; at < stop; ++at) sum += p[at];
      sums[row * groups + g] = sum;
    }
  }
}

NBitsLinear LinearOf(int bits) {
  switch (bits) {
#define SLIPWAY_NBITS(BITS) \
  case BITS:                \
    return Linear<BITS>;
#include "engine/kernels/nbits/kernels.inc"
#undef SLIPWAY_NBITS
    default:
      return nullptr;
  }
}

}  // namespace

const NBitsKernels kNBits = {Sums, LinearOf};

}  // namespace slipway::kernels::SLIPWAY_ISA
