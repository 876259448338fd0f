#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/kernels/depthwise/depthwise.h"

namespace slipway::kernels {

const QDepthwiseKernels& GetQDepthwise(Isa isa) {
#if defined(__x86_64__)
  // AVX-512 without VNNI gains little over AVX2 here.
  return isa == Isa::kAvx512Vnni ? avx512vnni::kQDepthwise
         : isa >= Isa::kAvx2     ? avx2::kQDepthwise
                                 : baseline::kQDepthwise;
#else
  return isa == Isa::kArmDotprod || isa == Isa::kArmI8mm ? dotprod::kQDepthwise
                                                         : baseline::kQDepthwise;
#endif
}

namespace {

// Columns that the interleaved buffer needs for this many outputs.
int64_t BufferColumns(const DepthwiseShape& s, int64_t outputs) {
  return (outputs - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1;
}

// As many blocks of the greatest width as fit, the rest in smaller ones; of 8 only the direct way
// can make something.
std::vector<QDepthwiseBlock> MakeBlocks(int64_t channels, int64_t width, bool direct) {
  std::vector<QDepthwiseBlock> blocks;
  for (int64_t at = 0; at < channels;) {
    while (width > 16 && channels - at < width) width /= 2;
    if (direct && channels - at == 8) width = 8;
    const int64_t count = std::min(width, channels - at);
    blocks.push_back({at, static_cast<int32_t>(width), static_cast<int32_t>(count), 0});
    at += count;
  }
  return blocks;
}

// Whether sums times multipliers stay inside of int32, whatever the codes, and so what a rectifier
// and y_multiplier make of them.
bool Bounded(const DepthwiseShape& s, const int8_t* weights, const float* multipliers,
             bool per_channel, const int32_t* bias, float y_multiplier) {
  const double factor = std::max(1.0, std::abs(static_cast<double>(y_multiplier)));
  const int64_t window = s.kernel_h * s.kernel_w;
  for (int64_t c = 0; c < s.channels; ++c) {
    double most = bias ? std::abs(static_cast<double>(bias[c])) : 0;
    for (int64_t k = 0; k < window; ++k) most += 255.0 * std::abs(weights[c * window + k]);
    most = std::min(most, 2147483648.0) * std::abs(multipliers[per_channel ? c : 0]);
    if (!(most * factor < 2147480000.0)) return false;
  }
  return true;
}

}  // namespace

bool QDepthwisePlan::Make(const DepthwiseShape& shape, const QDepthwiseParams& params,
                          const int8_t* weights, const float* multipliers, bool per_channel,
                          const int32_t* bias, const QDepthwiseKernels& kernels) {
  const int64_t taps = kernels.taps, outputs = kernels.outputs;
  QDepthwiseView& v = view_;
  v.shape = shape;
  if (shape.kernel_h == 1) v.shape.dilation_h = 1;
  if (shape.kernel_w == 1) v.shape.dilation_w = 1;
  const DepthwiseShape& s = v.shape;
  v.params = params;
  v.groups = (s.kernel_h + taps - 1) / taps;
  v.bounded = Bounded(s, weights, multipliers, per_channel, bias,
                      params.activation ? params.y_multiplier : 1);
  v.direct = kernels.direct && s.kernel_w == 3 && s.kernel_h <= 3 && s.stride_w <= 2 &&
             s.dilation_w == 1 && v.bounded && params.in_registers();
  // Rows of outputs whose windows fit the interleaved rows.
  v.rows = v.direct || s.dilation_h > 1 ? 1 : (v.groups * taps - s.kernel_h) / s.stride_h + 1;
  v.rows = std::min(v.rows, s.out_h);
  const int64_t width = kernels.width;
  const auto bytes = [&](int64_t n) { return BufferColumns(s, n) * v.groups * 4 * width; };
  if (v.groups * taps > kQDepthwiseMostRows || bytes(outputs) > kQDepthwiseBuffer) return false;
  v.bands = (s.out_h + v.rows - 1) / v.rows;
  // Little enough that the first-level cache has room for the image too.
  int64_t columns = outputs;
  while (columns < s.out_w && bytes(columns + outputs) <= 16384) columns += outputs;
  const int64_t chunks = (s.out_w + columns - 1) / columns;
  v.columns = ((s.out_w + chunks - 1) / chunks + outputs - 1) / outputs * outputs;
  if (v.direct) {
    v.columns = s.out_w;
    v.merged = std::max<int64_t>(1, 64 / s.out_w);  // small images: enough work for a unit
  }
  const bool is_unsigned = params.y == CodeType::kU8;
  v.plain = params.to.zero_point == 0 && params.to.lo == (is_unsigned ? 0 : -128) &&
            params.to.hi == (is_unsigned ? 255 : 127);

  blocks_ = MakeBlocks(s.channels, width, v.direct);
  const int64_t vectors = v.rows * v.groups * s.kernel_w * 4 + 8;
  const auto units = [&](int64_t bands) { return (bands + v.merged - 1) / v.merged; };
  int64_t size = 0, tail_units = 0;
  v.whole_blocks = 0;
  for (QDepthwiseBlock& b : blocks_) {
    b.packed = size;
    size += vectors * width;
    const int64_t pieces = width / b.width;
    if (pieces == 1)
      ++v.whole_blocks;
    else
      tail_units += units((v.bands + pieces - 1) / pieces);
  }
  v.image_units =
      (units(v.bands) * v.whole_blocks + tail_units) * ((s.out_w + v.columns - 1) / v.columns);
  storage_.assign(static_cast<size_t>(size) + 63, 0);
  uint8_t* packed = storage_.data();
  packed += (64 - reinterpret_cast<uintptr_t>(packed) % 64) % 64;
  const int64_t window = s.kernel_h * s.kernel_w;
  for (const QDepthwiseBlock& b : blocks_) {
    uint8_t* const to = packed + b.packed;
    uint8_t* const behind = to + v.rows * v.groups * s.kernel_w * 4 * width;
    // Every piece of a vector has the same weights.
    for (int64_t i = 0; i < width; ++i) {
      if (i % b.width >= b.count) continue;
      const int64_t channel = b.channel + i % b.width;
      const int8_t* w = weights + channel * window;
      // Part j of four holds channels 4 j to 4 j + 3 of every 16.
      const int64_t part = i % 16 / 4, at = (i / 16 * 4 + i % 4) * 4;
      uint32_t sum = 0;
      for (int64_t k = 0; k < window; ++k) sum += static_cast<uint32_t>(static_cast<int32_t>(w[k]));
      for (int64_t r = 0; r < v.rows; ++r) {
        for (int64_t y = 0; y < s.kernel_h; ++y) {
          const int64_t row = y + r * s.stride_h, g = row / taps, t = row % taps;
          for (int64_t x = 0; x < s.kernel_w; ++x) {
            const int64_t group = r * v.groups + g;
            uint8_t* p = to + at +
                         width * (kernels.side_by_side ? (group * 4 + part) * s.kernel_w + x
                                                       : (group * s.kernel_w + x) * 4 + part);
            const int16_t value = w[y * s.kernel_w + x];
            if (taps == 4)
              p[t] = static_cast<uint8_t>(value);
            else if (kernels.apart)
              std::memcpy(p - i % 4 * 2 + t * 8, &value, 2);
            else
              std::memcpy(p + t * 2, &value, 2);
          }
        }
      }
      const int32_t zero =
          params.x_zero + (params.x_signed ? 128 : 0) - (kernels.is_signed ? 128 : 0);
      const uint32_t offset =
          (bias ? static_cast<uint32_t>(bias[channel]) : 0) - static_cast<uint32_t>(zero) * sum;
      std::memcpy(behind + part * width + at, &offset, 4);
      std::memcpy(behind + (4 + part) * width + at, &multipliers[per_channel ? channel : 0], 4);
    }
  }
  v.blocks = blocks_.data();
  v.packed = packed;
  return true;
}

int64_t QDepthwisePlan::units() const { return view_.shape.batch * view_.image_units; }

}  // namespace slipway::kernels
