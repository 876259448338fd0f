#pragma once
// What the running CPU can do, read once by CPUID (x86) or the auxiliary vector (ARM).

#include <cstdint>
#include <string>

namespace slipway {

// Instruction-set features as bits: recorded in packages, so values never change.
enum class CpuFeature : uint64_t {
  kAvx2 = 1u << 0,    // with FMA and F16C
  kAvx512 = 1u << 1,  // F, BW, DQ, VL, CD
  kAvx512Vnni = 1u << 2,
  kAvx512Bf16 = 1u << 3,
  kAvx512Vpopcntdq = 1u << 4,
  kAvxVnni = 1u << 5,
  kNeon = 1u << 16,
  kArmDotprod = 1u << 17,
  kArmI8mm = 1u << 18,
  kArmFp16 = 1u << 19,
  kRvv = 1u << 24,
};

struct CpuInfo {
  std::string arch;   // "x86_64", "aarch64", "riscv64"
  std::string model;  // "AMD EPYC ...", as the system names it; may be empty
  uint64_t features = 0;
  int64_t l1_bytes = 32 * 1024, l2_bytes = 1024 * 1024, l3_bytes = 0;
  int cpus = 1;
};

// Read once. The environment variable SLIPWAY_CPU_FEATURES (comma-separated names as FeatureNames
// prints them, or "none") narrows the set, never widens it: every kernel can be forced on a machine
// that has it.
const CpuInfo& ThisCpu();
inline bool HasFeature(CpuFeature f) {
  return (ThisCpu().features & static_cast<uint64_t>(f)) != 0;
}
// "avx2,avx512,avx512vnni"; "none" for 0.
std::string FeatureNames(uint64_t features);

}  // namespace slipway
