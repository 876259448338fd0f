// The source of the elementwise kernels; x86_*.cc include it with SLIPWAY_ISA set to the namespace
// of their instruction set.

#include <cmath>
#include <cstdint>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "engine/kernels/eltwise/eltwise.h"

namespace slipway::kernels::SLIPWAY_ISA {
namespace {

#include "engine/kernels/simd/math.h"

inline float UnaryIdentity(float x, float, float) { return x; }
inline float UnaryRelu(float x, float, float) { return x < 0.0f ? 0.0f : x; }
inline float UnaryLeakyRelu(float x, float a, float) { return x < 0.0f ? a * x : x; }
inline float UnaryClip(float x, float a, float b) {
  const float low = x < a ? a : x;
  return low > b ? b : low;
}
inline float UnarySigmoid(float x, float, float) { return Sigmoid(x); }
inline float UnaryHardSigmoid(float x, float a, float b) {
  const float v = a * x + b;
  const float top = v > 1.0f ? 1.0f : v;
  return top < 0.0f ? 0.0f : top;
}
inline float UnaryHardSwish(float x, float, float) {
  return x * UnaryHardSigmoid(x, 1.0f / 6.0f, 0.5f);
}
inline float UnarySwish(float x, float a, float) { return x * Sigmoid(a * x); }
inline float UnaryGelu(float x, float, float) { return 0.5f * x * (1.0f + Erf(x * 0.707106781f)); }
inline float UnaryGeluTanh(float x, float, float) {
  return 0.5f * x * (1.0f + Tanh(0.797884561f * MulAdd(0.044715f * x * x, x, x)));
}
inline float UnaryTanh(float x, float, float) { return Tanh(x); }
inline float UnaryElu(float x, float a, float) { return x < 0.0f ? a * Expm1(x) : x; }
inline float UnarySelu(float x, float a, float b) { return b * (x < 0.0f ? a * Expm1(x) : x); }
inline float UnaryCelu(float x, float a, float) { return x < 0.0f ? a * Expm1(x / a) : x; }
inline float UnaryThresholdedRelu(float x, float a, float) { return x > a ? x : 0.0f; }
inline float UnarySoftplus(float x, float, float) { return Softplus(x); }
inline float UnarySoftsign(float x, float, float) { return x / (1.0f + AbsOf(x)); }
// tanh(log(1 + e)) = (e^2 + 2e) / (e^2 + 2e + 2) with e = exp(x).
inline float UnaryMish(float x, float, float) {
  const float inside = x > 20.0f ? 20.0f : x < -86.0f ? -86.0f : x;
  const ExpParts parts = SplitExp(inside);
  const float e = MulAdd(parts.em1, parts.scale, parts.scale), n = e * (e + 2.0f);
  return x * (n / (n + 2.0f));
}
inline float UnaryErf(float x, float, float) { return Erf(x); }
inline float UnaryExp(float x, float, float) { return Exp(x); }
inline float UnaryLog(float x, float, float) { return Log(x); }
inline float UnarySqrt(float x, float, float) { return __builtin_sqrtf(x); }
inline float UnaryReciprocal(float x, float, float) { return 1.0f / x; }
inline float UnaryNeg(float x, float, float) { return -x; }
inline float UnaryAbs(float x, float, float) { return AbsOf(x); }
inline float UnaryFloor(float x, float, float) { return __builtin_floorf(x); }
inline float UnaryCeil(float x, float, float) { return __builtin_ceilf(x); }
inline float UnaryRound(float x, float, float) { return __builtin_nearbyintf(x); }
inline float UnarySign(float x, float, float) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }
inline float UnaryAffine(float x, float a, float b) { return MulAdd(x, a, b); }
inline float UnarySquare(float x, float, float) { return x * x; }

inline float BinaryAdd(float x, float y) { return x + y; }
inline float BinarySub(float x, float y) { return x - y; }
inline float BinaryMul(float x, float y) { return x * y; }
inline float BinaryDiv(float x, float y) { return x / y; }
inline float BinaryMin(float x, float y) { return y < x || y != y ? y : x; }  // NaN wins
inline float BinaryMax(float x, float y) { return y > x || y != y ? y : x; }
inline float BinaryPRelu(float x, float y) { return x < 0.0f ? x * y : x; }
inline float BinaryPow(float x, float y) { return ::powf(x, y); }

template <auto kF>
void UnaryRow(const float* x, float* y, int64_t n, float a, float b) {
  SLIPWAY_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) y[i] = kF(x[i], a, b);
}

