// The source of attention; x86_*.cc include it with SLIPWAY_ISA set to the namespace of their
// instruction set. avx512bf16 makes that in bfloat16, the others that in float32.

#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "engine/kernels/attention/attention.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/math.h"
#include "engine/kernels/simd/vector.h"

constexpr int kMostRows = kLanes == 16 ? 12 : kLanes == 8 ? 6 : 4;
static_assert(kMostRows <= kAttentionRows);
constexpr int kVectors = 2;  // of columns that are computed together

inline void StorePart(float* p, V v, int64_t count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), reinterpret_cast<__m512>(v));
#else
  float all[kLanes];
  Store(all, v);
  for (int64_t i = 0; i < count; ++i) p[i] = all[i];
#endif
}
// Products take words of 32 bits: a float32, or two numbers of bfloat16 that are multiplied and
// added to one sum.
#if defined(__AVX512BF16__)
typedef uint16_t Number;
inline V MultiplyAdd(V a, V b, V c) {
  return reinterpret_cast<V>(_mm512_dpbf16_ps(
      reinterpret_cast<__m512>(c), reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)));
}
// The first `count` of a vector; stores with a mask are slow.
inline void StoreHalves(uint16_t* p, V v, int64_t count = kLanes) {
  const auto halves = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(v)));
  if (count >= kLanes)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), halves);
  else
    _mm256_mask_storeu_epi16(p, static_cast<__mmask16>((1u << count) - 1), halves);
}
#else
typedef float Number;
inline V MultiplyAdd(V a, V b, V c) { return Fma(a, b, c); }
#endif
constexpr int kInWord = 4 / static_cast<int>(sizeof(Number));

// --- y[r, column] = scale[r] * sum over k of x[r, k] * w[k, column]

struct Product {
  const float *x, *w;  // words
  float* y;
  int64_t x_row, w_row, y_row, depth;
  const float* scale;
};

// kRows rows with kCount vectors of columns, of which `left` columns are stored.
template <int kRows, int kCount>
inline void Tile(const Product& p, int64_t column, int64_t left) {
  V sum[kRows][kCount] = {};
  const float* w = p.w + column;
  for (int64_t k = 0; k < p.depth; ++k) {
    V b[kCount];
#pragma GCC unroll 2
    for (int v = 0; v < kCount; ++v) b[v] = Load(w + v * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const V a = Splat(p.x[r * p.x_row + k]);
#pragma GCC unroll 2
      for (int v = 0; v < kCount; ++v) sum[r][v] = MultiplyAdd(a, b[v], sum[r][v]);
    }
    w += p.w_row;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    const V scale = Splat(p.scale[r]);
    float* y = p.y + r * p.y_row + column;
#pragma GCC unroll 2
    for (int v = 0; v < kCount; ++v) {
      const int64_t rest = left - v * kLanes;
      if (rest >= kLanes)
        Store(y + v * kLanes, sum[r][v] * scale);
      else
        StorePart(y + v * kLanes, sum[r][v] * scale, rest);
    }
  }
}

template <int kRows>
inline void Columns(const Product& p, int64_t columns) {
  int64_t column = 0;
  for (; columns - column > (kVectors - 1) * kLanes; column += kVectors * kLanes)
    Tile<kRows, kVectors>(p, column, columns - column);
  if (column < columns) Tile<kRows, 1>(p, column, columns - column);
}

// The numbers of rows that there is code for.
constexpr bool HasTile(int64_t rows) { return rows <= 4 || rows % 2 == 0; }
template <int kRows>
void Multiply(int64_t rows, const Product& p, int64_t columns) {
  if constexpr (HasTile(kRows)) {
    if (rows == kRows) return Columns<kRows>(p, columns);
  }
  if constexpr (kRows > 1) Multiply<kRows - 1>(rows, p, columns);
}

// --- k transposed

