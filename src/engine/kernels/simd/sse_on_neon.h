#pragma once
// The few 128-bit operations that sources of kernels call by their x86 names, on NEON. Results are
// those of x86, with NaN too, but for what does not fit an integer: conversions saturate.

#include <arm_neon.h>

#include <cstring>

namespace slipway::kernels::sse {

typedef float __m128 __attribute__((vector_size(16)));
typedef long long __m128i __attribute__((vector_size(16)));

#define SLIPWAY_SSE __attribute__((always_inline)) inline
SLIPWAY_SSE int8x16_t AsBytes(__m128i v) { return (int8x16_t)v; }
SLIPWAY_SSE int16x8_t AsHalves(__m128i v) { return (int16x8_t)v; }
SLIPWAY_SSE int32x4_t AsWords(__m128i v) { return (int32x4_t)v; }
SLIPWAY_SSE float32x4_t AsFloats(__m128 v) { return (float32x4_t)v; }

SLIPWAY_SSE __m128 _mm_loadu_ps(const float* p) { return (__m128)vld1q_f32(p); }
SLIPWAY_SSE void _mm_storeu_ps(float* p, __m128 v) { vst1q_f32(p, AsFloats(v)); }
SLIPWAY_SSE __m128 _mm_set1_ps(float x) { return (__m128)vdupq_n_f32(x); }
SLIPWAY_SSE __m128 _mm_add_ps(__m128 a, __m128 b) { return a + b; }
SLIPWAY_SSE __m128 _mm_mul_ps(__m128 a, __m128 b) { return a * b; }
// b where one is NaN.
SLIPWAY_SSE __m128 _mm_max_ps(__m128 a, __m128 b) {
  return (__m128)vbslq_f32(vcgtq_f32(AsFloats(a), AsFloats(b)), AsFloats(a), AsFloats(b));
}
SLIPWAY_SSE __m128 _mm_min_ps(__m128 a, __m128 b) {
  return (__m128)vbslq_f32(vcltq_f32(AsFloats(a), AsFloats(b)), AsFloats(a), AsFloats(b));
}
SLIPWAY_SSE __m128 _mm_cvtepi32_ps(__m128i v) { return (__m128)vcvtq_f32_s32(AsWords(v)); }
SLIPWAY_SSE __m128i _mm_cvtps_epi32(__m128 v) { return (__m128i)vcvtnq_s32_f32(AsFloats(v)); }

SLIPWAY_SSE __m128i _mm_set1_epi8(char x) {
  return (__m128i)vdupq_n_s8(static_cast<signed char>(x));
}
SLIPWAY_SSE __m128i _mm_set1_epi16(short x) { return (__m128i)vdupq_n_s16(x); }
SLIPWAY_SSE __m128i _mm_set1_epi32(int x) { return (__m128i)vdupq_n_s32(x); }
SLIPWAY_SSE __m128i _mm_add_epi32(__m128i a, __m128i b) {
  return (__m128i)vaddq_s32(AsWords(a), AsWords(b));
}
SLIPWAY_SSE __m128i _mm_adds_epi16(__m128i a, __m128i b) {
  return (__m128i)vqaddq_s16(AsHalves(a), AsHalves(b));
}
SLIPWAY_SSE __m128i _mm_min_epi16(__m128i a, __m128i b) {
  return (__m128i)vminq_s16(AsHalves(a), AsHalves(b));
}
SLIPWAY_SSE __m128i _mm_max_epi16(__m128i a, __m128i b) {
  return (__m128i)vmaxq_s16(AsHalves(a), AsHalves(b));
}
SLIPWAY_SSE __m128i _mm_madd_epi16(__m128i a, __m128i b) {
  const int32x4_t low = vmull_s16(vget_low_s16(AsHalves(a)), vget_low_s16(AsHalves(b)));
  return (__m128i)vpaddq_s32(low, vmull_high_s16(AsHalves(a), AsHalves(b)));
}
SLIPWAY_SSE __m128i _mm_unpacklo_epi8(__m128i a, __m128i b) {
  return (__m128i)vzip1q_s8(AsBytes(a), AsBytes(b));
}
SLIPWAY_SSE __m128i _mm_unpackhi_epi8(__m128i a, __m128i b) {
  return (__m128i)vzip2q_s8(AsBytes(a), AsBytes(b));
}
SLIPWAY_SSE __m128i _mm_unpacklo_epi16(__m128i a, __m128i b) {
  return (__m128i)vzip1q_s16(AsHalves(a), AsHalves(b));
}
SLIPWAY_SSE __m128i _mm_unpackhi_epi16(__m128i a, __m128i b) {
  return (__m128i)vzip2q_s16(AsHalves(a), AsHalves(b));
}
SLIPWAY_SSE __m128i _mm_unpacklo_epi32(__m128i a, __m128i b) {
  return (__m128i)vzip1q_s32(AsWords(a), AsWords(b));
}
SLIPWAY_SSE __m128i _mm_unpackhi_epi32(__m128i a, __m128i b) {
  return (__m128i)vzip2q_s32(AsWords(a), AsWords(b));
}
SLIPWAY_SSE __m128i _mm_packs_epi32(__m128i a, __m128i b) {
  return (__m128i)vqmovn_high_s32(vqmovn_s32(AsWords(a)), AsWords(b));
}
SLIPWAY_SSE __m128i _mm_packs_epi16(__m128i a, __m128i b) {
  return (__m128i)vqmovn_high_s16(vqmovn_s16(AsHalves(a)), AsHalves(b));
}
SLIPWAY_SSE __m128i _mm_packus_epi16(__m128i a, __m128i b) {
  return (__m128i)vqmovun_high_s16(vqmovun_s16(AsHalves(a)), AsHalves(b));
}
SLIPWAY_SSE __m128i _mm_setzero_si128() { return __m128i{}; }
SLIPWAY_SSE __m128i _mm_xor_si128(__m128i a, __m128i b) { return a ^ b; }
SLIPWAY_SSE __m128i _mm_min_epu8(__m128i a, __m128i b) {
  return (__m128i)vminq_u8((uint8x16_t)a, (uint8x16_t)b);
}
SLIPWAY_SSE __m128i _mm_max_epu8(__m128i a, __m128i b) {
  return (__m128i)vmaxq_u8((uint8x16_t)a, (uint8x16_t)b);
}
// Eight bytes, and zeros.
SLIPWAY_SSE __m128i _mm_loadl_epi64(const __m128i* p) {
  __m128i v = {};
  std::memcpy(&v, p, 8);
  return v;
}
SLIPWAY_SSE void _mm_storel_epi64(__m128i* p, __m128i v) { std::memcpy(p, &v, 8); }
#undef SLIPWAY_SSE

}  // namespace slipway::kernels::sse
