// Elementary functions as straight-line float code that compilers vectorise: no branches, no calls,
// selects only. Included inside the namespace of an instruction set (no include guard, no
// includes). Errors are relative unless said otherwise; NaN stays NaN.
//
// Polynomials interpolate at Chebyshev nodes (fitted for this file); range reductions are the
// classical ones (Cody and Waite for exp, the split of the mantissa at sqrt(1/2) for log).

// Before a loop whose iterations do not depend on each other (memory may overlap exactly).
#ifndef SLIPWAY_INDEPENDENT
#ifdef __clang__
#define SLIPWAY_INDEPENDENT  // clang checks for overlap at run time
#else
#define SLIPWAY_INDEPENDENT _Pragma("GCC ivdep")
#endif
#endif

#if defined(__FMA__) || defined(__aarch64__)
inline float MulAdd(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
inline float MulAdd(float a, float b, float c) { return a * b + c; }
#endif

inline int32_t BitsOf(float x) { return __builtin_bit_cast(int32_t, x); }
inline float FloatOf(int32_t b) { return __builtin_bit_cast(float, b); }
inline float MinOf(float a, float b) { return a < b ? a : b; }  // NaN of a becomes b
inline float MaxOf(float a, float b) { return a > b ? a : b; }
inline float AbsOf(float x) { return FloatOf(BitsOf(x) & 0x7fffffff); }
inline float WithSign(float magnitude, float sign) {
  return FloatOf(BitsOf(magnitude) | (BitsOf(sign) & INT32_MIN));
}

// x = n ln 2 + r; em1 = e^r - 1, scale = 2^n (x in [-87.3, 88.3]) and half = 2^(n-1) (x in [-86.6,
// 89]).
struct ExpParts {
  float em1, scale, half;
};
inline float PowerOfTwo(int32_t n) {
  return FloatOf(static_cast<int32_t>(static_cast<uint32_t>(n + 127) << 23));
}
inline ExpParts SplitExp(float x) {
  constexpr float kMagic = 12582912.0f;
  const float t = MulAdd(x, 1.44269504f, kMagic);
  const float n = t - kMagic;
  float r = MulAdd(n, -0.693359375f, x);
  r = MulAdd(n, 2.12194440e-4f, r);
  float p = 0.00139263256f;
  p = MulAdd(p, r, 0.00836329275f);
  p = MulAdd(p, r, 0.0416665538f);
  p = MulAdd(p, r, 0.166665763f);
  p = MulAdd(p, r, 0.5f);
  const int32_t exponent = BitsOf(t) - 0x4B400000;
  return {MulAdd(p * r, r, r), PowerOfTwo(exponent), PowerOfTwo(exponent - 1)};
}

// 2e-7; below -86.6 it gives 0 (that is 2e-38), above 88.72 infinity.
inline float Exp(float x) {
  const float inside = x > 89.0f ? 89.0f : x < -86.6f ? -86.6f : x;
  const ExpParts e = SplitExp(inside);
  const float y = MulAdd(e.em1, e.half, e.half) * 2.0f;
  return x < -86.6f ? 0.0f : y;
}
// For x <= 0 (or where overflow cannot happen): 2e-7.
inline float ExpOfNegative(float x) {
  const float inside = x < -87.3f ? -87.3f : x;
  const ExpParts e = SplitExp(inside);
  const float y = MulAdd(e.em1, e.scale, e.scale);
  return x < -87.3f ? 0.0f : y;
}
// 3e-7, also near 0.
inline float Expm1(float x) {
  const float inside = x > 88.0f ? 88.0f : x < -30.0f ? -30.0f : x;
  const ExpParts e = SplitExp(inside);
  return MulAdd(e.em1, e.scale, e.scale - 1.0f);
}
// 4e-7.
inline float Sigmoid(float x) {
  const float inside = x > 87.0f ? 87.0f : x < -87.0f ? -87.0f : x;
  const ExpParts e = SplitExp(-inside);
  return 1.0f / (1.0f + MulAdd(e.em1, e.scale, e.scale));
}
// 5e-7.
inline float Tanh(float x) {
  const float a = AbsOf(x);
  const float inside = a > 10.0f ? 10.0f : a;
  const ExpParts e = SplitExp(2.0f * inside);
  const float m = MulAdd(e.em1, e.scale, e.scale - 1.0f);
  return WithSign(m / (m + 2.0f), x);
}
// Absolute 2e-7, relative 3e-7 below 1.
inline float Erf(float x) {
  const float a = AbsOf(x), s = x * x;
  float c = 7.87587505e-05f;
  c = MulAdd(c, s, -0.000801686428f);
  c = MulAdd(c, s, 0.00518908742f);
  c = MulAdd(c, s, -0.026854212f);
  c = MulAdd(c, s, 0.112835947f);
  c = MulAdd(c, s, -0.376126267f);
  c = MulAdd(c, s, 1.12837917f);
  const float t = a > 4.0f ? 4.0f : a;
  float q = -1.64306366e-06f;
  q = MulAdd(q, t, 4.61638586e-05f);
  q = MulAdd(q, t, -0.00059758577f);
  q = MulAdd(q, t, 0.00476262583f);
  q = MulAdd(q, t, -0.0264276372f);
  q = MulAdd(q, t, 0.110087166f);
  q = MulAdd(q, t, 0.631823918f);
  q = MulAdd(q, t, 1.13023106f);
  q = MulAdd(q, t, -0.000318539662f);
  const ExpParts e = SplitExp(-q);
  const float tail = 1.0f - MulAdd(e.em1, e.scale, e.scale);
  return a < 1.0f ? c * x : x != x ? x : WithSign(tail, x);
}
// 2e-7; -inf for 0, NaN below, inf stays.
inline float Log(float x) {
  const float normal = x < 1.17549435e-38f ? x * 8388608.0f : x;
  const int32_t bits = BitsOf(normal) - 0x3f3504f3;  // of sqrt(1/2)
  const float n = static_cast<float>(bits >> 23) - (x < 1.17549435e-38f ? 23.0f : 0.0f);
  const float f = FloatOf((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
  float p = -0.0790274377f;
  p = MulAdd(p, f, 0.126223198f);
  p = MulAdd(p, f, -0.129981838f);
  p = MulAdd(p, f, 0.142144959f);
  p = MulAdd(p, f, -0.166412815f);
  p = MulAdd(p, f, 0.200010451f);
  p = MulAdd(p, f, -0.250003064f);
  p = MulAdd(p, f, 0.333333307f);
  const float s = f * f;
  float y = MulAdd(p * s, f, n * -2.12194440e-4f);
  y = MulAdd(s, -0.5f, y) + f;
  y = MulAdd(n, 0.693359375f, y);
  const float special = x == 0.0f ? -__builtin_inff() : x > 0.0f ? x : __builtin_nanf("");
  return x > 0.0f && x < __builtin_inff() ? y : special;
}
// log(1 + e^x): max(x, 0) + log(1 + e^-|x|).
inline float Softplus(float x) {
  const float e = ExpOfNegative(-AbsOf(x));
  // log(1 + e) for e in [0, 1], exact where 1 + e rounds.
  const float u = 1.0f + e, d = u - 1.0f;
  const float l = d == 0.0f ? e : Log(u) * (e / (d == 0.0f ? 1.0f : d));
  return (x > 0.0f ? x : x != x ? x : 0.0f) + l;
}
