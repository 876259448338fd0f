#pragma once
// A persistent pool for data-parallel loops. The calling thread works too, so a pool of 1 thread
// starts none. Workers spin for a short while after a loop and then sleep, so that back-to-back
// loops start in under a microsecond and an idle session burns no CPU. ParallelFor allocates
// nothing.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/parallel.h"

namespace slipway {

struct ThreadPoolOptions {
  int threads = 1;             // including the caller; 0 = the CPUs this process may use
  bool pin = false;            // bind worker i to the i-th allowed CPU (the caller is left alone)
  int spin_iterations = 2000;  // busy-wait rounds before a worker sleeps; 0 = sleep at once
};

class ThreadPool final : public Parallel {
 public:
  explicit ThreadPool(ThreadPoolOptions options = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const override { return static_cast<int>(workers_.size()) + 1; }

  // Parallel::ParallelFor on these threads. The split depends only on count, grain and threads().
  // One loop at a time: calls from several threads queue.
  void Run(int64_t count, int64_t grain, Body body, void* context) override;

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
