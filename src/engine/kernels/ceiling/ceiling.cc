#include "engine/kernels/ceiling/ceiling.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "base/aligned.h"
#include "base/cpu.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace slipway::kernels {
namespace {

using Clock = std::chrono::steady_clock;

// One loop does `macs` a call.
struct Loop {
  void (*run)(int64_t rounds) = nullptr;
  double macs = 0;  // of one round
};

constexpr int kSums = 12;  // independent sums: more than latency times throughput of any CPU's

#if defined(__x86_64__)
// The sums are variables of their own, and asm statements keep the compiler from leaving them out.
#define SLIPWAY_CEILING(NAME, TARGET, SUM, IN, STEP)                                              \
  __attribute__((target(TARGET))) void NAME(int64_t rounds) {                                     \
    SUM s0 = {}, s1 = {}, s2 = {}, s3 = {}, s4 = {}, s5 = {}, s6 = {}, s7 = {}, s8 = {}, s9 = {}, \
        s10 = {}, s11 = {};                                                                       \
    IN a = {}, b = {};                                                                            \
    asm volatile("" : "+v"(a), "+v"(b));                                                          \
    for (; rounds > 0; --rounds) {                                                                \
      STEP(s0)                                                                                    \
      STEP(s1) STEP(s2) STEP(s3) STEP(s4) STEP(s5) STEP(s6) STEP(s7) STEP(s8) STEP(s9) STEP(s10)  \
          STEP(s11) asm volatile(""                                                               \
                                 : "+v"(a), "+v"(b), "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3),      \
                                   "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7), "+v"(s8), "+v"(s9),    \
                                   "+v"(s10), "+v"(s11));                                         \
    }                                                                                             \
  }
#define SLIPWAY_STEP(s) s = _mm512_fmadd_ps(a, b, s);
SLIPWAY_CEILING(Float512, "avx512f", __m512, __m512, SLIPWAY_STEP)
#undef SLIPWAY_STEP
#define SLIPWAY_STEP(s) s = _mm256_fmadd_ps(a, b, s);
SLIPWAY_CEILING(Float256, "avx2,fma", __m256, __m256, SLIPWAY_STEP)
#undef SLIPWAY_STEP
#define SLIPWAY_STEP(s)       \
  asm volatile("" : "+v"(a)); \
  s = _mm_add_ps(_mm_mul_ps(a, b), s);
