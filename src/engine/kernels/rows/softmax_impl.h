// Softmax along rows, and rows of numbers to codes through softmax and layer normalisation. Part of
// rows_impl.h, inside of its namespace.

// exp of numbers of at most 0, of kR vectors, as ExpOfNegative: a step of all before the next, for
// the processor does not look far enough ahead to find the others' by itself.
template <int kR>
inline void ExpOf(V (&x)[kR]) {
  typedef uint32_t U __attribute__((vector_size(kLanes * 4)));  // the sum may leave 32 bits
#define SLIPWAY_EACH _Pragma("GCC unroll 4") for (int r = 0; r < kR; ++r)
  const V low = Splat(-87.3f), magic = Splat(12582912.0f), one = Splat(1.0f);
  V t[kR], n[kR], m[kR], p[kR];
  // What is too low becomes 0 in the end, whatever comes before.
  SLIPWAY_EACH t[r] = Fma(x[r], Splat(1.44269504f), magic);
  SLIPWAY_EACH n[r] = t[r] - magic;
  SLIPWAY_EACH m[r] = Fma(n[r], Splat(-0.693359375f), x[r]);
  // The magic number has no bit where the exponent goes.
  SLIPWAY_EACH t[r] =
      reinterpret_cast<V>((reinterpret_cast<U>(t[r]) << 23) + reinterpret_cast<U>(one));
  SLIPWAY_EACH m[r] = Fma(n[r], Splat(2.12194440e-4f), m[r]);
  SLIPWAY_EACH p[r] = Fma(Splat(0.00139263256f), m[r], Splat(0.00836329275f));
  SLIPWAY_EACH p[r] = Fma(p[r], m[r], Splat(0.0416665538f));
  SLIPWAY_EACH p[r] = Fma(p[r], m[r], Splat(0.166665763f));
  SLIPWAY_EACH p[r] = Fma(p[r], m[r], Splat(0.5f));
  SLIPWAY_EACH p[r] *= m[r];
  SLIPWAY_EACH p[r] = Fma(p[r], m[r], m[r]);
#if defined(__AVX512F__)
  SLIPWAY_EACH x[r] = reinterpret_cast<V>(
      _mm512_maskz_fmadd_ps(_mm512_cmp_ps_mask(reinterpret_cast<__m512>(x[r]),
                                               reinterpret_cast<__m512>(low), _CMP_NLT_UQ),
                            reinterpret_cast<__m512>(p[r]), reinterpret_cast<__m512>(t[r]),
                            reinterpret_cast<__m512>(t[r])));
#else
  SLIPWAY_EACH x[r] = x[r] < low ? Splat(0) : Fma(p[r], t[r], t[r]);
#endif
}

