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
    SLIPWAY_INDEPENDENT
    for (int64_t j = 0; j < kPeriod; ++j) z[i + j] = kF(x[i + j], v[j]);
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
// 1 / (1 + e^-x) with one Newton step on the approximate reciprocal instead of a division: 4e-7.
inline __m512 SigmoidOf(__m512 x) {
  const __m512 limit = _mm512_set1_ps(87.0f);
  // min and max give their second operand when one is NaN.
  const __m512 t = _mm512_sub_ps(
      _mm512_setzero_ps(),
      _mm512_max_ps(_mm512_sub_ps(_mm512_setzero_ps(), limit), _mm512_min_ps(limit, x)));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(t, _mm512_set1_ps(1.44269504f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0.693359375f), t);
  r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.00139263256f), r, _mm512_set1_ps(0.00836329275f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.0416665538f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.166665763f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  const __m512 d = _mm512_add_ps(_mm512_set1_ps(1.0f), _mm512_scalef_ps(p, n));
  const __m512 y = _mm512_rcp14_ps(d);
  return _mm512_mul_ps(y, _mm512_fnmadd_ps(d, y, _mm512_set1_ps(2.0f)));
}
template <bool kSwish>
void SigmoidRow(const float* x, float* y, int64_t n, float a, float) {
  const __m512 alpha = _mm512_set1_ps(a);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 live = static_cast<__mmask16>(n - i >= 16 ? 0xffff : (1 << (n - i)) - 1);
    const __m512 v = _mm512_maskz_loadu_ps(live, x + i);
    const __m512 s = SigmoidOf(kSwish ? _mm512_mul_ps(v, alpha) : v);
    _mm512_mask_storeu_ps(y + i, live, kSwish ? _mm512_mul_ps(v, s) : s);
  }
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
  };
  k.binary[static_cast<int>(BinaryKind::kPow)].scalar_y = PowScalarY;
#if defined(__AVX512F__)
  k.unary[static_cast<int>(UnaryKind::kSigmoid)] = SigmoidRow<false>;
  k.unary[static_cast<int>(UnaryKind::kSwish)] = SigmoidRow<true>;
#endif
  return k;
}

}  // namespace

const EltwiseKernels kEltwise = Make();

}  // namespace slipway::kernels::SLIPWAY_ISA
