#include "engine/runtime/block.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/aligned.h"

namespace slipway::runtime {

Block::Block(Block&& other) noexcept
    : hooks_(other.hooks_), data_(other.data_), capacity_(other.capacity_) {
  other.data_ = nullptr;
  other.capacity_ = 0;
}

void Block::Release() {
  if (data_) hooks_.allocate ? hooks_.release(hooks_.context, data_) : std::free(data_);
  data_ = nullptr;
  capacity_ = 0;
}

void Block::Swap(Block& other) {
  std::swap(data_, other.data_);
  std::swap(capacity_, other.capacity_);
}

bool Block::Reserve(uint64_t bytes, bool spare) {
  bytes = std::max<uint64_t>(bytes, kAlignment);  // an empty tensor has an address too
  if (bytes <= capacity_) return true;
  if (bytes > kMaxBlock * 4) return false;
  if (spare && data_ && Reserve(bytes + bytes / 2)) return true;
  Release();
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  data_ = static_cast<uint8_t*>(hooks_.allocate ? hooks_.allocate(hooks_.context, bytes)
                                                : std::aligned_alloc(kAlignment, bytes));
  if (!data_) return false;
  capacity_ = bytes;
  return true;
}

bool Block::Grow(uint64_t bytes) {
  bytes = std::max<uint64_t>(bytes, kAlignment);
  if (bytes <= capacity_) return true;
  Block larger(hooks_);
  // Data that decide extents change from run to run: some room to spare saves most of the copies.
  if (!larger.Reserve(bytes + bytes / 4) && !larger.Reserve(bytes)) return false;
  if (data_) std::memcpy(larger.data_, data_, capacity_);
  Swap(larger);
  return true;
}

}  // namespace slipway::runtime
