#pragma once
// How the logical [N, C, spatial...] elements of a tensor lie in memory.

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/checked.h"
#include "base/dims.h"
#include "base/dtype.h"

namespace slipway::format {

// Stored in packages: append only.
enum class Layout : uint8_t {
  kPlain = 0,         // row-major in logical order (NCHW for images)
  kChannelsLast = 1,  // [N, spatial..., C]; rank >= 3
  kBlocked8 = 2,      // [N, ceil(C/8), spatial..., 8]; channels beyond C are zero; rank >= 3
  kBlocked16 = 3,     // [N, ceil(C/16), spatial..., 16]; likewise
};
inline constexpr int kLayoutCount = 4;

inline const char* LayoutName(Layout layout) {
  constexpr const char* kNames[] = {"plain", "nhwc", "nchw8c", "nchw16c"};
  return static_cast<int>(layout) < kLayoutCount ? kNames[static_cast<int>(layout)] : "unknown";
}

inline int ChannelBlock(Layout layout) {
  return layout == Layout::kBlocked8 ? 8 : layout == Layout::kBlocked16 ? 16 : 1;
}

// Bytes in memory; nullopt on overflow, an unknown layout, or a non-plain layout of a tensor of rank < 3.
inline std::optional<int64_t> LayoutBytes(DType dtype, const Dims& dims, Layout layout) {
  if (static_cast<int>(layout) >= kLayoutCount) return std::nullopt;
  if (layout == Layout::kPlain) return CheckedBytes(dtype, dims);
  if (dims.rank() < 3 || dims[1] < 0 || dims[1] > (int64_t{1} << 40)) return std::nullopt;
  Dims padded = dims;
  padded[1] = RoundUp(dims[1], ChannelBlock(layout));
  return CheckedBytes(dtype, padded);
}

}  // namespace slipway::format
