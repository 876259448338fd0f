#pragma once
// A persistent pool for data-parallel loops. The calling thread works too, so a pool of 1 thread starts none. Workers spin
// for a short while after a loop and then sleep, so that back-to-back loops start in under a microsecond and an idle
// session burns no CPU. ParallelFor allocates nothing.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace slipway {

struct ThreadPoolOptions {
  int threads = 1;         // including the caller; 0 = the CPUs this process may use
  bool pin = false;        // bind worker i to the i-th allowed CPU (the caller is left alone)
  int spin_iterations = 2000;  // busy-wait rounds before a worker sleeps; 0 = sleep at once
};

class ThreadPool {
 public:
  explicit ThreadPool(ThreadPoolOptions options = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls f(begin, end) on disjoint ranges that cover [0, count), in chunks of at least `grain` (> 0); returns when all are
  // done. The split depends only on count, grain and threads(). One loop at a time: calls from several threads queue.
  // f must not throw and must not call ParallelFor of the same pool.
  template <typename F>
  void ParallelFor(int64_t count, int64_t grain, F&& f) {
    auto thunk = [](void* context, int64_t begin, int64_t end) {
      (*static_cast<std::remove_reference_t<F>*>(context))(begin, end);
    };
    Run(count, grain, thunk, const_cast<void*>(static_cast<const void*>(&f)));
  }

  using Body = void (*)(void* context, int64_t begin, int64_t end);
  void Run(int64_t count, int64_t grain, Body body, void* context);

 private:
  void Worker(int index);
  void Work();

  ThreadPoolOptions options_;
  std::vector<std::thread> workers_;
  std::mutex run_mutex_;  // one loop at a time
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> next_{0};
  std::atomic<int> working_{0};
  int64_t count_ = 0, chunk_ = 1, chunks_ = 0;
  Body body_ = nullptr;
  void* context_ = nullptr;
};

// CPUs this process may run on (affinity mask), at least 1.
int AvailableCpus();

}  // namespace slipway
