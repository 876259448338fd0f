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

// Threads of this process that work on loops.
std::atomic<int> busy{0};

int Cpus() {
  static const int cpus = AvailableCpus();
  return cpus;
}

uint32_t LoopOf(uint64_t ticket) { return static_cast<uint32_t>(ticket >> 32); }
uint32_t LeftOf(uint64_t ticket) { return static_cast<uint32_t>(ticket); }

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
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::Work(uint32_t loop) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while (LoopOf(ticket) == loop && LeftOf(ticket) != 0) {
    if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                       std::memory_order_acquire))
      continue;
    const int64_t begin = (chunks_ - LeftOf(ticket)) * chunk_;
    body_(context_, begin, std::min(count_, begin + chunk_));
    unfinished_.fetch_sub(1, std::memory_order_acq_rel);
    ticket = ticket_.load(std::memory_order_acquire);
  }
}

// Until there is another loop than `seen`; false: the pool ends.
bool ThreadPool::Wait(uint32_t seen) {
  const auto news = [&] {
    return LoopOf(ticket_.load(std::memory_order_seq_cst)) != seen || stop_.load();
  };
  for (int i = 0; i < options_.spin_iterations && !news(); ++i) {
    if (busy.load(std::memory_order_relaxed) >= Cpus()) break;
    Pause();
  }
  for (int i = 0; i < options_.yield_iterations && !news(); ++i) {
    if (busy.load(std::memory_order_relaxed) >= Cpus()) break;
    std::this_thread::yield();
  }
  if (!news()) {
    std::unique_lock lock(mutex_);
    sleeping_.fetch_add(1, std::memory_order_seq_cst);
    wake_.wait(lock, news);
    sleeping_.fetch_sub(1, std::memory_order_relaxed);
  }
  return !stop_.load();
}

void ThreadPool::Worker(int index) {
  if (options_.pin) PinToCpu(index);
  uint32_t seen = 0;
  while (Wait(seen)) {
    seen = LoopOf(ticket_.load(std::memory_order_acquire));
    if (busy.fetch_add(1, std::memory_order_relaxed) < Cpus()) Work(seen);
    busy.fetch_sub(1, std::memory_order_relaxed);
  }
}

void ThreadPool::Run(int64_t count, int64_t grain, Body body, void* context) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  int n = threads();
  if (n == 1 || count <= grain) return body(context, 0, count);
  std::lock_guard run_lock(run_mutex_);
  busy.fetch_add(1, std::memory_order_relaxed);
  // Four chunks a thread even out unequal speeds; fewer where the grain says so.
  chunk_ = std::max(grain, (count + 4 * n - 1) / (4 * n));
  chunks_ = (count + chunk_ - 1) / chunk_;
  count_ = count;
  body_ = body;
  context_ = context;
  unfinished_.store(chunks_, std::memory_order_relaxed);
  const uint32_t loop = LoopOf(ticket_.load(std::memory_order_relaxed)) + 1;
  ticket_.store(uint64_t{loop} << 32 | static_cast<uint64_t>(chunks_), std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst) > 0 &&
      busy.load(std::memory_order_relaxed) < Cpus()) {
    { std::lock_guard lock(mutex_); }  // pairs with the sleeper's check
    wake_.notify_all();
  }
  Work(loop);
  for (int spin = 0; unfinished_.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < 10000) {
      Pause();
    } else {
      std::this_thread::yield();  // more threads than CPUs: let the others finish
    }
  }
  busy.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace slipway
