// The source of the bit-serial kernels; x86_*.cc include it with SLIPWAY_ISA set to the namespace
// of their instruction set.

#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "engine/kernels/bits/bits.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/math.h"

// Eight counters of 64 bits: one for each output of a panel.
#if defined(__AVX512F__)
struct Lanes {
  __m512i v;
};
inline Lanes Zero() { return {_mm512_setzero_si512()}; }
inline Lanes Load(const uint64_t* p) { return {_mm512_loadu_si512(p)}; }
inline Lanes Both(uint64_t bits, Lanes w) {
  return {_mm512_and_si512(_mm512_set1_epi64(static_cast<int64_t>(bits)), w.v)};
}
inline Lanes Add(Lanes a, Lanes b) { return {_mm512_add_epi64(a.v, b.v)}; }
inline Lanes Twice(Lanes a) { return {_mm512_slli_epi64(a.v, 1)}; }
inline void Store(Lanes a, int32_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi64_epi32(a.v));
}
inline Lanes Count(Lanes a) { return {_mm512_popcnt_epi64(a.v)}; }
#elif defined(__AVX2__)
struct Lanes {
  __m256i v, u;
};
inline Lanes Zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline Lanes Load(const uint64_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 4))};
}
inline Lanes Both(uint64_t bits, Lanes w) {
  const __m256i b = _mm256_set1_epi64x(static_cast<int64_t>(bits));
  return {_mm256_and_si256(b, w.v), _mm256_and_si256(b, w.u)};
}
inline Lanes Add(Lanes a, Lanes b) {
  return {_mm256_add_epi64(a.v, b.v), _mm256_add_epi64(a.u, b.u)};
}
inline Lanes Twice(Lanes a) { return Add(a, a); }
inline __m256i CountHalf(__m256i a) {
  const __m256i table =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(a, nibble)),
                high =
                    _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(a, 4), nibble));
  return _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
}
inline Lanes Count(Lanes a) { return {CountHalf(a.v), CountHalf(a.u)}; }
inline void Store(Lanes a, int32_t* to) {
  alignas(32) int64_t v[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(v), a.v);
  _mm256_store_si256(reinterpret_cast<__m256i*>(v + 4), a.u);
  for (int i = 0; i < 8; ++i) to[i] = static_cast<int32_t>(v[i]);
}
#else
struct Lanes {
  uint64_t v[8];
};
inline Lanes Zero() { return {}; }
inline Lanes Load(const uint64_t* p) {
  Lanes a;
  for (int i = 0; i < 8; ++i) a.v[i] = p[i];
  return a;
}
inline Lanes Both(uint64_t bits, Lanes w) {
  for (uint64_t& v : w.v) v &= bits;
  return w;
}
inline Lanes Add(Lanes a, Lanes b) {
  for (int i = 0; i < 8; ++i) a.v[i] += b.v[i];
  return a;
}
inline Lanes Twice(Lanes a) { return Add(a, a); }
inline Lanes Count(Lanes a) {
  for (uint64_t& v : a.v) v = static_cast<uint64_t>(__builtin_popcountll(v));
  return a;
}
inline void Store(Lanes a, int32_t* to) {
  for (int i = 0; i < 8; ++i) to[i] = static_cast<int32_t>(a.v[i]);
}
#endif

// The bits of up to 64 channels of one pixel.
inline uint64_t PlaneOf(const uint8_t* x, int64_t n, uint8_t low, int bit) {
#if defined(__AVX512BW__)
  const __mmask64 live = n >= 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1;
  const __m512i v =
      _mm512_sub_epi8(_mm512_maskz_loadu_epi8(live, x), _mm512_set1_epi8(static_cast<char>(low)));
  return _mm512_mask_test_epi8_mask(live, v, _mm512_set1_epi8(static_cast<char>(1 << bit)));
#elif defined(__aarch64__)
  // Bytes that have the bit, as a bit of each: sums of neighbours put eight into a byte.
  static const uint8_t kBits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t weight = vld1q_u8(kBits), lows = vdupq_n_u8(low),
                   mask = vdupq_n_u8(static_cast<uint8_t>(1 << bit));
  alignas(16) uint8_t part[64] = {};
  if (n < 64) {
    for (int64_t c = 0; c < n; ++c) part[c] = x[c];
    for (int64_t c = n; c < 64; ++c) part[c] = low;  // no bits
    x = part;
  }
  uint8x16_t v[4];
  for (int i = 0; i < 4; ++i)
    v[i] = vandq_u8(vtstq_u8(vsubq_u8(vld1q_u8(x + 16 * i), lows), mask), weight);
  const uint8x16_t a = vpaddq_u8(vpaddq_u8(v[0], v[1]), vpaddq_u8(v[2], v[3]));
  return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(a, a)), 0);
