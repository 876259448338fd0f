#pragma once
// A persistent pool for data-parallel loops. The calling thread works too, so a pool of 1 thread
// starts none. Workers spin for a short while after a loop, then offer the CPU to others, and then
// sleep, so that back-to-back loops start in under a microsecond and an idle session burns no CPU.
// A loop waits for chunks and not for workers: one that sleeps or is kept from its CPU delays
// nothing. The pools of a process together use no more threads than it has CPUs: workers stay away
// from loops, and sleep at once, while others fill the machine. ParallelFor allocates nothing.

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
  int spin_iterations = 2000;  // busy-wait rounds (some 20 ns each) of a worker without work,
  int yield_iterations = 200;  // then calls of sched_yield before it sleeps; 0 and 0: at once
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
  bool Wait(uint32_t seen);
  void Work(uint32_t loop);

  ThreadPoolOptions options_;
  std::vector<std::thread> workers_;
  std::mutex run_mutex_;  // one loop at a time
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  // The loop's number << 32 | its chunks that nobody has taken. Who takes one may read what follows
  // until the chunk is finished: the next loop begins only when all are.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int64_t> unfinished_{0};
  int64_t count_ = 0, chunk_ = 1, chunks_ = 0;
  Body body_ = nullptr;
  void* context_ = nullptr;
};

// CPUs this process may run on (affinity mask), at least 1.
int AvailableCpus();

}  // namespace slipway
