#pragma once
// Heap memory aligned to a cache line (64 bytes), which every kernel may assume of tensors,
// constants and scratch.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif
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
  // For large tables that are read from end to end (packed weights): in pages of 2 MB where the system
  // has them to give, so that streams through them are not held up at every 4 KB.
  static AlignedBuffer Table(size_t size) {
    constexpr size_t kPage = size_t{2} << 20;
    if (size < kPage) return AlignedBuffer(size);
    AlignedBuffer buffer;
    if (size > SIZE_MAX - kPage) return buffer;
    // A multiple of the alignment, as C asks for; what is not touched takes no memory.
    buffer.data_.reset(
        static_cast<uint8_t*>(std::aligned_alloc(kPage, (size + kPage - 1) / kPage * kPage)));
    if (!buffer.data_) return buffer;
    buffer.size_ = size;
#ifdef MADV_HUGEPAGE
    (void)madvise(buffer.data_.get(), size / kPage * kPage, MADV_HUGEPAGE);  // a wish
#endif
    return buffer;
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