#if defined(__AVX512F__)
// 16 rows of 16, rows `stride` apart, to columns `to_stride` apart.
inline void Transpose16(const float* from, int64_t stride, float* to, int64_t to_stride) {
  constexpr __mmask16 kAll = 0xFFFF;  // GCC 12 warns of its own header without
  __m512 a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_ps(from + i * stride);
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {  // in 128-bit lanes: 4 x 4
    const __m512 t0 = _mm512_maskz_unpacklo_ps(kAll, a[i], a[i + 1]),
                 t1 = _mm512_maskz_unpackhi_ps(kAll, a[i], a[i + 1]);
    const __m512 t2 = _mm512_maskz_unpacklo_ps(kAll, a[i + 2], a[i + 3]),
                 t3 = _mm512_maskz_unpackhi_ps(kAll, a[i + 2], a[i + 3]);
    b[i] = _mm512_maskz_shuffle_ps(kAll, t0, t2, 0x44);
    b[i + 1] = _mm512_maskz_shuffle_ps(kAll, t0, t2, 0xEE);
    b[i + 2] = _mm512_maskz_shuffle_ps(kAll, t1, t3, 0x44);
    b[i + 3] = _mm512_maskz_shuffle_ps(kAll, t1, t3, 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // then the lanes themselves: b[j * 4 + i] is row group j
    const __m512 t0 = _mm512_maskz_shuffle_f32x4(kAll, b[i], b[4 + i], 0x44),
                 t1 = _mm512_maskz_shuffle_f32x4(kAll, b[i], b[4 + i], 0xEE);
    const __m512 t2 = _mm512_maskz_shuffle_f32x4(kAll, b[8 + i], b[12 + i], 0x44),
                 t3 = _mm512_maskz_shuffle_f32x4(kAll, b[8 + i], b[12 + i], 0xEE);
    _mm512_storeu_ps(to + i * to_stride, _mm512_maskz_shuffle_f32x4(kAll, t0, t2, 0x88));
    _mm512_storeu_ps(to + (4 + i) * to_stride, _mm512_maskz_shuffle_f32x4(kAll, t0, t2, 0xDD));
    _mm512_storeu_ps(to + (8 + i) * to_stride, _mm512_maskz_shuffle_f32x4(kAll, t1, t3, 0x88));
    _mm512_storeu_ps(to + (12 + i) * to_stride, _mm512_maskz_shuffle_f32x4(kAll, t1, t3, 0xDD));
  }
}
#endif

// [keys, words] to [words, key_floats], zeros behind the keys.
void TransposeKeys(const AttentionShape& s, const float* k, int64_t k_row, float* to) {
  const int64_t stride = s.key_floats(), words = s.size / kInWord;
  int64_t key = 0;
#if defined(__AVX512F__)
  for (; key + 16 <= s.keys; key += 16) {
    int64_t i = 0;
    for (; i + 16 <= words; i += 16)
      Transpose16(k + key * k_row + i, k_row, to + i * stride + key, stride);
    for (; i < words; ++i) {
      for (int64_t j = 0; j < 16; ++j) to[i * stride + key + j] = k[(key + j) * k_row + i];
    }
  }
#endif
  for (int64_t i = 0; i < words; ++i) {
    for (int64_t j = key; j < s.keys; ++j) to[i * stride + j] = k[j * k_row + i];
    for (int64_t j = s.keys; j < stride; ++j) to[i * stride + j] = 0;
  }
}

#if defined(__AVX512BF16__)
// Rows of values in pairs; a last one goes with zeros.
void CopyValues(const AttentionShape& s, const Number* v, int64_t v_row, float* to) {
  const int64_t stride = s.value_floats();
  for (int64_t key = 0; key < s.keys; key += 2, to += stride, v += 2 * v_row) {
    const auto second = static_cast<__mmask16>(key + 1 < s.keys ? 0xFFFF : 0);
    for (int64_t i = 0; i < stride; i += kLanes) {
      const int64_t rest = s.v_size - i;
      const auto mask = static_cast<__mmask16>(rest >= kLanes ? 0xFFFF
                                               : rest > 0     ? (1u << rest) - 1
                                                              : 0);
      const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, v + i));
      const __m512i high =
          _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask & second, v + v_row + i));
      Store(to + i, reinterpret_cast<V>(_mm512_or_si512(low, _mm512_slli_epi32(high, 16))));
    }
  }
}
#else
void CopyValues(const AttentionShape& s, const float* v, int64_t v_row, float* to) {
  const int64_t stride = s.value_floats();
  for (int64_t key = 0; key < s.keys; ++key) {
    __builtin_memcpy(to, v + key * v_row, static_cast<unsigned long>(s.v_size) * 4);
    for (int64_t i = s.v_size; i < stride; ++i) to[i] = 0;
    to += stride;
  }
}
#endif

// --- softmax

constexpr float kNothing = -__builtin_inff();

// Lane i of the result is lane i ^ kDistance.
template <int kDistance>
inline V Swap(V v) {
  typedef int32_t VI __attribute__((vector_size(kLanes * 4)));
  VI from;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) from[i] = i ^ kDistance;
#ifdef __clang__
  V out;
  for (int i = 0; i < kLanes; ++i) out[i] = v[i ^ kDistance];
  return out;
#else
  return __builtin_shuffle(v, from);
#endif
}
inline float TopOf(V v) {
  const auto larger = [](V a, V b) { return a > b ? a : b; };
  if constexpr (kLanes > 8) v = larger(v, Swap<8>(v));
  if constexpr (kLanes > 4) v = larger(v, Swap<4>(v));
  v = larger(v, Swap<2>(v));
  return larger(v, Swap<1>(v))[0];
}
inline float SumOf(V v) {
  if constexpr (kLanes > 8) v += Swap<8>(v);
  if constexpr (kLanes > 4) v += Swap<4>(v);
  v += Swap<2>(v);
  return (v + Swap<1>(v))[0];
}