#else
  uint64_t word = 0;
  for (int64_t c = 0; c < (n < 64 ? n : 64); ++c)
    word |= static_cast<uint64_t>(static_cast<uint8_t>(x[c] - low) >> bit & 1) << c;
  return word;
#endif
}

void Pack(const BitsConv& conv, const uint8_t* x, uint64_t* planes, int32_t* sums, int64_t row,
          int64_t end) {
  const BitsWeights& w = conv.weights;
  const int64_t all = w.groups * w.channels, words = w.words();
  for (int64_t g = 0; g < w.groups; ++g) {
    for (int64_t y = row; y < end; ++y) {
      const int64_t from_y = y - conv.pad_top;
      const bool inside_y = from_y >= 0 && from_y < conv.in_height;
      for (int64_t px = 0; px < conv.width; ++px) {
        const int64_t from_x = px - conv.pad_left, at = (g * conv.height + y) * conv.width + px;
        uint64_t* to = planes + at * conv.pixel_words();
        if (!inside_y || from_x < 0 || from_x >= conv.in_width) {
          for (int64_t i = 0; i < conv.pixel_words(); ++i) to[i] = 0;
          sums[at] = 0;
          continue;
        }
        const uint8_t* codes = x + (from_y * conv.in_width + from_x) * all + g * w.channels;
        int64_t sum = 0;
        for (int i = 0; i < conv.a_planes; ++i) {
          for (int64_t k = 0; k < words; ++k) {
            const uint64_t word = PlaneOf(codes + 64 * k, w.channels - 64 * k,
                                          static_cast<uint8_t>(conv.a_low), i + conv.a_shift);
            to[i * words + k] = word;
            sum += static_cast<int64_t>(__builtin_popcountll(word)) << i;
          }
        }
        sums[at] = static_cast<int32_t>(sum);
      }
    }
  }
}

// See quant/quant_impl.h.
struct Rounder {
  float low, high;
  int32_t zero;
  explicit Rounder(const BitsFinish& f)
      : low(static_cast<float>(f.low - f.zero_point)),
        high(static_cast<float>(f.high - f.zero_point)),
        zero(f.zero_point) {}
  template <typename Y>
  Y To(float v) const {
    if constexpr (sizeof(Y) == 4) {
      return v;
    } else {
      constexpr float kMagic = 12582912.0f;
      v = v > low ? v : low;
      v = v < high ? v : high;
      return static_cast<Y>(static_cast<int32_t>((v + kMagic) - kMagic) + zero);
    }
  }
};

template <typename Z>
inline void AddResidual(const BitsFinish& f, int64_t n, int64_t at, float* v) {
  const Z* z = static_cast<const Z*>(f.residual) + at;
  for (int64_t i = 0; i < n; ++i)
    v[i] = __builtin_fmaf(static_cast<float>(z[i] - f.z_zero), f.z_multiplier, v[i]);
}

// Accumulators of outputs `out` and up, at element `at` of y: N of them, or n where N is 0.
template <int N>
void FinishRow(const BitsFinish& f, const int32_t* acc, int64_t n, int64_t out, void* y,
               int64_t at) {
  if constexpr (N > 0) n = N;
  const Rounder to(f);
  float v[kBitsPanel * 4];
  if (f.per_output) {
    const float* m = f.multiplier + out;
    for (int64_t i = 0; i < n; ++i) v[i] = static_cast<float>(acc[i]) * m[i];
  } else {
    const float m = f.multiplier[0];
    for (int64_t i = 0; i < n; ++i) v[i] = static_cast<float>(acc[i]) * m;
  }
  if (f.residual) (f.residual_signed ? AddResidual<int8_t> : AddResidual<uint8_t>)(f, n, at, v);
  if (f.clamps) {
    const float lowest = f.lowest, highest = f.highest, m = f.y_multiplier;
    for (int64_t i = 0; i < n; ++i) {
      const float up = v[i] < lowest ? lowest : v[i];
      v[i] = (up > highest ? highest : up) * m;
    }
  }
  const auto store = [&]<typename Y>(Y* to_y) {
    SLIPWAY_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) to_y[i] = to.template To<Y>(v[i]);
  };
  if (f.to == 2) {
    store(static_cast<float*>(y) + at);
  } else if (f.to == 1) {
    store(static_cast<int8_t*>(y) + at);
  } else {
    store(static_cast<uint8_t*>(y) + at);
  }
}

