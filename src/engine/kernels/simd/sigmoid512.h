// The sigmoid, swish and hard swish in AVX-512. Included inside the namespace of an instruction
// set, like math.h (no include guard, no includes).

// 2^t: a power of two times a polynomial of the rest in [0, 1), interpolated at Chebyshev nodes
// (fitted for this file). Relative 1e-7 (degree 5) or 1e-4 (degree 3).
template <int kDegree>
inline __m512 Exp2Of(__m512 t) {
  const __m512 r = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF);
  __m512 p;
  if constexpr (kDegree == 5) {
    p = _mm512_set1_ps(0.00189375406f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.00894959042f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.0558603371f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.240141818f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.69315449f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.999999898f));
  } else {
    static_assert(kDegree == 3);
    p = _mm512_set1_ps(0.078967257f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.224693156f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.696324771f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.999900288f));
  }
  return _mm512_scalef_ps(p, t);
}

// x / (1 + e^-s), and that / one: 3e-7 and 1e-7 |s|, of the value.
inline __m512 SwishOf(__m512 x, __m512 s) {
  const __m512 e = Exp2Of<5>(_mm512_mul_ps(s, _mm512_set1_ps(-1.44269504f)));
  return _mm512_div_ps(x, _mm512_add_ps(e, _mm512_set1_ps(1.0f)));
}
inline __m512 SwishOf(__m512 x, __m512 s, __m512 one) {
  const __m512 e = Exp2Of<5>(_mm512_mul_ps(s, _mm512_set1_ps(-1.44269504f)));
  return _mm512_div_ps(x, _mm512_fmadd_ps(e, one, one));
}
// 2e-4: for what is rounded to bfloat16.
inline __m512 RoughSwishOf(__m512 x, __m512 s) {
  const __m512 e = Exp2Of<3>(_mm512_mul_ps(s, _mm512_set1_ps(-1.44269504f)));
  return _mm512_mul_ps(x, _mm512_rcp14_ps(_mm512_add_ps(e, _mm512_set1_ps(1.0f))));
}

// x * min(max(x / 6 + 1 / 2, 0), 1) as eltwise has it.
inline __m512 HardSwishOf(__m512 x) {
  const __m512 v =
      _mm512_add_ps(_mm512_mul_ps(_mm512_set1_ps(1.0f / 6.0f), x), _mm512_set1_ps(0.5f));
  return _mm512_mul_ps(  // min and max give their second operand when one is NaN
      x, _mm512_max_ps(_mm512_setzero_ps(), _mm512_min_ps(_mm512_set1_ps(1.0f), v)));
}

// 1 / (1 + e^-x), |x| <= 87. e^-x = 2^n * 2^(j / 32) * e^r with the middle factor from two
// registers and |r| < ln 2 / 64, so that three terms do; the quotient by one Newton step on the
// approximate reciprocal: 5e-7.
struct SigmoidTable {
  __m512 low, high;
  SigmoidTable() {
    alignas(64) static constexpr float kPowers[32] = {
        1.0f,        1.02189715f, 1.04427378f, 1.0671404f,  1.09050773f, 1.11438674f, 1.13878863f,
        1.16372486f, 1.18920712f, 1.21524736f, 1.24185781f, 1.26905096f, 1.29683955f, 1.32523664f,
        1.35425555f, 1.38390988f, 1.41421356f, 1.44518081f, 1.47682615f, 1.50916443f, 1.54221083f,
        1.57598085f, 1.61049033f, 1.64575548f, 1.68179283f, 1.7186193f,  1.75625216f, 1.79470908f,
        1.83400809f, 1.87416763f, 1.91520656f, 1.95714412f};
    low = _mm512_load_ps(kPowers);
    high = _mm512_load_ps(kPowers + 16);
  }
};
inline __m512 SigmoidOf(__m512 s, const SigmoidTable& table) {
  const __m512 magic = _mm512_set1_ps(12582912.0f);
  const __m512 t = _mm512_fnmadd_ps(s, _mm512_set1_ps(46.1662413f), magic);  // -x * 32 / ln 2
  const __m512 n = _mm512_sub_ps(t, magic);
  const __m512 r =  // -x - n ln 2 / 32
      _mm512_fnmsub_ps(n, _mm512_set1_ps(2.12194440e-4f / -32),
                       _mm512_fmadd_ps(n, _mm512_set1_ps(0.693359375f / 32), s));
  const __m512 p = _mm512_fmadd_ps(_mm512_fmadd_ps(r, _mm512_set1_ps(0.5f), _mm512_set1_ps(1.0f)),
                                   r, _mm512_set1_ps(1.0f));
  const __m512i bits = _mm512_castps_si512(t);
  const __m512 power = _mm512_permutex2var_ps(table.low, bits, table.high);
  const __m512i exponent = _mm512_slli_epi32(_mm512_andnot_si512(_mm512_set1_epi32(31), bits), 18);
  const __m512 e =
      _mm512_mul_ps(p, _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(power), exponent)));
  const __m512 d = _mm512_add_ps(e, _mm512_set1_ps(1.0f));
  const __m512 y = _mm512_rcp14_ps(d);
  return _mm512_mul_ps(y, _mm512_fnmadd_ps(d, y, _mm512_set1_ps(2.0f)));
}
