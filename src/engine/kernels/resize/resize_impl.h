// The source of the resizing kernels; x86_*.cc include it with SLIPWAY_ISA set to the namespace of
// their instruction set.

#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#else
#include "engine/kernels/simd/sse_on_neon.h"
#endif

#include "engine/kernels/resize/resize.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#if !defined(__x86_64__)
using namespace sse;  // NOLINT: names of x86
#endif

#include "engine/kernels/simd/vector.h"

typedef int32_t I __attribute__((vector_size(kLanes * 4)));
template <typename T>
struct Narrow {
  typedef T Type __attribute__((vector_size(kLanes * sizeof(T))));
};

// kLanes elements as floats; codes less their zero point.
inline V Widen(const float* p, int32_t) { return Load(p); }
#if defined(__AVX512F__)
inline V Widen(const uint16_t* p, int32_t) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return reinterpret_cast<V>(_mm512_slli_epi32(_mm512_maskz_cvtepu16_epi32(0xffff, v), 16));
}
#endif
template <typename T>
inline V Widen(const T* p, int32_t zero) {
#if defined(__AVX512F__)
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m512i wide = static_cast<T>(-1) < 0 ? _mm512_maskz_cvtepi8_epi32(0xffff, v)
                                              : _mm512_maskz_cvtepu8_epi32(0xffff, v);
  return reinterpret_cast<V>(
      _mm512_maskz_cvtepi32_ps(0xffff, _mm512_sub_epi32(wide, _mm512_set1_epi32(zero))));
#elif defined(__AVX2__)
  const __m128i v = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m256i wide = static_cast<T>(-1) < 0 ? _mm256_cvtepi8_epi32(v) : _mm256_cvtepu8_epi32(v);
  return reinterpret_cast<V>(_mm256_cvtepi32_ps(_mm256_sub_epi32(wide, _mm256_set1_epi32(zero))));
#else
  typename Narrow<T>::Type v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(__builtin_convertvector(v, I) - zero, V);
#endif
}
inline float WidenOne(float x, int32_t) { return x; }
inline float WidenOne(uint16_t x, int32_t) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(x) << 16);
}
template <typename T>
inline float WidenOne(T x, int32_t zero) {
  return static_cast<float>(static_cast<int32_t>(x) - zero);
}

// The greater and the less; of NaN and a bound the bound.
inline V Above(V v, V bound) {
#if defined(__AVX512F__)
  return reinterpret_cast<V>(
      _mm512_max_ps(reinterpret_cast<__m512>(v), reinterpret_cast<__m512>(bound)));
#elif defined(__AVX2__)
  return reinterpret_cast<V>(
      _mm256_max_ps(reinterpret_cast<__m256>(v), reinterpret_cast<__m256>(bound)));
#else
  return reinterpret_cast<V>(
      _mm_max_ps(reinterpret_cast<__m128>(v), reinterpret_cast<__m128>(bound)));
#endif
}
inline V Below(V v, V bound) {
#if defined(__AVX512F__)
  return reinterpret_cast<V>(
      _mm512_min_ps(reinterpret_cast<__m512>(v), reinterpret_cast<__m512>(bound)));
#elif defined(__AVX2__)
  return reinterpret_cast<V>(
      _mm256_min_ps(reinterpret_cast<__m256>(v), reinterpret_cast<__m256>(bound)));
#else
  return reinterpret_cast<V>(
      _mm_min_ps(reinterpret_cast<__m128>(v), reinterpret_cast<__m128>(bound)));
#endif
}

// How sums become elements of y.
template <typename T>
struct Finisher {
  V multiplier, lo, hi;
  I zero;
  explicit Finisher(const ResizeFinish& f)
      : multiplier(Splat(f.multiplier)),
        lo(Splat(static_cast<float>(f.lo - f.zero_point))),
        hi(Splat(static_cast<float>(f.hi - f.zero_point))),
        zero(I{} + f.zero_point) {}
  // Within bounds the number is in the lower bits of the sum with 1.5 * 2^23, of either sign.
  void operator()(V v, T* to) const {
    v = Below(Above(v * multiplier, lo), hi) + Splat(12582912.0f);
    const auto codes =
        __builtin_convertvector(reinterpret_cast<I>(v) + zero, typename Narrow<T>::Type);
    __builtin_memcpy(to, &codes, sizeof codes);
  }
};
template <>
struct Finisher<float> {
  explicit Finisher(const ResizeFinish&) {}
  void operator()(V v, float* to) const { Store(to, v); }
};
#if defined(__AVX512F__)
template <>
struct Finisher<uint16_t> {
  explicit Finisher(const ResizeFinish&) {}
  void operator()(V v, uint16_t* to) const {
    const __m512i bits = reinterpret_cast<__m512i>(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const __mmask16 nan =
        _mm512_cmp_ps_mask(reinterpret_cast<__m512>(v), reinterpret_cast<__m512>(v), _CMP_UNORD_Q);
    const __m512i all = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm512_maskz_cvtepi32_epi16(0xffff, _mm512_srli_epi32(all, 16)));
  }
};
#endif
template <typename T>
inline void FinishSome(const Finisher<T>& finish, V v, T* to, int64_t n) {
  T all[kLanes];
  finish(v, all);
  for (int64_t i = 0; i < n; ++i) to[i] = all[i];
}

