#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>

namespace slipway {
namespace {

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void PinToCpu(int index) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  int seen = 0, wanted = index % std::max(1, CPU_COUNT(&allowed));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || seen++ != wanted) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
    return;
  }
}

}  // namespace

int AvailableCpus() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return std::max(1, CPU_COUNT(&allowed));
  return std::max(1u, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(ThreadPoolOptions options) : options_(options) {
  int threads = options.threads > 0 ? options.threads : AvailableCpus();
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { Worker(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::Work() {
  for (;;) {
    int64_t chunk = next_.fetch_add(1, std::memory_order_relaxed);
    if (chunk >= chunks_) return;
    int64_t begin = chunk * chunk_;
    body_(context_, begin, std::min(count_, begin + chunk_));
  }
}

void ThreadPool::Worker(int index) {
  if (options_.pin) PinToCpu(index);
  uint64_t seen = 0;
  for (;;) {
    for (int spin = 0; spin < options_.spin_iterations; ++spin) {
      if (generation_.load(std::memory_order_acquire) != seen) break;
      Pause();
    }
    if (generation_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load() != seen; });
    }
    seen = generation_.load(std::memory_order_acquire);
    if (stop_) return;
    Work();
    working_.fetch_sub(1, std::memory_order_release);
  }
}

void ThreadPool::Run(int64_t count, int64_t grain, Body body, void* context) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  int n = threads();
  if (n == 1 || count <= grain) return body(context, 0, count);
  std::lock_guard run_lock(run_mutex_);
  // Four chunks a thread even out unequal speeds; fewer where the grain says so.
  chunk_ = std::max(grain, (count + 4 * n - 1) / (4 * n));
  chunks_ = (count + chunk_ - 1) / chunk_;
  count_ = count;
  body_ = body;
  context_ = context;
  next_.store(0, std::memory_order_relaxed);
  working_.store(n - 1, std::memory_order_relaxed);
  {
    std::lock_guard lock(mutex_);  // pairs with the sleeper's check
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  Work();
  for (int spin = 0; working_.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < 10000) {
      Pause();
    } else {
      std::this_thread::yield();  // more threads than CPUs: let the others finish
    }
  }
}

}  // namespace slipway