SLIPWAY_CEILING(Float128, "sse2", __m128, __m128, SLIPWAY_STEP)
#undef SLIPWAY_STEP
#define SLIPWAY_STEP(s) \
  s = _mm512_dpbf16_ps(s, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
SLIPWAY_CEILING(BFloat512, "avx512f,avx512bf16", __m512, __m512i, SLIPWAY_STEP)
#undef SLIPWAY_STEP
#define SLIPWAY_STEP(s) s = _mm512_dpbusd_epi32(s, a, b);
SLIPWAY_CEILING(Int512Vnni, "avx512f,avx512vnni", __m512i, __m512i, SLIPWAY_STEP)
#undef SLIPWAY_STEP
#define SLIPWAY_STEP(s)       \
  asm volatile("" : "+v"(a)); \
  s = _mm512_add_epi32(s, _mm512_madd_epi16(a, b));
SLIPWAY_CEILING(Int512, "avx512f,avx512bw", __m512i, __m512i, SLIPWAY_STEP)
#undef SLIPWAY_STEP
#define SLIPWAY_STEP(s)       \
  asm volatile("" : "+v"(a)); \
  s = _mm256_add_epi32(s, _mm256_madd_epi16(a, b));
SLIPWAY_CEILING(Int256, "avx2", __m256i, __m256i, SLIPWAY_STEP)
#undef SLIPWAY_STEP
#define SLIPWAY_STEP(s)       \
  asm volatile("" : "+v"(a)); \
  s = _mm_add_epi32(s, _mm_madd_epi16(a, b));
SLIPWAY_CEILING(Int128, "sse2", __m128i, __m128i, SLIPWAY_STEP)
#undef SLIPWAY_STEP
#define SLIPWAY_STEP(s)       \
  asm volatile("" : "+v"(a)); \
  s = _mm512_add_epi64(s, _mm512_popcnt_epi64(_mm512_and_si512(a, b)));
SLIPWAY_CEILING(Bits512, "avx512f,avx512vpopcntdq", __m512i, __m512i, SLIPWAY_STEP)
#undef SLIPWAY_STEP

Loop LoopOf(CeilingKind kind) {
  const bool avx512 = HasFeature(CpuFeature::kAvx512), avx2 = HasFeature(CpuFeature::kAvx2);
  switch (kind) {
    case CeilingKind::kFloat32:
      return avx512 ? Loop{Float512, 16} : avx2 ? Loop{Float256, 8} : Loop{Float128, 4};
    case CeilingKind::kBFloat16:
      return avx512 && HasFeature(CpuFeature::kAvx512Bf16) ? Loop{BFloat512, 32} : Loop{};
    case CeilingKind::kInt8:
      if (avx512 && HasFeature(CpuFeature::kAvx512Vnni)) return {Int512Vnni, 64};
      return avx512 ? Loop{Int512, 32} : avx2 ? Loop{Int256, 16} : Loop{Int128, 8};
    case CeilingKind::kBits:
      return avx512 && HasFeature(CpuFeature::kAvx512Vpopcntdq) ? Loop{Bits512, 512} : Loop{};
  }
  return {};
}
#else
typedef float F4 __attribute__((vector_size(16)));
typedef int32_t I4 __attribute__((vector_size(16)));

template <typename V>
void Portable(int64_t rounds) {
  V s[kSums] = {}, a = {}, b = {};
  for (; rounds > 0; --rounds) {
    for (auto& v : s) {
      v = v + a * b;
      asm volatile("" : "+w"(v), "+w"(a));
    }
  }
}
Loop LoopOf([[maybe_unused]] CeilingKind kind) {
#if defined(__aarch64__)
  if (kind == CeilingKind::kFloat32) return {Portable<F4>, 4};
  if (kind == CeilingKind::kInt8) return {Portable<I4>, 4};
#endif
  return {};
}
#endif

double Measure(CeilingKind kind) {
  const Loop loop = LoopOf(kind);
  if (!loop.run) return 0;
  int64_t rounds = 1 << 12;
  double best = 0, spent = 0;
  for (int i = 0; i < 16; ++i) {
    const auto start = Clock::now();
    loop.run(rounds);
    const double s = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, loop.macs * kSums * static_cast<double>(rounds) / s * 1e-9);
    spent += s;
    if (s < 0.004) rounds *= 2;  // the first ones warm up and find how many make 4 ms
    if (spent > 0.06) break;
  }
  return best;
}

double MeasureRead() {
  constexpr size_t kBytes = size_t{128} << 20;
  const AlignedBuffer memory = AlignedBuffer::Table(kBytes);
  if (!memory.data()) return 0;
  std::memset(const_cast<uint8_t*>(memory.data()), 1, kBytes);
  typedef uint64_t V __attribute__((vector_size(32)));
  double best = 0;
  for (int i = 0; i < 4; ++i) {
    const auto start = Clock::now();
    V sum[4] = {};
    for (size_t at = 0; at < kBytes; at += sizeof sum) {
      for (int k = 0; k < 4; ++k) {
        V v;
        std::memcpy(&v, memory.data() + at + k * sizeof v, sizeof v);
        sum[k] += v;
      }
    }
    V all = sum[0] + sum[1] + sum[2] + sum[3];
    asm volatile("" : : "m"(all));
    const double s = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, static_cast<double>(kBytes) / s * 1e-9);
  }
  return best;
}

}  // namespace

const char* CeilingName(CeilingKind kind) {
  constexpr const char* kNames[kCeilingKinds] = {"float32", "bfloat16", "int8", "bits"};
  return kNames[static_cast<int>(kind)];
}

double CeilingGmacs(CeilingKind kind) {
  static const double kept[kCeilingKinds] = {
      Measure(CeilingKind::kFloat32), Measure(CeilingKind::kBFloat16), Measure(CeilingKind::kInt8),
      Measure(CeilingKind::kBits)};
  return kept[static_cast<int>(kind)];
}

double CeilingReadGbps() {
  static const double kept = MeasureRead();
  return kept;
}

}  // namespace slipway::kernels