// One group's part of a call.
struct Group {
  const BitsConv& conv;
  const BitsFinish& finish;
  const uint64_t* planes;
  const uint32_t* windows;
  const uint64_t* weights;
  const int32_t *tap_sums, *base, *step;
  int64_t g;
  void* y;
  // Of the panels in work: the bias, and the accumulator as offset + base * terms + factor * count
  // where all taps lie in the image.
  int32_t bias[kBitsPanel * 4], offset[kBitsPanel * 4], factor[kBitsPanel * 4];
#if defined(__aarch64__)
  // Where the words of a pixel's window lie from its first, in the order of the weights; num_places
  // is 0 where they are too many.
  int64_t num_places;
  int32_t places[1024 + 2];  // two more, that lie in every window
#endif
};

#if defined(__aarch64__)

void FindPlaces(Group& g) {
  const BitsConv& c = g.conv;
  const int64_t words = c.weights.words(), pixel = c.pixel_words();
  g.num_places = 0;
  const int64_t most = (c.kernel_height - 1) * c.dilation_height * c.width * pixel +
                       (c.kernel_width - 1) * c.dilation_width * pixel + words;
  if (c.weights.taps > 1024 || words > 1024 || c.weights.taps * words > 1024 || most > INT32_MAX)
    return;
  for (int64_t ky = 0; ky < c.kernel_height; ++ky) {
    for (int64_t kx = 0; kx < c.kernel_width; ++kx) {
      for (int64_t k = 0; k < words; ++k)
        g.places[g.num_places++] = static_cast<int32_t>(
            (ky * c.dilation_height * c.width + kx * c.dilation_width) * pixel + k);
    }
  }
  g.places[g.num_places] = g.places[g.num_places + 1] = 0;
}