template <auto kF>
void BinaryRows(const float* x, const float* y, float* z, int64_t n, int64_t) {
  SLIPWAY_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) z[i] = kF(x[i], y[i]);
}
template <auto kF>
void BinaryScalarY(const float* x, const float* y, float* z, int64_t n, int64_t) {
  const float v = *y;
  SLIPWAY_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) z[i] = kF(x[i], v);
}
template <auto kF>
void BinaryScalarX(const float* x, const float* y, float* z, int64_t n, int64_t) {
  const float v = *x;
  SLIPWAY_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) z[i] = kF(v, y[i]);
}
template <auto kF, int64_t kPeriod>
void Periodic(const float* x, const float* y, float* z, int64_t n, int64_t) {
  float v[kPeriod];
  for (int64_t j = 0; j < kPeriod; ++j) v[j] = y[j];
  for (int64_t i = 0; i < n; i += kPeriod) {
    // By way of t: GCC takes elements one by one where z may be x.
    float t[kPeriod];
    for (int64_t j = 0; j < kPeriod; ++j) t[j] = kF(x[i + j], v[j]);
    for (int64_t j = 0; j < kPeriod; ++j) z[i + j] = t[j];
  }
}
template <auto kF>
void BinaryPeriodic(const float* x, const float* y, float* z, int64_t n, int64_t period) {
  if (period == 16) return Periodic<kF, 16>(x, y, z, n, period);
  if (period == 8) return Periodic<kF, 8>(x, y, z, n, period);
  for (int64_t i = 0; i < n; i += period) {
    SLIPWAY_INDEPENDENT
    for (int64_t j = 0; j < period; ++j) z[i + j] = kF(x[i + j], y[j]);
  }
}

// Squares, square roots and reciprocals are what models raise to.
void PowScalarY(const float* x, const float* y, float* z, int64_t n, int64_t period) {
  if (*y == 2.0f) return UnaryRow<UnarySquare>(x, z, n, 0, 0);
  if (*y == -1.0f) return UnaryRow<UnaryReciprocal>(x, z, n, 0, 0);
  BinaryScalarY<BinaryPow>(x, y, z, n, period);
}

#if defined(__AVX512F__)
// GCC takes many more instructions for the loops below.
inline __m256i Bf16Of(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v), high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(
      _mm512_mask_or_epi32(_mm512_srli_epi32(up, 16), nan, high, _mm512_set1_epi32(0x40)));
}
void ToBFloat16(const float* x, uint16_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i), Bf16Of(_mm512_loadu_ps(x + i)));
  if (i == n) return;
  const __mmask16 live = static_cast<__mmask16>((1 << (n - i)) - 1);
  _mm256_mask_storeu_epi16(y + i, live, Bf16Of(_mm512_maskz_loadu_ps(live, x + i)));
}
void FromBFloat16(const uint16_t* x, float* y, int64_t n) {
  const auto widen = [](__m256i h) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
  };
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    _mm512_storeu_ps(y + i, widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i))));
  if (i == n) return;
  const __mmask16 live = static_cast<__mmask16>((1 << (n - i)) - 1);
  _mm512_mask_storeu_ps(y + i, live, widen(_mm256_maskz_loadu_epi16(live, x + i)));
}
#else
void ToBFloat16(const float* x, uint16_t* y, int64_t n) {
  SLIPWAY_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) {
    const auto bits = static_cast<uint32_t>(BitsOf(x[i]));
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const uint32_t nan = (bits >> 16 & 0x8000) | 0x7fc0;
    y[i] = static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
  }
}
void FromBFloat16(const uint16_t* x, float* y, int64_t n) {
  SLIPWAY_INDEPENDENT
  for (int64_t i = 0; i < n; ++i)
    y[i] = FloatOf(static_cast<int32_t>(static_cast<uint32_t>(x[i]) << 16));
}
#endif
#if defined(__aarch64__)
void ToFloat16(const float* x, uint16_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const float16x8_t v = vcvt_high_f16_f32(vcvt_f16_f32(vld1q_f32(x + i)), vld1q_f32(x + i + 4));
    vst1q_u16(y + i, vreinterpretq_u16_f16(v));
  }
  for (; i < n; ++i) y[i] = vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(x[i]))), 0);
}
void FromFloat16(const uint16_t* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const float16x8_t v = vreinterpretq_f16_u16(vld1q_u16(x + i));
    vst1q_f32(y + i, vcvt_f32_f16(vget_low_f16(v)));
    vst1q_f32(y + i + 4, vcvt_high_f32_f16(v));
  }
  for (; i < n; ++i)
    y[i] = vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(x[i]))), 0);
}
#endif

