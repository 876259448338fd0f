#pragma once
// One use of a package by one thread: its shapes, its memory, its prepared steps.

#include <atomic>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/dims.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "engine/runtime/package.h"

namespace slipway::runtime {

// Where a session gets the memory of its tensors: 64-byte aligned, null when there is none.
struct MemoryHooks {
  void* (*allocate)(void* context, size_t bytes) = nullptr;  // null: the C++ heap
  void (*release)(void* context, void* memory) = nullptr;
  void* context = nullptr;
};

struct SessionOptions {
  int threads = 1;  // 0 = all CPUs this process may use
  bool pin = false;
  bool profile = false;
  int spin = -1;  // -1 = the thread pool's default
  MemoryHooks memory;
};

// A block that only grows.
class Block {
 public:
  explicit Block(const MemoryHooks& hooks) : hooks_(hooks) {}
  ~Block() { Release(); }
  Block(Block&& other) noexcept;
  Block& operator=(Block&&) = delete;

  // False when the memory is not there; the old block is gone then.
  bool Reserve(uint64_t bytes);
  uint8_t* data() const { return data_; }

 private:
  void Release();
  MemoryHooks hooks_;
  uint8_t* data_ = nullptr;
  uint64_t capacity_ = 0;
};

class Session {
 public:
  // A package with static shapes is prepared here, one with dynamic shapes at its first run. Errors: InvalidArgument (options), those of Prepare.
  static Result<std::unique_ptr<Session>> Create(std::shared_ptr<const Package> package, const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // InvalidArgument names the input, the dimension, the expected and the given extent; the old shape stays then. Bindings end.
  Status SetShape(std::string_view input, std::span<const int64_t> dims);
  Result<slipway_tensor> Input(std::string_view name);
  Result<slipway_tensor> Output(std::string_view name);
  // An input or an output (an input where both have the name).
  Status Bind(std::string_view name, void* data, size_t bytes);
  Status Run();

  struct StepProfile {
    uint64_t runs = 0;
    double total_ms = 0, min_ms = 0;
  };
  const std::vector<StepProfile>& profile() const { return profile_; }
  void ResetProfile();
  // Bytes of the arena, the inputs and the outputs at the current shapes; 0 before they are known.
  uint64_t memory_bytes() const;
  int threads() const { return pool_.threads(); }
  const Package& package() const { return *package_; }

 private:
  struct Io {
    int tensor;
    Dims dims;
    bool given = false;  // dims are concrete
    Block memory;
    void* bound = nullptr;
  };
  struct BoundStep {
    void* bound = nullptr;
    bool prepared = false;
    std::vector<slipway_tensor> inputs, outputs;
    uint64_t workspace = 0, workspace_offset = 0;
  };

  Session(std::shared_ptr<const Package> package, const SessionOptions& options);
  const format::PackageTensor& Tensor(int index) const { return package_->data().tensors[static_cast<size_t>(index)]; }
  static Io* FindIo(std::vector<Io>& list, const format::PackageData& data, std::string_view name);
  uint64_t BytesOf(const Io& io) const;
  Result<slipway_tensor> View(Io& io);
  Status NotGiven(const Io& io) const;

  // Brings everything up to the inputs' shapes: extents of all tensors, prepared steps, the plan and the arena.
  Status Prepare();
  Status ResolveShapes();
  Status PrepareSteps();
  Status PlanArena();
  Status FillPointers();
  void ReleaseSteps();
  Status SyncBackend(const slipway_backend* backend);
  Status RunSteps();

  std::shared_ptr<const Package> package_;
  SessionOptions options_;
  ThreadPool pool_;
  std::vector<Io> inputs_, outputs_;
  std::vector<Dims> dims_;          // per tensor
  std::vector<uint64_t> bytes_;     // per tensor
  std::vector<uint64_t> offsets_;   // per tensor, in the arena
  std::vector<BoundStep> steps_;
  std::vector<StepProfile> profile_;
  uint64_t arena_size_ = 0;
  Block arena_;
  bool prepared_ = false;         // for the inputs' current shapes
  bool pointers_valid_ = false;   // the steps' tensors point to the current memory
  std::atomic<int> running_{0};  // not bool: RISC-V has no atomic exchange of bytes
};

}  // namespace slipway::runtime