// Sums of counts of single bytes of 4 pixels by 8 outputs over `words` words (1 to 31), which lie
// `places` from the pixels: out[p][o] are those of outputs 2 o and 2 o + 1. In assembly for the
// sake of its order (see qgemm/arm_loops.h): a turn takes two words, an odd first one its second
// half, and begins with the last counts of the turn before, which find zeros in the first. Sums
// are in v16 to v31. The places of a turn are loaded in the turn before, in the last turn those of
// words that are not used.
#define B_AND(t, x, w) "and v" #t ".16b, v" #x ".16b, v" #w ".16b\n"
#define B_CNT(t) "cnt v" #t ".16b, v" #t ".16b\n"
#define B_ADD(a, t) "add v" #a ".16b, v" #a ".16b, v" #t ".16b\n"
#define B_BOTH(x) "dup v" #x ".2d, v" #x ".d[0]\n"
#define B_W(a, b, p) "ld1 {v" #a ".16b-v" #b ".16b}, [%[" #p "]]\n"
#define B_X(x, p) "ldr d" #x ", [%[" #p "], %w[at], sxtw #3]\n"
#define B_X2(x, p) "ldr d" #x ", [%[" #p "], %[second], lsl #3]\n"
#define B_PLACES "ldr %[at], [%[places], %[e]]\n"
#define B_SECOND "asr %[second], %[at], #32\n"
#define B_COUNT "adds %[e], %[e], #8\n"
#define B_STEP(p) "add %[" #p "], %[" #p "], %[step]\n"
#define B_ZERO(v) "movi v" #v ".4s, #0\n"
// clang-format off
__attribute__((noinline)) void CountFour(const int32_t* places, int64_t words,
                                         const uint64_t* const* in, const uint64_t* w0,
                                         int64_t w_step, uint8x16_t (*out)[4]) {
  const int64_t odd = words & 1, step = 8 * w_step;
  int64_t e = -4 * (words + odd), at = places[0], second = places[odd ? 0 : 1];
  // As numbers: the word before an odd first one may lie outside.
  int64_t w = static_cast<int64_t>(reinterpret_cast<uintptr_t>(w0)) - odd * step, u = w + 32,
          w1 = w + step, u1 = u + step;
  asm volatile(
      B_ZERO(0) B_ZERO(1) B_ZERO(2) B_ZERO(3) B_ZERO(4) B_ZERO(5) B_ZERO(6) B_ZERO(7)
      B_ZERO(8) B_ZERO(9) B_ZERO(10) B_ZERO(11) B_ZERO(12) B_ZERO(13) B_ZERO(14) B_ZERO(15)
      B_ZERO(16) B_ZERO(17) B_ZERO(18) B_ZERO(19) B_ZERO(20) B_ZERO(21) B_ZERO(22) B_ZERO(23)
      B_ZERO(24) B_ZERO(25) B_ZERO(26) B_ZERO(27) B_ZERO(28) B_ZERO(29) B_ZERO(30) B_ZERO(31)
      "cbnz %[odd], 2f\n"
      ".p2align 4\n1:\n"
      B_BOTH(7) B_ADD(27, 1) B_BOTH(8) B_ADD(22, 5) B_ADD(21, 4) B_ADD(25, 15) B_ADD(26, 0)
      B_ADD(24, 11) B_AND(15, 7, 13) B_ADD(23, 14) B_AND(5, 7, 10) B_AND(1, 8, 13) B_AND(2, 8, 10)
      B_AND(4, 7, 9) B_AND(10, 8, 12) B_ADD(20, 3) B_AND(14, 8, 9) B_AND(11, 7, 12) B_X(12, i3)
      B_CNT(2) B_X(13, i1) B_CNT(6) B_X(7, i0) B_CNT(5) B_X(0, i2) B_CNT(1) B_CNT(14) B_CNT(11)
      B_CNT(10) B_CNT(15) B_W(8, 9, u) B_CNT(4) B_BOTH(12) B_BOTH(7) B_ADD(28, 14) B_BOTH(13)
      B_BOTH(0) B_ADD(16, 4) B_ADD(18, 11) B_ADD(17, 5) B_ADD(19, 15) B_ADD(29, 2) B_ADD(31, 1)
      B_AND(14, 12, 9) B_AND(1, 13, 8) B_AND(11, 12, 8) B_AND(15, 7, 8) B_AND(2, 0, 9)
      B_AND(3, 0, 8) B_AND(4, 13, 9) B_ADD(30, 10) B_AND(10, 7, 9) B_CNT(14) B_W(8, 9, w) B_CNT(2)
      B_CNT(3) B_CNT(4) B_CNT(15)
      "2:\n"
      B_X2(5, i2) B_CNT(11) B_CNT(1) B_CNT(10) B_ADD(26, 3) B_BOTH(5) B_ADD(23, 4) B_ADD(18, 15)
      B_ADD(31, 14) B_ADD(27, 2) B_ADD(29, 6) B_ADD(22, 1) B_AND(3, 7, 9) B_AND(4, 7, 8)
      B_ADD(19, 10) B_AND(7, 13, 8) B_AND(15, 0, 9) B_AND(1, 13, 9) B_AND(0, 0, 8) B_AND(8, 12, 8)
      B_AND(6, 12, 9) B_ADD(30, 11) B_X2(2, i1) B_CNT(4) B_CNT(3) B_W(9, 10, w1) B_CNT(8) B_CNT(7)
      B_W(12, 13, u1) B_CNT(15) B_CNT(0) B_CNT(1) B_PLACES B_STEP(u1) B_STEP(w1) B_ADD(25, 15)
      B_BOTH(2) B_AND(15, 5, 10) B_ADD(16, 4) B_ADD(21, 1) B_AND(11, 5, 9) B_ADD(28, 8)
      B_ADD(17, 3) B_ADD(20, 7) B_AND(4, 2, 10) B_AND(3, 2, 9) B_ADD(24, 0) B_AND(1, 5, 13)
      B_AND(0, 5, 12) B_AND(5, 2, 12) B_AND(14, 2, 13) B_CNT(15) B_CNT(3) B_CNT(11) B_CNT(4)
      B_CNT(0) B_X2(7, i0) B_CNT(14) B_CNT(5) B_CNT(1) B_X2(8, i3) B_COUNT B_STEP(w) B_STEP(u)
      B_SECOND "b.mi 1b\n"
      B_BOTH(7) B_ADD(27, 1) B_BOTH(8) B_ADD(22, 5) B_ADD(21, 4) B_ADD(25, 15) B_ADD(26, 0)
      B_ADD(24, 11) B_AND(15, 7, 13) B_ADD(23, 14) B_AND(5, 7, 10) B_AND(1, 8, 13) B_AND(2, 8, 10)
      B_AND(4, 7, 9) B_AND(10, 8, 12) B_ADD(20, 3) B_AND(14, 8, 9) B_AND(11, 7, 12) B_CNT(2)
      B_CNT(6) B_CNT(5) B_CNT(1) B_CNT(14) B_CNT(11) B_CNT(10) B_CNT(15) B_CNT(4) B_ADD(28, 14)
      B_ADD(16, 4) B_ADD(18, 11) B_ADD(17, 5) B_ADD(19, 15) B_ADD(29, 2) B_ADD(31, 1) B_ADD(30, 10)
      B_ADD(29, 6)
      "st1 {v16.16b-v19.16b}, [%[out]], #64\nst1 {v20.16b-v23.16b}, [%[out]], #64\n"
      "st1 {v24.16b-v27.16b}, [%[out]], #64\nst1 {v28.16b-v31.16b}, [%[out]]\n"
      : [e] "+r"(e), [at] "+r"(at), [second] "+r"(second), [w] "+r"(w), [u] "+r"(u),
        [w1] "+r"(w1), [u1] "+r"(u1), [out] "+r"(out)
      : [i0] "r"(in[0]), [i1] "r"(in[1]), [i2] "r"(in[2]), [i3] "r"(in[3]),
        [places] "r"(places + words + 2), [step] "r"(2 * step), [odd] "r"(odd)
      : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13",
        "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",
        "v27", "v28", "v29", "v30", "v31", "cc", "memory");
}
// clang-format on
#undef B_AND
#undef B_CNT
#undef B_ADD
#undef B_BOTH
#undef B_W
#undef B_X
#undef B_X2
#undef B_PLACES
#undef B_SECOND
#undef B_COUNT
#undef B_STEP
#undef B_ZERO