template <typename T>
void Rows(const void* const* x, const float* weight, int64_t taps, int64_t n, int32_t zero,
          float* s) {
  const auto from = [&](int64_t k) { return static_cast<const T*>(x[k]); };
  const auto each = [&](const auto& vector) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) vector(i);
    if (i < n) vector(n - kLanes);  // together with some that are there already
  };
  if (n >= kLanes && taps == 2) {
    const T *a = from(0), *b = from(1);
    const V w = Splat(weight[0]), u = Splat(weight[1]);
    each([&](int64_t i) { Store(s + i, w * Widen(a + i, zero) + u * Widen(b + i, zero)); });
  } else if (n >= kLanes) {
    each([&](int64_t i) {
      V v = {};
      for (int64_t k = 0; k < taps; ++k) v = v + Splat(weight[k]) * Widen(from(k) + i, zero);
      Store(s + i, v);
    });
  } else {
    for (int64_t i = 0; i < n; ++i) {
      float v = 0;
      for (int64_t k = 0; k < taps; ++k) v = v + weight[k] * WidenOne(from(k)[i], zero);
      s[i] = v;
    }
  }
}

#if defined(__AVX2__)
inline V Take(V v, I at) {
#if defined(__AVX512F__)
  return reinterpret_cast<V>(
      _mm512_permutexvar_ps(reinterpret_cast<__m512i>(at), reinterpret_cast<__m512>(v)));
#else
  return reinterpret_cast<V>(
      _mm256_permutevar8x32_ps(reinterpret_cast<__m256>(v), reinterpret_cast<__m256i>(at)));
#endif
}
// 0 where the weight is.
inline V Weighted(V weight, V v) {
#if defined(__AVX512F__)
  const __m512 w = reinterpret_cast<__m512>(weight);
  return reinterpret_cast<V>(_mm512_maskz_mul_ps(
      _mm512_cmp_ps_mask(w, _mm512_setzero_ps(), _CMP_NEQ_UQ), w, reinterpret_cast<__m512>(v)));
#else
  const __m256 w = reinterpret_cast<__m256>(weight);
  return reinterpret_cast<V>(_mm256_and_ps(_mm256_mul_ps(w, reinterpret_cast<__m256>(v)),
                                           _mm256_cmp_ps(w, _mm256_setzero_ps(), _CMP_NEQ_UQ)));
#endif
}
template <typename T, int kTaps>
void Line(const ResizeColumns& c, const float* s, T* y, const Finisher<T>& finish) {
  const int64_t taps = kTaps == 0 ? c.taps : kTaps;
  const int32_t* from = c.from;
  const float* weight = c.line;
  for (int64_t o = 0, i = 0; o < c.out; o += kLanes, ++i) {
    const V all = Load(s + c.start[i]);
    V v = {};
    for (int64_t k = 0; k < taps; ++k, from += kLanes, weight += kLanes) {
      I at;
      __builtin_memcpy(&at, from, sizeof at);
      v = v + Weighted(Load(weight), Take(all, at));
    }
    if (o + kLanes <= c.out) {
      finish(v, y + o);
    } else {
      FinishSome(finish, v, y + o, c.out - o);
    }
  }
}
#endif

