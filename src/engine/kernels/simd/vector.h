// Vectors of float of the widest registers that the instruction set has (kLanes of them), with the
// compiler's own operators. Included inside the namespace of an instruction set, after
// <immintrin.h> where there is AVX2 (<arm_neon.h> on ARM) (no include guard, no includes).

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float V __attribute__((vector_size(kLanes * 4)));

inline V Load(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline void Store(float* p, V v) { __builtin_memcpy(p, &v, sizeof v); }
inline V Splat(float x) {
#if defined(__AVX512F__)
  return reinterpret_cast<V>(_mm512_set1_ps(x));
#elif defined(__AVX2__)
  return reinterpret_cast<V>(_mm256_set1_ps(x));
#else
  return V{x, x, x, x};
#endif
}
// a * b + c, rounded once where the instruction set can.
inline V Fma(V a, V b, V c) {
#if defined(__AVX512F__)
  return reinterpret_cast<V>(_mm512_fmadd_ps(
      reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__aarch64__)
  return reinterpret_cast<V>(vfmaq_f32(reinterpret_cast<float32x4_t>(c),
                                       reinterpret_cast<float32x4_t>(a),
                                       reinterpret_cast<float32x4_t>(b)));
#elif defined(__FMA__)
  return reinterpret_cast<V>(_mm256_fmadd_ps(
      reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#else
  return a * b + c;
#endif
}