// Adds 2^shift * |p & q| of PB pixels for one plane of both sides. Counts of single bytes are
// summed for as many words as a byte can hold.
template <int PB>
__attribute__((noinline)) void DotPlanes(const Group& g, const uint64_t* const* in,
                                         const uint64_t* w, int64_t w_step, int shift,
                                         int32_t (*out)[kBitsPanel]) {
  for (int64_t e = 0; e < g.num_places;) {
    const int64_t end = e + 31 < g.num_places ? e + 31 : g.num_places;
    uint8x16_t acc[PB][4];
    if constexpr (PB == 4) {
      CountFour(g.places + e, end - e, in, w, w_step, acc);
      w += (end - e) * w_step;
      e = end;
    } else {
#pragma GCC unroll 4
      for (int p = 0; p < PB; ++p) {
#pragma GCC unroll 4
        for (int o = 0; o < 4; ++o) acc[p][o] = vdupq_n_u8(0);
      }
      do {
        const int64_t at = g.places[e];
        uint8x16_t q[4];
#pragma GCC unroll 4
        for (int o = 0; o < 4; ++o) q[o] = vreinterpretq_u8_u64(vld1q_u64(w + 2 * o));
#pragma GCC unroll 4
        for (int p = 0; p < PB; ++p) {
          const uint8x16_t x = vreinterpretq_u8_u64(vld1q_dup_u64(in[p] + at));
#pragma GCC unroll 4
          for (int o = 0; o < 4; ++o) acc[p][o] = vaddq_u8(acc[p][o], vcntq_u8(vandq_u8(x, q[o])));
        }
        w += w_step;
      } while (++e < end);
    }
#pragma GCC unroll 4
    for (int p = 0; p < PB; ++p) {
      const uint16x8_t a = vpaddq_u16(vpaddlq_u8(acc[p][0]), vpaddlq_u8(acc[p][1])),
                       b = vpaddq_u16(vpaddlq_u8(acc[p][2]), vpaddlq_u8(acc[p][3])),
                       all = vshlq_u16(vpaddq_u16(a, b), vdupq_n_s16(static_cast<short>(shift)));
      const int16x8_t v = vreinterpretq_s16_u16(all);
      vst1q_s32(out[p], vaddw_s16(vld1q_s32(out[p]), vget_low_s16(v)));
      vst1q_s32(out[p] + 4, vaddw_high_s16(vld1q_s32(out[p] + 4), v));
    }
  }
}

#endif

