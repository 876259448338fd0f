// The C interface over packages made by hand.

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "base/aligned.h"
#include "engine/format/package_test_util.h"
#include "slipway.h"

namespace slipway {
namespace {

using format::PackageMaker;

// Bytes at an aligned address, as slipway_package_load_memory wants them.
AlignedBuffer Aligned(const std::vector<uint8_t>& bytes) {
  AlignedBuffer out(bytes.size());
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

struct Loaded {
  AlignedBuffer bytes;
  slipway_package* package = nullptr;
  slipway_error error{};
  explicit Loaded(const PackageMaker& maker) {
    auto file = format::SerializePackage(maker.data);
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    if (!file.ok()) return;
    bytes = Aligned(*file);
    slipway_package_load_memory(bytes.data(), bytes.size(), &package, &error);
  }
  ~Loaded() { slipway_package_free(package); }
};

struct Sess {
  slipway_session* s = nullptr;
  slipway_error error{};
  explicit Sess(slipway_package* package, int threads = 1, bool profile = false) {
    slipway_session_options options;
    slipway_session_options_init(&options);
    options.threads = threads;
    options.profile = profile;
    slipway_session_create(package, &options, &s, &error);
  }
  ~Sess() { slipway_session_free(s); }
  float* In(const char* name) {
    slipway_tensor t{};
    EXPECT_EQ(slipway_session_input(s, name, &t, &error), 0) << error.message;
    return static_cast<float*>(t.data);
  }
  float* Out(const char* name) {
    slipway_tensor t{};
    EXPECT_EQ(slipway_session_output(s, name, &t, &error), 0) << error.message;
    return static_cast<float*>(t.data);
  }
  int Run() { return slipway_session_run(s, &error); }
  int SetShape(const char* name, std::vector<int64_t> dims) {
    return slipway_session_set_shape(s, name, dims.data(), static_cast<int32_t>(dims.size()), &error);
  }
};

// y = relu(x) + c, with the relu in place of a copy.
PackageMaker Small(SymShape shape) {
  PackageMaker m;
  int x = m.Input("x", DType::kFloat32, shape);
  int c = m.Constant<float>("c", {4}, {1, 2, 3, 4});
  int a = m.Arena("a", DType::kFloat32, shape);
  int r = m.Arena("r", DType::kFloat32, shape, a);
  int y = m.Output("y", DType::kFloat32, shape);
  m.Step("copy", "engine", "Copy", {x}, {a});
  m.Step("relu", "", "Relu", {a}, {r});
  m.Step("add", "", "Add", {r, c}, {y}).macs = 12;
  return m;
}

TEST(Runtime, RunsAPackageMadeByHand) {
  PackageMaker m = Small({3, 4});
  m.Plan();
  Loaded p(m);
  ASSERT_NE(p.package, nullptr) << p.error.message;
  EXPECT_EQ(slipway_package_num_inputs(p.package), 1u);
  slipway_tensor_info info;
  ASSERT_EQ(slipway_package_input(p.package, 0, &info), 0);
  EXPECT_STREQ(info.name, "x");
  EXPECT_EQ(info.rank, 2);
  EXPECT_EQ(info.dims[1], 4);
  EXPECT_STREQ(slipway_package_provenance(p.package, "platform"), "reference");
  EXPECT_EQ(slipway_package_provenance(p.package, "none"), nullptr);
  Sess s(p.package, 2, true);
  ASSERT_NE(s.s, nullptr) << s.error.message;
  float* x = s.In("x");
  for (int i = 0; i < 12; ++i) x[i] = static_cast<float>(i - 6);
  ASSERT_EQ(s.Run(), 0) << s.error.message;
  const float* y = s.Out("y");
  for (int i = 0; i < 12; ++i) EXPECT_EQ(y[i], std::max(0.f, static_cast<float>(i - 6)) + static_cast<float>(i % 4 + 1));
  EXPECT_EQ(slipway_session_num_steps(s.s), 3u);
  slipway_step_profile profile;
  ASSERT_EQ(slipway_session_profile(s.s, 2, &profile), 0);
  EXPECT_STREQ(profile.name, "add");
  EXPECT_STREQ(profile.op, "Add");
  EXPECT_STREQ(profile.backend, "reference");
  EXPECT_EQ(profile.runs, 1u);
  EXPECT_EQ(profile.macs, 12);
  EXPECT_EQ(slipway_session_memory(s.s), 64u + 48 + 48);
}

}  // namespace
}  // namespace slipway