// The largest of `keys` scores with their mask; those behind, up to a whole vector, become
// -infinity.
inline float Prepare(float* p, int64_t keys, const float* mask, int64_t mask_key) {
  if (mask && mask_key) {
    SLIPWAY_INDEPENDENT
    for (int64_t i = 0; i < keys; ++i) p[i] += mask[i];
  } else if (mask) {
    for (int64_t i = 0; i < keys; ++i) p[i] += mask[0];
  }
  const int64_t whole = keys / kLanes * kLanes;
  V high = Splat(kNothing);
  for (int64_t i = 0; i < whole; i += kLanes) {
    const V v = Load(p + i);
    high = v > high ? v : high;
  }
  if (whole < keys) {
    float last[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) last[i] = whole + i < keys ? p[whole + i] : kNothing;
    const V v = Load(last);
    Store(p + whole, v);
    high = v > high ? v : high;
  }
  return TopOf(high);
}

// Turns vectors of scores into exponentials, in bfloat16 from the start of the row on; gives the
// inverse of their sum.
inline float Exponentials(float* p, int64_t keys, float top) {
  // Nothing is seen: all become 0.
  const float shift = top == kNothing ? 0 : top;
  V sum = {};
  for (int64_t i = 0; i < keys; i += kLanes) {
    float e[kLanes];
    for (int j = 0; j < kLanes; ++j) e[j] = ExpOfNegative(p[i + j] - shift);
    const V v = Load(e);
#if defined(__AVX512BF16__)
    StoreHalves(reinterpret_cast<Number*>(p) + i, v);
#else
    Store(p + i, v);
#endif
    sum += v;
  }
  const float total = SumOf(sum);
  return total > 0 ? 1.0f / total : total;  // NaN stays NaN
}

void Attention(const AttentionShape& s, const AttentionCall& c, float* workspace, int64_t row,
               int64_t end) {
  float* keys = workspace;
  float* values = keys + s.size * s.key_floats();
  float* scores = values + s.keys * s.value_floats();
  TransposeKeys(s, static_cast<const float*>(c.k), c.k_row / kInWord, keys);
  CopyValues(s, static_cast<const Number*>(c.v), c.v_row, values);
  const auto* q = static_cast<const float*>(c.q);
  const int64_t q_row = c.q_row / kInWord, words = s.size / kInWord;
  float scale[kMostRows];
  while (row < end) {
    // Steps that are as equal as can be.
    const int64_t left = end - row, steps = (left + kMostRows - 1) / kMostRows;
    int64_t now = (left + steps - 1) / steps;
    if (!HasTile(now)) now += now < left ? 1 : -1;
    const int64_t seen = s.causal && row + now < s.keys ? row + now : s.keys;
    for (int64_t r = 0; r < now; ++r) scale[r] = s.scale;
    const int64_t columns = (seen + kLanes - 1) / kLanes * kLanes;
    Multiply<kMostRows>(
        now, {q + row * q_row, keys, scores, q_row, s.key_floats(), s.key_floats(), words, scale},
        columns);
    // In two passes, so that rows do not wait for one another's sums.
    const auto own = [&](int64_t r) { return s.causal && row + r + 1 < seen ? row + r + 1 : seen; };
    float top[kMostRows];
    for (int64_t r = 0; r < now; ++r) {
      top[r] = Prepare(scores + r * s.key_floats(), own(r),
                       c.mask ? c.mask + (row + r) * c.mask_row : nullptr, c.mask_key);
    }
    for (int64_t r = 0; r < now; ++r) {
      float* p = scores + r * s.key_floats();
      scale[r] = Exponentials(p, own(r), top[r]);
      const int64_t written = (own(r) + kLanes - 1) / kLanes * kLanes;
      __builtin_memset(reinterpret_cast<Number*>(p) + written, 0,
                       static_cast<unsigned long>(columns - written) * sizeof(Number));
    }
#if defined(__AVX512BF16__)
    asm volatile("" ::: "memory");  // what was written as bfloat16 is read as words
    float* sums = scores + kAttentionRows * s.key_floats();
    const Product product{scores,           values,           sums,           s.key_floats(),
                          s.value_floats(), s.value_floats(), (seen + 1) / 2, scale};
    Multiply<kMostRows>(now, product, s.v_size);
    for (int64_t r = 0; r < now; ++r) {
      Number* y = static_cast<Number*>(c.y) + (row + r) * c.y_row;
      for (int64_t i = 0; i < s.v_size; i += kLanes) {
        StoreHalves(y + i, Load(sums + r * s.value_floats() + i), s.v_size - i);
      }
    }
#else
    Multiply<kMostRows>(now,
                        {scores, values, static_cast<float*>(c.y) + row * c.y_row, s.key_floats(),
                         s.value_floats(), c.y_row, seen, scale},
                        s.v_size);
#endif
    row += now;
  }
}

}  // namespace

const AttentionFunction kAttention = Attention;

}  // namespace slipway::kernels::SLIPWAY_ISA