// |p & q| of PB pixels and OB panels. The words of a pixel start at in[p].
template <int AP, int WP, int PB, int OB>
inline void Dot(const BitsConv& conv, const uint64_t* const* in, const uint64_t* w,
                int64_t panel_words, int32_t (*out)[kBitsPanel * OB]) {
  constexpr int kLevels = AP + WP - 1;
  Lanes acc[PB][OB][kLevels];
  for (int p = 0; p < PB; ++p)
    for (int o = 0; o < OB; ++o)
      for (int l = 0; l < kLevels; ++l) acc[p][o][l] = Zero();
  const int64_t words = conv.weights.words(), pixel = conv.pixel_words();
  const uint64_t* at = w;
  for (int64_t ky = 0; ky < conv.kernel_height; ++ky) {
    int64_t tap = ky * conv.dilation_height * conv.width * pixel;
    for (int64_t kx = 0; kx < conv.kernel_width; ++kx, tap += conv.dilation_width * pixel) {
      for (int64_t k = 0; k < words; ++k, at += WP * kBitsPanel) {
        for (int j = 0; j < WP; ++j) {
          Lanes q[OB];
          for (int o = 0; o < OB; ++o) q[o] = Load(at + o * panel_words + j * kBitsPanel);
          for (int p = 0; p < PB; ++p) {
            for (int i = 0; i < AP; ++i) {
              const uint64_t bits = in[p][tap + i * words + k];
              for (int o = 0; o < OB; ++o)
                acc[p][o][i + j] = Add(acc[p][o][i + j], Count(Both(bits, q[o])));
            }
          }
        }
      }
    }
  }
  for (int p = 0; p < PB; ++p) {
    for (int o = 0; o < OB; ++o) {
      Lanes sum = acc[p][o][kLevels - 1];
      for (int l = kLevels - 2; l >= 0; --l) sum = Add(Twice(sum), acc[p][o][l]);
      Store(sum, out[p] + o * kBitsPanel);
    }
  }
}

// Taps [begin, end) of a row or column lie in the image.
struct Taps {
  int64_t begin, end;
};
inline Taps TapsInside(int64_t at, int64_t dilation, int64_t kernel, int64_t extent) {
  if (at >= 0 && at + (kernel - 1) * dilation < extent) return {0, kernel};
  Taps t;
  t.begin = at < 0 ? (-at + dilation - 1) / dilation : 0;
  t.begin = t.begin < kernel ? t.begin : kernel;
  t.end = at >= extent ? 0 : (extent - 1 - at) / dilation + 1;
  t.end = t.end < kernel ? t.end : kernel;
  t.end = t.end > t.begin ? t.end : t.begin;
  return t;
}
inline Taps RowTaps(const BitsConv& c, int64_t oy) {
  return TapsInside(oy * c.stride_height - c.pad_top, c.dilation_height, c.kernel_height,
                    c.in_height);
}
inline Taps ColumnTaps(const BitsConv& c, int64_t ox) {
  return TapsInside(ox * c.stride_width - c.pad_left, c.dilation_width, c.kernel_width, c.in_width);
}

void Signs(const float* x, int8_t* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] >= 0 ? 1 : -1;
}

void Windows(const BitsConv& c, const int32_t* sums, uint32_t* windows, int64_t row, int64_t end) {
  const auto a_base = static_cast<uint32_t>(c.a_base()), a_step = static_cast<uint32_t>(c.a_step());
  for (int64_t g = 0; g < c.weights.groups; ++g) {
    for (int64_t oy = row; oy < end; ++oy) {
      uint32_t* to = windows + (g * c.out_height + oy) * c.out_width;
      for (int64_t ox = 0; ox < c.out_width; ++ox) to[ox] = 0;
      // The sums of the padding are 0.
      for (int64_t ky = 0; ky < c.kernel_height; ++ky) {
        for (int64_t kx = 0; kx < c.kernel_width; ++kx) {
          const int32_t* from =
              sums + (g * c.height + oy * c.stride_height + ky * c.dilation_height) * c.width +
              kx * c.dilation_width;
          if (c.stride_width == 1) {
            for (int64_t ox = 0; ox < c.out_width; ++ox) to[ox] += static_cast<uint32_t>(from[ox]);
          } else {
            for (int64_t ox = 0; ox < c.out_width; ++ox)
              to[ox] += static_cast<uint32_t>(from[ox * c.stride_width]);
          }
        }
      }
      const Taps y = RowTaps(c, oy);
      for (int64_t ox = 0; ox < c.out_width; ++ox) {
        to[ox] *= a_step;
        if (a_base == 0) continue;
        const Taps x = ColumnTaps(c, ox);
        to[ox] += a_base *
                  static_cast<uint32_t>((y.end - y.begin) * (x.end - x.begin) * c.weights.channels);
      }
    }
  }
}