// All pixels: sum(o) makes a function from a channel to the kLanes sums there.
template <int kLanesOfY, typename T, typename F, typename Sum>
inline void Pixels(int64_t out, int64_t channels, T* y, const F& finish, const Sum& sum) {
  for (int64_t o = 0; o < out; ++o, y += channels) {
    const auto at = sum(o);
    if (channels >= kLanesOfY) {
      int64_t i = 0;
      for (; i + kLanesOfY <= channels; i += kLanesOfY) finish(at(i), y + i);
      if (i < channels) finish(at(channels - kLanesOfY), y + channels - kLanesOfY);
    } else if ((out - o) * channels >= kLanesOfY) {
      finish(at(0), y);  // the pixels behind are written later
    } else {
      T all[kLanesOfY];
      finish(at(0), all);
      for (int64_t i = 0; i < channels; ++i) y[i] = all[i];
    }
  }
}
template <typename T>
void Columns(const ResizeColumns& c, const float* s, int64_t channels, void* to,
             const ResizeFinish& f) {
  T* y = static_cast<T*>(to);
  const Finisher<T> finish(f);
  const int64_t taps = c.taps;
#if defined(__AVX2__)
  if (channels == 1 && c.lanes == kLanes)
    return taps == 2 ? Line<T, 2>(c, s, y, finish) : Line<T, 0>(c, s, y, finish);
#endif
  const int32_t* index = c.index;
  const float* weight = c.weight;
  if (channels == 1) {
    for (int64_t o = 0; o < c.out; o += kLanes) {
      const int64_t n = c.out - o < kLanes ? c.out - o : kLanes;
      float all[kLanes] = {};
      for (int64_t j = 0; j < n; ++j) {
        float v = 0;
        for (int64_t k = 0; k < taps; ++k, ++index, ++weight) {
          if (*weight != 0) v = v + *weight * s[*index];
        }
        all[j] = v;
      }
      FinishSome(finish, Load(all), y + o, n);
    }
  } else if (c.pairs && channels == kLanes) {  // a block
    for (int64_t o = 0; o < c.out; ++o, index += 2, weight += 2, y += kLanes) {
      finish(Splat(weight[0]) * Load(s + int64_t{index[0]} * kLanes) +
                 Splat(weight[1]) * Load(s + int64_t{index[1]} * kLanes),
             y);
    }
  } else if (c.pairs) {
    Pixels<kLanes>(c.out, channels, y, finish, [&](int64_t o) {
      const float *a = s + index[2 * o] * channels, *b = s + index[2 * o + 1] * channels;
      const V w = Splat(weight[2 * o]), u = Splat(weight[2 * o + 1]);
      return [=](int64_t i) { return w * Load(a + i) + u * Load(b + i); };
    });
  } else {
    Pixels<kLanes>(c.out, channels, y, finish, [&](int64_t o) {
      return [=](int64_t i) {
        V v = {};
        for (int64_t k = o * taps; k < (o + 1) * taps; ++k) {
          if (weight[k] != 0) v = v + Splat(weight[k]) * Load(s + index[k] * channels + i);
        }
        return v;
      };
    });
  }
}

