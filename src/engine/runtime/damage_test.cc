// Every truncation and thousands of bit flips of good packages: each loads and runs, or fails with
// a status. Run it under a sanitizer to see more.

#include <chrono>
#include <filesystem>
#include <random>

#include "base/mapped_file.h"
#include "engine/runtime/damage_test_util.h"
#include "engine/runtime/session_test_util.h"

namespace slipway::runtime {
namespace {

void CheckStatus(const Status& status) {
  // A fault of the file must not be reported as one of ours.
  if (!status.ok()) {
    EXPECT_NE(status.code(), StatusCode::kInternal) << status.message();
    EXPECT_FALSE(status.message().empty());
  }
}

TEST(Damage, GoodPackagesRun) {
  ASSERT_EQ(GoodPackages().size(), 8u);
  for (const GoodPackage& g : GoodPackages()) {
    AlignedBuffer file = Aligned(g.bytes);
    Status status = LoadAndRun({file.data(), file.size()});
    EXPECT_TRUE(status.ok()) << g.name << ": " << status.ToString();
  }
}

TEST(Damage, EveryTruncationFails) {
  for (const GoodPackage& g : GoodPackages()) {
    AlignedBuffer file = Aligned(g.bytes);
    for (size_t n = 0; n < g.bytes.size(); ++n) {
      Status status = LoadAndRun({file.data(), n});
      // The last segment may end in nothing but what no tensor uses.
      ASSERT_TRUE(status.code() == StatusCode::kDataLoss)
          << g.name << " cut to " << n << ": " << status.ToString();
    }
  }
}

TEST(Damage, BitFlipsFailCleanlyOrRun) {
  const char* fixed = std::getenv("SLIPWAY_TEST_SEED");
  const uint64_t seed = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  const char* limit = std::getenv("SLIPWAY_TEST_SECONDS");
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::duration<double>(limit ? std::atof(limit) : 4);
  std::mt19937_64 random(seed);
  const std::vector<GoodPackage> goods = GoodPackages();
  ASSERT_FALSE(goods.empty());
  int64_t runs = 0, ran = 0, detected = 0;
  while (std::chrono::steady_clock::now() < end || runs <= 500) {
    const GoodPackage& g = goods[random() % goods.size()];
    AlignedBuffer file = Aligned(g.bytes);
    const int flips = random() % 4 ? 1 : static_cast<int>(random() % 8 + 1);
    std::string what;
    for (int i = 0; i < flips; ++i) {
      const size_t bit = random() % (g.bytes.size() * 8);
      file.data()[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
      what += " " + std::to_string(bit);
    }
    // Damage as it happens is found by the digest; damage on purpose comes with a good one.
    if (random() % 8) RepairDigest({file.data(), file.size()});
    SCOPED_TRACE("SLIPWAY_TEST_SEED=" + std::to_string(seed) + ", package " + g.name + ", bits" +
                 what);
    Status status = LoadAndRun({file.data(), file.size()});
    CheckStatus(status);
    ++runs;
    ran += status.ok();
    detected += status.code() == StatusCode::kDataLoss;
    if (HasFailure()) return;
  }
  std::cout << "  seed " << seed << ": " << runs << " damaged packages, " << ran << " ran, "
            << detected << " were found damaged\n";
}

// What fuzz/package.cc has found stays found.
TEST(Damage, RegressionsFailCleanlyOrRun) {
  const std::filesystem::path folder =
      std::filesystem::path(SLIPWAY_SOURCE_DIR) / "fuzz/regressions/package";
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << folder << " is not there";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    SCOPED_TRACE(entry.path().string());
    auto file = ReadFile(entry.path().string());
    ASSERT_TRUE(file.ok());
    AlignedBuffer bytes = Aligned({file->begin(), file->end()});
    CheckStatus(LoadAndRun({bytes.data(), bytes.size()}));
  }
}

}  // namespace
}  // namespace slipway::runtime
