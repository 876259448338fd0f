// Activations by table (eltwise/rectifier.h) in AVX-512. Included inside the namespace of an
// instruction set, like math.h (no include guard, no includes).

struct Rectifier512 {
  __m512 limit, scale, multiplier, c[4];
  explicit Rectifier512(const RectifierTable& t)
      : limit(_mm512_set1_ps(t.limit * (1 - 1e-6f))),  // the segment behind the last is the first
        scale(_mm512_set1_ps(t.scale)),
        multiplier(_mm512_set1_ps(t.multiplier)) {
    for (int i = 0; i < 4; ++i) c[i] = _mm512_loadu_ps(t.coefficients[i]);
  }
  __m512 Of(__m512 x) const {
    const __m512 t = _mm512_range_ps(x, limit, 10);  // the lesser absolute value
    const __m512i at =
        _mm512_srli_epi32(_mm512_castps_si512(_mm512_fmadd_ps(t, scale, _mm512_set1_ps(1.0f))), 20);
    __m512 h = _mm512_fmadd_ps(_mm512_permutexvar_ps(at, c[3]), t, _mm512_permutexvar_ps(at, c[2]));
    h = _mm512_fmadd_ps(h, t, _mm512_permutexvar_ps(at, c[1]));
    h = _mm512_fmadd_ps(h, t, _mm512_permutexvar_ps(at, c[0]));
    return _mm512_fmsub_ps(_mm512_max_ps(x, _mm512_setzero_ps()), multiplier, h);
  }
};