void Where(const uint8_t* c, int64_t cs, const float* x, int64_t xs, const float* y, int64_t ys,
           float* z, int64_t n) {
  if (cs == 0) {
    const float* from = *c ? x : y;
    const int64_t step = *c ? xs : ys;
    for (int64_t i = 0; i < n; ++i) z[i] = from[i * step];
  } else if (xs != 0 && ys != 0) {
    for (int64_t i = 0; i < n; ++i) z[i] = c[i] ? x[i] : y[i];
  } else if (xs != 0) {
    const float v = *y;
    for (int64_t i = 0; i < n; ++i) z[i] = c[i] ? x[i] : v;
  } else {
    const float v = *x;
    for (int64_t i = 0; i < n; ++i) z[i] = c[i] ? v : y[i * ys];
  }
}

#if defined(__AVX512F__)
#include "engine/kernels/simd/sigmoid512.h"

// Functions of |x| as polynomials of degree 4 on 32 intervals whose middles are 0, WIDTH, 2 WIDTH,
// ... (interpolated at Chebyshev nodes, fitted for this file): a coefficient is looked up in two
// registers.
struct PiecewiseTable {
  __m512 low[5], high[5];
  explicit PiecewiseTable(const float (&rows)[5][32]) {
    for (int i = 0; i < 5; ++i) {
      low[i] = _mm512_loadu_ps(rows[i]);
      high[i] = _mm512_loadu_ps(rows[i] + 16);
    }
  }
  // For t in [0, 31.5 * width].
  __m512 At(__m512 t, float width) const {
    const __m512 magic = _mm512_set1_ps(12582912.0f);
    const __m512 at = _mm512_fmadd_ps(t, _mm512_set1_ps(1.0f / width), magic);
    const __m512i index = _mm512_castps_si512(at);
    const __m512 u = _mm512_fnmadd_ps(_mm512_sub_ps(at, magic), _mm512_set1_ps(width), t);
    __m512 p = _mm512_permutex2var_ps(low[4], index, high[4]);
    p = _mm512_fmadd_ps(p, u, _mm512_permutex2var_ps(low[3], index, high[3]));
    p = _mm512_fmadd_ps(p, u, _mm512_permutex2var_ps(low[2], index, high[2]));
    p = _mm512_fmadd_ps(p, u, _mm512_permutex2var_ps(low[1], index, high[1]));
    return _mm512_fmadd_ps(p, u, _mm512_permutex2var_ps(low[0], index, high[0]));
  }
};

