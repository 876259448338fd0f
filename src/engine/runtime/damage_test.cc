// Every truncation and thousands of bit flips of good packages: each loads and runs, or fails with a status. Run it under a sanitizer to see more.

#include <chrono>
#include <random>

#include "engine/runtime/damage_test_util.h"
#include "engine/runtime/session_test_util.h"

namespace slipway::runtime {
namespace {

// One of everything that reads addresses out of data or attributes.
PackageMaker Indexing() {
  PackageMaker m;
  auto ints = [&](const char* name, std::vector<int64_t> v) {
    return m.Constant<int64_t>(name, {static_cast<int64_t>(v.size())}, v);
  };
  int x = m.Input("x", DType::kFloat32, {2, 3, 6, 6});
  int t = m.Arena("sliced", DType::kFloat32, {2, 3, 4, 3});
  m.Step("slice", "", "Slice", {x, ints("starts", {1, 5}), ints("ends", {5, -7}), ints("axes", {2, 3}), ints("steps", {1, -2})}, {t});
  int p = m.Arena("padded", DType::kFloat32, {2, 3, 6, 5});
  m.Step("pad", "", "Pad", {t, ints("pads", {0, 0, 1, 1, 0, 0, 1, 1})}, {p}, {{"mode", std::string("reflect")}});
  int g = m.Arena("gathered", DType::kFloat32, {2, 2, 6, 5});
  m.Step("gather", "", "Gather", {p, ints("indices", {2, -3})}, {g}, {{"axis", int64_t{1}}});
  int tr = m.Arena("transposed", DType::kFloat32, {2, 6, 5, 2});
  m.Step("transpose", "", "Transpose", {g}, {tr}, {{"perm", std::vector<int64_t>{0, 2, 3, 1}}});
  int pool = m.Arena("pooled", DType::kFloat32, {2, 6, 3, 1});
  m.Step("pool", "", "MaxPool", {tr}, {pool}, {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}},
                                              {"pads", std::vector<int64_t>{1, 0, 0, 0}}});
  int r = m.Arena("resized", DType::kFloat32, {2, 6, 6, 3});
  m.Step("resize", "", "Resize", {pool, -1, m.Constant<float>("scales", {4}, {1, 1, 2, 3})}, {r}, {{"mode", std::string("linear")}});
  int red = m.Arena("reduced", DType::kFloat32, {2, 1, 6, 3});
  m.Step("reduce", "", "ReduceMean", {r, ints("reduce_axes", {1})}, {red});
  int cat = m.Arena("concat", DType::kFloat32, {2, 7, 6, 3});
  m.Step("concat", "", "Concat", {r, red}, {cat}, {{"axis", int64_t{1}}});
  int q = m.Arena("codes", DType::kInt8, {2, 7, 6, 3});
  int s = m.Constant<float>("scale", {7}, std::vector<float>(7, 0.05f));
  m.Step("quantize", "slipway", "Quantize", {cat, s}, {q}, {{"axis", int64_t{1}}});
  int qc = m.Arena("conv", DType::kInt8, {2, 4, 4, 3});
  m.Step("qconv", "slipway", "QConv",
         {q, m.Constant<int8_t>("w", {4, 7, 3, 1}, std::vector<int8_t>(84, 3)), m.Constant<float>("mul", {4}, {.1f, .2f, .3f, .4f}),
          m.Constant<int32_t>("bias", {4}, {1, 2, 3, 4})},
         {qc});
  int values = m.Output("values", DType::kInt8, {2, 4, 4, 2});
  int indices = m.Output("indices", DType::kInt64, {2, 4, 4, 2});
  m.Step("topk", "", "TopK", {qc, ints("k", {2})}, {values, indices});
  m.Plan();
  return m;
}

struct Good {
  const char* name;
  std::vector<uint8_t> bytes;
};

std::vector<Good> GoodPackages() {
  PackageMaker fixed = SmallPackage({3, 4});
  fixed.Plan();
  std::vector<Good> list;
  auto add = [&](const char* name, const PackageMaker& m) {
    auto bytes = format::SerializePackage(m.data);
    EXPECT_TRUE(bytes.ok()) << name << ": " << bytes.status().ToString();
    if (bytes.ok()) list.push_back({name, *bytes});
  };
  add("static", fixed);
  add("dynamic", SmallPackage({PackageMaker::Sym("N"), 4}));
  add("network", NetworkPackage(PackageMaker::Sym("N")));
  add("indexing", Indexing());
  return list;
}

void CheckStatus(const Status& status) {
  // A fault of the file must not be reported as one of ours.
  if (!status.ok()) {
    EXPECT_NE(status.code(), StatusCode::kInternal) << status.message();
    EXPECT_FALSE(status.message().empty());
  }
}

TEST(Damage, GoodPackagesRun) {
  for (const Good& g : GoodPackages()) {
    AlignedBuffer file = Aligned(g.bytes);
    Status status = LoadAndRun({file.data(), file.size()});
    EXPECT_TRUE(status.ok()) << g.name << ": " << status.ToString();
  }
}

TEST(Damage, EveryTruncationFails) {
  for (const Good& g : GoodPackages()) {
    AlignedBuffer file = Aligned(g.bytes);
    for (size_t n = 0; n < g.bytes.size(); ++n) {
      Status status = LoadAndRun({file.data(), n});
      // The last segment may end in nothing but what no tensor uses.
      ASSERT_TRUE(status.code() == StatusCode::kDataLoss) << g.name << " cut to " << n << ": " << status.ToString();
    }
  }
}

TEST(Damage, BitFlipsFailCleanlyOrRun) {
  const char* fixed = std::getenv("SLIPWAY_TEST_SEED");
  const uint64_t seed = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  const char* limit = std::getenv("SLIPWAY_TEST_SECONDS");
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit ? std::atof(limit) : 4);
  std::mt19937_64 random(seed);
  const std::vector<Good> goods = GoodPackages();
  ASSERT_FALSE(goods.empty());
  int64_t runs = 0, ran = 0, detected = 0;
  while (std::chrono::steady_clock::now() < end) {
    const Good& g = goods[random() % goods.size()];
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
    SCOPED_TRACE("SLIPWAY_TEST_SEED=" + std::to_string(seed) + ", package " + g.name + ", bits" + what);
    Status status = LoadAndRun({file.data(), file.size()});
    CheckStatus(status);
    ++runs;
    ran += status.ok();
    detected += status.code() == StatusCode::kDataLoss;
    if (HasFailure()) return;
  }
  std::cout << "  seed " << seed << ": " << runs << " damaged packages, " << ran << " ran, " << detected << " were found damaged\n";
  EXPECT_GT(runs, 500);
}

}  // namespace
}  // namespace slipway::runtime
