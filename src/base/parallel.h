#pragma once
// Data-parallel loops behind an interface: kernels take a Parallel* and run on our own ThreadPool
// or on whatever a host of a backend offers (slipway_execution::parallel_for).

#include <cstdint>
#include <type_traits>

namespace slipway {

class Parallel {
 public:
  // Calls f(begin, end) on disjoint ranges that cover [0, count), in chunks of at least `grain` (>
  // 0); returns when all are done. f must not throw and must not start a loop of the same object.
  template <typename F>
  void ParallelFor(int64_t count, int64_t grain, F&& f) {
    auto thunk = [](void* context, int64_t begin, int64_t end) {
      (*static_cast<std::remove_reference_t<F>*>(context))(begin, end);
    };
    Run(count, grain, thunk, const_cast<void*>(static_cast<const void*>(&f)));
  }

  using Body = void (*)(void* context, int64_t begin, int64_t end);
  virtual void Run(int64_t count, int64_t grain, Body body, void* context) = 0;
  virtual int threads() const = 0;

 protected:
  ~Parallel() = default;  // never owned through this interface
};

}  // namespace slipway