// Erf(t) / t.
constexpr float kErfWidth = 0.125f;
constexpr float kErfRows[5][32] = {
    {1.12837917f,  1.12252964f,  1.10530556f,  1.07764509f,  1.04099976f,  0.997185412f,
     0.948207512f, 0.896085784f, 0.842700793f, 0.789678428f, 0.738320103f, 0.689578235f,
     0.644070098f, 0.60211922f,  0.563812384f, 0.529061364f, 0.497661133f, 0.46933928f,
     0.443794348f, 0.420722973f, 0.399837219f, 0.380874143f, 0.363599774f, 0.347809442f,
     0.33332597f,  0.319996833f, 0.307690984f, 0.296295758f, 0.285714073f, 0.275861988f,
     0.266666636f, 0.258064505f},
    {0.0f,           -0.0931548572f, -0.181165554f,  -0.259445864f,  -0.324434115f,  -0.373897179f,
     -0.407035076f,  -0.424389294f,  -0.427593236f,  -0.419026192f,  -0.401439225f,  -0.377613495f,
     -0.350093287f,  -0.321013596f,  -0.292021436f,  -0.26427501f,   -0.238497116f,  -0.215058127f,
     -0.194067585f,  -0.175459585f,  -0.159063576f,  -0.144657624f,  -0.132004904f,  -0.120876244f,
     -0.111062235f,  -0.10237826f,   -0.0946651642f, -0.0877875546f, -0.0816310473f, -0.0760992453f,
     -0.0711108663f, -0.0665972026f},
    {-0.376126261f, -0.365645548f,  -0.335351141f, -0.288496534f, -0.229913872f, -0.165263735f,
     -0.100217463f, -0.0397286531f, 0.0124857166f, 0.0541937024f, 0.0846301766f, 0.104268146f,
     0.114465174f,  0.117074527f,   0.114094372f,  0.107400833f,  0.0985815715f, 0.0888630078f,
     0.0791099472f, 0.0698712484f,  0.0614471515f, 0.0539597953f, 0.0474155091f, 0.0417536846f,
     0.036881493f,  0.0326962852f,  0.0290985542f, 0.0259983758f, 0.023317757f,  0.0209906794f,
     0.0189620163f, 0.017186035f},
    {-1.44415729e-15f, 0.0552828445f,   0.10454648f,     0.142760736f,    0.166655932f,
     0.175119048f,     0.169156982f,    0.151477457f,    0.125822365f,    0.0962269269f,
     0.0663665682f,    0.0391031848f,   0.0162746662f,   -0.00129178268f, -0.0136049861f,
     -0.0212529128f,   -0.0251360186f,  -0.0262420385f,  -0.0254876597f,  -0.0236300861f,
     -0.021236717f,    -0.0186946452f,  -0.0162417058f,  -0.0140046444f,  -0.0120351013f,
     -0.0103387913f,   -0.00889665936f, -0.00767878347f, -0.00665264157f, -0.00578746623f,
     -0.0050561392f,   -0.00443568725f},
    {0.112706834f,   0.106509607f,    0.0889466023f,    0.0628752112f,  0.0323592381f,
     0.00182248583f, -0.0248015763f,  -0.0447217756f,   -0.056615352f,  -0.0606025611f,
     -0.0579376568f, -0.0505423036f,  -0.0405194691f,   -0.0297579734f, -0.0196876828f,
     -0.0111930115f, -0.00465334211f, -6.00739298e-05f, 0.00284005052f, 0.00441333827f,
     0.00504027296f, 0.00505500234f,  0.00471836291f,   0.00421471825f, 0.00366236571f,
     0.00312928214f, 0.00264886207f,  0.00223294208f,   0.00188129813f, 0.00158789083f,
     0.00134458764f, 0.00114315112f},
};

// 32 numbers at a time: those at even and at odd places.
template <typename F>
void HalfRows(const uint16_t* x, const uint16_t* y, uint16_t* z, int64_t n, const F& f) {
  const __m512i high = _mm512_set1_epi32(INT32_C(-65536)), one = _mm512_set1_epi32(1),
                almost = _mm512_set1_epi32(0x7fff), quiet = _mm512_set1_epi32(0x400000);
  const auto even = [](__m512i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); };
  const auto odd = [&](__m512i v) { return _mm512_castsi512_ps(_mm512_and_si512(v, high)); };
  const auto rounded = [&](__m512 v) {  // to the upper halves
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i last = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
    const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, almost), last);
    return _mm512_mask_or_epi32(up, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), bits, quiet);
  };
  for (int64_t i = 0; i < n; i += 32) {
    const int64_t left = n - i;
    const __mmask32 live = left >= 32 ? 0xffffffffu : (1u << left) - 1;
    const __m512i a = _mm512_maskz_loadu_epi16(live, x + i),
                  b = _mm512_maskz_loadu_epi16(live, y + i);
    const __m512i e = _mm512_srli_epi32(rounded(f(even(a), even(b))), 16);
    const __m512i o = _mm512_and_si512(rounded(f(odd(a), odd(b))), high);
    const __m512i both = _mm512_or_si512(e, o);
    if (left >= 32)
      _mm512_storeu_si512(z + i, both);
    else
      _mm512_mask_storeu_epi16(z + i, live, both);
  }
}
void HalfAdd(const uint16_t* x, const uint16_t* y, uint16_t* z, int64_t n) {
  HalfRows(x, y, z, n, [](__m512 a, __m512 b) { return _mm512_add_ps(a, b); });
}
void HalfSub(const uint16_t* x, const uint16_t* y, uint16_t* z, int64_t n) {
  HalfRows(x, y, z, n, [](__m512 a, __m512 b) { return _mm512_sub_ps(a, b); });
}
void HalfMul(const uint16_t* x, const uint16_t* y, uint16_t* z, int64_t n) {
  HalfRows(x, y, z, n, [](__m512 a, __m512 b) { return _mm512_mul_ps(a, b); });
}

template <typename F>
void RowOf(const float* x, float* y, int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, f(_mm512_loadu_ps(x + i)));
  if (i == n) return;
  const __mmask16 live = static_cast<__mmask16>((1 << (n - i)) - 1);
  _mm512_mask_storeu_ps(y + i, live, f(_mm512_maskz_loadu_ps(live, x + i)));
}

