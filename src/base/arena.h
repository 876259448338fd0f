#pragma once
// A bump allocator over one block that the caller owns: allocation is an addition, release is
// Reset(). Out of space is a null pointer, never an exception; `needed()` then says how large the
// block should have been.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/aligned.h"

namespace slipway {

class Arena {
 public:
  Arena() = default;
  explicit Arena(std::span<uint8_t> block) : block_(block) {}

  // `alignment` is a power of two, at most kAlignment when the block itself is kAlignment aligned.
  void* Allocate(size_t bytes, size_t alignment = kAlignment) {
    size_t start = (used_ + alignment - 1) & ~(alignment - 1);
    if (start < used_ || start + bytes < start) return nullptr;
    used_ = start + bytes;
    if (used_ > peak_) peak_ = used_;
    return used_ <= block_.size() ? block_.data() + start : nullptr;
  }
  template <typename T>
  T* Allocate(size_t count) {
    size_t bytes;
    if (__builtin_mul_overflow(count, sizeof(T), &bytes)) return nullptr;
    return static_cast<T*>(Allocate(bytes));
  }
  void Reset() { used_ = 0; }
  size_t needed() const { return peak_; }

 private:
  std::span<uint8_t> block_;
  size_t used_ = 0;
  size_t peak_ = 0;
};

}  // namespace slipway