// The first `count` numbers of a vector; others are far below all.
inline V LoadScores(const float* x, int64_t count) {
#if defined(__AVX512F__)
  return reinterpret_cast<V>(_mm512_mask_loadu_ps(_mm512_set1_ps(-__builtin_inff()),
                                                  static_cast<__mmask16>((1u << count) - 1), x));
#else
  float v[kLanes];
  for (int j = 0; j < kLanes; ++j) v[j] = -__builtin_inff();
  __builtin_memcpy(v, x, static_cast<unsigned long>(count) * 4);
  return Load(v);
#endif
}
inline void StoreScores(float* y, V v, int64_t count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(y, static_cast<__mmask16>((1u << count) - 1), reinterpret_cast<__m512>(v));
#else
  float all[kLanes];
  Store(all, v);
  __builtin_memcpy(y, all, static_cast<unsigned long>(count) * 4);
#endif
}
inline V Larger(V a, V b) {
#if defined(__AVX512F__)
  return reinterpret_cast<V>(
      _mm512_max_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#else
  return a > b ? a : b;
#endif
}
inline V Smaller(V a, V b) {
#if defined(__AVX512F__)
  return reinterpret_cast<V>(
      _mm512_min_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#else
  return a < b ? a : b;
#endif
}
// kR rows at once, so that they do not wait for one another: a row alone takes more than twice as
// long. A NaN need not be found among the largest: it spoils the sum.
template <int kR>
void SoftmaxRows(const float* x, float* y, int64_t n, bool log) {
  const int64_t whole = n / kLanes * kLanes;
  V top[kR];
  float sum[kR] = {}, shift[kR];
  SLIPWAY_EACH top[r] = Splat(-__builtin_inff());
  for (int64_t i = 0; i < whole; i += kLanes) {
    SLIPWAY_EACH top[r] = Larger(Load(x + r * n + i), top[r]);
  }
  SLIPWAY_EACH {
    if (whole < n) top[r] = Larger(LoadScores(x + r * n + whole, n - whole), top[r]);
    shift[r] = Across<Max>(top[r]);
    top[r] = Splat(shift[r]);
  }
  for (int64_t i = 0; i < n; i += kChunk) {
    const int64_t end = n - i < kChunk ? n : i + kChunk;
    V part[kR];
    SLIPWAY_EACH part[r] = Splat(0);
    int64_t j = i;
    for (; j + kLanes <= end; j += kLanes) {
      V e[kR];
      SLIPWAY_EACH e[r] = Load(x + r * n + j) - top[r];
      ExpOf<kR>(e);
      SLIPWAY_EACH {
        if (!log) Store(y + r * n + j, e[r]);
        part[r] += e[r];
      }
    }
    if (j < end) {
      V e[kR];
      SLIPWAY_EACH e[r] = LoadScores(x + r * n + j, end - j) - top[r];
      ExpOf<kR>(e);
      SLIPWAY_EACH {
        if (!log) StoreScores(y + r * n + j, e[r], end - j);
        part[r] += e[r];
      }
    }
    SLIPWAY_EACH sum[r] += Across<Sum>(part[r]);
  }
  SLIPWAY_EACH {
    const float *from = x + r * n, by = 1.0f / sum[r];
    float* to = y + r * n;
    const float most = shift[r], log_sum = log ? ::logf(sum[r]) : 0;
    if (log) {
      SLIPWAY_INDEPENDENT
      for (int64_t i = 0; i < n; ++i) to[i] = (from[i] - most) - log_sum;
    } else {
      for (int64_t i = 0; i < whole; i += kLanes) Store(to + i, Load(to + i) * Splat(by));
      if (whole < n)
        StoreScores(to + whole, LoadScores(to + whole, n - whole) * Splat(by), n - whole);
    }
  }
}

#if defined(__AVX2__)
constexpr int kRowsAtOnce = 4;
#else
constexpr int kRowsAtOnce = 1;
#endif
void Softmax(const float* x, float* y, int64_t rows, int64_t n, bool log) {
  int64_t r = 0;
  for (; r + kRowsAtOnce <= rows; r += kRowsAtOnce)
    SoftmaxRows<kRowsAtOnce>(x + r * n, y + r * n, n, log);
  for (; r < rows; ++r) SoftmaxRows<1>(x + r * n, y + r * n, n, log);
}

// What is rounded to codes and taken as numbers again: the code less its zero point.
struct CodeRounder {
  V low, high;
  explicit CodeRounder(const Rounding& r) : low(Splat(r.low)), high(Splat(r.high)) {}
  V Clamp(V v) const { return Smaller(Larger(v, low), high); }  // NaN becomes low
  V operator()(V v) const {
    v = Clamp(v);
#if defined(__AVX512F__)
    return reinterpret_cast<V>(_mm512_roundscale_ps(reinterpret_cast<__m512>(v), 8));
#else
    const V magic = Splat(12582912.0f);  // rounds half to even, as quant_impl.h does
    return (v + magic) - magic;
#endif
  }
};
// Rounds what is clamped already.
inline void StoreCodes(uint8_t* y, V v, int32_t zero, int64_t count) {
#if defined(__AVX512F__)
  const __m512i codes =
      _mm512_add_epi32(_mm512_cvtps_epi32(reinterpret_cast<__m512>(v)), _mm512_set1_epi32(zero));
  const __m128i all = _mm512_cvtepi32_epi8(codes);
  if (count >= kLanes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), all);
  } else {
    _mm_mask_storeu_epi8(y, static_cast<__mmask16>((1u << count) - 1), all);
  }
#else
  uint8_t all[kLanes];
  float f[kLanes];
  Store(f, v);
  constexpr float kMagic = 12582912.0f;
  for (int j = 0; j < kLanes; ++j)
    all[j] = static_cast<uint8_t>(static_cast<int32_t>((f[j] + kMagic) - kMagic) + zero);
  if (count >= kLanes) {
    __builtin_memcpy(y, all, kLanes);
  } else {
    __builtin_memcpy(y, all, static_cast<unsigned long>(count));
  }
#endif
}