void SigmoidRow(const float* x, float* y, int64_t n, float, float) {
  const SigmoidTable table;
  const __m512 limit = _mm512_set1_ps(87.0f), least = _mm512_set1_ps(-87.0f);
  RowOf(x, y, n, [&](__m512 v) {  // min and max give their second operand when one is NaN
    return SigmoidOf(_mm512_max_ps(least, _mm512_min_ps(limit, v)), table);
  });
}

void SwishRow(const float* x, float* y, int64_t n, float a, float) {
  const __m512 alpha = _mm512_set1_ps(a);
  if (a == 1.0f) return RowOf(x, y, n, [&](__m512 v) { return SwishOf(v, v); });
  RowOf(x, y, n, [&](__m512 v) { return SwishOf(v, _mm512_mul_ps(v, alpha)); });
}
void RoughSwishRow(const float* x, float* y, int64_t n, float a, float) {
  const __m512 alpha = _mm512_set1_ps(a);
  RowOf(x, y, n, [&](__m512 v) { return RoughSwishOf(v, _mm512_mul_ps(v, alpha)); });
}

// Absolute and relative 2e-7.
inline __m512 ErfOf(__m512 x, const PiecewiseTable& table) {
  const __m512 limit = _mm512_set1_ps(3.85f);  // from where on it gives 1
  const __m512 s =
      _mm512_max_ps(_mm512_sub_ps(_mm512_setzero_ps(), limit), _mm512_min_ps(limit, x));
  return _mm512_mul_ps(s, table.At(_mm512_abs_ps(s), kErfWidth));
}
void ErfRow(const float* x, float* y, int64_t n, float, float) {
  const PiecewiseTable table(kErfRows);
  RowOf(x, y, n, [&](__m512 v) { return ErfOf(v, table); });
}
void GeluRow(const float* x, float* y, int64_t n, float, float) {
  const PiecewiseTable table(kErfRows);
  const __m512 half = _mm512_set1_ps(0.5f), root = _mm512_set1_ps(0.707106781f);
  RowOf(x, y, n, [&](__m512 v) {
    const __m512 h = _mm512_mul_ps(v, half);
    return _mm512_fmadd_ps(h, ErfOf(_mm512_mul_ps(v, root), table), h);
  });
}
#endif

template <auto kF>
constexpr BinaryFunctions Functions() {
  return {BinaryRows<kF>, BinaryScalarY<kF>, BinaryScalarX<kF>, BinaryPeriodic<kF>};
}

constexpr EltwiseKernels Make() {
  EltwiseKernels k = {
      {
#define SLIPWAY_UNARY(NAME, LOW, HIGH) UnaryRow<Unary##NAME>,
#define SLIPWAY_BINARY(NAME)
#include "engine/kernels/eltwise/kernels.inc"
#undef SLIPWAY_UNARY
#undef SLIPWAY_BINARY
      },
      {
#define SLIPWAY_UNARY(NAME, LOW, HIGH)
#define SLIPWAY_BINARY(NAME) Functions<Binary##NAME>(),
#include "engine/kernels/eltwise/kernels.inc"
#undef SLIPWAY_UNARY
#undef SLIPWAY_BINARY
      },
      Where,
      ToBFloat16,
      FromBFloat16,
#if defined(__aarch64__)
      ToFloat16,
      FromFloat16,
#else
      nullptr,
      nullptr,
#endif
      UnaryRow<UnarySwish>,
      {},
  };
  k.binary[static_cast<int>(BinaryKind::kPow)].scalar_y = PowScalarY;
#if defined(__AVX512F__)
  k.unary[static_cast<int>(UnaryKind::kSigmoid)] = SigmoidRow;
  k.unary[static_cast<int>(UnaryKind::kSwish)] = SwishRow;
  k.rough_swish = RoughSwishRow;
  static_assert(static_cast<int>(BinaryKind::kAdd) == 0 && static_cast<int>(BinaryKind::kMul) == 2);
  k.half_rows[0] = HalfAdd;
  k.half_rows[1] = HalfSub;
  k.half_rows[2] = HalfMul;
  k.unary[static_cast<int>(UnaryKind::kErf)] = ErfRow;
  k.unary[static_cast<int>(UnaryKind::kGelu)] = GeluRow;
#endif
  return k;
}

}  // namespace

const EltwiseKernels kEltwise = Make();

}  // namespace slipway::kernels::SLIPWAY_ISA
