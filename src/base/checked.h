#pragma once
// Arithmetic on sizes that come from outside: nothing overflows silently.

#include <cstdint>
#include <limits>
#include <optional>
#include <span>

#include "base/dtype.h"

namespace slipway {

inline std::optional<int64_t> CheckedMul(int64_t a, int64_t b) {
  int64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}
inline std::optional<int64_t> CheckedAdd(int64_t a, int64_t b) {
  int64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

// Product of dimensions; nullopt when one is negative or the product overflows. The empty product
// is 1.
inline std::optional<int64_t> CheckedCount(std::span<const int64_t> dims) {
  int64_t n = 1;
  bool zero = false;
  for (int64_t d : dims) {
    if (d < 0) return std::nullopt;
    if (d == 0) {
      zero = true;
      continue;
    }
    auto m = CheckedMul(n, d);
    if (!m) return std::nullopt;
    n = *m;
  }
  return zero ? 0 : n;
}

// Bytes of a dense tensor; nullopt on overflow, a negative dimension or an element type without
// size.
inline std::optional<int64_t> CheckedBytes(DType t, std::span<const int64_t> dims) {
  auto count = CheckedCount(dims);
  if (!count || DTypeBits(t) == 0) return std::nullopt;
  auto bits = CheckedMul(*count, DTypeBits(t));
  if (!bits || *bits > std::numeric_limits<int64_t>::max() - 7) return std::nullopt;
  return (*bits + 7) / 8;
}

inline constexpr int64_t RoundUp(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
inline constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace slipway