// Sums in 16 bits, kLanes * 2 at once.
constexpr int kShorts = kLanes * 2;
typedef uint16_t S __attribute__((vector_size(kShorts * 2)));
inline S Each(int v) {
  const uint16_t one = static_cast<uint16_t>(v);
  return S{} + one;
}
inline S LoadShorts(const uint16_t* p) {
  S v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
// Codes xor flip.
inline S WidenCodes(const uint8_t* p, S flip) {
#if defined(__AVX512F__)
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return reinterpret_cast<S>(_mm512_maskz_cvtepu8_epi16(0xffffffff, v)) ^ flip;
#elif defined(__AVX2__)
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return reinterpret_cast<S>(_mm256_cvtepu8_epi16(v)) ^ flip;
#else
  const __m128i v = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return reinterpret_cast<S>(_mm_unpacklo_epi8(v, _mm_setzero_si128())) ^ flip;
#endif
}
void ShortRows(const void* const* x, const uint16_t* weight, int64_t taps, int64_t n, uint8_t flip,
               uint16_t* s) {
  const auto from = [&](int64_t k) { return static_cast<const uint8_t*>(x[k]); };
  const S flips = Each(flip);
  const auto each = [&](const auto& vector) {
    int64_t i = 0;
    for (; i + kShorts <= n; i += kShorts) vector(i);
    if (i < n) vector(n - kShorts);
  };
  const auto store = [&](int64_t i, S v) { __builtin_memcpy(s + i, &v, sizeof v); };
  if (n >= kShorts && taps == 2) {
    const uint8_t *a = from(0), *b = from(1);
    const S w = Each(weight[0]), u = Each(weight[1]);
    each([&](int64_t i) { store(i, WidenCodes(a + i, flips) * w + WidenCodes(b + i, flips) * u); });
  } else if (n >= kShorts) {
    each([&](int64_t i) {
      S v = {};
      for (int64_t k = 0; k < taps; ++k) v += WidenCodes(from(k) + i, flips) * Each(weight[k]);
      store(i, v);
    });
  } else {
    for (int64_t i = 0; i < n; ++i) {
      uint32_t v = 0;
      for (int64_t k = 0; k < taps; ++k) v += static_cast<uint32_t>(from(k)[i] ^ flip) * weight[k];
      s[i] = static_cast<uint16_t>(v);
    }
  }
}

struct ShortFinisher {
  S below, odd, parity;
  int shift;
#if defined(__AVX512F__)
  __m256i lo, hi, flip;
#else
  __m128i lo, hi, flip;
#endif
  explicit ShortFinisher(const ResizeShorts& f)
      : below(Each(f.shift == 0 ? 0 : (1 << (f.shift - 1)) - 1)),
        odd(Each(f.shift == 0 ? 0 : 1)),
        parity(Each(f.zero_point & 1)),
        shift(f.shift) {
#if defined(__AVX512F__)
    lo = _mm256_set1_epi8(static_cast<char>(f.lo));
    hi = _mm256_set1_epi8(static_cast<char>(f.hi));
    flip = _mm256_set1_epi8(static_cast<char>(f.flip));
#else
    lo = _mm_set1_epi8(static_cast<char>(f.lo));
    hi = _mm_set1_epi8(static_cast<char>(f.hi));
    flip = _mm_set1_epi8(static_cast<char>(f.flip));
#endif
  }
  // To the nearest; from the middle to where the code less its zero point is even.
  void operator()(S v, uint8_t* to) const {
    v = (v + below + (((v >> shift) ^ parity) & odd)) >> shift;
#if defined(__AVX512F__)
    __m256i codes = _mm512_maskz_cvtepi16_epi8(0xffffffff, reinterpret_cast<__m512i>(v));
    codes = _mm256_xor_si256(_mm256_min_epu8(_mm256_max_epu8(codes, lo), hi), flip);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), codes);
#elif defined(__AVX2__)
    const __m256i all = reinterpret_cast<__m256i>(v);
    __m128i codes = _mm_packus_epi16(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    codes = _mm_xor_si128(_mm_min_epu8(_mm_max_epu8(codes, lo), hi), flip);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), codes);
#else
    __m128i codes = _mm_packus_epi16(reinterpret_cast<__m128i>(v), _mm_setzero_si128());
    codes = _mm_xor_si128(_mm_min_epu8(_mm_max_epu8(codes, lo), hi), flip);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), codes);
#endif
  }
};
void ShortColumns(const ResizeColumns& c, const uint16_t* weight, const uint16_t* s,
                  int64_t channels, uint8_t* y, const ResizeShorts& f) {
  const ShortFinisher finish(f);
  const int64_t taps = c.taps;
  const int32_t* index = c.index;
  if (taps == 2) {
    Pixels<kShorts>(c.out, channels, y, finish, [&](int64_t o) {
      const uint16_t *a = s + index[2 * o] * channels, *b = s + index[2 * o + 1] * channels;
      const S w = Each(weight[2 * o]), u = Each(weight[2 * o + 1]);
      return [=](int64_t i) { return w * LoadShorts(a + i) + u * LoadShorts(b + i); };
    });
  } else {
    Pixels<kShorts>(c.out, channels, y, finish, [&](int64_t o) {
      return [=](int64_t i) {
        S v = {};
        for (int64_t k = o * taps; k < (o + 1) * taps; ++k)
          v += Each(weight[k]) * LoadShorts(s + index[k] * channels + i);
        return v;
      };
    });
  }
}

