#pragma once
// Memory of a session.

#include <cstddef>
#include <cstdint>

namespace slipway::runtime {

// Where a session gets the memory of its tensors: 64-byte aligned, null when there is none.
struct MemoryHooks {
  void* (*allocate)(void* context, size_t bytes) = nullptr;  // null: the C++ heap
  void (*release)(void* context, void* memory) = nullptr;
  void* context = nullptr;
};

// More bytes than any tensor has.
inline constexpr uint64_t kMaxBlock = uint64_t{1} << 46;

// A block that only grows.
class Block {
 public:
  explicit Block(const MemoryHooks& hooks) : hooks_(hooks) {}
  ~Block() { Release(); }
  Block(Block&& other) noexcept;
  Block& operator=(Block&&) = delete;

  // False when the memory is not there; the old block is gone then. `spare`: a block that grows
  // gets more than it needs, for what grows from one iteration to the next.
  bool Reserve(uint64_t bytes, bool spare = false);
  // The same, with what the old block holds. False: the old block is still there.
  bool Grow(uint64_t bytes);
  uint8_t* data() const { return data_; }
  uint64_t capacity() const { return capacity_; }
  void Swap(Block& other);

 private:
  void Release();
  MemoryHooks hooks_;
  uint8_t* data_ = nullptr;
  uint64_t capacity_ = 0;
};

}  // namespace slipway::runtime