template <int kR, bool kStages>
inline void SoftmaxCodesTile(const SoftmaxCodesCall& c, int64_t row) {
  const CodeRounder score(c.score), sum_of(c.sum), code(c.code);
  const V s_scale = Splat(c.score.scale), t_scale = Splat(c.sum.scale),
          t_multiplier = Splat(c.sum_multiplier), p_scale = Splat(c.code.scale);
  const int64_t whole = c.n / kLanes * kLanes, wide = (c.n + kLanes - 1) / kLanes * kLanes;
  const float *x = c.x + row * c.x_stride, *bias = c.bias ? c.bias + row * c.bias_stride : nullptr,
              *mask = c.mask ? c.mask + row * c.mask_stride : nullptr;
  const bool scores_rounded = c.score.scale != 0;
  float* work = c.work;
  V top[kR], sum[kR];
  const auto scores = [&](int r, int64_t i, auto load) {
    V v = load(x + r * c.x_stride + i);
    if (!kStages) return v;
    if (scores_rounded) v = score(v) * s_scale;
    if (bias) v += load(bias + r * c.bias_stride + i);
    if (mask) v = Fma(sum_of(v / t_scale), t_multiplier, load(mask + r * c.mask_stride + i));
    return v;
  };
  SLIPWAY_EACH top[r] = Splat(-__builtin_inff());
  for (int64_t i = 0; i < whole; i += kLanes) {
    SLIPWAY_EACH {
      const V v = scores(r, i, [](const float* p) { return Load(p); });
      Store(work + r * wide + i, v);
      top[r] = Larger(v, top[r]);
    }
  }
  SLIPWAY_EACH {
    if (whole < c.n) {
      const int64_t left = c.n - whole;
      float* last = work + r * wide + whole;
#if defined(__AVX512F__)
      const auto live = static_cast<__mmask16>((1u << left) - 1);
      const auto part = [&](const float* p) {
        return reinterpret_cast<V>(_mm512_maskz_loadu_ps(live, p));
      };
      const V v =
          reinterpret_cast<V>(_mm512_mask_mov_ps(_mm512_set1_ps(-__builtin_inff()), live,
                                                 reinterpret_cast<__m512>(scores(r, whole, part))));
#else
      Store(last, scores(r, whole, [&](const float* p) { return LoadPart(p, left); }));
      const V v = LoadScores(last, left);
#endif
      Store(last, v);
      top[r] = Larger(v, top[r]);
    }
    top[r] = Splat(Across<Max>(top[r]));
    sum[r] = Splat(0);
  }
  for (int64_t i = 0; i < wide; i += kLanes) {
    V e[kR];
    SLIPWAY_EACH e[r] = Load(work + r * wide + i) - top[r];
    ExpOf<kR>(e);
    SLIPWAY_EACH {
      Store(work + r * wide + i, e[r]);
      sum[r] += e[r];
    }
  }
  SLIPWAY_EACH sum[r] = Splat(1.0f / Across<Sum>(sum[r]));
  for (int64_t i = 0; i < c.n; i += kLanes) {
    SLIPWAY_EACH {
      const V v = code.Clamp(Load(work + r * wide + i) * sum[r] / p_scale);
      StoreCodes(c.y + (row + r) * c.y_stride + i, v, c.zero, c.n - i);
    }
  }
}

