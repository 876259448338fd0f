#include "engine/kernels/half/half.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "base/checked.h"
#include "base/float16.h"

namespace slipway::kernels {
namespace {

// Of copied pixels, beside which a panel of weights runs; for four tiles, which share weights that
// are widened, more.
constexpr int64_t kBlockBytes = 64 << 10, kMoreBytes = 256 << 10;

int64_t Up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

bool HalfShape::Valid() const {
  constexpr int64_t kMost = int64_t{1} << 31;
  for (int64_t v : {images, groups, in_channels, out_channels, height, width, out_height, out_width,
                    kernel_height, kernel_width, stride_height, stride_width, dilation_height,
                    dilation_width}) {
    if (v < 1 || v > kMost) return false;
  }
  if (pad_top < -kMost || pad_left < -kMost || pad_top > kMost || pad_left > kMost) return false;
  // Everything below counts elements: 2^38 are more than a machine has.
  constexpr int64_t kElements = int64_t{1} << 38;
  const auto fits = [](std::initializer_list<int64_t> extents) {
    int64_t count = 1;
    for (int64_t v : extents) {
      const auto product = CheckedMul(count, v);
      if (!product || *product > kElements) return false;
      count = *product;
    }
    return true;
  };
  return fits({out_height, stride_height}) && fits({out_width, stride_width}) &&
         fits({kernel_height, dilation_height}) && fits({kernel_width, dilation_width}) &&
         fits({images, groups, in_channels, height, width}) &&
         fits({images, groups, out_channels + kHalfPanel, out_height, out_width}) &&
         fits({groups, out_channels + kHalfPanel, in_channels + 8, kernel_height, kernel_width});
}

HalfPlan PlanHalf(const HalfShape& shape, int threads) {
  HalfPlan p;
  p.shape = shape;
  const int64_t pixels = shape.pixels(), depth = shape.groups8() * 8;
  // Floats where there is no float16 arithmetic: the plan does not depend on it.
  const int64_t tile_bytes = depth * kHalfRows * 4;
  int64_t tiles = std::max(kBlockBytes / tile_bytes, std::min<int64_t>(4, kMoreBytes / tile_bytes));
  tiles = std::clamp<int64_t>(tiles, 1, Up(pixels, kHalfRows));
  const int64_t others = shape.images * shape.groups;
  if (threads > 1 && others * Up(pixels, tiles * kHalfRows) < 2 * threads)
    tiles = std::max<int64_t>(1, std::min(tiles, pixels * others / (2 * threads * kHalfRows)));
  p.rows = tiles * kHalfRows;
  p.blocks = Up(pixels, p.rows);
  // Every part copies all pixels again.
  if (threads > 1 && others * p.blocks < 2 * threads)
    p.parts = std::min(shape.panels(), Up(2 * threads, others * p.blocks));
  p.jobs = others * p.blocks * p.parts;
  p.workspace_bytes = Up(tiles * tile_bytes + depth * 2 + kHalfBehind, 64) * 64;
  return p;
}

int64_t HalfPackedBytes(const HalfShape& s) {
  return s.groups * s.columns() * (s.groups8() * 8 * 2 + 4) + kHalfBehind;
}

void PackHalf(const HalfShape& s, bool rows, const uint16_t* weights, const uint16_t* bias,
              void* packed) {
  std::memset(packed, 0, static_cast<size_t>(HalfPackedBytes(s)));
  auto* to = static_cast<uint16_t*>(packed);
  const int64_t taps = s.kernel_height * s.kernel_width, depth = s.depth(), all = s.groups8() * 8;
  for (int64_t g = 0; g < s.groups; ++g) {
    for (int64_t column = 0; column < s.out_channels; column += kHalfPanel) {
      const int64_t width = std::min(kHalfPanel, s.columns() - column),
                    count = std::min(width, s.out_channels - column);
      for (int64_t j = 0; j < count; ++j) {
        const int64_t n = column + j;
        const uint16_t* from = weights + (g * s.out_channels + n) * depth;
        for (int64_t t = 0; t < taps; ++t) {
          for (int64_t c = 0; c < s.in_channels; ++c) {
            to[(t * s.in_channels + c) * width + j] =
                rows ? weights[c * s.out_channels + n] : from[c * taps + t];
          }
        }
      }
      to += all * width;
    }
  }
  auto* biases = reinterpret_cast<uint8_t*>(to);
  for (int64_t g = 0; bias && g < s.groups; ++g) {
    for (int64_t n = 0; n < s.out_channels; ++n) {
      const float wide = Float16::FromBits(bias[g * s.out_channels + n]);
      std::memcpy(biases + (g * s.columns() + n) * 4, &wide, 4);
    }
  }
}

const HalfKernels* GetHalf(Isa isa) {
#if defined(__aarch64__)
  return isa == Isa::kArmFp16 ? &fp16::kHalf : &baseline::kHalf;
#else
  (void)isa;
  return nullptr;
#endif
}

}  // namespace slipway::kernels
