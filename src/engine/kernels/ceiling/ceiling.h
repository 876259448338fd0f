#pragma once
// What one core of this machine can do at best, measured by loops that only multiply and add in
// registers, and how fast it reads memory: the figures that a kernel's speed is a share of.

namespace slipway::kernels {

enum class CeilingKind { kFloat32 = 0, kBFloat16 = 1, kInt8 = 2, kBits = 3 };
inline constexpr int kCeilingKinds = 4;
const char* CeilingName(CeilingKind kind);  // "float32", "bfloat16", "int8", "bits"

// Multiplications with addition, in 10^9 a second and thread: the best of some rounds of 4 ms,
// measured at the first call and kept. By the best instructions that our kernels have for it (bits:
// AND, population count, addition; bfloat16 and bits: 0 where the CPU has none).
// SLIPWAY_CPU_FEATURES narrows it.
double CeilingGmacs(CeilingKind kind);

// Bytes that one thread reads from beyond the caches, in 10^9 a second; likewise.
double CeilingReadGbps();

}  // namespace slipway::kernels