// From the counts of one pixel to the outputs of panels [panel, panel + OB).
template <int OB>
void Complete(const Group& g, int64_t panel, int64_t oy, int64_t ox, const int32_t* dot) {
  constexpr int kOutputs = kBitsPanel * OB;
  const BitsConv& c = g.conv;
  const BitsWeights& w = c.weights;
  const int64_t row = w.panels() * kBitsPanel, first = panel * kBitsPanel;
  const uint32_t terms = g.windows[oy * c.out_width + ox];
  int32_t acc[kOutputs], border[kOutputs];
  const int32_t* offset = g.offset;
  const Taps y = RowTaps(c, oy), x = ColumnTaps(c, ox);
  if (g.conv.a_base() != 0 && (y.end - y.begin) * (x.end - x.begin) != w.taps) {
    // Of the sum of q over the taps inside.
    const uint32_t a_base = static_cast<uint32_t>(c.a_base());
    int32_t sum_q[kOutputs] = {};
    for (int64_t ky = y.begin; ky < y.end; ++ky) {
      for (int64_t kx = x.begin; kx < x.end; ++kx) {
        const int32_t* from = g.tap_sums + (ky * c.kernel_width + kx) * row + first;
        for (int i = 0; i < kOutputs; ++i) sum_q[i] += from[i];
      }
    }
    for (int i = 0; i < kOutputs; ++i) {
      border[i] = static_cast<int32_t>(static_cast<uint32_t>(g.bias[i]) +
                                       static_cast<uint32_t>(g.step[first + i]) * a_base *
                                           static_cast<uint32_t>(sum_q[i]));
    }
    offset = border;
  }
  for (int i = 0; i < kOutputs; ++i) {
    acc[i] = static_cast<int32_t>(
        static_cast<uint32_t>(offset[i]) + static_cast<uint32_t>(g.base[first + i]) * terms +
        static_cast<uint32_t>(g.factor[i]) * static_cast<uint32_t>(dot[i]));
  }
  const int64_t out = g.g * w.outputs + first;
  const int64_t at = (oy * c.out_width + ox) * w.groups * w.outputs + out;
  if (w.outputs - first >= kOutputs) {
    FinishRow<kOutputs>(g.finish, acc, kOutputs, out, g.y, at);
  } else {
    FinishRow<0>(g.finish, acc, w.outputs - first, out, g.y, at);
  }
}

// Output positions in their order.
struct Position {
  int64_t y, x;
  void Next(int64_t width) {
    if (++x == width) {
      x = 0;
      ++y;
    }
  }
};

template <int AP, int WP, int PB, int OB>
inline void Block(Group& g, int64_t panel, Position& at) {
  const BitsConv& c = g.conv;
  const uint64_t* in[PB];
  Position positions[PB];
  for (int p = 0; p < PB; ++p) {
    positions[p] = at;
    in[p] = g.planes + (at.y * c.stride_height * c.width + at.x * c.stride_width) * c.pixel_words();
    at.Next(c.out_width);
  }
  int32_t dot[PB][kBitsPanel * OB];
  const int64_t panel_words = c.weights.panel_words();
#if defined(__aarch64__)
  static_assert(OB == 1);
  if (g.num_places > 0) {
    __builtin_memset(dot, 0, sizeof dot);
    for (int i = 0; i < AP; ++i) {
      const uint64_t* plane[PB];
      for (int p = 0; p < PB; ++p) plane[p] = in[p] + i * c.weights.words();
      for (int j = 0; j < WP; ++j)
        DotPlanes<PB>(g, plane, g.weights + panel * panel_words + j * kBitsPanel, WP * kBitsPanel,
                      i + j, dot);
    }
  } else
#endif
    Dot<AP, WP, PB, OB>(c, in, g.weights + panel * panel_words, panel_words, dot);
  for (int p = 0; p < PB; ++p) Complete<OB>(g, panel, positions[p].y, positions[p].x, dot[p]);
}

