#pragma once
// Pieces of tensors along one axis. Internal to this folder.

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/dims.h"
#include "base/dtype.h"
#include "base/status.h"
#include "slipway/backend.h"

namespace slipway::runtime {

inline std::span<const int64_t> DimsOf(const slipway_tensor& t) {
  return {t.dims, static_cast<size_t>(t.rank)};
}

inline size_t ElementBytes(uint32_t dtype) {
  return static_cast<size_t>(DTypeBits(static_cast<DType>(dtype)) / 8);
}

// A tensor as [outer, extent of the axis, inner], inner in bytes.
struct Strides {
  int64_t outer = 1;
  size_t extent = 1, inner = 1;
  Strides(std::span<const int64_t> dims, size_t axis, size_t element)
      : extent(static_cast<size_t>(dims[axis])), inner(element) {
    for (size_t i = 0; i < axis; ++i) outer *= dims[i];
    for (size_t i = axis + 1; i < dims.size(); ++i) inner *= static_cast<size_t>(dims[i]);
  }
};

// `count` slices from `at` on of a tensor, from or to dense memory.
inline void CutSlices(const Strides& s, const uint8_t* whole, size_t at, size_t count,
                      uint8_t* piece) {
  const size_t bytes = count * s.inner;
  for (int64_t o = 0; bytes > 0 && o < s.outer; ++o)
    std::memcpy(piece + static_cast<size_t>(o) * bytes,
                whole + (static_cast<size_t>(o) * s.extent + at) * s.inner, bytes);
}
inline void PutSlices(const Strides& s, const uint8_t* piece, size_t at, size_t count,
                      uint8_t* whole) {
  const size_t bytes = count * s.inner;
  for (int64_t o = 0; bytes > 0 && o < s.outer; ++o)
    std::memcpy(whole + (static_cast<size_t>(o) * s.extent + at) * s.inner,
                piece + static_cast<size_t>(o) * bytes, bytes);
}

inline Status NoMemory(uint64_t bytes, const std::string& what) {
  return ResourceExhausted("no memory for the " + std::to_string(bytes) + " bytes of " + what +
                           "; free memory or use smaller inputs");
}

}  // namespace slipway::runtime
