#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "base/arena.h"
#include "base/checked.h"
#include "base/cpu.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "base/status.h"
#include "base/thread_pool.h"

namespace slipway {
namespace {

Result<int> Half(int x) {
  if (x % 2) return InvalidArgument("odd");
  return x / 2;
}
Result<int> Quarter(int x) {
  SLIPWAY_ASSIGN_OR_RETURN(int h, Half(x));
  return Half(h);
}

TEST(Status, PropagatesAndGathersContext) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Quarter(6).status().With("node 'a'").message(), "node 'a': odd");
  EXPECT_TRUE(OkStatus().With("context").ok());
}

TEST(Hash, Sha256KnownAnswers) {  // FIPS 180-4 examples
  auto hex = [](std::string_view s) {
    Sha256 h;
    h.Update(s);
    return ToHex(h.Finish());
  };
  EXPECT_EQ(hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 pieces;
  std::string text(1000, 'x');
  for (size_t i = 0; i < text.size(); i += 7) pieces.Update(std::string_view(text).substr(i, 7));
  EXPECT_EQ(ToHex(pieces.Finish()), hex(text));
}

TEST(Checked, OverflowAndNegativeAreRefused) {
  const int64_t big[] = {int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_FALSE(CheckedCount(big));
  const int64_t negative[] = {2, -1};
  EXPECT_FALSE(CheckedCount(negative));
  const int64_t zero[] = {int64_t{1} << 62, 0};
  EXPECT_EQ(*CheckedCount(zero), 0);
  const int64_t nibbles[] = {3};
  EXPECT_EQ(*CheckedBytes(DType::kInt4, nibbles), 2);
  EXPECT_FALSE(CheckedBytes(DType::kString, nibbles));
}

TEST(Arena, BumpsAlignedAndReportsNeed) {
  AlignedBuffer block(256);
  Arena arena({block.data(), block.size()});
  auto* a = arena.Allocate<uint8_t>(1);
  auto* b = arena.Allocate<uint8_t>(1);
  EXPECT_EQ(b - a, 64);
  EXPECT_EQ(arena.Allocate(512), nullptr);
  EXPECT_EQ(arena.needed(), 128 + 512u);
  EXPECT_EQ(arena.Allocate<uint64_t>(SIZE_MAX / 4), nullptr);
}

TEST(MappedFile, ReadsWhatWasWrittenAndNamesWhatIsMissing) {
  std::string path = testing::TempDir() + "slipway_mapped_test";
  ASSERT_TRUE(WriteFile(path, std::string_view("hello")).ok());
  EXPECT_EQ(*ReadFile(path), "hello");
  ASSERT_TRUE(WriteFile(path, std::string_view("")).ok());
  EXPECT_EQ(*ReadFile(path), "");
  std::remove(path.c_str());
  auto missing = MappedFile::Open(path);
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find(path), std::string::npos);
  EXPECT_EQ(MappedFile::Open(testing::TempDir()).status().code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(WriteFile("/proc/no/such", std::string_view("x")).ok());
}

TEST(ThreadPool, CoversEveryIndexOnceForManyShapes) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool({.threads = threads});
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t count : {0, 1, 2, 7, 100, 1001}) {
      for (int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
        pool.ParallelFor(count, grain, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) hits[static_cast<size_t>(i)]++;
        });
        for (auto& h : hits) ASSERT_EQ(h.load(), 1);
      }
    }
  }
}

TEST(ThreadPool, CallsFromSeveralThreadsQueue) {
  ThreadPool pool({.threads = 2, .spin_iterations = 0});
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        pool.ParallelFor(100, 1, [&](int64_t b, int64_t e) { sum += e - b; });
      }
    });
  }
  for (auto& t : callers) t.join();
  EXPECT_EQ(sum.load(), 4 * 50 * 100);
}

// Whatever workers do while they wait, and however many pools there are.
TEST(ThreadPool, PoolsSideBySideAndEveryWayToWait) {
  struct Wait {
    int spin, yield;
  };
  for (const Wait wait : {Wait{0, 0}, Wait{100000, 0}, Wait{0, 10000}, Wait{10, 10}}) {
    std::vector<std::thread> owners;
    std::atomic<int> wrong{0};
    for (int p = 0; p < 3; ++p) {
      owners.emplace_back([&, p] {
        ThreadPool pool(
            {.threads = 3, .spin_iterations = wait.spin, .yield_iterations = wait.yield});
        for (int i = 0; i < 300; ++i) {
          if (i % 100 == 50) std::this_thread::sleep_for(std::chrono::milliseconds(2));
          int64_t count = 1 + (i * 7 + p) % 40;
          std::atomic<int64_t> sum{0};
          pool.ParallelFor(count, 1 + i % 3, [&](int64_t b, int64_t e) {
            for (; b < e; ++b) sum += b + 1;
          });
          if (sum != count * (count + 1) / 2) ++wrong;
        }
      });
    }
    for (auto& t : owners) t.join();
    EXPECT_EQ(wrong, 0);
  }
}

// The caller does not wait for workers that sleep or have no CPU: a worker that never wakes in time
// costs nothing but its help.
TEST(ThreadPool, NoMoreThreadsAtWorkThanCpus) {
  const int threads = AvailableCpus() + 3;
  ThreadPool pool({.threads = threads});
  std::atomic<int> now{0}, most{0};
  for (int i = 0; i < 50; ++i) {
    pool.ParallelFor(4 * threads, 1, [&](int64_t, int64_t) {
      const int n = ++now;
      int seen = most.load();
      while (n > seen && !most.compare_exchange_weak(seen, n)) {
      }
      std::this_thread::sleep_for(std::chrono::microseconds(20));
      --now;
    });
  }
  EXPECT_LE(most, AvailableCpus());
  EXPECT_GE(most, 1);
}

TEST(Cpu, NamesItsFeatures) {
  EXPECT_EQ(FeatureNames(0), "none");
  EXPECT_EQ(FeatureNames(3), "avx2,avx512");
  EXPECT_FALSE(ThisCpu().arch.empty());
}

}  // namespace
}  // namespace slipway
