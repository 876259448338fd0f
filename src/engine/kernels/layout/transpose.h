#pragma once
// A matrix transpose in small square tiles that fit in vector registers. GCC and clang vector types make the same source SSE, NEON or RVV code.

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace slipway::kernels {
namespace transpose_internal {

template <typename T, int kLanes>
struct VectorOf {
  typedef T type __attribute__((vector_size(sizeof(T) * kLanes)));
};

template <typename T>
constexpr int LanesOf() {
  return sizeof(T) == 1 ? 8 : sizeof(T) == 8 ? 2 : sizeof(T) == 2 ? 8 : 4;
}

// Interleaves the low and the high halves of two vectors.
template <typename V>
inline void Zip(V a, V b, V& low, V& high) {
  if constexpr (sizeof(V) / sizeof(a[0]) == 2) {
    low = __builtin_shufflevector(a, b, 0, 2);
    high = __builtin_shufflevector(a, b, 1, 3);
  } else if constexpr (sizeof(V) / sizeof(a[0]) == 4) {
    low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  } else {
    low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    high = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  }
}

// kLanes x kLanes: log2(kLanes) rounds of zipping row i with row i + kLanes / 2.
template <typename T>
inline void Tile(const T* src, int64_t src_stride, T* dst, int64_t dst_stride) {
  constexpr int kLanes = LanesOf<T>();
  using V = typename VectorOf<T, kLanes>::type;
  V a[kLanes], b[kLanes];
  for (int i = 0; i < kLanes; ++i) std::memcpy(&a[i], src + i * src_stride, sizeof(V));
  for (int round = 1; round < kLanes; round *= 2) {
    for (int i = 0; i < kLanes / 2; ++i) Zip(a[i], a[i + kLanes / 2], b[2 * i], b[2 * i + 1]);
    for (int i = 0; i < kLanes; ++i) a[i] = b[i];
  }
  for (int i = 0; i < kLanes; ++i) std::memcpy(dst + i * dst_stride, &a[i], sizeof(V));
}

}  // namespace transpose_internal

// dst[c * dst_stride + r] = src[r * src_stride + c] for r < rows, c < columns.
template <typename T>
void Transpose(const T* src, int64_t src_stride, int64_t rows, int64_t columns, T* dst, int64_t dst_stride) {
  constexpr int64_t kLanes = transpose_internal::LanesOf<T>();
  int64_t c = 0;
  for (; c + kLanes <= columns; c += kLanes) {
    int64_t r = 0;
    for (; r + kLanes <= rows; r += kLanes) {
      transpose_internal::Tile(src + r * src_stride + c, src_stride, dst + c * dst_stride + r, dst_stride);
    }
    for (; r < rows; ++r) {
      for (int64_t i = 0; i < kLanes; ++i) dst[(c + i) * dst_stride + r] = src[r * src_stride + c + i];
    }
  }
  for (; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
}

}  // namespace slipway::kernels
