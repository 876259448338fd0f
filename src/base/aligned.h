#pragma once
// Heap memory aligned to a cache line (64 bytes), which every kernel may assume of tensors,
// constants and scratch.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

namespace slipway {

inline constexpr size_t kAlignment = 64;

// An owned, uninitialised, 64-byte aligned block. data() is null when allocation failed or size is
// 0.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size) : size_(size) {
    if (size == 0) return;
    data_.reset(static_cast<uint8_t*>(
        std::aligned_alloc(kAlignment, (size + kAlignment - 1) / kAlignment * kAlignment)));
    if (!data_) size_ = 0;
  }
  uint8_t* data() { return data_.get(); }
  const uint8_t* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  std::unique_ptr<uint8_t, Free> data_;
  size_t size_ = 0;
};

}  // namespace slipway