template <bool kStages>
void SoftmaxCodesRows(const SoftmaxCodesCall& c) {
  int64_t r = 0;
  for (; r + kRowsAtOnce <= c.rows; r += kRowsAtOnce) SoftmaxCodesTile<kRowsAtOnce, kStages>(c, r);
  for (; r < c.rows; ++r) SoftmaxCodesTile<1, kStages>(c, r);
}

void SoftmaxCodes(const SoftmaxCodesCall& c) {
  const bool stages = c.score.scale != 0 || c.bias || c.mask;
  return stages ? SoftmaxCodesRows<true>(c) : SoftmaxCodesRows<false>(c);
}

// The codes of a vector of a normalised row.
inline void NormCodes(const LayerNormCodesCall& c, const CodeRounder& code, V d, V weight,
                      float deviation, float inverse, uint8_t* y, int64_t count) {
  const auto exact = [&] {
    V v = d / Splat(deviation);
    if (c.weight) v *= weight;
    return code.Clamp(v / Splat(c.code.scale));
  };
#if defined(__AVX512F__)
  // One product instead of two quotients, which is off by less than 1e-4; near the middle between
  // two codes the quotients decide.
  V v = d * Splat(inverse);
  if (c.weight) v *= weight;
  v = code.Clamp(v);
  const __m512 t = reinterpret_cast<__m512>(v);
  const __m512 off = _mm512_abs_ps(_mm512_sub_ps(t, _mm512_roundscale_ps(t, 8)));
  if (_mm512_cmp_ps_mask(off, _mm512_set1_ps(0.4999f), _CMP_GT_OQ) != 0) v = exact();
#else
  (void)inverse;
  const V v = exact();
#endif
  StoreCodes(y, v, c.zero, count);
}

template <int kR>
void LayerNormCodesTile(const LayerNormCodesCall& c, const float* x, uint8_t* y) {
  const CodeRounder code(c.code);
  const float zero[kR] = {};
  float mean[kR], variance[kR], deviation[kR], inverse[kR];
  Means<false, kR>(x, c.n, zero, mean);
  Means<true, kR>(x, c.n, mean, variance);
  const CodeRounder rounded(c.variance);
  SLIPWAY_EACH {
    float v = variance[r];
    if (c.variance.scale > 0) v = rounded(Splat(v / c.variance.scale))[0] * c.variance.scale;
    deviation[r] = __builtin_sqrtf(v + c.epsilon);
    inverse[r] = 1.0f / (deviation[r] * c.code.scale);
  }
  int64_t i = 0;
  for (; i + kLanes <= c.n; i += kLanes) {
    const V weight = c.weight ? Load(c.weight + i) : Splat(1);
    SLIPWAY_EACH NormCodes(c, code, Load(x + r * c.n + i) - Splat(mean[r]), weight, deviation[r],
                           inverse[r], y + r * c.n + i, kLanes);
  }
  if (i == c.n) return;
  const int64_t left = c.n - i;
  const V weight = c.weight ? LoadPart(c.weight + i, left) : Splat(1);
  SLIPWAY_EACH NormCodes(c, code, LoadPart(x + r * c.n + i, left) - Splat(mean[r]), weight,
                         deviation[r], inverse[r], y + r * c.n + i, left);
}

void LayerNormCodes(const LayerNormCodesCall& c, int64_t row, int64_t end) {
  for (; row + kRowsAtOnce <= end; row += kRowsAtOnce)
    LayerNormCodesTile<kRowsAtOnce>(c, c.x + row * c.n, c.y + row * c.n);
  for (; row < end; ++row) LayerNormCodesTile<1>(c, c.x + row * c.n, c.y + row * c.n);
}
#undef SLIPWAY_EACH