#if defined(__AVX512F__)
constexpr bool kManyRegisters = true, kFewRegisters = false;
#elif defined(__AVX2__)
constexpr bool kManyRegisters = false, kFewRegisters = true;
#elif defined(__aarch64__)
constexpr bool kManyRegisters = false, kFewRegisters = false;
#define SLIPWAY_BITS_PIXELS 4
#else
constexpr bool kManyRegisters = false, kFewRegisters = false;
#endif

template <int AP, int WP, int OB>
void Panels(Group& g, int64_t panel, int64_t pixel, int64_t end) {
  const BitsWeights& w = g.conv.weights;
  const int64_t row = w.panels() * kBitsPanel, first = panel * kBitsPanel;
  for (int i = 0; i < kBitsPanel * OB; ++i) {
    uint32_t sum_q = 0;
    for (int64_t t = 0; t < w.taps; ++t)
      sum_q += static_cast<uint32_t>(g.tap_sums[t * row + first + i]);
    const auto step = static_cast<uint32_t>(g.step[first + i]);
    g.bias[i] =
        g.finish.bias && first + i < w.outputs ? g.finish.bias[g.g * w.outputs + first + i] : 0;
    g.offset[i] = static_cast<int32_t>(static_cast<uint32_t>(g.bias[i]) +
                                       step * static_cast<uint32_t>(g.conv.a_base()) * sum_q);
    g.factor[i] = static_cast<int32_t>(step * static_cast<uint32_t>(g.conv.a_step()));
  }
  // As many accumulators as there are registers for.
#if defined(SLIPWAY_BITS_PIXELS)
  constexpr int kPixels = SLIPWAY_BITS_PIXELS;
#else
  constexpr int kPixels = kManyRegisters ? (AP + WP == 2 ? 4 : 2) : kFewRegisters ? 2 : 1;
#endif
  Position at{pixel / g.conv.out_width, pixel % g.conv.out_width};
  for (; pixel + kPixels <= end; pixel += kPixels) Block<AP, WP, kPixels, OB>(g, panel, at);
  if constexpr (kPixels > 1) {
    for (; pixel < end; ++pixel) Block<AP, WP, 1, OB>(g, panel, at);
  }
}

template <int AP, int WP>
void Convolve(const BitsConv& conv, const uint64_t* planes, const uint32_t* windows,
              const uint8_t* weights, const BitsFinish& finish, void* y, int64_t pixel,
              int64_t end) {
  const BitsWeights& w = conv.weights;
  const int64_t row = w.panels() * kBitsPanel;
  constexpr int kPanels = kManyRegisters ? (AP + WP == 4 ? 2 : 4) : 1;
  for (int64_t i = 0; i < w.groups; ++i) {
    Group g{conv,
            finish,
            planes + i * conv.pixels() * conv.pixel_words(),
            windows + i * conv.out_height * conv.out_width,
            reinterpret_cast<const uint64_t*>(weights) + i * w.panels() * w.panel_words(),
            reinterpret_cast<const int32_t*>(weights + w.sums_at()) + i * w.taps * row,
            reinterpret_cast<const int32_t*>(weights + w.base_at()) + i * row,
            reinterpret_cast<const int32_t*>(weights + w.step_at()) + i * row,
            i,
            y,
            {},
            {},
            {}
#if defined(__aarch64__)
            ,
            0,
            {}
#endif
    };
#if defined(__aarch64__)
    FindPlaces(g);
#endif
    int64_t panel = 0;
    for (; panel + kPanels <= w.panels(); panel += kPanels)
      Panels<AP, WP, kPanels>(g, panel, pixel, end);
    if constexpr (kPanels > 1) {
      for (; panel < w.panels(); ++panel) Panels<AP, WP, 1>(g, panel, pixel, end);
    }
  }
}

void ConvolveAny(const BitsConv& conv, const uint64_t* planes, const uint32_t* windows,
                 const uint8_t* weights, const BitsFinish& finish, void* y, int64_t pixel,
                 int64_t end) {
  if (conv.a_planes == 1) {
    (conv.weights.planes == 1 ? Convolve<1, 1> : Convolve<1, 2>)(conv, planes, windows, weights,
                                                                 finish, y, pixel, end);
  } else {
    (conv.weights.planes == 1 ? Convolve<2, 1> : Convolve<2, 2>)(conv, planes, windows, weights,
                                                                 finish, y, pixel, end);
  }
}

}  // namespace

extern const BitsKernels kBits = {Pack, Signs, Windows, ConvolveAny};

}  // namespace slipway::kernels::SLIPWAY_ISA