#if defined(__AVX512F__)
// Elements side by side twice, of 1, 2 or 4 bytes: 32 bytes at once.
template <typename T>
void Doubled(const T* x, int64_t out, int64_t times, T* y) {
  constexpr int64_t kEach = 32 / sizeof(T);
  const auto mask = [](int64_t n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; };
  for (int64_t i = 0; 2 * i < out; i += kEach) {
    const int64_t left = out - 2 * i, n = left < 2 * kEach ? left : 2 * kEach;
    const uint64_t in = mask((n + 1) / 2), to = mask(n);
    __m512i v;
    if constexpr (sizeof(T) == 1) {
      v = _mm512_maskz_cvtepu8_epi16(0xffffffff,
                                     _mm256_maskz_loadu_epi8(static_cast<__mmask32>(in), x + i));
      v = _mm512_or_si512(v, _mm512_slli_epi16(v, 8));
    } else if constexpr (sizeof(T) == 2) {
      v = _mm512_maskz_cvtepu16_epi32(0xffff,
                                      _mm256_maskz_loadu_epi16(static_cast<__mmask16>(in), x + i));
      v = _mm512_or_si512(v, _mm512_slli_epi32(v, 16));
    } else {
      v = _mm512_maskz_cvtepu32_epi64(0xff,
                                      _mm256_maskz_loadu_epi32(static_cast<__mmask8>(in), x + i));
      v = _mm512_or_si512(v, _mm512_slli_epi64(v, 32));
    }
    for (int64_t t = 0; t < times; ++t) {
      T* row = y + t * out + 2 * i;
      if constexpr (sizeof(T) == 1) {
        _mm512_mask_storeu_epi8(row, to, v);
      } else if constexpr (sizeof(T) == 2) {
        _mm512_mask_storeu_epi16(row, static_cast<__mmask32>(to), v);
      } else {
        _mm512_mask_storeu_epi32(row, static_cast<__mmask16>(to), v);
      }
    }
  }
}
#endif
// True when all copies are made.
template <typename T>
bool Elements(const ResizeColumns& c, const void* from, int64_t times, void* to) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
#if defined(__AVX512F__)
  if constexpr (sizeof(T) <= 4) {
    if (c.doubled) {
      Doubled(x, c.out, times, y);
      return true;
    }
  }
#endif
  if (c.doubled) {
    const int64_t n = c.out / 2;
    for (int64_t i = 0; i < n; ++i) {
      const T v = x[i];
      y[2 * i] = v;
      y[2 * i + 1] = v;
    }
    if (c.out % 2 != 0) y[c.out - 1] = x[n];
  } else {
    const int32_t* index = c.index;
    for (int64_t o = 0; o < c.out; ++o) y[o] = x[index[o]];
  }
  return times == 1;
}
template <int kBytes>
void Blocks(const ResizeColumns& c, const char* x, char* y) {
  for (int64_t o = 0; o < c.out; ++o)
    __builtin_memcpy(y + o * kBytes, x + c.index[o] * kBytes, kBytes);
}
void WholePixels(const ResizeColumns& c, const char* x, int64_t bytes, char* y) {
  constexpr int64_t kBytes = kLanes * 4;
  for (int64_t o = 0; o < c.out; ++o, y += bytes) {
    const char* p = x + c.index[o] * bytes;
    if (bytes < kBytes) {
      __builtin_memcpy(y, p, static_cast<size_t>(bytes));
      continue;
    }
    int64_t i = 0;
    for (; i + kBytes <= bytes; i += kBytes) __builtin_memcpy(y + i, p + i, kBytes);
    if (i < bytes) __builtin_memcpy(y + bytes - kBytes, p + bytes - kBytes, kBytes);
  }
}
// One row; true when all copies are made.
bool CopyOne(const ResizeColumns& c, const char* x, int64_t bytes, int64_t times, char* y) {
  switch (bytes) {
    case 1:
      return Elements<uint8_t>(c, x, times, y);
    case 2:
      return Elements<uint16_t>(c, x, times, y);
    case 4:
      return Elements<uint32_t>(c, x, times, y);
    case 8:
      return Elements<uint64_t>(c, x, times, y);
    case 16:
      Blocks<16>(c, x, y);
      break;
    case 32:
      Blocks<32>(c, x, y);
      break;
    case 64:
      Blocks<64>(c, x, y);
      break;
    default:
      WholePixels(c, x, bytes, y);
  }
  return times == 1;
}
void Copy(const ResizeColumns& c, const void* from, int64_t bytes, int64_t times, void* to) {
  const auto* x = static_cast<const char*>(from);
  auto* y = static_cast<char*>(to);
  const int64_t row = c.out * bytes;
  if (CopyOne(c, x, bytes, times, y)) return;
  for (int64_t t = 1; t < times; ++t) {
    if (bytes >= 64) {
      CopyOne(c, x, bytes, 1, y + t * row);  // from the shorter row
    } else {
      __builtin_memcpy(y + t * row, y, static_cast<size_t>(row));
    }
  }
}

}  // namespace

const ResizeKernels kResize = {
#if defined(__AVX512F__)
    {Rows<float>, Rows<uint8_t>, Rows<int8_t>, Rows<uint16_t>},
    {Columns<float>, Columns<uint8_t>, Columns<uint8_t>, Columns<uint16_t>},
#else
    {Rows<float>, Rows<uint8_t>, Rows<int8_t>, nullptr},
    {Columns<float>, Columns<uint8_t>, Columns<uint8_t>, nullptr},
#endif
    Copy,
    ShortRows,
    ShortColumns};

}  // namespace slipway::kernels::SLIPWAY_ISA
