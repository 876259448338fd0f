#include "base/cpu.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/thread_pool.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace slipway {
namespace {

struct Name {
  CpuFeature feature;
  const char* name;
};
constexpr Name kNames[] = {
    {CpuFeature::kAvx2, "avx2"},
    {CpuFeature::kAvx512, "avx512"},
    {CpuFeature::kAvx512Vnni, "avx512vnni"},
    {CpuFeature::kAvx512Bf16, "avx512bf16"},
    {CpuFeature::kAvx512Vpopcntdq, "avx512vpopcntdq"},
    {CpuFeature::kAvxVnni, "avxvnni"},
    {CpuFeature::kNeon, "neon"},
    {CpuFeature::kArmDotprod, "dotprod"},
    {CpuFeature::kArmI8mm, "i8mm"},
    {CpuFeature::kArmFp16, "fp16"},
    {CpuFeature::kRvv, "rvv"},
};

uint64_t Detect() {
  uint64_t f = 0;
  [[maybe_unused]] auto add = [&](CpuFeature feature) { f |= static_cast<uint64_t>(feature); };
#if defined(__x86_64__)
  // __builtin_cpu_supports also checks that the operating system saves the registers.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) add(CpuFeature::kAvx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512cd")) {
    add(CpuFeature::kAvx512);
    if (__builtin_cpu_supports("avx512vnni")) add(CpuFeature::kAvx512Vnni);
    if (__builtin_cpu_supports("avx512bf16")) add(CpuFeature::kAvx512Bf16);
    if (__builtin_cpu_supports("avx512vpopcntdq")) add(CpuFeature::kAvx512Vpopcntdq);
  }
#elif defined(__aarch64__)
  unsigned long hwcap = getauxval(AT_HWCAP), hwcap2 = getauxval(AT_HWCAP2);
  add(CpuFeature::kNeon);
  if (hwcap & HWCAP_ASIMDDP) add(CpuFeature::kArmDotprod);
  if (hwcap & HWCAP_ASIMDHP) add(CpuFeature::kArmFp16);
  if (hwcap2 & HWCAP2_I8MM) add(CpuFeature::kArmI8mm);
#endif
  return f;
}

std::string ModelName() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    if (line.rfind("model name", 0) == 0 || line.rfind("Model", 0) == 0) {
      auto colon = line.find(':');
      if (colon != std::string::npos && colon + 2 <= line.size()) return line.substr(colon + 2);
    }
  }
  return "";
}

CpuInfo Read() {
  CpuInfo info;
#if defined(__x86_64__)
  info.arch = "x86_64";
#elif defined(__aarch64__)
  info.arch = "aarch64";
#elif defined(__riscv)
  info.arch = "riscv64";
#else
  info.arch = "unknown";
#endif
  info.model = ModelName();
  info.features = Detect();
  if (const char* limit = std::getenv("SLIPWAY_CPU_FEATURES")) {
    uint64_t keep = 0;
    std::stringstream names(limit);
    for (std::string name; std::getline(names, name, ',');) {
      for (const Name& n : kNames) {
        if (name == n.name) keep |= static_cast<uint64_t>(n.feature);
      }
    }
    info.features &= keep;
  }
  auto cache = [](int name, int64_t& to) {
    long bytes = ::sysconf(name);
    if (bytes > 0) to = bytes;
  };
  cache(_SC_LEVEL1_DCACHE_SIZE, info.l1_bytes);
  cache(_SC_LEVEL2_CACHE_SIZE, info.l2_bytes);
  cache(_SC_LEVEL3_CACHE_SIZE, info.l3_bytes);
  info.cpus = AvailableCpus();
  return info;
}

}  // namespace

const CpuInfo& ThisCpu() {
  static const CpuInfo info = Read();
  return info;
}

std::string FeatureNames(uint64_t features) {
  std::string out;
  for (const Name& n : kNames) {
    if (!(features & static_cast<uint64_t>(n.feature))) continue;
    if (!out.empty()) out += ',';
    out += n.name;
  }
  return out.empty() ? "none" : out;
}

}  // namespace slipway
