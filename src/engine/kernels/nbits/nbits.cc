#include "engine/kernels/nbits/nbits.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace slipway::kernels {

bool KnownNBits(int bits) {
  switch (bits) {
#define SLIPWAY_NBITS(BITS) case BITS:
#include "engine/kernels/nbits/kernels.inc"
#undef SLIPWAY_NBITS
    return true;
    default:
      return false;
  }
}

int64_t NBitsShape::words() const {
  const int64_t per = codes_per_word(), last = k - (groups() - 1) * group;
  return (groups() - 1) * ((group + per - 1) / per) + (last + per - 1) / per;
}

bool NBitsShape::Valid() const {
  constexpr int64_t kMost = int64_t{1} << 40;
  if (!KnownNBits(bits) || n < 1 || k < 1 || group < 1 || group > k || n > kMost || k > kMost)
    return false;
  // A group takes at most one word an element, and eight bytes of scale and offset.
  const auto elements = CheckedMul(panels() * kNBitsPanel, k);
  return elements && *elements <= (int64_t{1} << 42);
}

bool NBitsCentered(const NBitsShape& shape, bool is_signed, const uint8_t* zeros) {
  if (!zeros) return is_signed;
  const uint8_t middle = is_signed ? 0 : static_cast<uint8_t>(1 << (shape.bits - 1));
  return std::all_of(zeros, zeros + shape.n * shape.groups(),
                     [&](uint8_t z) { return z == middle; });
}

std::vector<uint8_t> PackNBits(const NBitsShape& shape, const uint8_t* codes, bool is_signed,
                               const float* scales, const uint8_t* zeros) {
  std::vector<uint8_t> packed(static_cast<size_t>(shape.bytes()), 0);
  const int64_t groups = shape.groups(), per = shape.codes_per_word();
  const int half = 1 << (shape.bits - 1), mask = (1 << shape.bits) - 1;
  const auto stored = [&](uint8_t code) {
    return static_cast<uint32_t>((is_signed ? code + half : code) & mask);
  };
  for (int64_t out = 0; out < shape.n; ++out) {
    const int64_t panel = out / kNBitsPanel, lane = out % kNBitsPanel;
    uint8_t* words = packed.data() + panel * shape.panel_bytes();
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * shape.group, end = std::min(begin + shape.group, shape.k);
      for (int64_t at = begin; at < end; at += per) {
        uint32_t word = 0;
        for (int64_t i = 0; i < per && at + i < end; ++i) {
          const uint32_t code = stored(codes[out * shape.k + at + i]);
          if (shape.bits == 8)
            words[i * kNBitsPanel + lane] = static_cast<uint8_t>(code ^ 0x80);
          else
            word |= code << (i * shape.bits);
        }
        if (shape.bits != 8) std::memcpy(words + lane * 4, &word, 4);
        words += kNBitsPanel * 4;
      }
      const int64_t slot = ((panel * groups + g) * kNBitsPanel + lane) * 4;
      const float scale = scales[out * groups + g];
      const int zero = zeros       ? static_cast<int>(stored(zeros[out * groups + g]))
                       : is_signed ? half
                                   : 0;
      const float offset = static_cast<float>(half - zero) * scale;
      std::memcpy(packed.data() + shape.scales_at() + slot, &scale, 4);
      if (shape.offsets) std::memcpy(packed.data() + shape.offsets_at() + slot, &offset, 4);
    }
  }
  return packed;
}

const NBitsKernels& GetNBits(Isa isa) {
#if defined(__x86_64__)
  return isa == Isa::kAvx512 ? avx512::kNBits : isa == Isa::kAvx2 ? avx2::kNBits : baseline::kNBits;
#else
  (void)isa;
  return baseline::kNBits;
#endif
}

}  // namespace slipway::kernels
