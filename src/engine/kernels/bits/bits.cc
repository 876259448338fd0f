#include "engine/kernels/bits/bits.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/checked.h"

namespace slipway::kernels {
namespace {

// base and step of one output's codes, and how many planes they need (3: too many).
struct Levels {
  int base = 0, step = 1, planes = 1;
};
Levels LevelsOf(const int8_t* codes, int64_t size) {
  const auto [low, high] = std::minmax_element(codes, codes + size);
  Levels l;
  l.base = *low;
  int step = 0;
  for (int64_t i = 0; i < size; ++i) step = std::gcd(step, codes[i] - l.base);
  if (step > 0) l.step = step;
  const int most = (*high - *low) / l.step;
  l.planes = most <= 1 ? 1 : most <= 3 ? 2 : 3;
  return l;
}

}  // namespace

bool BitsWeights::Valid() const {
  constexpr int64_t kMost = int64_t{1} << 32;
  if (planes < 1 || planes > 2) return false;
  for (int64_t v : {outputs, channels, groups, taps}) {
    if (v < 1 || v > kMost) return false;
  }
  auto total = CheckedMul(panels() * kBitsPanel, words() * 64);
  if (total) total = CheckedMul(*total, taps);
  if (total) total = CheckedMul(*total, groups);
  return total && *total <= (int64_t{1} << 44);
}

std::optional<int> BitsPlanes(const int8_t* codes, int64_t outputs, int64_t size) {
  int planes = 1;
  for (int64_t n = 0; size > 0 && n < outputs; ++n) {
    planes = std::max(planes, LevelsOf(codes + n * size, size).planes);
    if (planes > 2) return std::nullopt;
  }
  return planes;
}

std::vector<uint8_t> PackBits(const BitsWeights& s, const int8_t* codes) {
  std::vector<uint8_t> packed(static_cast<size_t>(s.bytes()), 0);
  const int64_t size = s.channels * s.taps, row = s.panels() * kBitsPanel;
  const auto put = [&](int64_t at, int32_t value) {
    std::memcpy(packed.data() + at, &value, sizeof(value));
  };
  for (int64_t g = 0; g < s.groups; ++g) {
    for (int64_t n = 0; n < s.outputs; ++n) {
      const int8_t* from = codes + (g * s.outputs + n) * size;
      const Levels l = LevelsOf(from, size);
      put(s.base_at() + (g * row + n) * 4, l.base);
      put(s.step_at() + (g * row + n) * 4, l.step);
      uint8_t* panel = packed.data() + (g * s.panels() + n / kBitsPanel) * s.panel_words() * 8;
      for (int64_t t = 0; t < s.taps; ++t) {
        int32_t sum = 0;
        for (int64_t c = 0; c < s.channels; ++c) {
          const int q = (from[c * s.taps + t] - l.base) / l.step;
          sum += q;
          for (int j = 0; j < s.planes; ++j) {
            if (!(q >> j & 1)) continue;
            const int64_t word =
                ((t * s.words() + c / 64) * s.planes + j) * kBitsPanel + n % kBitsPanel;
            panel[word * 8 + c % 64 / 8] |= static_cast<uint8_t>(1 << (c % 8));
          }
        }
        put(s.sums_at() + ((g * s.taps + t) * row + n) * 4, sum);
      }
    }
  }
  return packed;
}

const BitsKernels& GetBits(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::kAvx512Vnni:
    case Isa::kAvx512Bf16:
    case Isa::kAvx512:
      return HasFeature(CpuFeature::kAvx512Vpopcntdq) ? avx512popcnt::kBits : avx2::kBits;
    case Isa::kAvx2:
      return avx2::kBits;
    default:
      break;
  }
  return baseline::kBits;
#else
  (void)isa;
  return baseline::kBits;
#endif
}

}  // namespace slipway::kernels
