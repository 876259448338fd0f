#include "engine/kernels/depthwise/depthwise.h"

#include <algorithm>
#include <cstring>

namespace slipway::kernels {

bool DepthwiseShape::Valid() const {
  constexpr int64_t kMost = int64_t{1} << 31;
  for (const int64_t v : {batch, channels, in_h, in_w, out_h, out_w, kernel_h, kernel_w, stride_h,
                          stride_w, dilation_h, dilation_w}) {
    if (v < 1 || v >= kMost) return false;
  }
  return pad_top > -kMost && pad_top < kMost && pad_left > -kMost && pad_left < kMost &&
         kernel_h <= (int64_t{1} << 24) / kernel_w;
}

const DepthwiseKernels& GetDepthwise(Isa isa, int64_t block) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512 && block != 8) return avx512::kDepthwise;
  return isa >= Isa::kAvx2 ? avx2::kDepthwise : baseline::kDepthwise;
#else
  (void)isa;
  return (void)block, baseline::kDepthwise;
#endif
}

const DepthwiseKernels* GetDepthwiseBf16(Isa isa, int64_t block) {
#if defined(__x86_64__)
  return isa == Isa::kAvx512Bf16 && block != 8 ? &avx512bf16::kDepthwise : nullptr;
#else
  (void)isa;
  return (void)block, nullptr;
#endif
}

const DepthwiseKernels* GetDepthwiseF16(Isa isa) {
#if defined(__aarch64__)
  return isa == Isa::kArmFp16 ? &fp16::kDepthwiseF16 : &baseline::kDepthwiseF16;
#else
  (void)isa;
  return nullptr;
#endif
}

int64_t DepthwiseUnits(const DepthwiseShape& s, const DepthwiseParams& p) {
  const int64_t parts = p.block > 1 ? s.channels / p.block : 1;
  return s.batch * parts * ((s.out_h + p.rows - 1) / p.rows);
}

AlignedBuffer PackDepthwise(const DepthwiseShape& s, int lanes, const float* weights,
                            const float* bias) {
  const int64_t taps = s.kernel_h * s.kernel_w, blocks = (s.channels + lanes - 1) / lanes;
  AlignedBuffer packed(static_cast<size_t>(blocks * (taps + 1) * lanes) * sizeof(float));
  if (!packed.data()) return packed;
  std::memset(packed.data(), 0, packed.size());
  auto* to = reinterpret_cast<float*>(packed.data());
  for (int64_t c = 0; c < s.channels; ++c) {
    float* p = to + c / lanes * (taps + 1) * lanes + c % lanes;
    if (bias) *p = bias[c];
    for (int64_t k = 0; k < taps; ++k) p[(k + 1) * lanes] = weights[c * taps + k];
  }
  return packed;
}

AlignedBuffer PackDepthwiseF16(const DepthwiseShape& s, const uint16_t* weights,
                               const float* bias) {
  const int64_t taps = s.kernel_h * s.kernel_w, blocks = (s.channels + 7) / 8;
  const int64_t floats = 8 + taps * 4;  // of a block
  AlignedBuffer packed(static_cast<size_t>(blocks * floats) * sizeof(float));
  if (!packed.data()) return packed;
  std::memset(packed.data(), 0, packed.size());
  for (int64_t c = 0; c < s.channels; ++c) {
    float* block = reinterpret_cast<float*>(packed.data()) + c / 8 * floats;
    if (bias) block[c % 8] = bias[c];
    auto* to = reinterpret_cast<uint16_t*>(block + 8) + c % 8;
    for (int64_t k = 0; k < taps; ++k) to[k * 8] = weights[c * taps + k];
  }
  return packed;
}

AlignedBuffer PackDepthwiseBf16(const DepthwiseShape& s, int64_t block, const uint16_t* weights,
                                const float* bias) {
  const int64_t pixel = block > 1 ? block : s.channels;
  const int64_t taps = (s.kernel_h + 1) / 2 * s.kernel_w;  // pairs of them
  // Vectors of 32 channels, then of 16.
  const int64_t whole = pixel / 32 * 32, room = (pixel + 15) / 16 * 16;
  AlignedBuffer packed(static_cast<size_t>(s.channels / pixel * room * (taps + 1)) * sizeof(float));
  if (!packed.data()) return packed;
  std::memset(packed.data(), 0, packed.size());
  for (int64_t c = 0; c < s.channels; ++c) {
    const int64_t in = c % pixel, width = in < whole ? 32 : 16;
    const int64_t first = in < whole ? in / 32 * 32 : whole + (in - whole) / 16 * 16, i = in - first;
    float* vector =
        reinterpret_cast<float*>(packed.data()) + (c / pixel * room + first) * (taps + 1);
    // Where interleaving words takes it: fours of channels go to two registers in turns.
    const int64_t lane = i / 8 * 4 + i % 4 + (i % 8 < 4 ? 0 : width / 2);
    if (bias) vector[lane] = bias[c];
    auto* words = reinterpret_cast<uint16_t*>(vector + width);
    for (int64_t h = 0; h < s.kernel_h; ++h) {
      for (int64_t w = 0; w < s.kernel_w; ++w) {
        words[((h / 2 * s.kernel_w + w) * width + lane) * 2 + h % 2] =
            weights[(c * s.kernel_h + h) * s.kernel_w + w];
      }
    }
  }
  return packed;
}

}  // namespace slipway::kernels
